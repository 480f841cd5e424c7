//! What is known of one server, and how many asks may be on their way to it.
//!
//! A breaker alone does not bound what a frozen server costs: by the time five asks have timed out, a thousand others may be
//! waiting. So of the asks that are out, the first [`FIRST`] may take their whole time. Those beyond are sent only while the
//! server is answering, and are given up as soon as it has been silent for a moment: they lose a few milliseconds, not
//! their time-out. While it is silent, further ones are refused at once.

use std::time::{Duration, Instant};

use crate::breaker::{Breaker, Change, Pass};
use crate::latency::Latency;

/// Asks that may wait for their whole time: with those of the probes, less than twenty see a time-out before it opens.
const FIRST: usize = 16;

/// All that may be out to one server: with answers in half a millisecond, half a million a second.
const OUT_MAX: usize = 256;

/// A server that is silent for four times its tail is taken to hang, within these; a burst may wait for so long.
const SILENCE_MIN: Duration = Duration::from_millis(2);
const SILENCE_MAX: Duration = Duration::from_millis(8);
/// While its tail is not known.
const SILENCE_FIRST: Duration = Duration::from_millis(3);

/// An ask that is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(crate) probe: bool,
    /// Beyond the first: to be given up when the server falls silent.
    pub(crate) beyond: bool,
}

/// How an ask ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Answered(Duration),
    Failed,
    /// Given up because the server is silent; the first asks decide what that means.
    GivenUp,
}

#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) breaker: Breaker,
    pub(crate) latency: Latency,
    first: usize,
    beyond: usize,
    /// Since when no answer has come although some are due.
    quiet_since: Option<Instant>,
}

impl Health {
    pub(crate) fn new(now: Instant, seed: u64) -> Health {
        let (breaker, latency) = (Breaker::new(now, seed), Latency::default());
        Health { breaker, latency, first: 0, beyond: 0, quiet_since: None }
    }

    /// Lets an ask out, or not.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Ticket> {
        let probe = match self.breaker.admit(now) {
            Pass::No => return None,
            Pass::Probe => true,
            Pass::Yes => false,
        };
        let beyond = !probe && self.first >= FIRST;
        if beyond && (self.first + self.beyond >= OUT_MAX || self.silent(now)) {
            return None;
        }
        *(if beyond { &mut self.beyond } else { &mut self.first }) += 1;
        self.quiet_since.get_or_insert(now);
        Some(Ticket { probe, beyond })
    }

    /// An ask has ended.
    pub(crate) fn ended(&mut self, now: Instant, ticket: Ticket, outcome: Outcome) -> Option<Change> {
        let out = if ticket.beyond { &mut self.beyond } else { &mut self.first };
        *out = out.saturating_sub(1);
        if let Outcome::Answered(taken) = outcome {
            self.latency.record(taken);
            self.quiet_since = Some(now);
        }
        if self.first + self.beyond == 0 {
            self.quiet_since = None;
        }
        match outcome {
            Outcome::Answered(_) => self.breaker.answered(now, ticket.probe),
            Outcome::Failed => self.breaker.failed(now, ticket.probe),
            Outcome::GivenUp => None,
        }
    }

    /// Whether answers are due and none has come for too long.
    pub(crate) fn silent(&self, now: Instant) -> bool {
        self.silent_from().is_some_and(|from| now >= from)
    }

    /// When it will be taken to be silent if no answer comes.
    pub(crate) fn silent_from(&self) -> Option<Instant> {
        let tail = self.latency.p95().map_or(SILENCE_FIRST, |p95| p95 * 4);
        self.quiet_since.map(|since| since + tail.clamp(SILENCE_MIN, SILENCE_MAX))
    }

    pub(crate) fn out(&self) -> usize {
        self.first + self.beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Outcome = Outcome::Answered(Duration::from_micros(100));

    fn linked() -> (Health, Instant) {
        let now = Instant::now();
        let mut health = Health::new(now, 1);
        health.breaker.linked(now);
        (health, now)
    }

    #[test]
    fn a_burst_on_a_frozen_server_costs_sixteen_asks_their_time_and_no_more() {
        let (mut health, now) = linked();
        let burst: Vec<Ticket> = (0..1000).filter_map(|_| health.admit(now)).collect();
        assert_eq!(burst.iter().filter(|ticket| !ticket.beyond).count(), FIRST);
        assert_eq!(burst.len(), OUT_MAX);
        let silent = now + SILENCE_FIRST;
        assert!(health.silent(silent) && !health.silent(now));
        for ticket in burst.iter().filter(|ticket| ticket.beyond) {
            assert_eq!(health.ended(silent, *ticket, Outcome::GivenUp), None);
        }
        assert_eq!(health.admit(silent), None, "refused at once");
        let timed_out = now + Duration::from_millis(10);
        let first = burst.iter().filter(|ticket| !ticket.beyond);
        let changes: Vec<_> =
            first.filter_map(|ticket| health.ended(timed_out, *ticket, Outcome::Failed)).collect();
        assert_eq!(changes, [Change::Opened]);
        assert_eq!((health.out(), health.admit(timed_out)), (0, None));
    }

    #[test]
    fn a_server_that_answers_may_have_many_asks_out() {
        let (mut health, now) = linked();
        let mut out: Vec<Ticket> = (0..100).filter_map(|_| health.admit(now)).collect();
        for step in 1..1000u32 {
            let now = now + Duration::from_micros(100) * step;
            let ticket = out.remove(0);
            assert_eq!(health.ended(now, ticket, ANSWER), None);
            assert!(!health.silent(now));
            out.extend(health.admit(now));
            assert_eq!(out.len(), 100);
        }
    }

    #[test]
    fn a_server_that_nobody_asked_is_not_silent() {
        let (mut health, now) = linked();
        let ticket = health.admit(now).unwrap();
        health.ended(now, ticket, ANSWER);
        assert!(!health.silent(now + Duration::from_secs(60)));
        assert_eq!((0..20).filter_map(|_| health.admit(now + Duration::from_secs(60))).count(), 20);
    }
}
