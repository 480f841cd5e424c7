//! The running engine: one thread and one single-threaded runtime per core, a control thread for names, health checks and
//! discovery, and the handle through which the binary steers them.

use crate::clock;
use crate::listen::{self, Bound, RawListener};
use crate::plan::{Plan, PlanError, Registry};
use crate::server::tls;
use crate::shared::{Handed, Shared, Stage};
use crate::techniques::cache::purge::Purge;
use crate::upstream::control;
use crate::worker;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use unlag_config::{Address, Config, Listen};

/// The engine, running.
pub struct Engine {
    shared: Arc<Shared>,
    bound: Mutex<Vec<Arc<Bound>>>,
    workers: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
    generation: AtomicU64,
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
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

type Sockets = (Arc<Bound>, Vec<RawListener>);

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
        let sockets = config.listen.iter().map(|listen| listen::bind(listen, workers));
        let sockets: Vec<Sockets> = sockets.collect::<Result<_, _>>()?;
        let pseudonym = format!("unlag-{:08x}", worker::seed() as u32);
        let (shared, taken) = Shared::new(registry, endpoints, plan, workers, pseudonym);
        let control = control::start(Arc::clone(&shared)).map_err(EngineError::Thread)?;
        let mut threads = Vec::with_capacity(workers);
        for (index, taken) in taken.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("unlag-worker-{index}"));
            threads
                .push(thread.spawn(move || worker::run(index, shared, taken)).map_err(EngineError::Thread)?);
        }
        let engine = Engine {
            shared,
            bound: Mutex::default(),
            workers: threads,
            control: Some(control),
            generation: AtomicU64::new(1),
        };
        sockets.into_iter().for_each(|sockets| engine.open(&mut engine.bound(), sockets));
        Ok(engine)
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<Address> {
        self.bound().iter().map(|bound| bound.address.clone()).collect()
    }

    /// What the threads share, for the console.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes out of the cache what a purge means, and what of it is on its way: at once, however much it is.
    pub fn purge(&self, purge: &Purge) {
        self.shared.cache.purge(purge, clock::now(), None);
    }

    fn bound(&self) -> MutexGuard<'_, Vec<Arc<Bound>>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another configuration in force, whole or not at all.
    pub fn apply(&self, config: &Config) -> Result<(), EngineError> {
        let mut bound = self.bound();
        let next = self.generation.load(Relaxed) + 1;
        let plan = Plan::build(config, &self.shared.endpoints, next)?;
        let mut kept = Vec::new();
        let mut opened: Vec<Sockets> = Vec::new();
        for listen in &config.listen {
            match bound.iter().find(|bound| bound.is_for(listen)) {
                Some(known) => kept.push((Arc::clone(known), new_tls(listen)?, listen.report_load)),
                None => opened.push(listen::bind(listen, self.workers.len())?),
            }
        }
        // From here on nothing can fail.
        for (known, new, report_load) in &mut kept {
            known.report_load.store(*report_load, Relaxed);
            if let (Some(slot), Some(new)) = (&known.tls, new.take()) {
                slot.store(Arc::new(new));
            }
        }
        self.shared.set_plan(plan);
        self.generation.store(next, Relaxed);
        let is_kept = |one: &Arc<Bound>| kept.iter().any(|(known, ..)| Arc::ptr_eq(known, one));
        bound.iter().filter(|one| !is_kept(one)).for_each(|one| one.close());
        bound.retain(is_kept);
        opened.into_iter().for_each(|sockets| self.open(&mut bound, sockets));
        Ok(())
    }

    /// Hands the sockets of an address to the workers.
    fn open(&self, bound: &mut Vec<Arc<Bound>>, (new, own): Sockets) {
        for (index, raw) in own.into_iter().enumerate() {
            if self.shared.hand(index, Handed::Listener(raw, Arc::clone(&new))).is_err() {
                tracing::error!(worker = index, address = %new.address, "a worker does not take a listener over");
            }
        }
        bound.push(new);
    }

    /// Says that it is about to stop, and changes nothing else.
    pub fn announce_stop(&self) {
        self.shared.enter(Stage::LameDuck);
    }

    /// Stops accepting, tells callers to go, waits for what is in flight, at most `grace` or until `give_up` says so. Tunnels
    /// have no end of their own and are ended then. Returns whether all had finished.
    pub fn drain(&self, grace: Duration, mut give_up: impl FnMut() -> bool) -> bool {
        self.shared.enter(Stage::Draining);
        // Nobody finds a unix socket without its path; those who have found it are served.
        self.bound().iter().for_each(|bound| bound.close());
        let mut wait = |time: Duration| {
            let until = clock::now().saturating_add(clock::ns(time));
            while !self.workers.iter().all(JoinHandle::is_finished) {
                if clock::now() >= until || give_up() {
                    return false;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            true
        };
        let finished = wait(grace);
        self.shared.enter(Stage::Over);
        finished || wait(TUNNELS_END)
    }
}

/// How long tunnels may take to close: they need to be woken and nothing else.
const TUNNELS_END: Duration = Duration::from_millis(250);

fn new_tls(listen: &Listen) -> Result<Option<rustls::ServerConfig>, EngineError> {
    listen.tls.as_ref().map(tls::server).transpose().map_err(EngineError::Tls)
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.enter(Stage::Over);
        self.bound().iter().for_each(|bound| bound.close());
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
        self.shared.cache.leave();
    }
}

#[cfg(test)]
mod tests;
