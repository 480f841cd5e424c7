//! Whether an endpoint is asked at all: its failures, its ejections and the way back, its silence, and what an operator says.
//!
//! An ejection looks at failures in a row, so it works from two endpoints up and at any rate of requests; what looks at success
//! rates over a window needs several peers with a hundred requests each and is blind in a small fleet. When an ejection has run
//! out, one request at a time looks whether the endpoint is well: an answer ends its probation, a failure ejects it for longer.

use super::{Endpoint, InFlight, cell::flags};
use crate::clock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Failures in a row after which an endpoint is ejected: few enough to act within a second of traffic, enough not to act on
/// one broken connection.
pub(super) const FAILURES_TO_EJECT: u32 = 5;
/// The first ejection; each further one doubles it.
const EJECT_FIRST: Duration = Duration::from_secs(5);
/// The longest ejection.
const EJECT_MAX: Duration = Duration::from_secs(300);
/// No pause of a garbage collector that anybody puts up with is longer.
pub const STOOD_STILL_NS: u64 = 1_000_000_000;
/// What nobody has asked for so long may have moved meanwhile.
const MISTRUST_NS: u64 = 10_000_000_000;
/// The weight of the last answer in the share of failures: half of what is known is 14 answers old.
const FAILING_WEIGHT: f32 = 0.05;
/// How far apart the shares of endpoints lie that fail alike, as a part of the variance of one answer: what that weight leaves.
const FAILING_NOISE: f32 = FAILING_WEIGHT / (2.0 - FAILING_WEIGHT);
/// A share of failures counts when it is above the usual one by so many standard errors.
const STANDARD_ERRORS: f32 = 3.0;
/// So many endpoints are enough to say what is usual among them.
const USUAL_OF_MAX: usize = 64;

/// Whether an endpoint fails more than is usual among its peers. Where all fail alike, the last few answers would send everybody
/// to the same one.
#[inline]
pub fn fails_more(failing: f32, usual: f32) -> bool {
    failing - usual > STANDARD_ERRORS * (usual * (1.0 - usual) * FAILING_NOISE).sqrt()
}

impl Endpoint {
    /// Counts a request in for as long as the guard lives.
    pub fn begin(self: &Arc<Self>, now: u64) -> InFlight {
        InFlight::begin(self, now)
    }

    /// Requests in flight from this process.
    pub fn in_flight(&self) -> u32 {
        self.cell.in_flight.load(Relaxed)
    }

    /// Those of them whose answer has not begun.
    pub fn waiting(&self) -> u32 {
        self.cell.waiting.load(Relaxed)
    }

    /// Share of its last answers that were failures, 0 to 1.
    pub fn failing(&self) -> f32 {
        self.cell.failing.get()
    }

    /// For how long it has given no sign of life although somebody waits for one.
    pub fn silence_ns(&self, now: u64) -> u64 {
        match self.cell.waiting.load(Relaxed) {
            0 => 0,
            _ => now.saturating_sub(self.cell.progress_ns.load(Relaxed)),
        }
    }

    /// It answered something. Returns for how long it had been silent. What stood still for longer than a collector pauses gets its
    /// share back slowly, as what failed does.
    pub(super) fn progressed(&self, now: u64) -> u64 {
        let silence_ns = now.saturating_sub(self.cell.progress_ns.swap(now, Relaxed));
        if silence_ns >= STOOD_STILL_NS && self.is_mistrusted(now) {
            self.comes_back(now);
        }
        silence_ns
    }

    /// When it last answered anything, or began to be waited for.
    pub fn progress_ns(&self) -> u64 {
        self.cell.progress_ns.load(Relaxed)
    }

    /// Whether it has answered anything since then.
    pub fn has_moved_since(&self, moment_ns: u64) -> bool {
        self.progress_ns() > moment_ns
    }

    /// It does not move, until it gives a sign of life or `until` has passed.
    pub fn suspect(&self, until: u64) {
        self.cell.suspect_until_ns.store(until, Relaxed);
    }

