//! Whether a failed attempt is followed by another, and when.

use crate::error::{Error, Retry};
use crate::http::Fields;
use crate::http::h1::framing::parse_length;

/// The longest that is waited because an answer asks for it: who asks for more wants no other attempt.
const PATIENCE_NS: u64 = 1_000_000_000;
/// The second retry waits up to this, each further one up to twice as long; the first goes at once, as it goes elsewhere.
const BACKOFF_NS: u64 = 25_000_000;

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it once more.
    TryAgain,
    /// Send it once more if the budget has a token.
    TryAgainWithinBudget,
    /// The caller gets this failure.
    GiveUp,
}

/// Decides after `made` attempts, of `retries` after the first that there may be, of which the last failed with `error`. What
/// certainly reached no application costs nobody anything the first time.
pub fn after(error: Error, made: u32, retries: u32, idempotent: bool) -> Verdict {
    match error.retry() {
        _ if made > retries => Verdict::GiveUp,
        Retry::Safe if made == 1 => Verdict::TryAgain,
        Retry::Safe => Verdict::TryAgainWithinBudget,
        Retry::Idempotent if idempotent => Verdict::TryAgainWithinBudget,
        Retry::Idempotent | Retry::Never => Verdict::GiveUp,
    }
}

/// Whether an answer says that its endpoint could not serve the request now; another may.
pub fn is_refusal(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// How long an answer asks to wait before the next attempt, nanoseconds; none if it wants none.
pub fn pushback_ns(fields: &Fields) -> Option<u64> {
    let asked = |name: &str, unit_ns: u64| match fields.get_named(name) {
        None => Some(0),
        // What is no number is a date, or a `-1` that says no.
        Some(value) => parse_length(value).map(|number| number.saturating_mul(unit_ns)),
    };
    if fields.get_named("x-envoy-overloaded").is_some() {
        return None;
    }
    let wait_ns = asked("retry-after", 1_000_000_000)?.max(asked("grpc-retry-pushback-ms", 1_000_000)?);
    (wait_ns <= PATIENCE_NS).then_some(wait_ns)
}

/// How long the attempt after `made` waits: the whole of it drawn at random, so that what failed together is not tried together.
pub fn backoff_ns(made: u32, draw: u64) -> u64 {
    let Some(doubled) = made.checked_sub(2) else { return 0 };
    draw % (BACKOFF_NS << doubled.min(8))
}

/// Whether somebody before this node has sent the request more than once: then that one retries, and nobody else.
pub fn is_retried_by_another(x_attempt: Option<&[u8]>) -> bool {
    x_attempt.and_then(parse_length).is_some_and(|attempt| attempt > 1)
}
