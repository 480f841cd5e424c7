//! An upstream that nobody can reach: callers are told at once, and one request at a time looks whether it is back.
//!
//! While every endpoint refuses, resets or does not answer, each request would cost a connection attempt or a time-out and get
//! nothing for it, and the first endpoint to come back would be met by all of them together. So an endpoint that failed at the
//! transport several times in a row, with no answer of any kind in between, is given up; when all are, requests are refused with
//! a 503 that says when to come again. One request per endpoint goes through after a pause that doubles; one answer, whatever its
//! status, ends it. Ejection (which ranks endpoints, and never leaves out all of them) is another thing: this one acts only where
//! there is nobody left to prefer.

use crate::error::Error;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Failures in a row that give an endpoint up: a restart of a few hundred milliseconds under light load stays below.
pub const FAILURES: u32 = 5;
/// The first pause, doubled up to the last: short enough that a service that is back is noticed within a second, long enough that
/// looking is no load.
const PAUSE_FIRST_NS: u64 = 250_000_000;
const PAUSE_MAX_NS: u64 = 800_000_000;
/// Whoever looks for longer does not keep the others from looking.
const LOOK_MAX_NS: u64 = 5_000_000_000;

/// Whether an error says that the endpoint cannot be reached, or does not react; one that answers badly is there.
pub fn is_unreachable(error: Error) -> bool {
    matches!(
        error,
        Error::ConnectRefused
            | Error::ConnectTimeout
            | Error::Unreachable
            | Error::Unresolved
            | Error::TlsHandshake
            | Error::ClosedEarly
            | Error::ResetEarly
            | Error::AnswerTimeout
    )
}

/// How long to leave an endpoint alone that was looked at in vain so many times; `jitter` spreads it by a fifth.
pub fn pause_ns(looks: u32, jitter: u64) -> u64 {
    let pause = PAUSE_FIRST_NS.saturating_mul(1 << looks.min(10)).min(PAUSE_MAX_NS);
    pause / 100 * (80 + jitter % 41)
}

/// What is known of one endpoint's being there.
#[derive(Debug, Default)]
pub struct Contact {
    /// In a row.
    failures: AtomicU32,
    look_at_ns: AtomicU64,
    /// Since when somebody looks; 0 while nobody does.
    looked_at_ns: AtomicU64,
}

impl Contact {
    /// It answered.
    pub fn answered(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// It was not to be reached. Whether that gives it up, now or before.
    pub fn failed(&self, jitter: u64, now: u64) -> bool {
        let is_looked_at = self.looked_at_ns.load(Relaxed) != 0 || self.is_due(now);
        // Of those that were under way when it was given up, each is a failure and none a look.
        let counts =
            |failures: u32| (failures < FAILURES || is_looked_at).then(|| failures.saturating_add(1));
        let Ok(before) = self.failures.fetch_update(Relaxed, Relaxed, counts) else { return true };
        let Some(looks) = before.saturating_add(1).checked_sub(FAILURES) else { return false };
        self.look_at_ns.store(now + pause_ns(looks, jitter), Relaxed);
        true
    }

    /// Whether it is given up.
    pub fn is_lost(&self) -> bool {
        self.failures.load(Relaxed) >= FAILURES
    }

    /// Whether it is given up, and it is time that somebody looks whether it is back.
    pub fn is_due(&self, now: u64) -> bool {
        self.is_lost() && self.look_at_ns() <= now
    }

    /// Others that were lost with it are back: it is worth a look.
    pub fn look_now(&self, now: u64) {
        if self.is_lost() {
            self.look_at_ns.store(now, Relaxed);
        }
    }

    /// When somebody may look again.
    pub fn look_at_ns(&self) -> u64 {
        self.look_at_ns.load(Relaxed)
    }

    /// Whether this request is the one that looks. If so, [`Contact::looked`] follows.
    pub fn looks(&self, now: u64) -> bool {
        let is_time = || self.is_due(now);
        // Whoever takes long, by slow content or a long poll, must not keep the others from looking.
        let since = self.looked_at_ns.load(Relaxed);
        let is_free = since == 0 || now.saturating_sub(since) >= LOOK_MAX_NS;
        let begins = || self.looked_at_ns.compare_exchange(since, now.max(1), Relaxed, Relaxed).is_ok();
        if !is_time() || !is_free || !begins() {
            return false;
        }
        // Who looked before may have come back in vain a moment ago.
        let looks = is_time();
        if !looks {
            self.looked();
        }
        looks
    }

    /// It has looked.
    pub fn looked(&self) {
        self.looked_at_ns.store(0, Relaxed);
    }
}
