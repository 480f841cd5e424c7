//! How long a route takes, learned from its own answers over all cores: what a hedge waits for, what a deadline must leave, and
//! what a time-out may be.
//!
//! What counts is the time to the head of the first attempt's answer, as if nothing had been sent twice: an attempt that was
//! given up for a faster copy counts with its age, so that hedging does not make a slow route look fast. One answer costs one
//! short lock that nobody waits for (who finds it taken goes on, and one answer of many is not counted); what is read is
//! published in atomics.

pub mod limit;
pub mod window;

pub use limit::Limit;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError, TryLockError};
use window::Window;

/// Shares of answers whose times are published, ascending.
const SHARES: [f64; 10] = [0.1, 0.5, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999];
/// Where the rungs begin that a hedge may wait on, and how many there are: 0.9 to 0.998.
const LADDER_AT: usize = 2;
/// How many rungs there are.
pub const RUNGS: usize = 7;
/// The rung of a share of 0.98.
pub const RUNG_OF_98: u8 = 3;

/// So many answers make the times worth acting on: a tenth of them is ten.
const ANSWERS_MIN: u32 = 100;
/// Answers in a generation: so many that one in a thousand is four, and so few that a busy route is known anew within seconds.
const GENERATION: u32 = 4_096;
/// A quiet route is known anew after this, if that many answers came at all.
const GENERATION_NS: u64 = 60_000_000_000;
/// A generation of what a time-out is learned from: it knows five to ten minutes.
const LONG_NS: u64 = 300_000_000_000;
/// Times are published after so many answers, or after so long: finding them costs as much as some twenty answers.
const PUBLISHED_EVERY: u32 = 64;
const PUBLISHED_NS: u64 = 250_000_000;

/// How an attempt ended, as far as it tells how long the route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an answer, or with that of a faster copy.
    Answered,
    /// With an answer before all of the request was sent: a success, and no more.
    Early,
    /// With a failure of the upstream: how fast it was says nothing.
    Failed,
    /// It was given up by then.
    GivenUp,
}

/// What is known of a route.
#[derive(Debug, Default)]
pub struct Tempo {
    learning: Mutex<Learning>,
    times_ns: [AtomicU64; SHARES.len()],
    /// Answers that the times are drawn from.
    known: AtomicU32,
    /// Answers and their time so far.
    answers: AtomicU64,
    work_ns: AtomicU64,
    limit_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Learning {
    lately: Window,
    lately_since_ns: u64,
    long: Window,
    long_since_ns: u64,
    failing: f32,
    limit: Limit,
    answers: u64,
    work_ns: u64,
    unpublished: u32,
    published_ns: u64,
}

impl Tempo {
    /// A first attempt came to its end at `now`, so long after it was sent.
    pub fn note(&self, took_ns: u64, ending: Ending, now: u64) {
        // Whoever does not wait for an answer says that it takes longer than that, which is news only where nearly all have come by
        // then (as finely as times are known): nobody makes a route look fast by being impatient.
        if ending == Ending::GivenUp && took_ns < self.nearly_all_ns().unwrap_or_default() / 8 * 7 {
            return;
        }
        let mut learning = match self.learning.try_lock() {
            Ok(learning) => learning,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if learning.note(took_ns, ending, now) {
            self.publish(&mut learning, now);
        }
    }

    fn publish(&self, learning: &mut Learning, now: u64) {
        learning.turn(now);
        learning.unpublished = 0;
        learning.published_ns = now;
        for (place, ns) in self.times_ns.iter().zip(learning.lately.quantiles(&SHARES)) {
            place.store(ns, Relaxed);
        }
        self.known.store(learning.lately.total(), Relaxed);
        self.answers.store(learning.answers, Relaxed);
        self.work_ns.store(learning.work_ns, Relaxed);
        let limit = learning.limit;
        self.limit_ns.store(if limit.is_in_force { limit.learned_ns } else { 0 }, Relaxed);
    }

    fn time(&self, at: usize) -> Option<u64> {
        let is_known = self.known.load(Relaxed) >= ANSWERS_MIN;
        self.times_ns.get(at).map(|ns| ns.load(Relaxed)).filter(|&ns| is_known && ns > 0)
    }

    /// What nine of ten answers take at least; none while too little is known.
    pub fn p10_ns(&self) -> Option<u64> {
        self.time(0)
    }

    /// What half of the answers take at most.
    pub fn p50_ns(&self) -> Option<u64> {
        self.time(1)
    }

    /// What an answer takes at most, but for the few that this rung leaves: from a tenth down to 2 in 1,000.
    pub fn rung_ns(&self, rung: u8) -> Option<u64> {
        let rung = usize::from(rung);
        (rung < RUNGS).then(|| self.time(LADDER_AT + rung)).flatten()
    }

    /// What all but 2 in 1,000 answers take at most.
    pub fn nearly_all_ns(&self) -> Option<u64> {
        self.rung_ns(RUNGS as u8 - 1)
    }

    /// The learned time-out, once it is in force.
    pub fn limit_ns(&self) -> Option<u64> {
        Some(self.limit_ns.load(Relaxed)).filter(|&ns| ns > 0)
    }

    /// Answers so far, and the time that they took in all.
    pub fn inflow(&self) -> (u64, u64) {
        (self.answers.load(Relaxed), self.work_ns.load(Relaxed))
    }

    /// What the console shows.
    pub fn status(&self) -> TempoStatus {
        let learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let [p10_ns, p50_ns, .., p99_ns, p995_ns, _, p999_ns] = learning.lately.quantiles(&SHARES);
        TempoStatus {
            answers: learning.answers,
            p10_ns,
            p50_ns,
            p99_ns,
            p995_ns,
            p999_ns,
            failing: learning.failing,
            limit: learning.limit,
            would_have_broken: learning.limit.would_have_broken,
        }
    }
}

impl Learning {
    /// Whether what is known is to be published.
    fn note(&mut self, took_ns: u64, ending: Ending, now: u64) -> bool {
        let failed = if ending == Ending::Failed { 1.0 } else { 0.0 };
        self.failing += (failed - self.failing) / 64.0;
        if matches!(ending, Ending::Answered | Ending::GivenUp) {
            self.lately.count(took_ns);
            self.limit.note(took_ns, ending == Ending::Answered, now);
        }
        self.answers += u64::from(matches!(ending, Ending::Answered | Ending::Early));
        self.work_ns += if ending == Ending::Answered { took_ns } else { 0 };
        self.unpublished += 1;
        self.unpublished >= PUBLISHED_EVERY
            || self.lately.total() < PUBLISHED_EVERY && ending != Ending::Early
            || now.saturating_sub(self.published_ns) >= PUBLISHED_NS
    }

