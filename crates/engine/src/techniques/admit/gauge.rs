//! What admission knows of one endpoint, shared by all cores: how many it takes at a time, and whether it is there at all.
//!
//! An answer costs one lock that nobody waits for: of two cores that learn at the same moment, one is overheard. Where the limit
//! is off, it costs a load.

use super::breaker::Contact;
use super::limit::{Gradient, Learned};
use super::room::Room;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use unlag_config::Limit;

/// No limit.
const NONE: u32 = u32::MAX;

/// One endpoint's.
#[derive(Debug)]
pub struct Gauge {
    /// So many at a time, now.
    holds: AtomicU32,
    rule: AtomicU8,
    /// So many would be taken if the limit held, and so many more would wait without standing for too long.
    learned: AtomicU32,
    patience: AtomicU32,
    /// Requests that a limit that holds would have refused.
    would_refuse: AtomicU64,
    gradient: Mutex<Gradient>,
    /// Whether it can be reached.
    pub contact: Contact,
    /// Where requests wait for it and its peers.
    pub room: Arc<Room>,
}

const OFF: u8 = 0;
const OBSERVE: u8 = 1;
const ADAPTIVE: u8 = 2;
const FIXED: u8 = 3;

impl Gauge {
    /// Of an endpoint of which nothing is known, whose requests wait in `room`.
    pub fn new(room: Arc<Room>) -> Gauge {
        Gauge {
            holds: NONE.into(),
            rule: OBSERVE.into(),
            learned: NONE.into(),
            patience: NONE.into(),
            would_refuse: 0.into(),
            gradient: Mutex::default(),
            contact: Contact::default(),
            room,
        }
    }

    /// The limit of a plan that is put in force.
    pub fn set_limit(&self, limit: Limit) {
        let (rule, holds) = match limit {
            Limit::Off => (OFF, NONE),
            Limit::Observe => (OBSERVE, NONE),
            Limit::Adaptive => (ADAPTIVE, self.learned.load(Relaxed)),
            Limit::Fixed(count) => (FIXED, count),
        };
        self.rule.store(rule, Relaxed);
        self.holds.store(holds, Relaxed);
    }

    /// How many more may be sent, with so many in flight.
    pub fn free(&self, in_flight: u32) -> u32 {
        self.holds.load(Relaxed).saturating_sub(in_flight)
    }

    /// Whether it has as much as it may have: whoever chooses takes another.
    pub fn is_full(&self, in_flight: u32) -> bool {
        in_flight >= self.holds.load(Relaxed)
    }

    /// The limit that holds, or would; none while nothing is known.
    pub fn limit(&self) -> Option<u32> {
        let rule = self.rule.load(Relaxed);
        let limit = if rule == FIXED { &self.holds } else { &self.learned };
        Some(limit.load(Relaxed)).filter(|&limit| rule != OFF && limit != NONE)
    }

    /// How many requests a limit that holds would have refused, while it did not.
    pub fn would_refuse(&self) -> u64 {
        self.would_refuse.load(Relaxed)
    }

    /// One more is sent; with it, so many are in flight.
    pub fn begun(&self, in_flight: u32) {
        if in_flight > self.patience.load(Relaxed) && self.rule.load(Relaxed) == OBSERVE {
            self.would_refuse.fetch_add(1, Relaxed);
        }
    }

    /// Whether answers are learned from.
    pub fn learns(&self) -> bool {
        self.rule.load(Relaxed) != OFF
    }

    /// An answer began after so long, or somebody gave up on it, with so many in flight, where an endpoint works on `knee` at a
    /// time (0 if nobody knows).
    pub fn sample(&self, latency_ns: u64, in_flight: u32, knee: u32, now: u64) {
        let Ok(mut gradient) = self.gradient.try_lock() else { return };
        let learned = gradient.sample(latency_ns, in_flight, knee, now);
        drop(gradient);
        if let Some(learned) = learned {
            self.learn(learned);
        }
    }

    /// What the usual answer takes at least: somebody who gives up earlier says nothing of the endpoint.
    pub fn says_something(&self, latency_ns: u64) -> bool {
        latency_ns > self.room.base_ns()
    }

    fn learn(&self, learned: Learned) {
        self.learned.store(learned.limit, Relaxed);
        self.patience.store(learned.patience, Relaxed);
        self.room.learned(learned.base_ns, learned.p10_ns);
        if self.rule.load(Relaxed) == ADAPTIVE {
            self.holds.store(learned.limit, Relaxed);
        }
    }

    /// A request is at its end: somebody else may go.
    pub fn freed(&self) {
        if self.room.is_waited_in() {
            self.room.settle(crate::clock::now());
        }
    }
}
