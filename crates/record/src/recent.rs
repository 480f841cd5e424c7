//! Recent requests with all their phases: the last ones of each core in a ring, and for each route the slowest of
//! the last minutes, which outlive the ring. The writer never waits for a reader: if a reader holds the very
//! place, the writer takes the next one.

use crate::entry::Entry;
use crate::{CacheUse, Hedge, Outcome, Protocol, RequestId, Timeline, Why};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A finished request as it was kept.
#[derive(Clone, Debug)]
pub struct Recent {
    /// The trace id.
    pub id: RequestId,
    /// `x-request-id`, at most 128 bytes of it; what is not UTF-8 is replaced.
    pub request_id: String,
    /// The route's name.
    pub route: String,
    /// The upstream that was asked, if any.
    pub upstream: Option<String>,
    /// The endpoint that was asked last, if any.
    pub endpoint: Option<String>,
    /// The status sent to the caller; 0 if none was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Why unlag itself answered or gave up.
    pub cause: Option<&'static str>,
    /// What the cache had for it; `None` if it was not looked up.
    pub cache: Option<CacheUse>,
    /// What became of a second copy; `None` if none was considered.
    pub hedge: Option<Hedge>,
    /// The techniques that it was held out of.
    pub held_out: Vec<&'static str>,
    /// Why it went where it went.
    pub why: Why<String, String>,
    /// The request method.
    pub method: String,
    /// The request target, at most 256 bytes of it; what is not UTF-8 is replaced.
    pub target: String,
    /// Whether the target was longer than what is kept.
    pub target_cut: bool,
    /// What the caller spoke.
    pub protocol: Protocol,
    /// The caller's address; `None` on a Unix socket.
    pub caller: Option<SocketAddr>,
    /// Body bytes received from the caller.
    pub bytes_in: u64,
    /// Body bytes sent to the caller.
    pub bytes_out: u64,
    /// How many times an upstream was tried.
    pub attempts: u8,
    /// Whether the last attempt went over a connection that had been used before.
    pub reused: bool,
    /// When it began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// Its phases.
    pub timeline: Timeline,
}

/// In which order [`Registry::recent`](crate::Registry::recent) answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The last to end comes first.
    #[default]
    Newest,
    /// The slowest comes first.
    Slowest,
}

/// Which recent requests are wanted.
#[derive(Clone, Debug)]
pub struct RecentQuery {
    /// Only this route.
    pub route: Option<String>,
    /// Only those that took at least this long, in nanoseconds. Default 0.
    pub slow_ns: u64,
    /// At most this many. Default 100.
    pub limit: usize,
    /// The order. Default newest first.
    pub order: Order,
}

impl Default for RecentQuery {
    fn default() -> Self {
        RecentQuery { route: None, slow_ns: 0, limit: 100, order: Order::Newest }
    }
}

/// The last requests of one core: all of them while they are few. A core that is so busy that the ring would turn over within
/// a second keeps only some, which makes the ring reach back further and leaves the processor's caches to the requests.
pub(crate) struct Ring {
    slots: Box<[Mutex<Option<Entry>>]>,
    next: AtomicUsize,
    second: AtomicU64,
    in_second: AtomicUsize,
}

/// Of the requests of a second that would turn the ring over, one in so many is kept.
const THINNED: usize = 16;

impl Ring {
    pub(crate) fn new(len: usize) -> Ring {
        Ring {
            slots: (0..len).map(|_| Mutex::new(None)).collect(),
            next: AtomicUsize::new(0),
            second: AtomicU64::new(0),
            in_second: AtomicUsize::new(0),
        }
    }

    /// Whether a request that began at `unix_ms` is to be kept.
    #[inline]
    pub(crate) fn wants(&self, unix_ms: u64) -> bool {
        let second = unix_ms / 1_000;
        let before = if self.second.load(Relaxed) == second { self.in_second.load(Relaxed) } else { 0 };
        self.second.store(second, Relaxed);
        self.in_second.store(before + 1, Relaxed);
        before < self.slots.len() || before % THINNED == 0
    }