    /// Begins other generations when it is time.
    fn turn(&mut self, now: u64) {
        if self.published_ns == 0 {
            (self.lately_since_ns, self.long_since_ns) = (now, now);
        }
        let is_quiet = now.saturating_sub(self.lately_since_ns) >= GENERATION_NS;
        if self.lately.young() < GENERATION && !(is_quiet && self.lately.young() >= ANSWERS_MIN) {
            return;
        }
        self.long.take_young_of(&self.lately);
        self.lately.turn();
        self.lately_since_ns = now;
        let [p999_ns] = self.long.quantiles(&[0.999]);
        self.limit.learn(u64::from(self.long.total()), p999_ns, self.failing, now);
        if now.saturating_sub(self.long_since_ns) >= LONG_NS {
            self.long.turn();
            self.long_since_ns = now;
            self.limit.fade();
        }
    }
}

/// How long a route takes, for the console.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub struct TempoStatus {
    pub answers: u64,
    pub p10_ns: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p995_ns: u64,
    pub p999_ns: u64,
    pub failing: f32,
    pub limit: Limit,
    pub would_have_broken: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// So many answers, 1 ms apart, that took 1 to 100 ms in turn.
    fn fed(answers: u64) -> Tempo {
        let tempo = Tempo::default();
        (0..answers).for_each(|n| tempo.note((n % 100 + 1) * MS, Ending::Answered, n * MS + 1));
        tempo
    }

    #[test]
    fn nothing_is_said_of_a_route_before_a_hundred_answers_and_then_its_own_times() {
        assert_eq!(fed(99).p50_ns(), None);
        let tempo = fed(1_000);
        let near = |ns: Option<u64>, ms: u64| ns.is_some_and(|ns| ns.abs_diff(ms * MS) < ms * MS / 10 + MS);
        assert!(near(tempo.p10_ns(), 10) && near(tempo.p50_ns(), 50), "{:?}", tempo.status());
        assert!(near(tempo.rung_ns(0), 90) && near(tempo.rung_ns(RUNG_OF_98), 98));
        assert_eq!(tempo.rung_ns(RUNGS as u8), None, "beyond the last rung nothing is hedged");
    }

    #[test]
    fn a_failure_says_nothing_of_how_long_the_route_takes() {
        let tempo = fed(64 * 16);
        let before = tempo.p50_ns().unwrap();
        (0..200).for_each(|n| tempo.note(1, Ending::Failed, 2_000 * MS + n));
        assert!(tempo.p50_ns().unwrap().abs_diff(before) < MS);
        assert!(tempo.status().failing > 0.9);
    }

    #[test]
    fn answers_to_half_a_request_count_as_successes_and_say_nothing_of_how_long_the_route_takes() {
        let tempo = fed(64 * 16);
        let before = tempo.status();
        (0..10_000).for_each(|n| tempo.note(60_000 * MS, Ending::Early, 2_000 * MS + n));
        let after = tempo.status();
        assert_eq!(after, TempoStatus { answers: before.answers + 10_000, failing: after.failing, ..before });
        assert!(tempo.inflow().1 < 60_000 * MS, "copies are not paid from what a caller takes");
    }

    #[test]
    fn callers_without_patience_do_not_make_a_route_look_fast_and_those_who_waited_long_are_believed() {
        let tempo = fed(64 * 16);
        let before = tempo.p50_ns().unwrap();
        (0..10_000).for_each(|n| tempo.note(MS, Ending::GivenUp, 2_000 * MS + n));
        assert_eq!(tempo.p50_ns(), Some(before));
        (0..10_000).for_each(|n| tempo.note(300 * MS, Ending::GivenUp, 3_000 * MS + n));
        assert!(tempo.p50_ns().unwrap() > 200 * MS, "it has become slow");
    }

    #[test]
    fn a_route_that_changes_is_known_anew_within_two_generations() {
        let tempo = fed(10_000);
        (0..2 * u64::from(GENERATION) + 64).for_each(|n| tempo.note(500 * MS, Ending::Answered, n + 1));
        assert!(tempo.p10_ns().unwrap() > 400 * MS);
    }

    #[test]
    fn a_learned_time_out_comes_into_force_after_twenty_thousand_answers() {
        assert_eq!(fed(10_000).limit_ns(), None);
        let tempo = fed(40_000);
        let limit = tempo.limit_ns().unwrap();
        assert!((290 * MS..330 * MS).contains(&limit), "{limit}");
    }
}
