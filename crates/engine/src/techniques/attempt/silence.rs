//! Whether a request is taken away from an endpoint that does not move, to be tried at another.
//!
//! It is a retry, and paid for as one: what a second copy does within milliseconds on a route that has them, this does after a
//! second, instead of the first and not beside it, for all that is idempotent. A request that is slow by nature looks the same
//! from here; so its route must hardly ever take so long, and the endpoint must leave others without an answer as well, or be
//! known to be unwell.

use super::{Attempt, fleet, hedge};
use crate::error::Error;
use crate::exchange::{Exchange, Trace};
use crate::fleet::{Endpoint, STOOD_STILL_NS};
use std::rc::Rc;
use std::sync::Arc;

/// What hardly any answer of a route takes, in parts of what all but 2 in 1,000 take.
const HARDLY_EVER: u64 = 2;
/// How often a request is looked at that would be late, but for what else has to be seen.
const LOOK_NS: u64 = 250_000_000;

/// What is known of a request under way, and of the endpoint that has it. Moments and times in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Stay {
    /// When it was sent.
    sent_ns: u64,
    /// How long it may take in all.
    allowed_ns: u64,
    /// What nearly all answers of its route take; none while that is unknown.
    nearly_all_ns: Option<u64>,
    /// When the endpoint last gave a sign of life.
    progress_ns: u64,
    /// The longest usual silence of an endpoint.
    gap_ns: u64,
    /// How far away the endpoint is.
    distance_ns: u64,
    /// Whether others wait for it as well, or something else speaks against it.
    is_suspicious: bool,
}

impl Stay {
    /// How long a request is left alone: not so long that nothing of its time is left for another attempt.
    fn patience_ns(allowed_ns: u64) -> u64 {
        STOOD_STILL_NS.min(allowed_ns / 2)
    }

    /// When it is to be looked at again, if it may stay at `now`.
    fn until_ns(&self, now: u64) -> Option<u64> {
        let patience_ns = Stay::patience_ns(self.allowed_ns);
        let Some(nearly_all_ns) = self.nearly_all_ns else { return Some(now + LOOK_NS) };
        let is_late_ns = self.sent_ns.saturating_add(patience_ns.max(nearly_all_ns * HARDLY_EVER));
        let silence_ns = hedge::unusual_ns(self.gap_ns, self.distance_ns);
        let is_silent_ns = self.progress_ns.saturating_add(patience_ns.max(silence_ns));
        let leaves_ns = is_late_ns.max(is_silent_ns);
        match leaves_ns <= now {
            true => (!self.is_suspicious).then_some(now + LOOK_NS),
            false => Some(leaves_ns),
        }
    }
}

/// Looks after one attempt that has no second copy.
pub struct Silence<'a> {
    attempt: &'a Attempt,
    /// The record of its request.
    pub trace: &'a Rc<Trace>,
    /// The share of successes that the route may spend on retries.
    share: f64,
    sent_ns: u64,
    /// How long this attempt may take, and until when there may be another.
    allowed_ns: u64,
    limit_ns: u64,
    /// When to look next.
    pub look_at_ns: u64,
}

