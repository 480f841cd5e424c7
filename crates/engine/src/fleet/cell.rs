//! The shared state of one endpoint: what a choice reads stands on one cache line, what is only counted on the next.
//!
//! Every core writes it without a lock. A reader may see one figure newer than another; each of them is right by itself, and
//! a choice made on the last but one costs less than a lock would.

use super::shortest::Shortest;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A 32 bit float that all cores may write.
#[derive(Debug)]
pub struct AtomicF32(AtomicU32);

impl AtomicF32 {
    /// Holding `value`.
    pub const fn new(value: f32) -> AtomicF32 {
        AtomicF32(AtomicU32::new(value.to_bits()))
    }

    /// What it holds.
    #[inline]
    pub fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }

    /// Puts another value in.
    #[inline]
    pub fn set(&self, value: f32) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Puts in what `next` makes of it; no change is lost.
    pub fn update(&self, next: impl Fn(f32) -> f32) -> f32 {
        let mut known = self.0.load(Relaxed);
        loop {
            let value = next(f32::from_bits(known));
            match self.0.compare_exchange_weak(known, value.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return value,
                Err(now) => known = now,
            }
        }
    }
}

/// The figures of one endpoint.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Cell {
    // What a choice reads: 64 bytes.
    /// Requests in flight from this process, content included.
    pub(super) in_flight: AtomicU32,
    /// Those of them whose answer has not begun.
    pub(super) waiting: AtomicU32,
    /// Share of its last answers that were failures, 0 to 1.
    pub(super) failing: AtomicF32,
    /// How many times slower it is than its peers, where that is certain; else 1.
    pub(super) factor: AtomicF32,
    /// How far away it is: the part of an answer's time that no load changes, in milliseconds.
    pub(super) distance_ms: AtomicF32,
    /// What it last said is in flight to it, in all, less our own; and when, in milliseconds of the clock.
    pub(super) reported: AtomicU32,
    pub(super) reported_ms: AtomicU32,
    /// The share of its requests in flight that are there, and not on the way.
    pub(super) present: AtomicF32,
    /// What the operator adds to its distance, in milliseconds.
    pub(super) toll_ms: AtomicF32,
    /// See [`flags`].
    pub(super) flags: AtomicU32,
    /// When it last answered anything, or began to be waited for.
    pub(super) progress_ns: AtomicU64,
    /// From when on it may have more and more: it is new, or was left out; 0 if it may have what there is.
    pub(super) warm_from_ns: AtomicU64,
    /// It is known not to move, until it does or then.
    pub(super) suspect_until_ns: AtomicU64,

    // What is counted, and what cores learn from answers.
    pub(super) ejected_until_ns: AtomicU64,
    pub(super) answers_at_join: AtomicU64,
    pub(super) stalled_ns: AtomicU64,
    pub(super) failures_in_a_row: AtomicU32,
    pub(super) ejections_in_a_row: AtomicU32,
    /// The natural logarithm of its speed factor, how far its samples lie from that, and how many there were.
    pub(super) log_speed: AtomicF32,
    pub(super) log_spread: AtomicF32,
    pub(super) samples: AtomicU32,
    /// Of its last answers, how many in a row were far from that; and how far others were before.
    pub(super) surprises: AtomicU32,
    pub(super) spread_before: AtomicF32,
    pub(super) sampled_ms: AtomicU32,
    pub(super) busy_until_ns: AtomicU64,
    /// Requests that it may have in flight while it starts slowly, and the part of its share that is.
    pub(super) fill: AtomicU32,
    pub(super) ramp: AtomicF32,
    pub(super) connections: AtomicU32,
    pub(super) idle: AtomicU32,
    pub(super) http1_only: AtomicBool,
    pub(super) keeps_alive: AtomicBool,
    pub(super) resolved_ns: AtomicU64,
    pub(super) idle_limit_ns: AtomicU64,
    pub(super) last_idle_close_ns: AtomicU64,
    pub(super) successes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) ejections: AtomicU64,
    pub(super) wait_ns: AtomicU64,
    pub(super) shortest: Shortest,
    /// The shortest round trip, and the first, which alone says nothing.
    pub(super) round_trip_us: AtomicU32,
    pub(super) first_trip_us: AtomicU32,
}

