//! What is stored, what is on its way, and what was taken out: shared by all cores and kept over reloads.

use super::figures::Sums;
use super::flight::{Flights, Turn};
use super::guard;
use super::learned::Learned;
use super::marks::{Marks, PASS_S};
use super::memory::{Memory, QuickCache, Variants};
use super::nodes::Nodes;
use super::object::Stored;
use super::purge::{Purge, What};
use super::stamps::{Doom, Number, Purges};
use super::url;
use arc_swap::ArcSwapOption;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Different answers to one URL that are kept, by what their `Vary` selects: more are a field that differs for everybody.
const VARIANTS_MAX: usize = 64;
/// Places that remember when something was last taken out. Two URLs that share one cost a fill, never a wrong answer.
const STAMPS: usize = 4_096;
/// Locks among which changes are divided.
const TURNS: usize = 64;
/// The part of the memory that what is still on its way may take, as far as it is known; beyond it, nothing is kept.
const ARRIVING_PART: u64 = 4;
/// Fetches beside requests at one time: what is beyond is fetched when it is asked for next.
const REFRESHES_MAX: usize = 1_024;
/// And of one route: an origin that hangs must not keep those of others waiting.
const ROUTE_REFRESHES_MAX: usize = 128;

/// What all cores share of the cache.
pub struct Store {
    memory: Box<dyn Memory>,
    capacity: AtomicU64,
    is_used: AtomicBool,
    /// Whether there were ever keys with more in them than a URL, which no URL finds.
    has_more: AtomicBool,
    on_their_way: AtomicUsize,
    arriving_bytes: AtomicU64,
    refreshing: AtomicUsize,
    stamps: Box<[AtomicU64]>,
    turns: Box<[Mutex<()>]>,
    hasher: RandomState,
    /// Fetches that others wait for.
    pub flights: Arc<Flights>,
    /// What was taken out by name.
    pub purges: Purges,
    /// Keys whose answers were about one caller alone: nobody waits for them (hit-for-pass).
    pub marks: Marks,
    /// URLs whose answers were good only for requests that do not differ: others do not wait for them.
    pub differing: Marks,
    /// URLs whose answers depend on who asks, against what the origin says of them.
    pub bypassed: Marks,
    /// The tier that nodes share.
    pub(super) nodes: ArcSwapOption<Nodes>,
    routes: Mutex<Routes>,
}

/// What is known of routes by their names, and the number of the next.
#[derive(Default)]
struct Routes {
    known: HashMap<String, Arc<Learned>>,
    next: u32,
}

/// Routes that are remembered; those of earlier plans are forgotten beyond it.
const ROUTES_MAX: usize = 8_192;

/// Something on its way that may be stored.
pub struct OnItsWay(Arc<Store>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.on_their_way.fetch_sub(1, Release);
    }
}

/// Room for content that is still arriving.
pub struct Room(Arc<Store>, u64);

impl Room {
    /// Gives back all but so many bytes.
    pub fn shrink(&mut self, bytes: u64) {
        self.0.arriving_bytes.fetch_sub(self.1.saturating_sub(bytes), Relaxed);
        self.1 = self.1.min(bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.arriving_bytes.fetch_sub(self.1, Relaxed);
    }
}

/// A fetch beside the requests, for as long as it is held.
pub struct Refresh(Arc<Store>, Arc<Learned>);

impl Drop for Refresh {
    fn drop(&mut self) {
        self.0.refreshing.fetch_sub(1, Relaxed);
        self.1.refreshing.fetch_sub(1, Relaxed);
    }
}

/// Variants without the oldest that nobody wants: made-up ones must not push out those that are asked for (CLOCK).
fn with_room_for_one(mut variants: VecDeque<Arc<Stored>>, room: u64) -> VecDeque<Arc<Stored>> {
    let mut bytes: u64 = variants.iter().map(|stored| stored.bytes()).sum();
    // The second time round nobody is spared any more.
    let count = variants.len();
    for turn in 0..2 * count {
        if variants.len() < VARIANTS_MAX && bytes <= room {
            break;
        }
        let Some(oldest) = variants.pop_back() else { break };
        if oldest.notes.is_used.swap(false, Relaxed) && turn < count {
            variants.push_front(oldest);
        } else {
            bytes -= oldest.bytes();
        }
    }
    variants
}

impl Store {
    /// Room for so many bytes.
    pub fn new(bytes: u64) -> Store {
        Store {
            memory: Box::new(QuickCache::new(bytes)),
            capacity: AtomicU64::new(bytes),
            is_used: AtomicBool::new(false),
            has_more: AtomicBool::new(false),
            on_their_way: AtomicUsize::new(0),
            arriving_bytes: AtomicU64::new(0),
            refreshing: AtomicUsize::new(0),
            stamps: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(),
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            flights: Arc::default(),
            purges: Purges::default(),
            marks: Marks::new(PASS_S),
            differing: Marks::new(PASS_S),
            bypassed: Marks::new(guard::BYPASS_S),
            nodes: ArcSwapOption::empty(),
            routes: Mutex::default(),
        }
    }

