//! The control thread: names, health checks and discovery, away from the data path.

use super::names::Names;
use super::{discover, discover_names, health, resolve};
use crate::clock;
use crate::fault;
use crate::fleet::Endpoint;
use crate::plan::{Plan, Upstream};
use crate::shared::Shared;
use crate::worker::STALL;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use unlag_config::{Scheme, Source};

/// How long what panicked stays away: at first, so that a single fault is hardly felt, and at most, so that one that comes
/// back each time costs next to nothing and is still tried.
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(10);

/// How often the thread looks for a new plan, ended tasks and stalled workers.
const LOOK: Duration = Duration::from_millis(100);

/// How often endpoints are forgotten that nobody refers to: who comes back sooner is known again, and those that come and go for
/// weeks are not kept for as long.
const FORGET_NS: u64 = 60_000_000_000;

/// Starts it; it ends when the process drains.
pub fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("unlag-control".into());
    thread.spawn(move || {
        runtime.block_on(supervise(shared));
        // A look at a file that hangs must not keep the process from ending.
        runtime.shutdown_timeout(LOOK);
    })
}

/// Runs the thread's task, again and again if it panics: without it no name is looked up and no endpoint checked.
async fn supervise(shared: Arc<Shared>) {
    let mut pause = RESTART_FIRST;
    while let Err(error) = tokio::spawn(run(Arc::clone(&shared))).await {
        restarting(&shared, "control", &error, pause);
        tokio::select! {
            () = shared.drained() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RESTART_MAX),
        }
    }
}

fn restarting(shared: &Shared, task: &str, error: &JoinError, pause: Duration) {
    shared.panics.note(clock::now());
    shared.control_restarts.fetch_add(1, Relaxed);
    let pause_ms = pause.as_millis() as u64;
    tracing::error!(task, %error, pause_ms, "a task of the control thread panicked, it is started again");
}

