//! How often a route may be asked: by everybody together, by each address, or by each value of a header.
//!
//! GCRA (ITU-T I.371): one number per key says when the next request would arrive if they came evenly; a request is let in if
//! that is not further ahead than the burst allows. One compare-and-swap, whether one key is hot or a million are cold. The
//! `governor` crate does the same for a single key; its keyed store takes a lock of a shard for every request and grows without
//! a bound until somebody tells it to shrink, which is why this stands here.
//!
//! Keys live in a table of a fixed size, in sets of eight. A key whose time has come has its whole burst again, which is what an
//! unknown key has: forgetting it changes nothing, and only such keys make room for others. Nobody can flood the table to have a
//! used-up allowance forgotten. Those who find their set full of keys that still owe share one allowance among them, eight times
//! as large: a flood of keys gets no more through than if the table had been twice its size.
//!
//! The table is made in parts, each when one of its keys is first seen: 300 routes whose tables were whole from the start held 650 MB
//! before anybody asked. A part stays as long as the table does, and finding it is one load more.
//!
//! No `RateLimit` field is sent: it is a draft whose form has changed (draft-ietf-httpapi-ratelimit-headers), and who is refused
//! learns from `Retry-After` what there is to know.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Keys in one set.
const WAYS: usize = 8;
/// Sets: with eight keys each, 65,536 keys that are owing at the same time. With all its parts the table takes 1.08 MiB, with none
/// 8.5 KiB.
const SETS: usize = 8_192;
/// Sets in one part: they and what is beside them fill 2 KiB, a size in which allocators give memory without waste.
const SETS_IN_PART: usize = 15;

/// So many requests in a period, of which a burst at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two requests that come evenly.
    interval_ns: u64,
    /// How far ahead of evenly they may come.
    burst_ns: u64,
}

impl Rate {
    /// `count` in each `period`; `burst` of them may come at once.
    pub fn new(count: u32, period: Duration, burst: u32) -> Rate {
        let interval_ns = (crate::clock::ns(period) / u64::from(count.max(1))).max(1);
        Rate { interval_ns, burst_ns: interval_ns.saturating_mul(u64::from(burst.max(1))) }
    }

    /// The same for as many together.
    fn for_many(self, many: u64) -> Rate {
        Rate { interval_ns: (self.interval_ns / many).max(1), burst_ns: self.burst_ns }
    }

    /// Charges one request to an allowance that is used up until `until`; what it is then, or how long until one is let in.
    fn charge(self, until: u64, now: u64) -> Result<u64, u64> {
        let next = until.max(now).saturating_add(self.interval_ns);
        match next.saturating_sub(now).checked_sub(self.burst_ns) {
            None | Some(0) => Ok(next),
            Some(over_ns) => Err(over_ns),
        }
    }

    /// The same on one shared by all cores.
    fn charge_shared(self, until: &AtomicU64, now: u64) -> Result<(), u64> {
        let mut known = until.load(Relaxed);
        loop {
            let next = self.charge(known, now)?;
            match until.compare_exchange_weak(known, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => known = other,
            }
        }
    }
}

/// One allowance for all.
#[derive(Debug, Default)]
pub struct Whole(AtomicU64);

impl Whole {
    /// Lets a request in, or says for how many nanoseconds it is too early.
    pub fn take(&self, rate: Rate, now: u64) -> Result<(), u64> {
        rate.charge_shared(&self.0, now)
    }
}

/// An allowance for each key.
#[derive(Debug)]
pub struct Keyed {
    sets: usize,
    /// Made when first used, which alone may wait for another core; for as long as the table.
    parts: Box<[OnceLock<Box<Part>>]>,
}

/// Sets that are made together.
#[derive(Debug, Default)]
struct Part {
    sets: [Set; SETS_IN_PART],
    /// For each set, what those share who find no slot in it. Beside them, as a set with its own would take a third cache line.
    rests: [AtomicU64; SETS_IN_PART],
}

/// Keys that share a place in the table: two cache lines.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    slots: [Slot; WAYS],
}

#[derive(Debug, Default)]
struct Slot {
    /// 0 while it was never used.
    key: AtomicU64,
    until_ns: AtomicU64,
}

impl Default for Keyed {
    fn default() -> Keyed {
        Keyed::with_sets(SETS)
    }
}

impl Keyed {
    pub(super) fn with_sets(sets: usize) -> Keyed {
        let sets = sets.max(1);
        Keyed { sets, parts: (0..sets.div_ceil(SETS_IN_PART)).map(|_| OnceLock::new()).collect() }
    }

    /// What it takes in memory.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let made = self.parts.iter().filter(|part| part.get().is_some()).count();
        size_of::<Keyed>() + size_of_val(&*self.parts) + made * size_of::<Part>()
    }

    /// Lets a request of `key` (a hash that callers cannot foresee) in, or says for how many nanoseconds it is too early.
    pub fn take(&self, rate: Rate, key: u64, now: u64) -> Result<(), u64> {
        let key = key.max(1);
        let Some((set, rest)) = self.set((key % self.sets as u64) as usize) else { return Ok(()) };
        match set.slot(key, now) {
            Some(slot) => rate.charge_shared(&slot.until_ns, now),
            None => rate.for_many(WAYS as u64).charge_shared(rest, now),
        }
    }

    /// The set with this number, and what is beside it.
    fn set(&self, number: usize) -> Option<(&Set, &AtomicU64)> {
        let part = self.parts.get(number / SETS_IN_PART)?.get_or_init(Box::default);
        let within = number % SETS_IN_PART;
        Some((part.sets.get(within)?, part.rests.get(within)?))
    }
}

impl Set {
    /// The key's slot: its own, or one that nobody owes anything on. A core that charges a slot in the moment in which another
    /// takes it over for a new key charges that key one request: the price of having no lock.
    fn slot(&self, key: u64, now: u64) -> Option<&Slot> {
        if let Some(own) = self.slots.iter().find(|slot| slot.key.load(Relaxed) == key) {
            return Some(own);
        }
        self.slots.iter().find(|slot| {
            let known = slot.key.load(Relaxed);
            let is_free = slot.until_ns.load(Relaxed) <= now;
            is_free && slot.key.compare_exchange(known, key, Relaxed, Relaxed).is_ok()
        })
    }
}