/// What an endpoint is, beside its figures.
pub mod flags {
    /// The last health check failed.
    pub const UNHEALTHY: u32 = 1;
    /// An operator takes it out.
    pub const DRAINED: u32 = 2;
    /// It was ejected and has not answered well since: one request at a time looks whether it does.
    pub const ON_PROBATION: u32 = 4;
    /// It said a moment ago that it has too much to do.
    pub const BUSY: u32 = 8;
    /// A limit holds: whether it is reached is to be looked at.
    pub const LIMITED: u32 = 16;
    /// An operator has pinned its upstream to others.
    pub const LEFT_OUT: u32 = 32;
    /// Somebody listens for a sign of life.
    pub const WATCHED: u32 = 64;
    /// It was left out, and gets its share back slowly.
    pub const RETURNS: u32 = 128;
}

impl Default for Cell {
    fn default() -> Cell {
        Cell {
            in_flight: 0.into(),
            waiting: 0.into(),
            failing: AtomicF32::new(0.0),
            factor: AtomicF32::new(1.0),
            distance_ms: AtomicF32::new(0.0),
            reported: 0.into(),
            reported_ms: 0.into(),
            flags: 0.into(),
            progress_ns: 0.into(),
            present: AtomicF32::new(1.0),
            toll_ms: AtomicF32::new(0.0),
            ejected_until_ns: 0.into(),
            answers_at_join: 0.into(),
            warm_from_ns: 0.into(),
            suspect_until_ns: 0.into(),
            stalled_ns: 0.into(),
            failures_in_a_row: 0.into(),
            ejections_in_a_row: 0.into(),
            log_speed: AtomicF32::new(0.0),
            log_spread: AtomicF32::new(0.0),
            samples: 0.into(),
            surprises: 0.into(),
            spread_before: AtomicF32::new(0.0),
            sampled_ms: 0.into(),
            busy_until_ns: 0.into(),
            fill: 1.into(),
            ramp: AtomicF32::new(1.0),
            connections: 0.into(),
            idle: 0.into(),
            http1_only: false.into(),
            keeps_alive: false.into(),
            resolved_ns: 0.into(),
            idle_limit_ns: 0.into(),
            last_idle_close_ns: 0.into(),
            successes: 0.into(),
            failures: 0.into(),
            ejections: 0.into(),
            wait_ns: 0.into(),
            shortest: Shortest::default(),
            round_trip_us: u32::MAX.into(),
            first_trip_us: u32::MAX.into(),
        }
    }
}

impl Cell {
    pub(super) fn is(&self, flag: u32) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }

    pub(super) fn set(&self, flag: u32, on: bool) {
        match on {
            true => self.flags.fetch_or(flag, Relaxed),
            false => self.flags.fetch_and(!flag, Relaxed),
        };
    }

    /// Sets a flag; whether it was not set.
    pub(super) fn raise(&self, flag: u32) -> bool {
        self.flags.fetch_or(flag, Relaxed) & flag == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn what_a_choice_reads_fits_one_cache_line() {
        assert_eq!(offset_of!(Cell, ejected_until_ns), 64);
        assert_eq!(align_of::<Cell>() % 64, 0);
    }

    #[test]
    fn no_change_of_a_float_is_lost_between_cores() {
        let sum = AtomicF32::new(0.0);
        std::thread::scope(|scope| {
            (0..2).for_each(|_| {
                scope.spawn(|| (0..10_000).for_each(|_| _ = sum.update(|known| known + 1.0)));
            });
        });
        assert_eq!(sum.get(), 20_000.0);
    }
}