async fn run(shared: Arc<Shared>) {
    let mut drain = std::pin::pin!(shared.drained());
    let mut stalled = vec![false; shared.loads().len()];
    let mut pause = RESTART_FIRST;
    loop {
        let mut version = shared.fleet_version();
        let plan = shared.current();
        let names = NamesOf::default();
        let mut lists = watch_lists(&plan, &shared, &names);
        let mut watch = Watch { names, ..Watch::default() };
        watch.follow(&plan, &shared);
        let (mut again, mut forget_at) = (None, clock::now() + FORGET_NS);
        loop {
            tokio::select! {
                () = &mut drain => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            fault::point(&shared, "control");
            watch_workers(&shared, &mut stalled);
            if shared.current().generation != plan.generation {
                pause = RESTART_FIRST;
                break;
            }
            // A task ends only by a panic. The others go on until all are started anew.
            while let Some(Err(error)) = next_ended(&mut lists, &mut watch.tasks) {
                restarting(&shared, "watch", &error, pause);
                if again.is_none() {
                    again = Some(clock::now() + clock::ns(pause));
                    pause = (pause * 2).min(RESTART_MAX);
                }
            }
            if again.is_some_and(|at| clock::now() >= at) {
                break;
            }
            if shared.fleet_version() != version {
                version = shared.fleet_version();
                watch.follow(&plan, &shared);
            }
            if clock::now() >= forget_at {
                forget_at = clock::now() + FORGET_NS;
                shared.endpoints.forget_unused();
            }
        }
        shared.endpoints.forget_unused();
    }
}

/// Notices when a worker does not come round, once for each time.
fn watch_workers(shared: &Shared, stalled: &mut [bool]) {
    for (worker, (lag_ns, stalled)) in shared.lags_ns(clock::now()).zip(stalled).enumerate() {
        let is_stalled = lag_ns > clock::ns(STALL);
        if is_stalled && !*stalled {
            shared.stalls.fetch_add(1, Relaxed);
            let lag_ms = lag_ns / 1_000_000;
            tracing::warn!(worker, lag_ms, "a worker is stalled: something computes or blocks on it");
        }
        if !is_stalled && *stalled {
            tracing::info!(worker, "a worker comes round again");
        }
        *stalled = is_stalled;
    }
}

/// Starts what keeps lists of endpoints as files and name servers have them.
fn watch_lists(plan: &Plan, shared: &Arc<Shared>, names: &NamesOf) -> JoinSet<()> {
    let mut lists = JoinSet::new();
    for upstream in &plan.upstreams {
        let (of, shared) = (Arc::clone(upstream), Arc::clone(shared));
        match &upstream.source {
            // Here, as a plan that is refused changes nothing.
            Source::Endpoints(list) => upstream.weigh(list),
            Source::File(path) => _ = lists.spawn(discover::keep_fresh(of, path.clone(), shared)),
            Source::Dns { .. } | Source::Srv { .. } => {
                lists.spawn(discover_names::keep_fresh(of, names.of(upstream), shared));
            }
        }
    }
    lists
}

/// Whom the names of which upstream are asked for; upstreams that name the same servers share what asks them.
#[derive(Default)]
struct NamesOf(RefCell<HashMap<Vec<SocketAddr>, Names>>);

impl NamesOf {
    fn of(&self, upstream: &Upstream) -> Names {
        let mut all = self.0.borrow_mut();
        all.entry(upstream.resolver.clone()).or_insert_with(|| Names::at(&upstream.resolver)).clone()
    }
}

/// The next task that ended by itself; one that was ended is none.
fn next_ended(lists: &mut JoinSet<()>, tasks: &mut JoinSet<()>) -> Option<Result<(), JoinError>> {
    loop {
        match lists.try_join_next().or_else(|| tasks.try_join_next()) {
            Some(Err(error)) if error.is_cancelled() => {}
            ended => return ended,
        }
    }
}

/// What keeps the endpoints of a plan known, by the numbers of the endpoints.
#[derive(Default)]
struct Watch {
    tasks: JoinSet<()>,
    of: HashMap<u32, Vec<AbortHandle>>,
    names: NamesOf,
}

impl Watch {
    /// Starts what is missing and ends what nobody needs any more; an endpoint that stays is not asked anew.
    fn follow(&mut self, plan: &Plan, shared: &Arc<Shared>) {
        let mut before = std::mem::take(&mut self.of);
        for upstream in &plan.upstreams {
            for endpoint in upstream.fleet().iter() {
                if self.of.contains_key(&endpoint.index) {
                    continue;
                }
                let known = before.remove(&endpoint.index);
                let handles = known.unwrap_or_else(|| self.start(upstream, endpoint, shared));
                self.of.insert(endpoint.index, handles);
            }
        }
        before.into_values().flatten().for_each(|gone| gone.abort());
    }

    fn start(
        &mut self,
        upstream: &Arc<Upstream>,
        endpoint: &Arc<Endpoint>,
        shared: &Arc<Shared>,
    ) -> Vec<AbortHandle> {
        let mut handles = Vec::new();
        let is_name = endpoint.url.scheme != Scheme::Unix && endpoint.url.host.parse::<IpAddr>().is_err();
        // What was discovered by name came with its addresses.
        if is_name && upstream.discovered.is_none() {
            let names = self.names.of(upstream);
            handles.push(self.tasks.spawn(resolve::keep_fresh(Arc::clone(endpoint), names)));
        }
        if let Some(health) = &upstream.health {
            let checking = health::keep_checking(Arc::clone(upstream), Arc::clone(endpoint), health.clone());
            let shared = Arc::clone(shared);
            handles.push(self.tasks.spawn(async move {
                fault::point(&shared, "watch");
                checking.await;
            }));
        } else {
            // It is what its requests say of it, now that the checks of an earlier plan are over: one that ended later would
            // have the last word for ever.
            endpoint.forget_health();
        }
        handles
    }
}
