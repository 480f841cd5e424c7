//! When to stop asking a server. Without it, a server that hangs costs every request the whole time-out; with one that never
//! opens because errors were swallowed, or that logs a line a request while open, others have had a second outage.
//!
//! ```text
//!             5 failures in a row, or half of 20 within a second
//!     closed ────────────────────────────────────────────────────► open (1 s, doubling to 30 s, jittered)
//!        ▲                                                          │  ▲
//!        │ the probe is answered                     time is over   ▼  │ the probe fails
//!        └────────────────────────────────────────────────────── half-open: one probe
//! ```
//!
//! Without a connection it is open until one stands. A pure function of state and `now`; who asks, logs.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
const ROW: u32 = 5;
/// Outcomes within [`WINDOW`] below which a share says nothing.
const WINDOW_MIN: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
const SLICES: usize = 10;
const OPEN_FIRST: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(30);
/// Closed for this long, an earlier outage is forgotten and the next begins with [`OPEN_FIRST`].
const FORGET: Duration = Duration::from_secs(30);
/// A probe that was never concluded (its task was dropped) does not keep it half-open for ever.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// What others may see of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Asks pass.
    Closed,
    /// Asks are refused at once.
    Open,
    /// One ask is on its way to see whether the server is back.
    HalfOpen,
}

/// Whether an ask may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    Yes,
    /// It is the one that decides.
    Probe,
    No,
}

/// A change that is worth a line: asks pass no longer, or again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Opened,
    Closed,
}

#[derive(Debug)]
enum Phase {
    /// Open until a connection stands; `told` once that has been an [`Change::Opened`].
    Unlinked {
        told: bool,
    },
    Closed {
        since: Instant,
    },
    Open {
        until: Instant,
    },
    Probing {
        since: Instant,
    },
}

/// Answers and failures within a tenth of [`WINDOW`].
#[derive(Clone, Copy, Default, Debug)]
struct Slice {
    number: u64,
    answers: u32,
    failures: u32,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    phase: Phase,
    row: u32,
    slices: [Slice; SLICES],
    began: Instant,
    /// How often it has opened without a longer time of peace.
    times: u32,
    dice: u64,
}

impl Breaker {
    /// Without a connection yet. The seed makes nodes that lost one server come back at different times.
    pub(crate) fn new(now: Instant, seed: u64) -> Breaker {
        Breaker {
            phase: Phase::Unlinked { told: false },
            row: 0,
            slices: [Slice::default(); SLICES],
            began: now,
            times: 0,
            dice: seed | 1,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Probing { .. } => State::HalfOpen,
            Phase::Unlinked { .. } | Phase::Open { .. } => State::Open,
        }
    }

    /// Whether an ask may pass now.
    pub(crate) fn admit(&mut self, now: Instant) -> Pass {
        let over = match self.phase {
            Phase::Closed { .. } => return Pass::Yes,
            Phase::Unlinked { .. } => false,
            Phase::Open { until } => now >= until,
            Phase::Probing { since } => now.saturating_duration_since(since) > PROBE_MAX,
        };
        if !over {
            return Pass::No;
        }
        self.phase = Phase::Probing { since: now };
        Pass::Probe
    }

    /// The server has answered an ask.
    pub(crate) fn answered(&mut self, now: Instant, probe: bool) -> Option<Change> {
        match self.phase {
            Phase::Closed { .. } => {
                self.row = 0;
                self.slice(now).answers += 1;
                None
            }
            Phase::Probing { .. } if probe => self.close(now),
            _ => None,
        }
    }

    /// The server has not answered in time, or has answered with an error.
    pub(crate) fn failed(&mut self, now: Instant, probe: bool) -> Option<Change> {
        match self.phase {
            Phase::Closed { since } => {
                self.row += 1;
                self.slice(now).failures += 1;
                if self.row < ROW && !self.half_failed(now) {
                    return None;
                }
                if now.saturating_duration_since(since) > FORGET {
                    self.times = 0;
                }
                self.open(now);
                Some(Change::Opened)
            }
            Phase::Probing { .. } if probe => {
                self.open(now);
                None
            }
            _ => None,
        }
    }

    /// A connection stands, which a server that hangs cannot bring about.
    pub(crate) fn linked(&mut self, now: Instant) -> Option<Change> {
        match self.phase {
            Phase::Unlinked { .. } => self.close(now),
            Phase::Open { .. } => {
                self.phase = Phase::Open { until: now };
                None
            }
            Phase::Closed { .. } | Phase::Probing { .. } => None,
        }
    }

    /// No connection stands.
    pub(crate) fn unlinked(&mut self) -> Option<Change> {
        let told = match self.phase {
            Phase::Unlinked { told } => told,
            Phase::Closed { .. } => false,
            Phase::Open { .. } | Phase::Probing { .. } => true,
        };
        self.phase = Phase::Unlinked { told: true };
        (!told).then_some(Change::Opened)
    }

    fn open(&mut self, now: Instant) {
        let doubled = OPEN_FIRST.saturating_mul(1 << self.times.min(5)).min(OPEN_MAX);
        self.times += 1;
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        // Between 0.8 and 1.2 of it: nodes that saw one failure do not probe in one instant.
        let share = 0.8 + 0.4 * (self.dice % 1024) as f64 / 1024.0;
        self.phase = Phase::Open { until: now + doubled.mul_f64(share).min(OPEN_MAX) };
    }