    /// Whether it is not known to move.
    pub fn is_suspect(&self, now: u64) -> bool {
        self.cell.suspect_until_ns.load(Relaxed) > now
    }

    /// Whether it did not move when it was last asked, not long ago.
    pub fn is_mistrusted(&self, now: u64) -> bool {
        let suspect_until_ns = self.cell.suspect_until_ns.load(Relaxed);
        suspect_until_ns != 0 && now < suspect_until_ns.saturating_add(MISTRUST_NS)
    }

    /// It gave a sign of life.
    pub fn trust(&self) {
        if self.cell.suspect_until_ns.load(Relaxed) != 0 {
            self.cell.suspect_until_ns.store(0, Relaxed);
        }
    }

    /// Whether the last health check failed.
    pub fn is_unhealthy(&self) -> bool {
        self.cell.is(flags::UNHEALTHY)
    }

    /// Whether it is left out at `now` because it failed too often: until its ejection has run out, and from then on while
    /// another request looks whether it is well.
    pub fn is_ejected(&self, now: u64) -> bool {
        self.cell.ejected_until_ns.load(Relaxed) > now
            || self.cell.is(flags::ON_PROBATION) && self.cell.waiting.load(Relaxed) > 0
    }

    /// Whether its ejection has run out and nobody has looked yet whether it is well.
    pub fn is_to_be_looked_at(&self, now: u64) -> bool {
        self.cell.is(flags::ON_PROBATION)
            && self.cell.ejected_until_ns.load(Relaxed) <= now
            && self.cell.waiting.load(Relaxed) == 0
    }

    /// Whether an operator has taken it out, or left only others in.
    pub fn is_drained(&self) -> bool {
        self.cell.is(flags::DRAINED | flags::LEFT_OUT)
    }

    /// Whether nobody keeps it out: no operator, no check, and not its failures.
    pub fn is_in_service(&self, now: u64) -> bool {
        !self.is_drained() && !self.is_unhealthy() && !self.is_ejected(now)
    }

    /// Whether its upstream is pinned to others.
    pub fn is_left_out(&self) -> bool {
        self.cell.is(flags::LEFT_OUT)
    }

    /// Leaves it out because its upstream is pinned to others, or not any more.
    pub fn set_left_out(&self, is_left_out: bool, now: u64) {
        self.set_out(flags::LEFT_OUT, is_left_out, now);
    }

    /// Takes it out or back in; what is under way goes on.
    pub fn set_drained(&self, drained: bool, now: u64) {
        self.set_out(flags::DRAINED, drained, now);
    }

    /// Whoever was out, for whatever reason, gets its share back slowly: it may have been started anew.
    fn set_out(&self, reason: u32, is_out: bool, now: u64) {
        let was_out = self.cell.is(reason);
        if was_out != is_out {
            self.cell.set(reason, is_out);
        }
        if was_out && !is_out {
            self.comes_back(now);
        }
    }

    /// Notes an answer that came from the application. One of before an ejection does not end it.
    pub fn succeeded(&self, now: u64) {
        let cell = &self.cell;
        cell.successes.fetch_add(1, Relaxed);
        if cell.failing.get() != 0.0 {
            cell.failing.update(|known| if known < 1e-3 { 0.0 } else { known * (1.0 - FAILING_WEIGHT) });
        }
        if cell.failures_in_a_row.load(Relaxed) != 0 {
            cell.failures_in_a_row.store(0, Relaxed);
        }
        if self.passes(now) {
            // It begins anew: what it failed before it was left out would keep it out for as long again.
            cell.failing.set(0.0);
        }
        self.trust();
    }

    /// Ends that one request at a time looks whether it is back, if an answer of this moment does: it comes back slowly.
    fn passes(&self, now: u64) -> bool {
        let cell = &self.cell;
        let passes = cell.is(flags::ON_PROBATION) && cell.ejected_until_ns.load(Relaxed) <= now;
        if passes {
            cell.set(flags::ON_PROBATION, false);
            cell.ejections_in_a_row.store(0, Relaxed);
            tracing::info!(upstream = %self.upstream, endpoint = %self.authority(), "an endpoint that was left out answers again");
            self.comes_back(now);
        }
        passes
    }

