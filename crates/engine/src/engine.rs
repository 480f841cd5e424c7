//! The running engine: one thread and one single-threaded runtime per core, a control thread for names, health checks and
//! discovery, and the handle through which the binary steers them.

use crate::clock;
use crate::core::Core;
use crate::limits::Bounds;
use crate::net::io::Socket;
use crate::pipeline::Pipeline;
use crate::plan::{Action, Plan, PlanError, Registry};
use crate::server::accept::{self, Listener};
use crate::server::tls;
use crate::techniques::attempt::Attempt;
use crate::techniques::balance::Balance;
use crate::upstream::{Send, control};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use unlag_config::{Address, Config};

/// Accepted connections that wait to be taken over by another core.
const HANDED_MAX: usize = 256;

/// A listening address and how it is spoken to.
#[derive(Debug)]
pub struct Bound {
    /// Where it was asked to listen.
    pub asked: Address,
    /// Where it listens: the port chosen by the system stands here.
    pub address: Address,
    /// TLS, replaced when certificates change.
    pub tls: Option<ArcSwap<ServerConfig>>,
}

/// What one core is doing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    /// Open connections of callers.
    pub connections: AtomicUsize,
    /// Requests begun.
    pub requests: AtomicU64,
    /// HTTP/2 streams being answered.
    pub streams: AtomicUsize,
}

/// A connection on its way to another core.
pub enum Handed {
    /// Over TCP.
    Tcp(std::net::TcpStream, Arc<Bound>),
    /// Over a unix socket.
    Unix(std::os::unix::net::UnixStream, Arc<Bound>),
}

impl Handed {
    /// Registers it with this core's runtime.
    pub fn into_socket(self) -> io::Result<Socket> {
        match self {
            Handed::Tcp(stream, _) => tokio::net::TcpStream::from_std(stream).map(Socket::Tcp),
            Handed::Unix(stream, _) => tokio::net::UnixStream::from_std(stream).map(Socket::Unix),
        }
    }

    fn bound(&self) -> Arc<Bound> {
        match self {
            Handed::Tcp(_, bound) | Handed::Unix(_, bound) => Arc::clone(bound),
        }
    }
}

/// What all threads share.
pub struct Shared {
    /// Where exchanges are recorded.
    pub registry: Arc<unlag_record::Registry>,
    /// Endpoints and what was learned of them.
    pub endpoints: Registry,
    /// Our name in `Via`, random, so that a request that comes back is recognised.
    pub pseudonym: String,
    /// Callers' connections in all.
    pub connections: AtomicUsize,
    /// Connections turned away at a bound.
    pub refused_connections: AtomicU64,
    /// TLS handshakes that failed.
    pub failed_handshakes: AtomicU64,
    /// HTTP/2 connections closed for flooding.
    pub floods: AtomicU64,
    /// Requests that ended in a panic.
    pub panics: AtomicU64,
    fleet_version: AtomicU64,
    plan: ArcSwap<Plan>,
    loads: Vec<Load>,
    hands: Vec<mpsc::Sender<Handed>>,
    drain: watch::Sender<bool>,
    draining: AtomicBool,
}

