//! The admin API: health, metrics, routes, upstreams, recent requests and why they took as long as they did, the
//! cache, and the configuration. It runs on a thread of its own, so that nobody who looks can slow down what is looked at,
//! and knows the data plane only through [`Plane`].

mod answer;
mod api;
pub mod explain;
mod guard;
mod history;
mod limits;
mod metrics;
mod plane;
mod serve;
mod token;
mod view;

pub use guard::SERVER;
pub use plane::{
    Applied, AttemptsStatus, CacheRoute, CacheServer, CacheShared, CacheStatus, ConfigView, Counter,
    EndpointAdmission, EndpointLearned, EndpointState, EndpointStatus, KeysStatus, LearnedTimeout, Match,
    Plane, PurgeCount, PurgeOrder, PurgeWhat, PutError, QueueRules, Readiness, RetryRules, RouteRules,
    RouteStatus, Switch, SwitchError, UpstreamAdmission, UpstreamDrained, UpstreamLearned, UpstreamRegions,
    UpstreamRules, UpstreamStatus, WorkerStatus,
};
pub use token::Token;

use crate::api::Shared;
use crate::serve::Socket;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::interval;

/// A bound socket to serve on.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket; its file's permissions say who may connect.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Listener::Unix(listener)
    }
}

/// A running admin API.
#[derive(Debug)]
pub struct Console {
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Console {
    /// Serves `plane` on `listener`. Without a token there are no writes, and no reads from other machines.
    pub fn start(
        listener: impl Into<Listener>,
        token: Option<Token>,
        plane: Arc<dyn Plane>,
    ) -> io::Result<Console> {
        let listener = listener.into();
        let address = match &listener {
            Listener::Tcp(listener) => Some(listener.local_addr()?),
            Listener::Unix(_) => None,
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(limits::ASKING_THREADS)
            .build()?;
        let socket = {
            let _entered = runtime.enter();
            match listener {
                Listener::Tcp(listener) => {
                    listener.set_nonblocking(true)?;
                    Socket::Tcp(tokio::net::TcpListener::from_std(listener)?)
                }
                Listener::Unix(listener) => {
                    listener.set_nonblocking(true)?;
                    Socket::Unix(tokio::net::UnixListener::from_std(listener)?)
                }
            }
        };
        let (stop, stopping) = watch::channel(false);
        let run = move || run(runtime, socket, token, plane, stopping);
        let thread = std::thread::Builder::new().name("console".into()).spawn(run)?;
        Ok(Console { address, stop, thread: Some(thread) })
    }

    /// Where it is reached; `None` on a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops accepting, lets answers under way end for at most five seconds, and waits for the thread.
    pub fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

fn run(
    runtime: Runtime,
    socket: Socket,
    token: Option<Token>,
    plane: Arc<dyn Plane>,
    stop: watch::Receiver<bool>,
) {
    let shared = Shared::new(plane);
    runtime.block_on(async {
        let remembering = tokio::spawn(remember(shared.clone()));
        serve::serve(socket, api::router(shared, token), stop).await;
        remembering.abort();
    });
    // A question that the data plane does not answer must not hold up the end of the process.
    runtime.shutdown_timeout(limits::LAST_ANSWER);
}

async fn remember(shared: Shared) {
    let mut ticks = interval(limits::HISTORY_STEP);
    loop {
        ticks.tick().await;
        shared.remember().await;
    }
}
