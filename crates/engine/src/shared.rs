//! What all cores share: the plan in force, the counters by which they balance, and the ways between them.

use crate::clock;
use crate::connections::Place;
use crate::encoding::Variants;
use crate::listen::{Bound, RawListener};
use crate::marker::Markers;
use crate::panics::Panics;
use crate::plan::{Plan, Registry};
use crate::seldom::Lines;
use crate::techniques::attempt::learned::Routes;
use crate::techniques::attempt::replay::store::Answers;
use crate::techniques::cache::store::Store;
use crate::techniques::edge::files::Files;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, watch};

/// Connections and listeners that wait to be taken over by another core: one that leaves so many waiting is stalled, and a
/// connection that it cannot be given stays where it was accepted.
const HANDED_MAX: usize = 256;

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not at all.
    Serving,
    /// It says that it is about to stop, and serves everybody.
    LameDuck,
    /// It finishes what is under way.
    Draining,
    /// Its time is up: what could go on for ever ends now.
    Over,
}

/// A worker that is late by this much keeps a share of the callers waiting that others would serve.
const UNREADY_LAG_NS: u64 = 1_000_000_000;

/// What one core is doing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    /// Open connections of callers.
    pub connections: AtomicUsize,
    /// Requests begun.
    pub requests: AtomicU64,
    /// Requests begun and not yet at their end.
    pub streams: AtomicUsize,
    /// When the core last came round to its heartbeat; before the first, when it was to begin.
    pub beat_ns: AtomicU64,
    /// Since when its oldest idle connection is idle, near the bound on connections.
    pub idle_since_ns: AtomicU64,
}

impl Load {
    /// A core that is to start now: one that never does is late from then on.
    fn beginning(now: u64) -> Load {
        Load { beat_ns: AtomicU64::new(now), ..Load::default() }
    }
}

/// Something on its way to another core.
pub enum Handed {
    /// Over TCP.
    Tcp(std::net::TcpStream, Arc<Bound>, Place),
    /// Over a unix socket.
    Unix(std::os::unix::net::UnixStream, Arc<Bound>, Place),
    /// The wish that the other core close its oldest idle connection.
    MakeRoom,
    /// A listening socket of the other core's own.
    Listener(RawListener, Arc<Bound>),
}

/// Open connections by address; as many entries as there are connections at most.
#[derive(Debug, Default)]
pub struct Peers(Mutex<HashMap<IpAddr, usize>>);

impl Peers {
    /// Counts one more, unless the address has `max` already.
    pub fn enter(&self, peer: IpAddr, max: usize) -> bool {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_default();
        let room = *count < max;
        *count += usize::from(room);
        room
    }

    /// Counts one less.
    pub fn leave(&self, peer: IpAddr) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&peer);
            }
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
    /// Callers' connections in all: places that are taken.
    pub connections: AtomicUsize,
    /// Tells those who wait that a place is free.
    pub place_given_back: Notify,
    /// Connections by the address that they come from, while that is bounded.
    pub peers: Peers,
    /// Connections turned away at a bound.
    pub refused_connections: AtomicU64,
    /// TLS handshakes that failed.
    pub failed_handshakes: AtomicU64,
    /// HTTP/2 connections closed for flooding.
    pub floods: AtomicU64,
    /// Panics that were survived.
    pub panics: Panics,
    /// Times that a task of the control thread was started again.
    pub control_restarts: AtomicU64,
    /// What a test breaks.
    #[cfg(test)]
    pub faults: crate::fault::Faults,
    /// Times that a worker did not come round for longer than [`crate::worker::STALL`].
    pub stalls: AtomicU64,
    /// What is said of all that callers can cause in numbers.
    pub lines: Lines,
    /// What routes have learned of their attempts; it outlives plans.
    pub attempts: Routes,
    /// What was answered to requests with an `Idempotency-Key`.
    pub answers: Arc<Answers>,
    /// Answers that were stored; they outlive plans.
    pub cache: Arc<Store>,
    /// What is known of files.
    pub files: Arc<Files>,
    /// What was encoded once.
    pub variants: Arc<Variants>,
    /// Know who has written a moment ago.
    pub markers: Arc<Markers>,
    fleet_version: AtomicU64,
    plan: ArcSwap<Plan>,
    generation: AtomicU64,
    loads: Vec<Load>,
    hands: Vec<mpsc::Sender<Handed>>,
    stage: watch::Sender<Stage>,
    draining: AtomicBool,
}