thread_local! {
    static LOCAL: RefCell<Option<Rc<LocalPlan>>> = const { RefCell::new(None) };
    static CORE: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// A plan as one core uses it.
pub struct LocalPlan {
    /// The plan.
    pub plan: Arc<Plan>,
    /// One pipeline per route; none for fixed answers.
    pub pipelines: Vec<Option<Pipeline>>,
}

impl Shared {
    /// The plan in force, with this core's pipelines for it.
    pub fn plan(&self, _core: usize) -> Rc<LocalPlan> {
        let current = self.plan.load();
        LOCAL.with_borrow_mut(|local| match local {
            Some(known) if known.plan.generation == current.generation => Rc::clone(known),
            _ => {
                let built = Rc::new(local_plan(Arc::clone(&current)));
                *local = Some(Rc::clone(&built));
                built
            }
        })
    }

    /// What core `index` is doing.
    pub fn load(&self, index: usize) -> &Load {
        static NONE: Load = Load {
            connections: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
        };
        self.loads.get(index).unwrap_or(&NONE)
    }

    /// What all cores are doing.
    pub fn loads(&self) -> &[Load] {
        &self.loads
    }

    /// Hands a connection to another core, or gives it back.
    pub fn hand(&self, core: usize, handed: Handed) -> Result<(), Handed> {
        match self.hands.get(core) {
            Some(hand) => hand.try_send(handed).map_err(|error| match error {
                mpsc::error::TrySendError::Full(handed) | mpsc::error::TrySendError::Closed(handed) => handed,
            }),
            None => Err(handed),
        }
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Ready once draining begins.
    pub fn drained(&self) -> impl Future<Output = ()> + use<> {
        let mut drain = self.drain.subscribe();
        async move {
            let _ = drain.wait_for(|drain| *drain).await;
        }
    }

    /// Discovery has changed the endpoints of an upstream.
    pub fn fleet_changed(&self) {
        self.fleet_version.fetch_add(1, Relaxed);
    }

    /// How often discovery has changed endpoints.
    pub fn fleet_version(&self) -> u64 {
        self.fleet_version.load(Relaxed)
    }

    /// The plan in force.
    pub fn current(&self) -> Arc<Plan> {
        self.plan.load_full()
    }
}

fn local_plan(plan: Arc<Plan>) -> LocalPlan {
    let core = CORE.with_borrow(|core| core.clone());
    let now = clock::now();
    let pipelines = plan.routes.iter().map(|route| match (&route.action, &core) {
        (Action::Proxy(index), Some(core)) => plan.upstreams.get(*index).map(|upstream| {
            let send = Send::new(Arc::clone(upstream), Rc::clone(core));
            Pipeline::new(Attempt::new(now), Balance::new(Arc::clone(upstream)), send)
        }),
        _ => None,
    });
    LocalPlan { pipelines: pipelines.collect(), plan }
}

/// The engine, running.
pub struct Engine {
    shared: Arc<Shared>,
    bound: Vec<Arc<Bound>>,
    listen: Vec<unlag_config::Listen>,
    workers: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
    generation: AtomicU64,
    unix_paths: Vec<PathBuf>,
    applying: Mutex<()>,
}

/// Why the engine did not start or did not take a configuration.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum EngineError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: String, error: io::Error },
    #[error("listen: {0}")]
    Tls(String),
    #[error("the listening addresses changed: that needs a restart")]
    ListenChanged,
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl Engine {
    /// Starts serving.
    pub fn start(
        config: &Config,
        workers: usize,
        registry: Arc<unlag_record::Registry>,
    ) -> Result<Engine, EngineError> {
        let workers = workers.max(1);
        let endpoints = Registry::new(Arc::clone(&registry));
        let plan = Plan::build(config, &endpoints, 1)?;
        let (bound, mut sockets) = bind_all(config, workers)?;
        let (hands, mut taken): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(HANDED_MAX)).unzip();
        let shared = Arc::new(Shared {
            registry,
            endpoints,
            pseudonym: format!("unlag-{:08x}", seed() as u32),
            connections: AtomicUsize::new(0),
            refused_connections: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            floods: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            fleet_version: AtomicU64::new(0),
            plan: ArcSwap::from_pointee(plan),
            loads: (0..workers).map(|_| Load::default()).collect(),
            hands,
            drain: watch::Sender::new(false),
            draining: AtomicBool::new(false),
        });
        let control = control::start(Arc::clone(&shared)).map_err(EngineError::Thread)?;
        let mut threads = Vec::with_capacity(workers);
        for (index, taken) in taken.drain(..).enumerate() {
            let shared = Arc::clone(&shared);
            let mine: Vec<_> =
                sockets.iter_mut().filter_map(|(bound, own)| Some((own.pop()?, Arc::clone(bound)))).collect();
            let body = move || worker(index, shared, mine, taken);
            let thread = std::thread::Builder::new().name(format!("unlag-worker-{index}")).spawn(body);
            threads.push(thread.map_err(EngineError::Thread)?);
        }
        let unix_paths = bound.iter().filter_map(|bound| match &bound.address {
            Address::Unix(path) => Some(path.clone()),
            Address::Tcp(_) => None,
        });
        Ok(Engine {
            unix_paths: unix_paths.collect(),
            shared,
            bound,
            listen: config.listen.clone(),
            workers: threads,
            control: Some(control),
            generation: AtomicU64::new(1),
            applying: Mutex::new(()),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<Address> {
        self.bound.iter().map(|bound| bound.address.clone()).collect()
    }

    /// What the threads share, for the console.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Puts another configuration in force, whole or not at all.
    pub fn apply(&self, config: &Config) -> Result<(), EngineError> {
        let _one_at_a_time = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses =
            |list: &[unlag_config::Listen]| list.iter().map(|one| one.address.clone()).collect::<Vec<_>>();
        let with_tls =
            |list: &[unlag_config::Listen]| list.iter().map(|one| one.tls.is_some()).collect::<Vec<_>>();
        if addresses(&config.listen) != addresses(&self.listen)
            || with_tls(&config.listen) != with_tls(&self.listen)
        {
            return Err(EngineError::ListenChanged);
        }
        let next = self.generation.load(Relaxed) + 1;
        let plan = Plan::build(config, &self.shared.endpoints, next)?;
        let tls = config.listen.iter().map(|listen| listen.tls.as_ref().map(tls::server).transpose());
        let tls = tls.collect::<Result<Vec<_>, String>>().map_err(EngineError::Tls)?;
        for (bound, new) in self.bound.iter().zip(tls) {
            if let (Some(slot), Some(new)) = (&bound.tls, new) {
                slot.store(Arc::new(new));
            }
        }
        self.shared.plan.store(Arc::new(plan));
        self.generation.store(next, Relaxed);
        Ok(())
    }

    /// Stops accepting, tells callers to go, waits for what is in flight, at most `grace`. Returns whether all had finished.
    pub fn drain(&self, grace: Duration, mut give_up: impl FnMut() -> bool) -> bool {
        self.shared.draining.store(true, Relaxed);
        self.shared.drain.send_replace(true);
        let until = clock::now().saturating_add(clock::ns(grace));
        loop {
            if self.workers.iter().all(JoinHandle::is_finished) {
                return true;
            }
            if clock::now() >= until || give_up() {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.draining.store(true, Relaxed);
        self.shared.drain.send_replace(true);
        self.unix_paths.iter().for_each(|path| drop(std::fs::remove_file(path)));
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

type Sockets = Vec<(Arc<Bound>, Vec<RawListener>)>;

enum RawListener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Opens all listening sockets, one per core for TCP.
fn bind_all(config: &Config, workers: usize) -> Result<(Vec<Arc<Bound>>, Sockets), EngineError> {
    let (mut all, mut sockets) = (Vec::new(), Vec::new());
    for listen in &config.listen {
        let fail = |error| EngineError::Listen { address: listen.address.to_string(), error };
        let tls = listen.tls.as_ref().map(tls::server).transpose().map_err(EngineError::Tls)?;
        let (address, own) = match &listen.address {
            Address::Tcp(asked) => {
                let first = listen_tcp(*asked).map_err(fail)?;
                let address = first.local_addr().map_err(fail)?;
                let mut own = vec![RawListener::Tcp(first)];
                for _ in 1..workers {
                    own.push(RawListener::Tcp(listen_tcp(address).map_err(fail)?));
                }
                (Address::Tcp(address), own)
            }
            Address::Unix(path) => {
                let listener = listen_unix(path).map_err(fail)?;
                let own = (0..workers).map(|_| listener.try_clone().map(RawListener::Unix));
                (listen.address.clone(), own.collect::<io::Result<Vec<_>>>().map_err(fail)?)
            }
        };
        let tls = tls.map(ArcSwap::from_pointee);
        let bound = Arc::new(Bound { asked: listen.address.clone(), address, tls });
        all.push(Arc::clone(&bound));
        sockets.push((bound, own));
    }
    Ok((all, sockets))
}

fn listen_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// A socket file that a dead process left behind is replaced; one that somebody answers on is not.
fn listen_unix(path: &std::path::Path) -> io::Result<std::os::unix::net::UnixListener> {
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// 64 bits that nobody can guess from outside: the standard library seeds its hasher from the system.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The life of a worker thread.
fn worker(
    index: usize,
    shared: Arc<Shared>,
    listeners: Vec<(RawListener, Arc<Bound>)>,
    mut taken: mpsc::Receiver<Handed>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let Ok(runtime) = runtime else {
        tracing::error!(worker = index, "cannot start a runtime");
        return;
    };
    runtime.block_on(async move {
        let bounds = shared.current().bounds.clone();
        let core = Core::new(index, Arc::clone(&shared), bounds, seed());
        CORE.set(Some(Rc::clone(&core)));
        for (raw, bound) in listeners {
            let listener = match raw {
                RawListener::Tcp(raw) => tokio::net::TcpListener::from_std(raw).map(Listener::Tcp),
                RawListener::Unix(raw) => tokio::net::UnixListener::from_std(raw).map(Listener::Unix),
            };
            match listener {
                Ok(listener) => {
                    drop(tokio::task::spawn_local(accept::run(Rc::clone(&core), listener, bound)))
                }
                Err(error) => tracing::error!(worker = index, %error, "cannot listen"),
            }
        }
        tokio::task::spawn_local(sweep(Rc::clone(&core)));
        let mut drain = std::pin::pin!(shared.drained());
        loop {
            tokio::select! {
                biased;
                () = &mut drain => break,
                Some(handed) = taken.recv() => {
                    let bound = handed.bound();
                    if let Ok(socket) = handed.into_socket() {
                        accept::start(&core, socket, &bound);
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
    LOCAL.set(None);
    CORE.set(None);
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