    fn close(&mut self, now: Instant) -> Option<Change> {
        let told = !matches!(self.phase, Phase::Unlinked { told: false });
        self.phase = Phase::Closed { since: now };
        self.row = 0;
        self.slices = [Slice::default(); SLICES];
        told.then_some(Change::Closed)
    }

    fn slice(&mut self, now: Instant) -> &mut Slice {
        let number = self.number(now);
        let at = usize::try_from(number).unwrap_or(0) % SLICES;
        #[expect(clippy::indexing_slicing, reason = "a remainder of the length")]
        let slice = &mut self.slices[at];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        slice
    }

    fn number(&self, now: Instant) -> u64 {
        let slice = WINDOW.as_millis() / SLICES as u128;
        u64::try_from(now.saturating_duration_since(self.began).as_millis() / slice).unwrap_or(u64::MAX)
    }

    fn half_failed(&self, now: Instant) -> bool {
        let oldest = self.number(now).saturating_sub(SLICES as u64 - 1);
        let recent = self.slices.iter().filter(|slice| slice.number >= oldest);
        let (answers, failures) = recent
            .fold((0, 0), |(answers, failures), slice| (answers + slice.answers, failures + slice.failures));
        answers + failures >= WINDOW_MIN && failures >= answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> (Breaker, Instant) {
        let start = Instant::now();
        let mut breaker = Breaker::new(start, 7);
        assert_eq!(breaker.linked(start), None, "the first connection is no news");
        (breaker, start)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Outcomes 1 ms apart (`.` an answer, `x` a failure) and whether they open it, and at which.
    #[test]
    fn it_opens_at_five_failures_in_a_row_or_half_of_twenty() {
        for (outcomes, opens_at) in [
            ("xxxx.xxxx.xxxx.", None),
            ("xxxxx", Some(4)),
            ("....xxxxx", Some(8)),
            ("x.x.x.x.x.x.x.x.x.", None),
            ("x.x.x.x.x.x.x.x.x.x.x", Some(20)),
            (".x..x..x..x..x..x..x..x..x..x", None),
        ] {
            let (mut breaker, start) = closed();
            let mut opened = None;
            for (at, outcome) in outcomes.bytes().enumerate() {
                let now = start + ms(at as u64);
                let change =
                    if outcome == b'x' { breaker.failed(now, false) } else { breaker.answered(now, false) };
                if change.is_some() {
                    assert_eq!(change, Some(Change::Opened));
                    opened = Some(at);
                }
            }
            assert_eq!(opened, opens_at, "{outcomes}");
        }
    }

    #[test]
    fn failures_that_are_a_second_apart_are_not_added_up() {
        let (mut breaker, start) = closed();
        for second in 0..100 {
            let now = start + ms(second * 1100);
            assert_eq!(breaker.failed(now, false), None);
            assert_eq!(breaker.answered(now, false), None);
        }
    }

    fn opened(breaker: &mut Breaker, now: Instant) {
        let changes: Vec<_> = (0..5).filter_map(|_| breaker.failed(now, false)).collect();
        assert_eq!(changes, [Change::Opened]);
    }

    #[test]
    fn when_open_it_lets_one_probe_through_after_about_a_second() {
        let (mut breaker, start) = closed();
        opened(&mut breaker, start);
        assert_eq!(breaker.admit(start + ms(790)), Pass::No);
        let later = start + ms(1201);
        assert_eq!(breaker.admit(later), Pass::Probe);
        assert_eq!(breaker.admit(later), Pass::No);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.answered(later, false), None, "an old ask decides nothing");
        assert_eq!(breaker.answered(later, true), Some(Change::Closed));
        assert_eq!(breaker.admit(later), Pass::Yes);
    }

    #[test]
    fn each_failed_probe_doubles_the_time_up_to_thirty_seconds_without_a_word() {
        let (mut breaker, mut now) = closed();
        opened(&mut breaker, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let began = now;
            while breaker.admit(now) == Pass::No {
                now += ms(10);
            }
            waits.push((now - began).as_secs_f64());
            assert_eq!(breaker.failed(now, true), None);
        }
        for (wait, about) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]) {
            assert!((0.79 * about..=1.21 * about).contains(wait) && *wait < 30.02, "{waits:?}");
        }
    }

    #[test]
    fn a_probe_that_never_ends_does_not_keep_it_half_open() {
        let (mut breaker, start) = closed();
        opened(&mut breaker, start);
        assert_eq!(breaker.admit(start + ms(1300)), Pass::Probe);
        assert_eq!(breaker.admit(start + ms(1400)), Pass::No);
        assert_eq!(breaker.admit(start + ms(2400)), Pass::Probe);
    }

    #[test]
    fn without_a_connection_it_is_open_until_one_stands_and_says_so_once() {
        let (mut breaker, start) = closed();
        assert_eq!(breaker.unlinked(), Some(Change::Opened));
        assert_eq!(breaker.unlinked(), None);
        assert_eq!(breaker.admit(start + ms(60_000)), Pass::No);
        assert_eq!(breaker.linked(start + ms(60_000)), Some(Change::Closed));
        assert_eq!(breaker.admit(start + ms(60_000)), Pass::Yes);
    }

    #[test]
    fn a_new_connection_to_a_server_that_hung_is_probed_at_once() {
        let (mut breaker, start) = closed();
        opened(&mut breaker, start);
        assert_eq!(breaker.linked(start + ms(20)), None);
        assert_eq!(breaker.admit(start + ms(20)), Pass::Probe);
    }
}
