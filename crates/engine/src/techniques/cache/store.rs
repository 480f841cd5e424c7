//! The memory tier: responses by URL, bounded in bytes, shared by all cores. Which to give up is `quick_cache`'s decision
//! (S3-FIFO); a lookup locks one of its shards.

use super::object::Stored;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Different answers to one URL that are kept, by what their `Vary` selects: more are a field that differs for everybody.
const VARIANTS_MAX: usize = 64;
/// Places that remember when something was last taken out. Two URLs that share one cost a fill, never a wrong answer.
const STAMPS: usize = 4_096;
/// What an object is taken to weigh when places are counted; they grow as needed.
const TYPICAL_BYTES: u64 = 16 * 1024;

/// All that is stored for a URL, the newest first.
#[derive(Debug, Default)]
pub struct Variants(Vec<Arc<Stored>>);

impl Variants {
    /// Those of a route.
    pub fn of(&self, route: unlag_record::RouteId) -> impl Iterator<Item = &Arc<Stored>> {
        self.0.iter().filter(move |stored| stored.route == route)
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Arc<Variants>> for Bytes {
    fn weight(&self, key: &Box<[u8]>, variants: &Arc<Variants>) -> u64 {
        key.len() as u64 + variants.0.iter().map(|stored| stored.bytes()).sum::<u64>().max(1)
    }
}

/// What is stored.
pub struct Store {
    cache: Cache<Box<[u8]>, Arc<Variants>, Bytes>,
    capacity: AtomicU64,
    is_used: AtomicBool,
    on_their_way: AtomicUsize,
    stamps: Box<[AtomicU64]>,
    hasher: RandomState,
    /// URLs that are being fetched again beside the requests that they were served to.
    refreshing: Mutex<HashSet<Box<[u8]>>>,
}

/// Something on its way that may be stored.
pub struct OnItsWay(Arc<Store>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.on_their_way.fetch_sub(1, Relaxed);
    }
}

/// The right to fetch a URL again, for as long as it is held.
pub struct Refresh {
    store: Arc<Store>,
    url: Box<[u8]>,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.store.refreshing.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.url);
    }
}

/// Fetches beside requests at one time: what is beyond is fetched when it is asked for next.
const REFRESHES_MAX: usize = 256;

impl Store {
    /// Room for so many bytes.
    pub fn new(bytes: u64) -> Store {
        let items = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX).max(64);
        Store {
            cache: Cache::with_weighter(items, bytes, Bytes),
            capacity: AtomicU64::new(bytes),
            is_used: AtomicBool::new(false),
            on_their_way: AtomicUsize::new(0),
            stamps: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            refreshing: Mutex::default(),
        }
    }

    /// Another bound, after a reload.
    pub fn resize(&self, bytes: u64) {
        if self.capacity.swap(bytes, Relaxed) != bytes {
            self.cache.set_capacity(bytes);
        }
    }

    /// Whether anything was ever stored.
    pub fn is_used(&self) -> bool {
        self.is_used.load(Relaxed)
    }

    /// Counts an answer that may be stored, until the guard is dropped.
    pub fn on_its_way(self: &Arc<Store>) -> OnItsWay {
        self.on_their_way.fetch_add(1, Relaxed);
        OnItsWay(Arc::clone(self))
    }

    /// Whether there is nothing that a change could make wrong.
    pub fn is_quiet(&self) -> bool {
        !self.is_used() && self.on_their_way.load(Relaxed) == 0
    }

    /// What is stored for a URL.
    pub fn get(&self, url: &[u8]) -> Option<Arc<Variants>> {
        self.cache.get(url)
    }

    /// Keeps a response that was asked for at `asked_ns`, unless its URL was taken out since: then it may be of before.
    pub fn put(&self, url: &[u8], stored: Stored) {
        let taken_out = self.stamp(url).load(Relaxed);
        if taken_out > 0 && taken_out >= stored.received.asked_ns {
            return;
        }
        let before = self.cache.peek(url);
        let mut all = vec![Arc::new(stored)];
        let is_replaced = |other: &Arc<Stored>| all.iter().any(|new| new.replaces(other));
        let others = before.iter().flat_map(|before| &before.0).filter(|other| !is_replaced(other));
        let others: Vec<Arc<Stored>> = others.cloned().collect();
        all.extend(others.into_iter().take(VARIANTS_MAX - 1));
        self.cache.insert(url.into(), Arc::new(Variants(all)));
        self.is_used.store(true, Relaxed);
    }

    /// Takes out what is stored for a URL, and what is on its way.
    pub fn remove(&self, url: &[u8], now: u64) {
        self.stamp(url).fetch_max(now.max(1), Relaxed);
        self.cache.remove(url);
    }

    /// Whether it is this one's turn to fetch a URL again; the others serve what there is.
    pub fn begin_refresh(self: &Arc<Store>, url: &[u8]) -> Option<Refresh> {
        let mut refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = refreshing.len() < REFRESHES_MAX && refreshing.insert(url.into());
        is_first.then(|| Refresh { store: Arc::clone(self), url: url.into() })
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// URLs for which something is stored.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    fn stamp(&self, url: &[u8]) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        let at = self.hasher.hash_one(url) as usize % STAMPS;
        self.stamps.get(at).unwrap_or(&NONE)
    }
}
