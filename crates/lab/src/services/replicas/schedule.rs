//! When a fault holds: pure functions of the time since the clock was started.

use std::time::Duration;

use super::spec::{Timed, When, Wrong};
use crate::random::Random;

/// Times of a repeated fault that are drawn ahead; after the last it does not come again.
const REPEATS_MAX: u64 = 10_000;

/// The times at which something holds.
#[derive(Debug, Clone)]
pub(super) enum Spans {
    Always,
    /// Starts and ends, in order and apart.
    At(Vec<(Duration, Duration)>),
}

impl Spans {
    pub(super) fn new(when: When, seed: u64) -> Self {
        let ms = Duration::from_millis;
        match when {
            When::Always => Self::Always,
            When::Between { from_ms, until_ms } => Self::At(vec![(ms(from_ms), ms(until_ms))]),
            When::Every { period_ms, for_ms, jitter } => {
                let mut random = Random::new(seed);
                // A period of its own beginning, so that not all replicas begin with the first millisecond.
                let phase = if jitter > 0.0 { random.unit() } else { 0.0 };
                let mut spans: Vec<(Duration, Duration)> = Vec::new();
                for n in 0..REPEATS_MAX {
                    let moved = (random.unit() * 2.0 - 1.0) * jitter;
                    let start_ms = (n as f64 + phase + moved).max(0.0) * period_ms as f64;
                    let start = Duration::from_secs_f64(start_ms / 1e3);
                    let earliest = spans.last().map_or(Duration::ZERO, |(_, end)| *end);
                    let start = start.max(earliest);
                    spans.push((start, start + ms(for_ms)));
                }
                Self::At(spans)
            }
        }
    }

    /// When the span that holds at `now` ends; `None` when none holds. `now` is `None` before the clock was started.
    pub(super) fn until(&self, now: Option<Duration>) -> Option<Duration> {
        match (self, now) {
            (Self::Always, _) => Some(Duration::MAX),
            (Self::At(_), None) => None,
            (Self::At(spans), Some(now)) => {
                let next = spans.partition_point(|(_, end)| *end <= now);
                spans.get(next).filter(|(start, _)| *start <= now).map(|(_, end)| *end)
            }
        }
    }

    /// When `work` of it is done by one who begins at `now` and stands still while a span holds.
    fn done_at(&self, now: Duration, work: Duration) -> Duration {
        let Self::At(spans) = self else { return Duration::MAX };
        let mut at = now + work;
        for (start, end) in spans.iter().skip_while(|(_, end)| *end <= now) {
            if *start >= at {
                break;
            }
            at += end.saturating_sub((*start).max(now));
        }
        at
    }
}

/// Everything that is wrong with one replica, over time.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    faults: Vec<(Wrong, Spans)>,
}

/// What becomes of a request that arrives now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Work,
    Answer {
        status: u16,
        retry_after: Option<u32>,
    },
    Reset,
    /// It is taken and never answered, not even when the fault is over.
    Silence,
}

impl Schedule {
    pub(super) fn new(faults: &[Timed], seed: u64) -> Self {
        let spans = faults.iter().zip(0_u64..).map(|(timed, n)| {
            (timed.fault, Spans::new(timed.when, seed.wrapping_add(n.wrapping_mul(0x5bd1_e995))))
        });
        Self { faults: spans.collect() }
    }

    fn holding(&self, now: Option<Duration>) -> impl Iterator<Item = Wrong> {
        self.faults.iter().filter(move |(_, spans)| spans.until(now).is_some()).map(|(wrong, _)| *wrong)
    }

    /// The factor on the time of what begins now.
    pub(super) fn slowness(&self, now: Option<Duration>) -> f64 {
        self.holding(now)
            .find_map(|wrong| if let Wrong::Slow(by) = wrong { Some(by) } else { None })
            .unwrap_or(1.0)
    }

    /// When a replica that is frozen now moves again.
    pub(super) fn frozen_until(&self, now: Option<Duration>) -> Option<Duration> {
        self.freezes().find_map(|spans| spans.until(now))
    }

    fn freezes(&self) -> impl Iterator<Item = &Spans> {
        self.faults.iter().filter(|(wrong, _)| *wrong == Wrong::Freeze).map(|(_, spans)| spans)
    }

