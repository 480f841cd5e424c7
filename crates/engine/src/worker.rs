//! The life of a worker thread: one core, one single-threaded runtime, everything that a request needs within reach.

use crate::core::Core;
use crate::limits::Bounds;
use crate::listen::{Bound, RawListener};
use crate::net::io::Socket;
use crate::server::accept::{self, Listener};
use crate::shared::{self, Handed, Shared};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Serves until the process drains and the last connection of this core is gone.
pub fn run(index: usize, shared: Arc<Shared>, mut taken: mpsc::Receiver<Handed>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let Ok(runtime) = runtime else {
        tracing::error!(worker = index, "cannot start a runtime");
        return;
    };
    runtime.block_on(async move {
        let bounds = shared.current().bounds.clone();
        let core = Core::new(index, Arc::clone(&shared), bounds, seed());
        shared::enter_core(Some(Rc::clone(&core)));
        tokio::task::spawn_local(sweep(Rc::clone(&core)));
        let mut drain = std::pin::pin!(shared.drained());
        loop {
            tokio::select! {
                biased;
                () = &mut drain => break,
                Some(handed) = taken.recv() => {
                    if let Err(error) = take(&core, handed) {
                        tracing::error!(worker = index, %error, "cannot take a socket over");
                    }
                }
            }
        }
        core.connections.close_all();
        while shared.load(index).connections.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            core.connections.close_all();
        }
    });
    shared::enter_core(None);
}

/// Takes over what another thread hands to this core.
fn take(core: &Rc<Core>, handed: Handed) -> io::Result<()> {
    match handed {
        Handed::Tcp(stream, bound) => accept::start(core, Socket::Tcp(TcpStream::from_std(stream)?), &bound),
        Handed::Unix(stream, bound) => {
            accept::start(core, Socket::Unix(UnixStream::from_std(stream)?), &bound)
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
    tokio::task::spawn_local(accept::run(Rc::clone(core), listener, bound));
}

/// Looks after the pools twice a second and notices a new plan even while nothing is asked.
async fn sweep(core: Rc<Core>) {
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut seen = 0;
    loop {
        tick.tick().await;
        let local = core.shared.plan(core.index);
        let plan = &local.plan;
        let mut known = Vec::new();
        for upstream in &plan.upstreams {
            for endpoint in upstream.fleet().iter() {
                core.pools.sweep(endpoint);
                known.push(endpoint.index);
            }
        }
        core.pools.keep_only(|index| known.contains(&index));
        if seen != plan.generation {
            seen = plan.generation;
            core.set_limits(Bounds::clone(&plan.bounds));
        }
    }
}

/// 64 bits that nobody can guess from outside: the standard library seeds its hasher from the system.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