impl<'a> Silence<'a> {
    /// Of an attempt that is sent at this moment, may take so long, may be followed by another until then, and by one that is paid
    /// from this share.
    pub fn of(
        attempt: &'a Attempt,
        trace: &'a Rc<Trace>,
        (sent_ns, allowed_ns, limit_ns): (u64, u64, u64),
        share: f64,
    ) -> Silence<'a> {
        let look_at_ns = sent_ns.saturating_add(Stay::patience_ns(allowed_ns));
        Silence { attempt, trace, share, sent_ns, allowed_ns, limit_ns, look_at_ns }
    }

    /// The endpoint that it does not stay with, if so.
    pub fn look(&mut self, now: u64) -> Option<Arc<Endpoint>> {
        let upstream = &self.attempt.upstream;
        let id = self.trace.endpoint.get();
        let fleet = upstream.fleet();
        let endpoint = fleet.iter().find(|endpoint| Some(endpoint.record) == id);
        let until_ns = endpoint.map_or(Some(now + LOOK_NS), |endpoint| {
            let stay = Stay {
                sent_ns: self.sent_ns,
                allowed_ns: self.allowed_ns,
                nearly_all_ns: self.attempt.learned.tempo.nearly_all_ns(),
                progress_ns: endpoint.progress_ns(),
                gap_ns: fleet::gap_ns(upstream),
                distance_ns: fleet::distance_ns(endpoint),
                is_suspicious: endpoint.waiting() > 1
                    || endpoint.is_mistrusted(now)
                    || fleet::is_out(endpoint, now),
            };
            stay.until_ns(now)
        });
        self.look_at_ns = until_ns.unwrap_or(now + LOOK_NS);
        endpoint.filter(|_| until_ns.is_none() && fleet.len() > 1).cloned()
    }

    /// What is to be tried elsewhere, made of a copy of the request, if another endpoint is well, there is time, and it is paid.
    pub fn leaves(&self, mut copy: Box<Exchange>, silent: &Endpoint, now: u64) -> Option<Box<Exchange>> {
        let Attempt { learned, upstream, .. } = self.attempt;
        let leaves = fleet::has_better(upstream, &copy, silent.index, now)
            && !learned.is_too_late(self.limit_ns.saturating_sub(now))
            && learned.take_retry(self.share, &upstream.service.retry_floor);
        leaves.then(|| {
            // Whoever was inside when it fell silent says the same thing once more.
            let silent_since_ns = silent.progress_ns() + Stay::patience_ns(self.allowed_ns);
            if !silent.is_mistrusted(now) || self.sent_ns >= silent_since_ns {
                self.trace.given_up.set(Some(Error::Silent));
            }
            fleet::suspect(silent, now);
            copy.failed.push((silent.index, Error::Silent));
            copy.trace = Rc::clone(self.trace);
            copy
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SENT_NS: u64 = 5_000 * MS;

    /// Sent to an endpoint that has not moved since, on a route that takes 100 ms at most.
    fn stay() -> Stay {
        Stay {
            sent_ns: SENT_NS,
            allowed_ns: u64::MAX,
            nearly_all_ns: Some(100 * MS),
            progress_ns: SENT_NS,
            gap_ns: 20 * MS,
            distance_ns: MS,
            is_suspicious: true,
        }
    }

    #[test]
    fn a_request_leaves_an_endpoint_that_is_silent_for_a_second_or_for_half_of_its_time() {
        let leaves = |stay: Stay| stay.until_ns(SENT_NS).unwrap() - SENT_NS;
        assert_eq!(leaves(stay()), 1_000 * MS);
        assert_eq!(stay().until_ns(SENT_NS + 1_000 * MS), None);
        assert_eq!(leaves(Stay { allowed_ns: 600 * MS, ..stay() }), 300 * MS);
        assert_eq!(leaves(Stay { gap_ns: 800 * MS, ..stay() }), 1_601 * MS, "it is often silent");
        assert_eq!(leaves(Stay { progress_ns: SENT_NS + MS, ..stay() }), 1_001 * MS, "it moved");
    }

    #[test]
    fn a_request_that_may_be_slow_by_nature_stays() {
        let later_ns = SENT_NS + 60_000 * MS;
        let stays = |stay: Stay| stay.until_ns(later_ns) > Some(later_ns);
        assert!(!stays(stay()));
        assert!(stays(Stay { nearly_all_ns: None, ..stay() }), "nobody knows how long the route takes");
        assert!(stays(Stay { nearly_all_ns: Some(31_000 * MS), ..stay() }), "others of it take as long");
        assert!(stays(Stay { is_suspicious: false, ..stay() }), "nobody else waits");
        assert!(stays(Stay { progress_ns: later_ns - 900 * MS, ..stay() }), "others are answered");
    }
}