    /// How long work that begins now takes by the clock on the wall: what is frozen is not worked on.
    pub(super) fn wall_time(&self, now: Option<Duration>, work: Duration) -> Duration {
        let Some(now) = now else { return work };
        self.freezes().next().map_or(work, |spans| spans.done_at(now, work).saturating_sub(now))
    }

    /// What becomes of a request with this lot.
    pub(super) fn fate(&self, now: Option<Duration>, lot: f64) -> Fate {
        for wrong in self.holding(now) {
            match wrong {
                Wrong::Answer { status, share, retry_after } if lot < share => {
                    return Fate::Answer { status, retry_after };
                }
                Wrong::Reset => return Fate::Reset,
                Wrong::Silent => return Fate::Silence,
                _ => {}
            }
        }
        Fate::Work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn schedule(fault: Wrong, when: When) -> Schedule {
        Schedule::new(&[Timed { fault, when }], 3)
    }

    #[test]
    fn a_fault_holds_in_its_time_and_not_before_the_clock_was_started() {
        let between = schedule(Wrong::Slow(10.0), When::Between { from_ms: 100, until_ms: 200 });
        let factors =
            [None, Some(99), Some(100), Some(199), Some(200)].map(|at| between.slowness(at.map(ms)));
        assert_eq!(factors, [1.0, 1.0, 10.0, 10.0, 1.0]);
        assert_eq!(schedule(Wrong::Slow(10.0), When::Always).slowness(None), 10.0);
        let every =
            schedule(Wrong::Slow(10.0), When::Every { period_ms: 10_000, for_ms: 2_000, jitter: 0.0 });
        let factors = [0, 1_999, 2_000, 9_999, 10_000].map(|at| every.slowness(Some(ms(at))));
        assert_eq!(factors, [10.0, 10.0, 1.0, 1.0, 10.0]);
    }

    #[test]
    fn freezes_with_jitter_keep_their_share_and_differ_between_seeds() {
        let when = When::Every { period_ms: 5_000, for_ms: 200, jitter: 0.2 };
        let frozen = |seed| {
            let spans = Spans::new(when, seed);
            (0..1_000_000).step_by(10).filter(|at| spans.until(Some(ms(*at))).is_some()).count()
        };
        let share = frozen(1) as f64 / 100_000.0;
        assert!((share - 0.04).abs() < 0.002, "{share}");
        let Spans::At(one) = Spans::new(when, 1) else { panic!("spans") };
        let Spans::At(other) = Spans::new(when, 2) else { panic!("spans") };
        assert_ne!(one.first(), other.first());
        assert!(one.windows(2).all(|pair| pair[0].1 <= pair[1].0), "in order and apart");
    }

    #[test]
    fn work_stands_still_while_its_replica_is_frozen() {
        let freeze = schedule(Wrong::Freeze, When::Every { period_ms: 1_000, for_ms: 300, jitter: 0.0 });
        // Frozen from 0 to 300, from 1,000 to 1,300, and so on.
        for (from, work, wall) in [
            (300, 700, 700),
            (300, 701, 1_001),
            (900, 50, 50),
            (900, 150, 450),
            (100, 50, 250),
            (900, 900, 1_500),
        ] {
            assert_eq!(freeze.wall_time(Some(ms(from)), ms(work)), ms(wall), "{work} from {from}");
        }
        assert_eq!(freeze.frozen_until(Some(ms(1_100))), Some(ms(1_300)));
        assert_eq!(freeze.frozen_until(Some(ms(1_300))), None);
    }

    #[test]
    fn a_share_of_requests_meets_the_answer() {
        let answer = Wrong::Answer { status: 500, share: 0.5, retry_after: None };
        let half = schedule(answer, When::Always);
        assert_eq!(half.fate(None, 0.49), Fate::Answer { status: 500, retry_after: None });
        assert_eq!(half.fate(None, 0.5), Fate::Work);
        assert_eq!(schedule(Wrong::Reset, When::Always).fate(None, 0.9), Fate::Reset);
        let silent = schedule(Wrong::Silent, When::Between { from_ms: 100, until_ms: 200 });
        assert_eq!(silent.fate(Some(ms(99)), 0.9), Fate::Work);
        assert_eq!(silent.fate(Some(ms(100)), 0.9), Fate::Silence);
    }
}
