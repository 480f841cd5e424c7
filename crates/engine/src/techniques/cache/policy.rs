//! What is done with a request for which something is stored (RFC 9111 §4).

use super::directives::{Directives, Seconds};
use super::freshness::{Freshness, Received};

use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is served.
    Serve,
    /// It is served, and fetched again meanwhile.
    ServeWhileFetching,
    /// The origin is asked first. If it fails, what is stored may do.
    Ask {
        /// Whether it may.
        or_serve: bool,
    },
    /// The caller wants only what is stored, and that will not do.
    Refuse,
}

/// Judges a stored response.
pub fn judge(stored: &Freshness, asked: &Directives, now: u64) -> Verdict {
    if is_good_enough(stored, asked, now) {
        return Verdict::Serve;
    }
    if asked.only_if_cached {
        return Verdict::Refuse;
    }
    let stale = stored.stale_ns(now);
    let insists = asked.no_cache.is_all() || stored.always_validate;
    let is_just_stale = !insists && stored.age_ns(now) >= stored.lifetime_ns;
    if is_just_stale && stale < stored.stale_while_revalidate_ns {
        return Verdict::ServeWhileFetching;
    }
    let or_serve =
        asked.stale_if_error.and_then(Seconds::valid).map_or(0, |seconds| seconds.saturating_mul(SECOND));
    let window = if stored.forbids_stale { 0 } else { or_serve }.max(stored.stale_if_error_ns);
    Verdict::Ask { or_serve: stale < window }
}

/// The natural logarithm of the least draw there is, turned round: no early refresh comes earlier than so many fetches before the
/// end.
const DRAW_MAX: f64 = 45.0;
/// What lives so briefly is not refreshed at a point of its own.
const SPREAD_MIN_NS: u64 = 10 * SECOND;
/// The last part of a lifetime over which objects that came together are refreshed.
const SPREAD_PART: u64 = 10;

/// Whether something fresh may be due for an early refresh at all: a cheap question, asked at every hit.
pub fn is_near_its_end(stored: &Freshness, received: Received, now: u64) -> bool {
    let left = stored.lifetime_ns.saturating_sub(stored.age_ns(now));
    let fetch = received.came_ns.saturating_sub(received.asked_ns);
    let spread = if stored.lifetime_ns >= SPREAD_MIN_NS { stored.lifetime_ns / SPREAD_PART } else { 0 };
    left <= spread.max(fetch.saturating_mul(DRAW_MAX as u64))
}

/// Whether it is fetched again before its end, so that nobody has to wait for it: by chance, the more likely the nearer the end
/// and the longer a fetch takes (XFetch, Vattani et al. 2015, with beta 1), or at a point of its own in the last tenth of its
/// lifetime, so that what came together does not go together. Two random numbers: one of this moment, one of the object.
pub fn is_due_early(stored: &Freshness, received: Received, now: u64, draw: u64, own: u64) -> bool {
    let share = |random: u64| (random >> 11) as f64 / (1u64 << 53) as f64;
    let left = stored.lifetime_ns.saturating_sub(stored.age_ns(now));
    let fetch = received.came_ns.saturating_sub(received.asked_ns) as f64;
    let by_chance = fetch * -(share(draw).max(f64::MIN_POSITIVE)).ln() >= left as f64;
    let point = (stored.lifetime_ns / SPREAD_PART) as f64 * share(own);
    by_chance || stored.lifetime_ns >= SPREAD_MIN_NS && left as f64 <= point
}

/// One lookup in so many is made although it does not seem worth it, to see whether that has changed.
const PROBE: u64 = 100;

/// Whether the shared tier is asked before the origin: what it saves, as often as it has something, is more than what it costs,
/// and it is not nearly as slow as the origin.
pub fn asks_nodes(tier_share: f64, origin_ns: u64, tier_ns: u64, draw: u64) -> bool {
    let (origin, tier) = (origin_ns as f64, tier_ns as f64);
    let is_worth_it = origin_ns == 0 || (tier_share * origin >= tier && tier <= 0.7 * origin);
    is_worth_it || draw.is_multiple_of(PROBE)
}

/// How long the origin is not asked while the shared tier is: what it usually needs, but never a third of what the origin does.
pub fn head_start(tier_ns: u64, origin_ns: u64) -> Duration {
    let third = if origin_ns == 0 { u64::MAX } else { origin_ns / 10 * 3 };
    Duration::from_nanos(tier_ns.min(third).clamp(500_000, 10_000_000))
}

/// Whether it serves without asking anybody, by what the origin and the caller say.
fn is_good_enough(stored: &Freshness, asked: &Directives, now: u64) -> bool {
    let is_fresh = stored.is_fresh(now);
    if is_fresh && stored.immutable {
        // A reload asks everything again; what does not change need not be (RFC 8246 §2).
        return true;
    }
    if asked.no_cache.is_all() {
        return false;
    }
    let age = stored.age_ns(now);
    let ns = |seconds: Option<Seconds>| {
        seconds.and_then(Seconds::valid).map(|seconds| seconds.saturating_mul(SECOND))
    };
    if ns(asked.max_age).is_some_and(|most| age > most) {
        return false;
    }
    if ns(asked.min_fresh).is_some_and(|least| stored.lifetime_ns.saturating_sub(age) < least) {
        return false;
    }
    if is_fresh {
        return true;
    }
    match asked.max_stale {
        None => false,
        Some(_) if stored.forbids_stale || stored.always_validate => false,
        Some(None) => true,
        Some(most) => ns(most).is_some_and(|most| stored.stale_ns(now) <= most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_shared_tier_is_asked_where_it_saves_more_than_it_costs() {
        let asks = |share, origin_ms, tier_ms| asks_nodes(share, origin_ms * MS, tier_ms * MS, 1);
        assert!(asks(0.5, 0, 5), "nothing is known of the origin yet");
        assert!(asks(0.5, 100, 1) && asks(0.02, 100, 1));
        assert!(!asks(0.005, 100, 1), "it never has anything");
        assert!(!asks(1.0, 10, 8), "it is as slow as the origin");
        assert!(asks_nodes(0.0, 100 * MS, MS, 200), "one in a hundred all the same");
    }

    #[test]
    fn it_gets_a_head_start_that_nobody_feels() {
        assert_eq!(head_start(2 * MS, 0), Duration::from_millis(2));
        assert_eq!(head_start(40 * MS, 100 * MS), Duration::from_millis(10));
        assert_eq!(head_start(4 * MS, 10 * MS), Duration::from_millis(3));
        assert_eq!(head_start(1_000, 10 * MS), Duration::from_micros(500));
    }
}