    /// Notes an answer that says that something went wrong, though not that the endpoint cannot be reached: a cost for whoever
    /// is to choose, no reason to eject. A route that always answers so makes all endpoints alike.
    pub fn answered_badly(&self, now: u64) {
        self.cell.successes.fetch_add(1, Relaxed);
        self.passes(now);
        self.cell.failing.update(|known| known + FAILING_WEIGHT * (1.0 - known));
        self.trust();
    }

    /// Notes an answer that says that the endpoint, of these, could not serve the request: a failure, unless its peers fail as often,
    /// as then something behind them all does, and whoever is left had the work of all.
    pub fn refused(&self, fleet: &[Arc<Endpoint>], begun_ns: u64, now: u64) {
        self.trust();
        let failing = self.failing();
        match fails_more(failing + FAILING_WEIGHT * (1.0 - failing), usual_failing(fleet)) {
            true => self.failed("answered 502, 503 or 504", begun_ns, now),
            false => self.answered_badly(now),
        }
    }

    /// Notes a failure of the endpoint, of a request that was sent to it at `begun_ns`, and ejects it when there were too many in a row.
    pub fn failed(&self, cause: &'static str, begun_ns: u64, now: u64) {
        let cell = &self.cell;
        cell.failures.fetch_add(1, Relaxed);
        cell.failing.update(|known| known + FAILING_WEIGHT * (1.0 - known));
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        let failures = cell.failures_in_a_row.fetch_add(1, Relaxed) + 1;
        let is_again = cell.is(flags::ON_PROBATION);
        let ejected_until_ns = cell.ejected_until_ns.load(Relaxed);
        // What was sent before an ejection ran out did not look whether it is well again.
        let is_news = begun_ns >= ejected_until_ns;
        if (failures >= FAILURES_TO_EJECT || is_again) && is_news {
            self.eject(now);
            let seconds = cell.ejected_until_ns.load(Relaxed).saturating_sub(now) / 1_000_000_000;
            tracing::warn!(upstream = %self.upstream, endpoint = %self.authority(), cause, seconds, "an endpoint is left out for a while: it failed too often in a row");
        }
    }

    fn eject(&self, now: u64) {
        let cell = &self.cell;
        let earlier = cell.ejections_in_a_row.fetch_add(1, Relaxed);
        // Endpoints that failed together do not all come back together.
        let jitter_percent = 80 + (now ^ u64::from(self.index)) % 41;
        cell.ejected_until_ns.store(now + clock::ns(ejection(earlier)) / 100 * jitter_percent, Relaxed);
        cell.set(flags::ON_PROBATION, true);
        cell.ejections.fetch_add(1, Relaxed);
    }

    /// Says what an active health check found. An ejection is left to run out: a check that passes says nothing about the
    /// requests that failed.
    pub fn set_healthy(&self, healthy: bool, now: u64) {
        self.set_out(flags::UNHEALTHY, !healthy, now);
    }

    /// Nobody checks it any more.
    pub fn forget_health(&self) {
        self.cell.set(flags::UNHEALTHY, false);
    }
}

/// The share of failures of a usual endpoint: the lower of two in the middle.
pub(super) fn usual_failing(fleet: &[Arc<Endpoint>]) -> f32 {
    let (mut shares, mut count) = ([0.0f32; USUAL_OF_MAX], 0);
    for (share, endpoint) in shares.iter_mut().zip(fleet) {
        *share = endpoint.failing();
        count += 1;
    }
    let shares = shares.get_mut(..count).unwrap_or_default();
    shares.sort_unstable_by(f32::total_cmp);
    shares.get(count.saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// How long an ejection lasts after so many in a row before it.
pub(super) fn ejection(earlier: u32) -> Duration {
    EJECT_FIRST.saturating_mul(1 << earlier.min(10)).min(EJECT_MAX)
}