    /// Another bound, after a reload.
    pub fn resize(&self, bytes: u64) {
        if self.capacity.swap(bytes, Relaxed) != bytes {
            self.memory.resize(bytes);
        }
    }

    /// What is known of a route, by its name.
    pub fn learned(&self, route: &str) -> Arc<Learned> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if routes.known.len() >= ROUTES_MAX {
            routes.known.retain(|_, learned| Arc::strong_count(learned) > 1);
        }
        let Routes { known, next } = &mut *routes;
        let learned = known.entry(route.to_owned()).or_insert_with(|| {
            *next += 1;
            Arc::new(Learned::new(*next))
        });
        Arc::clone(learned)
    }

    /// What was counted for each route, by its name, in the order of names.
    pub fn sums(&self) -> Vec<(String, Sums)> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums: Vec<_> =
            routes.known.iter().map(|(name, learned)| (name.clone(), learned.sums())).collect();
        sums.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        sums
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
        // In this order: what is on its way no more is stored before it says so.
        self.on_their_way.load(Acquire) == 0 && !self.is_used() && !self.is_shared()
    }

    /// Room for content that is to arrive, if there is enough.
    pub fn room(self: &Arc<Store>, bytes: u64) -> Option<Room> {
        let taken = self.arriving_bytes.fetch_add(bytes, Relaxed) + bytes;
        let room = Room(Arc::clone(self), bytes);
        (taken <= self.capacity.load(Relaxed) / ARRIVING_PART).then_some(room)
    }

    /// The right to fetch something beside the requests.
    pub fn begin_refresh(self: &Arc<Store>, of: &Arc<Learned>) -> Option<Refresh> {
        let all = self.refreshing.fetch_add(1, Relaxed);
        let of_route = of.refreshing.fetch_add(1, Relaxed);
        let refresh = Refresh(Arc::clone(self), Arc::clone(of));
        (all < REFRESHES_MAX && of_route < ROUTE_REFRESHES_MAX).then_some(refresh)
    }

    /// What is stored for a URL.
    pub fn get(&self, url: &[u8]) -> Option<Variants> {
        self.memory.get(url)
    }

    /// What came of a stored object since.
    pub fn doom(&self, url: &[u8], stored: &Stored) -> Doom {
        // A change takes out what stands under its URL; what stands under a key with more in it is only stamped.
        let is_changed = self.has_more.load(Relaxed) && url::plain(url).len() != url.len() && {
            let changed_ns = self.changed_ns(url);
            changed_ns > 0 && changed_ns >= stored.received.asked_ns
        };
        if is_changed { Doom::Gone } else { self.purges.judge(url, stored) }
    }

    /// Those of them that no purge has taken.
    pub fn left(&self, url: &[u8], variants: Variants) -> Option<Variants> {
        let is_left = |stored: &&Arc<Stored>| self.doom(url, stored) != Doom::Gone;
        if variants.all().iter().all(|stored| is_left(&stored)) {
            return Some(variants);
        }
        Variants::new(variants.all().iter().filter(is_left).cloned().collect())
    }

    /// Keeps a response, unless its URL was taken out since it was asked for: then it may be of before.
    pub fn put(&self, url: &[u8], stored: Arc<Stored>) -> bool {
        let _turn = self.turn(url);
        if self.is_of_before(url, &stored) {
            return false;
        }
        let before = self.memory.peek(url).and_then(|before| self.left(url, before));
        // Whoever asked later knows better.
        let knows_better =
            |other: &Stored| stored.replaces(other) && other.received.asked_ns > stored.received.asked_ns;
        if before.iter().flat_map(Variants::all).any(|other| knows_better(other)) {
            return false;
        }
        let others = before.iter().flat_map(Variants::all).filter(|other| !stored.replaces(other));
        let room = self.memory.entry_bytes_max().saturating_sub(stored.bytes());
        let others = with_room_for_one(others.cloned().collect(), room);
        self.is_used.store(true, Release);
        if url::plain(url) != url {
            self.has_more.store(true, Release);
        }
        let all = Variants::new(std::iter::once(stored).chain(others).collect());
        all.into_iter().for_each(|all| self.memory.put(url, all));
        true
    }

    /// Keeps what has come whole in the place of what was arriving, if that still stands there.
    pub fn replace(&self, url: &[u8], arriving: &Arc<Stored>, whole: Option<Arc<Stored>>) -> bool {
        let _turn = self.turn(url);
        let Some(before) = self.memory.peek(url) else { return false };
        if !before.all().iter().any(|other| Arc::ptr_eq(other, arriving)) {
            return false;
        }
        let others = before.all().iter().filter(|other| !Arc::ptr_eq(other, arriving)).cloned();
        match Variants::new(whole.into_iter().chain(others).collect()) {
            None => self.memory.remove(url),
            Some(all) => self.memory.put(url, all),
        }
        true
    }

    /// Takes out what is stored for a URL, and what is on its way, here and on all nodes.
    pub fn remove(&self, url: &[u8], now: u64) {
        let plain = url::plain(url);
        if self.is_shared() {
            self.announce(&Purge { what: What::Url(plain.to_vec()), soft: false });
        }
        self.take_out(plain, now);
        if plain.len() != url.len() {
            self.take_out(url, now);
        }
    }

    fn take_out(&self, url: &[u8], now: u64) {
        let _turn = self.turn(url);
        self.stamp(url).fetch_max(now.max(1), Relaxed);
        self.memory.remove(url);
    }

    /// Joins or leads the fetch of a key, which belongs to this URL.
    pub fn board(&self, url: &[u8], key: &[u8], now: u64, leads: bool, cap: Duration) -> Turn {
        self.flights.board(key, now, self.changed_ns(url), leads, cap)
    }

    /// Does a purge, and says what it meant where that is counted at all: one URL.
    pub fn purge(&self, purge: &Purge, now: u64, heard: Option<Number>) {
        self.purges.apply(purge, now, heard);
        if heard.is_none() {
            self.announce(purge);
        }
        if let (What::Url(url), false) = (&purge.what, purge.soft) {
            let rest = super::purge::without_scheme(url);
            for scheme in [&b"http://"[..], b"https://"] {
                self.take_out(&[scheme, rest].concat(), now);
            }
        }
    }

    /// How many objects a purge would mean, and their bytes. Looks at all of them.
    pub fn count(&self, purge: &Purge) -> (u64, u64) {
        let mut count = (0, 0);
        self.memory.visit(&mut |url, variants| {
            let alive = variants.all().iter().filter(|stored| self.doom(url, stored) != Doom::Gone);
            for stored in alive.filter(|stored| purge.means(&self.purges, url, &stored.tags)) {
                count = (count.0 + 1, count.1 + stored.bytes());
            }
        });
        count
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// The bound on them.
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Relaxed)
    }

    /// URLs for which something is stored.
    pub fn len(&self) -> usize {
        self.memory.urls()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a URL is passed by.
    pub fn is_bypassed(&self, url: &[u8], now: u64) -> bool {
        self.bypassed.has(|| self.hash(url), now)
    }

    /// By what a key is marked.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Whether an answer may be of before the last change of its URL, or of a purge, also of one that was missed.
    pub fn is_of_before(&self, url: &[u8], stored: &Stored) -> bool {
        let taken_out = self.changed_ns(url);
        taken_out > 0 && taken_out >= stored.received.asked_ns || self.doom(url, stored) >= Doom::Unsure
    }

    fn turn(&self, url: &[u8]) -> Option<MutexGuard<'_, ()>> {
        let turn = self.turns.get(self.hasher.hash_one(url) as usize % TURNS);
        turn.map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When something was last taken out under a key, or under its URL, of which a key with content in it is a part; 0 if never.
    fn changed_ns(&self, url: &[u8]) -> u64 {
        let (plain, own) = (url::plain(url), self.stamp(url).load(Relaxed));
        if plain.len() == url.len() { own } else { own.max(self.stamp(plain).load(Relaxed)) }
    }

    fn stamp(&self, url: &[u8]) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        let at = self.hasher.hash_one(url) as usize % STAMPS;
        self.stamps.get(at).unwrap_or(&NONE)
    }
}
