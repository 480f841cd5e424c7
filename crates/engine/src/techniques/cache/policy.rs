//! What is done with a request for which something is stored (RFC 9111 §4).

use super::directives::{Directives, Seconds};
use super::freshness::Freshness;

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