    /// What a ring of `len` takes in memory.
    pub(crate) const fn bytes(len: usize) -> usize {
        len * size_of::<Mutex<Option<Entry>>>()
    }

    /// Overwrites the oldest entry. False if two readers held this place and the next.
    #[inline]
    pub(crate) fn push(&self, entry: &Entry) -> bool {
        let mut next = self.next.load(Relaxed);
        for _ in 0..2 {
            let Some(slot) = self.slots.get(next).or_else(|| self.slots.first()) else { return true };
            next = if next + 1 < self.slots.len() { next + 1 } else { 0 };
            if let Some(mut slot) = try_lock(slot) {
                *slot = Some(entry.clone());
                self.next.store(next, Relaxed);
                return true;
            }
        }
        false
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(&Entry)) {
        for slot in &self.slots {
            // Copied, so that the place is held only for the length of a copy.
            let copy = lock(slot).clone();
            copy.iter().for_each(&mut visit);
        }
    }
}

/// How long a generation of slow requests lasts; they are kept for one to two of these.
const GENERATION_MS: u64 = 120_000;

/// The slowest requests of one route on one core: those of the current generation and of the one before.
pub(crate) struct Slowest {
    /// A request that is not longer than this need not be looked at.
    floor_ns: AtomicU64,
    generation: AtomicU64,
    kept: Mutex<Kept>,
}

struct Kept {
    bound: usize,
    current: Vec<Entry>,
    previous: Vec<Entry>,
}

impl Slowest {
    pub(crate) fn new(bound: usize) -> Slowest {
        let kept = Kept { bound, current: Vec::with_capacity(bound), previous: Vec::with_capacity(bound) };
        Slowest { floor_ns: AtomicU64::new(0), generation: AtomicU64::new(0), kept: Mutex::new(kept) }
    }

    /// What one for `bound` requests takes in memory.
    pub(crate) const fn bytes(bound: usize) -> usize {
        2 * bound * size_of::<Entry>() + size_of::<Slowest>()
    }

    /// Whether a request that took so long and ended then is among the slowest.
    #[inline]
    pub(crate) fn wants(&self, total_ns: u64, ended_unix_ms: u64) -> bool {
        ended_unix_ms / GENERATION_MS > self.generation.load(Relaxed)
            || total_ns > self.floor_ns.load(Relaxed)
    }

    /// Keeps an entry that is wanted. False if a reader was in the way.
    pub(crate) fn offer(&self, entry: &Entry) -> bool {
        let generation = entry.ended_unix_ms() / GENERATION_MS;
        let known = self.generation.load(Relaxed);
        let Some(mut kept) = try_lock(&self.kept) else { return false };
        if generation > known {
            kept.turn(generation - known);
            self.generation.store(generation, Relaxed);
        }
        self.floor_ns.store(kept.insert(entry), Relaxed);
        true
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(&Entry)) {
        let copies = {
            let kept = lock(&self.kept);
            [kept.current.clone(), kept.previous.clone()]
        };
        copies.iter().flatten().for_each(&mut visit);
    }
}

impl Kept {
    fn turn(&mut self, generations: u64) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        if generations > 1 {
            self.previous.clear();
        }
    }

    /// Returns the new floor: the fastest that is kept, once there is no free place.
    fn insert(&mut self, entry: &Entry) -> u64 {
        if self.current.len() < self.bound {
            self.current.push(entry.clone());
        } else if let Some(fastest) = self.current.iter_mut().min_by_key(|kept| kept.timeline.total_ns())
            && fastest.timeline.total_ns() < entry.timeline.total_ns()
        {
            *fastest = entry.clone();
        }
        if self.current.len() < self.bound {
            return 0;
        }
        self.current.iter().map(|kept| kept.timeline.total_ns()).min().unwrap_or(u64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
