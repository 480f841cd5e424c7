//! What is learned of a route, shared by all cores: whether its answers may be shared at all, so that nobody waits for what is
//! about one caller alone, and how long a fetch takes.

use super::figures::Ledger;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::time::Duration;

/// A share of one, in the units in which it is kept.
const WHOLE: u32 = 1 << 16;
/// Before the first answer: who has never been seen may well be shared.
const UNSEEN: u32 = u32::MAX;
/// One answer in so many is what a share remembers.
const MEMORY: u32 = 16;
/// Nobody waits longer than this for another's fetch.
pub const WAIT_MAX_NS: u64 = 3_000_000_000;
/// How many times what a slow fetch takes is waited for before another sets out.
const WAIT_TIMES: u64 = 2;
/// And at least so long: a fast origin's one slow answer is not worth a second request.
const WAIT_MIN_NS: u64 = 100_000_000;
/// One fetch in so many is forgotten of what slow ones take.
const SLOW_MEMORY: u64 = 128;

/// The part of what was seen lately that was so. Races of cores lose an observation, nothing more.
#[derive(Debug)]
pub struct Share(AtomicU32);

impl Default for Share {
    fn default() -> Share {
        Share(UNSEEN.into())
    }
}

impl Share {
    /// Something was seen that is so, or not.
    pub fn note(&self, is_so: bool) {
        let now = if is_so { WHOLE } else { 0 };
        match self.0.load(Relaxed) {
            UNSEEN => self.0.store(now, Relaxed),
            before => self.drift(before, is_so, MEMORY),
        }
    }

    /// Goes a part of the way.
    fn drift(&self, before: u32, is_so: bool, memory: u32) {
        let after = before - before / memory + if is_so { WHOLE / memory } else { 0 };
        if after != before {
            self.0.store(after, Relaxed);
        }
    }

    /// As a part of one; none before anything was seen.
    pub fn of_whole(&self) -> Option<f64> {
        Some(self.0.load(Relaxed))
            .filter(|share| *share != UNSEEN)
            .map(|share| f64::from(share) / f64::from(WHOLE))
    }
}

/// Of one route.
#[derive(Debug)]
pub struct Learned {
    /// Its number: what one route has stored is not another's, and names in metrics may run out.
    pub route: u32,
    /// The part of answers that others may have.
    shareable: Share,
    /// The part of lookups for which the shared tier has had something.
    pub(super) tier: Share,
    /// How long a fetch usually takes to the head of its answer.
    fetch_ns: AtomicU64,
    /// How long slow ones take: the slowest of late, forgotten bit by bit.
    slow_ns: AtomicU64,
    /// Fetches that others may join.
    pub flights: AtomicUsize,
    /// Fetches beside its requests.
    pub(super) refreshing: AtomicUsize,
    /// When it was last checked that what is served does not depend on who asks; 0 before the first time.
    pub guarded_ns: AtomicU64,
    /// Whether anything was ever stored for all.
    pub stores: AtomicBool,
    /// What was counted.
    pub(super) ledger: Mutex<Ledger>,
}

impl Learned {
    /// Nothing yet, of the route with this number.
    pub fn new(route: u32) -> Learned {
        Learned {
            route,
            shareable: Share::default(),
            tier: Share::default(),
            fetch_ns: 0.into(),
            slow_ns: 0.into(),
            flights: 0.into(),
            refreshing: 0.into(),
            guarded_ns: 0.into(),
            stores: false.into(),
            ledger: Mutex::default(),
        }
    }

    /// An answer has come that others might have, or not, after so long.
    pub fn came(&self, may_be_shared: bool, fetch_ns: u64) {
        self.shareable.note(may_be_shared);
        let before = self.fetch_ns.load(Relaxed);
        let after = if before == 0 { fetch_ns } else { before - before / 8 + fetch_ns / 8 };
        self.fetch_ns.store(after, Relaxed);
        let slow = self.slow_ns.load(Relaxed);
        self.slow_ns.store(fetch_ns.max(slow - slow.saturating_sub(fetch_ns) / SLOW_MEMORY), Relaxed);
    }

    /// Whether no answer has come yet.
    pub fn is_new(&self) -> bool {
        self.fetch_ns() == 0
    }

    /// Whether waiting for another's answer is likely to be worth it.
    pub fn is_shareable(&self) -> bool {
        self.shareable.of_whole().is_none_or(|share| share >= 0.5)
    }

    /// The part of lookups for which the shared tier has had something; before the first, half.
    pub fn tier_share(&self) -> f64 {
        self.tier.of_whole().unwrap_or(0.5)
    }

    /// The shared tier has had something, or not. That it has nothing is believed slowly: when nodes begin together, none has
    /// anything for the others yet.
    pub fn tier_answered(&self, had_it: bool) {
        let before = match self.tier.0.load(Relaxed) {
            UNSEEN => WHOLE / 2,
            before => before,
        };
        self.tier.drift(before, had_it, if had_it { MEMORY } else { 8 * MEMORY });
    }

    /// How long to wait for a fetch before another sets out beside it, where the last of the same took so long.
    pub fn wait_cap(&self, last_ns: u64) -> Duration {
        let cap = match self.slow_ns.load(Relaxed).max(last_ns) {
            0 => WAIT_MAX_NS,
            slow => slow.saturating_mul(WAIT_TIMES).clamp(WAIT_MIN_NS, WAIT_MAX_NS),
        };
        Duration::from_nanos(cap)
    }

    /// How long a fetch usually takes; 0 before the first.
    pub fn fetch_ns(&self) -> u64 {
        self.fetch_ns.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_waited_for_until_its_answers_are_about_one_caller_and_again_once_they_are_not() {
        let learned = Learned::new(0);
        assert!(learned.is_shareable(), "never seen");
        learned.came(false, 10);
        assert!(!learned.is_shareable());
        (0..20).for_each(|_| learned.came(true, 10));
        assert!(learned.is_shareable());
        learned.came(false, 10);
        assert!(learned.is_shareable(), "one is no habit");
    }

    #[test]
    fn waiting_has_a_cap_that_follows_what_a_fetch_takes() {
        let learned = Learned::new(0);
        assert_eq!(learned.wait_cap(0), Duration::from_secs(3));
        learned.came(true, 1_000_000);
        assert_eq!(learned.wait_cap(0), Duration::from_millis(100));
        assert_eq!(learned.wait_cap(90_000_000), Duration::from_millis(180), "this one takes longer");
        learned.came(true, 200_000_000);
        assert_eq!(learned.wait_cap(0), Duration::from_millis(400), "the slow ones count");
        (0..300).for_each(|_| learned.came(true, 1_000_000));
        assert_eq!(learned.wait_cap(0), Duration::from_millis(100), "and are forgotten");
    }
}
