//! The control thread: names, health checks and discovery, away from the data path.

use super::{discover, health, resolve};
use crate::clock;
use crate::plan::Plan;
use crate::shared::Shared;
use crate::worker::STALL;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::task::JoinSet;
use unlag_config::{Scheme, Source};

/// Starts it; it ends when the process drains.
pub fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("unlag-control".into()).spawn(move || runtime.block_on(run(shared)))
}

async fn run(shared: Arc<Shared>) {
    let resolver = resolve::resolver().map(Arc::new);
    let mut drain = std::pin::pin!(shared.drained());
    let mut stalled = false;
    loop {
        let version = shared.fleet_version();
        let plan = shared.current();
        let mut files = JoinSet::new();
        for upstream in &plan.upstreams {
            if let Source::File(path) = &upstream.source {
                files.spawn(discover::keep_fresh(Arc::clone(upstream), path.clone(), Arc::clone(&shared)));
            }
        }
        let mut tasks = watch_endpoints(&plan, resolver.as_ref());
        let mut version = version;
        // A task ends only by a panic: everything is started anew then.
        loop {
            tokio::select! {
                () = &mut drain => return,
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            watch_workers(&shared, &mut stalled);
            if shared.current().generation != plan.generation {
                break;
            }
            let ended = tasks.try_join_next().is_some();
            if ended || shared.fleet_version() != version {
                version = shared.fleet_version();
                tasks = watch_endpoints(&plan, resolver.as_ref());
            }
            if files.try_join_next().is_some() {
                break;
            }
        }
        shared.endpoints.forget_unused();
    }
}

/// Notices when a worker does not come round, once for each time.
fn watch_workers(shared: &Shared, stalled: &mut bool) {
    let lag_ns = shared.lag_ns(clock::now());
    let is_stalled = lag_ns > clock::ns(STALL);
    if is_stalled && !*stalled {
        shared.stalls.fetch_add(1, Relaxed);
        tracing::warn!(
            lag_ms = lag_ns / 1_000_000,
            "a worker is stalled: something computes or blocks on it"
        );
    }
    *stalled = is_stalled;
}

/// Starts what keeps the endpoints of a plan known.
fn watch_endpoints(plan: &Plan, resolver: Option<&Arc<hickory_resolver::TokioResolver>>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for upstream in &plan.upstreams {
        for endpoint in upstream.fleet().iter() {
            let is_name =
                endpoint.url.scheme != Scheme::Unix && endpoint.url.host.parse::<std::net::IpAddr>().is_err();
            if is_name {
                tasks.spawn(resolve::keep_fresh(Arc::clone(endpoint), resolver.cloned()));
            }
            if let Some(health) = &upstream.health {
                tasks.spawn(health::keep_checking(
                    Arc::clone(upstream),
                    Arc::clone(endpoint),
                    health.clone(),
                ));
            }
        }
    }
    tasks
}