impl Shared {
    /// The state before the first request, and the receiving ends of the ways to each core.
    pub fn new(
        registry: Arc<unlag_record::Registry>,
        endpoints: Registry,
        plan: Plan,
        workers: usize,
        pseudonym: String,
    ) -> (Arc<Shared>, Vec<mpsc::Receiver<Handed>>) {
        let (hands, taken): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(HANDED_MAX)).unzip();
        let cache = Arc::new(Store::new(plan.cache_bytes));
        cache.share_through(plan.cache_shared.as_ref());
        plan.upstreams.iter().for_each(|upstream| upstream.enforce());
        let shared = Shared {
            registry,
            endpoints,
            pseudonym,
            connections: AtomicUsize::new(0),
            place_given_back: Notify::new(),
            peers: Peers::default(),
            refused_connections: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            floods: AtomicU64::new(0),
            panics: Panics::default(),
            control_restarts: AtomicU64::new(0),
            #[cfg(test)]
            faults: Default::default(),
            stalls: AtomicU64::new(0),
            lines: Lines::default(),
            attempts: Routes::default(),
            answers: Arc::default(),
            cache,
            files: Arc::default(),
            variants: Arc::default(),
            markers: Arc::new(Markers::with_random_key()),
            fleet_version: AtomicU64::new(0),
            generation: AtomicU64::new(plan.generation),
            plan: ArcSwap::from_pointee(plan),
            loads: (0..workers).map(|_| Load::beginning(clock::now())).collect(),
            hands,
            stage: watch::Sender::new(Stage::Serving),
            draining: AtomicBool::new(false),
        };
        (Arc::new(shared), taken)
    }

    /// For how long each worker has not come round to its heartbeat, beyond the heartbeat's own interval.
    pub fn lags_ns(&self, now: u64) -> impl Iterator<Item = u64> {
        self.loads.iter().map(move |load| lag(load.beat_ns.load(Relaxed), now))
    }

    /// Why no more work is welcome, if it is not.
    pub fn unready(&self, now: u64) -> Option<String> {
        if self.panics.are_too_many(now) {
            return Some("there were too many panics in the last minute".into());
        }
        let late = self.lags_ns(now).enumerate().find(|(_, lag_ns)| *lag_ns > UNREADY_LAG_NS);
        late.map(|(worker, lag_ns)| {
            format!("worker {worker} has not come round for {} ms", lag_ns / 1_000_000)
        })
    }

    /// Puts another plan in force: every exchange that begins from now on uses it. One at a time: its number is told after it.
    pub fn set_plan(&self, plan: Plan) {
        let generation = plan.generation;
        self.cache.resize(plan.cache_bytes);
        self.cache.share_through(plan.cache_shared.as_ref());
        plan.upstreams.iter().for_each(|upstream| upstream.enforce());
        self.plan.store(Arc::new(plan));
        self.generation.store(generation, Release);
    }

    /// Goes on to a stage, never back to an earlier one.
    pub fn enter(&self, stage: Stage) {
        self.draining.fetch_or(stage >= Stage::Draining, Relaxed);
        self.stage.send_if_modified(|now| std::mem::replace(now, stage.max(*now)) < stage);
    }

    /// Of the plan in force: asking for it costs less than asking for the plan.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// What core `index` is doing.
    pub fn load(&self, index: usize) -> &Load {
        static NONE: Load = Load {
            connections: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            beat_ns: AtomicU64::new(0),
            idle_since_ns: AtomicU64::new(0),
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

    /// Whether the process finishes what is under way.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether the process is on its way out.
    pub fn is_leaving(&self) -> bool {
        *self.stage.borrow() > Stage::Serving
    }

    /// Ready once draining begins.
    pub fn drained(&self) -> impl Future<Output = ()> + use<> {
        self.reached(Stage::Draining)
    }

    /// Ready once a stage is reached.
    pub fn reached(&self, stage: Stage) -> impl Future<Output = ()> + use<> {
        let mut stages = self.stage.subscribe();
        async move {
            let _ = stages.wait_for(|now| *now >= stage).await;
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

/// How much later than its interval a heartbeat is that was last felt at `beat`.
fn lag(beat: u64, now: u64) -> u64 {
    now.saturating_sub(beat).saturating_sub(clock::ns(crate::worker::HEARTBEAT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn r4_a_worker_that_blocks_is_late_by_what_exceeds_its_heartbeat() {
        assert_eq!(lag(1_000 * MS, 1_090 * MS), 0, "between two beats");
        assert_eq!(lag(1_000 * MS, 2_100 * MS), 1_000 * MS, "blocked for a second");
    }

    #[test]
    fn an_address_gets_its_share_of_connections_and_is_forgotten_with_the_last() {
        let (peers, peer) = (Peers::default(), IpAddr::from([192, 0, 2, 1]));
        assert!(peers.enter(peer, 2) && peers.enter(peer, 2) && !peers.enter(peer, 2));
        peers.leave(peer);
        assert!(peers.enter(peer, 2));
        peers.leave(peer);
        peers.leave(peer);
        assert!(peers.0.lock().unwrap().is_empty());
    }
}
