//! Whether a failed attempt is followed by another, and the budget that keeps retries from feeding an outage.

use crate::error::{Error, Retry};

/// Attempts for one request, the first included.
pub const ATTEMPTS_MAX: u8 = 2;
/// Retries per request that was sent: 10 %, as the SRE book and Finagle found enough.
const SHARE: f64 = 0.1;
/// Retries a second that are always there, so that a quiet route can mend a single failure.
const PER_SECOND: f64 = 3.0;
/// Unspent budget is kept up to this: ten seconds of the floor.
const TOKENS_MAX: f64 = 30.0;

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it once more, elsewhere if there is an elsewhere.
    TryAgain,
    /// Send it once more if the budget has a token.
    TryAgainWithinBudget,
    /// The caller gets this failure.
    GiveUp,
}

/// Decides after `made` attempts of which the last failed with `error`.
pub fn after(error: Error, made: u8, idempotent: bool) -> Verdict {
    match error.retry() {
        _ if made >= ATTEMPTS_MAX => Verdict::GiveUp,
        Retry::Safe => Verdict::TryAgain,
        Retry::Idempotent if idempotent => Verdict::TryAgainWithinBudget,
        Retry::Idempotent | Retry::Never => Verdict::GiveUp,
    }
}

/// A token bucket filled by requests and by time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    tokens: f64,
    at: u64,
}

impl Budget {
    /// A bucket that starts with one second's floor.
    pub fn new(now: u64) -> Budget {
        Budget { tokens: PER_SECOND, at: now }
    }

    /// A request was sent.
    pub fn earn(&mut self) {
        self.tokens = (self.tokens + SHARE).min(TOKENS_MAX);
    }

    /// Takes a token if there is one.
    pub fn spend(&mut self, now: u64) -> bool {
        let passed_s = now.saturating_sub(self.at) as f64 / 1e9;
        self.tokens = (self.tokens + passed_s * PER_SECOND).min(TOKENS_MAX);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}
