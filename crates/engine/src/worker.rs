//! The life of a worker thread: one core, one single-threaded runtime, everything that a request needs within reach.

use crate::clock;
use crate::connections;
use crate::core::Core;
use crate::fault;
use crate::limits::LAST_CALL;
use crate::listen::{Bound, RawListener};
use crate::local;
use crate::net::io::Socket;
use crate::panics;
use crate::server::accept::{self, Listener};
use crate::shared::{Handed, Shared};
use crate::techniques::attempt::looks;
use crate::upstream::warm;
use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Serves until the process drains and the last connection of this core is gone.
pub fn run(index: usize, shared: Arc<Shared>, mut taken: mpsc::Receiver<Handed>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().event_interval(EVENT_INTERVAL).build_local(Default::default());
    let Ok(runtime) = runtime else {
        tracing::error!(worker = index, "cannot start a runtime");
        return;
    };
    runtime.block_on(async move {
        let bounds = shared.current().bounds.clone();
        let core = Core::new(index, Arc::clone(&shared), bounds, seed());
        tokio::task::spawn_local(supervise(Rc::clone(&core), "sweep", sweep));
        tokio::task::spawn_local(supervise(Rc::clone(&core), "heartbeat", heartbeat));
        tokio::task::spawn_local(supervise(Rc::clone(&core), "looks", |_| looks::run()));
        take_until(&core, &mut taken, shared.drained()).await;
        // Callers who are on their way are let in, and those who just ask hear with their answer that it was the last.
        take_until(&core, &mut taken, tokio::time::sleep(LAST_CALL)).await;
        // Connections may come from cores that are a little later, which count them already.
        serve_out(&core, &mut taken).await;
        fault::point(&shared, "end");
        // One may have come since it looked. From now on, whoever hands one over keeps it.
        taken.close();
        while let Some(handed) = taken.recv().await {
            take(&core, handed);
        }
        serve_out(&core, &mut taken).await;
    });
    local::forget();
}

/// Serves until nobody has a connection any more.
async fn serve_out(core: &Rc<Core>, taken: &mut mpsc::Receiver<Handed>) {
    while core.accepting.get() > 0 || core.shared.connections.load(Relaxed) > 0 {
        core.connections.close_all();
        take_until(core, taken, tokio::time::sleep(Duration::from_millis(5))).await;
    }
}

/// Takes over what comes until `end`.
async fn take_until(core: &Rc<Core>, taken: &mut mpsc::Receiver<Handed>, end: impl Future) {
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            biased;
            _ = &mut end => return,
            Some(handed) = taken.recv() => take(core, handed),
        }
    }
}

/// Tasks polled before the core looks for new events, about a millisecond's worth: more at once means fewer wake-ups on both
/// sides (see [`crate::net::turn`]), but whoever comes meanwhile waits for them.
const EVENT_INTERVAL: u32 = 200;

/// Takes over what another thread hands to this core. What goes wrong here ends nothing else.
fn take(core: &Rc<Core>, handed: Handed) {
    match std::panic::catch_unwind(AssertUnwindSafe(|| try_take(core, handed))) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(worker = core.index, %error, "cannot take a socket over"),
        Err(panic) => panics::note(core, "handover", &*panic),
    }
}

fn try_take(core: &Rc<Core>, handed: Handed) -> io::Result<()> {
    fault::point(&core.shared, "handover");
    match handed {
        Handed::Tcp(stream, bound, place) => {
            accept::start(core, Socket::Tcp(TcpStream::from_std(stream)?), &bound, place);
        }
        Handed::Unix(stream, bound, place) => {
            accept::start(core, Socket::Unix(UnixStream::from_std(stream)?), &bound, place);
        }
        Handed::MakeRoom => {
            connections::evict_oldest_idle(core);
        }
        Handed::Listener(RawListener::Tcp(raw), bound) => {
            listen(core, Listener::Tcp(TcpListener::from_std(raw)?), bound)
        }
        Handed::Listener(RawListener::Unix(raw), bound) => {
            listen(core, Listener::Unix(UnixListener::from_std(raw)?), bound);
        }
    }
    Ok(())
}

fn listen(core: &Rc<Core>, listener: Listener, bound: Arc<Bound>) {
    let listener = Rc::new(listener);
    let accept = move |core| accept::run(core, Rc::clone(&listener), Arc::clone(&bound));
    tokio::task::spawn_local(supervise(Rc::clone(core), "accept", accept));
}

/// How often a core shows that it comes round.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
/// A core that is late by this much is stalled: something on it computes or blocks.
pub const STALL: Duration = Duration::from_millis(500);
/// How long a task that panicked stays away.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// Runs a task of the core itself, again and again if it panics: none of them may end unnoticed.
async fn supervise<F: Future<Output = ()>>(core: Rc<Core>, name: &'static str, make: impl Fn(Rc<Core>) -> F) {
    while panics::survive(&core, name, std::pin::pin!(make(Rc::clone(&core)))).await.is_none() {
        tracing::error!(task = name, worker = core.index, "a task of a worker is started again");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// Shows that the core comes round; the control thread looks.
async fn heartbeat(core: Rc<Core>) {
    let mut tick = tokio::time::interval(HEARTBEAT);
    loop {
        tick.tick().await;
        fault::point(&core.shared, "heartbeat");
        core.shared.load(core.index).beat_ns.store(clock::now(), Relaxed);
        connections::publish_oldest_idle(&core);
    }
}

/// Looks after the pools twice a second and notices a new plan even while nothing is asked.
async fn sweep(core: Rc<Core>) {
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tick.tick().await;
        fault::point(&core.shared, "sweep");
        let local = local::plan(&core);
        let plan = &local.plan;
        let mut known = std::collections::HashSet::new();
        for upstream in &plan.upstreams {
            let fleet = upstream.fleet();
            let at_work = fleet.iter().any(|endpoint| core.pools.is_at_work(endpoint));
            for endpoint in fleet.iter() {
                core.pools.sweep(endpoint);
                warm::replenish(&core, upstream, endpoint, at_work);
                known.insert(endpoint.index);
            }
        }
        core.pools.keep_only(|index| known.contains(&index));
    }
}

/// 64 bits that nobody can guess from outside: the standard library seeds its hasher from the system.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
