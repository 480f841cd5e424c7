//! What is tried for one request: how long it may take, and when it is sent once more.

use std::time::Duration;

/// How long a request may take, and how often it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempts {
    /// How long the upstream may take. Default [`Timeout::Learned`]: a route's own tail is the only good bound.
    pub timeout: Timeout,
    /// A second request while the first is slow. Default none: it costs load.
    pub hedge: Option<Hedge>,
    /// Another attempt when one has failed and did no harm; none switches it off. Default [`Retry::default`]: a failure that
    /// passes is hidden from callers, and a budget keeps retries from feeding an outage.
    pub retry: Option<Retry>,
    /// Whether requests of the route may be sent twice whatever their method is. Default false: the method tells.
    pub idempotent: bool,
    /// How long the answer to a request with an `Idempotency-Key` is kept, to be replayed. Default none: the header is passed on
    /// and means nothing here.
    pub idempotency_key: Option<Duration>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            timeout: Timeout::default(),
            hedge: None,
            retry: Some(Retry::default()),
            idempotent: false,
            idempotency_key: None,
        }
    }
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timeout {
    /// The head of a response within what is learned from the route's own tail, and within
    /// [`crate::Limits::response_head_timeout`] until enough is known; no bound on the whole. Written `"auto"` or not at all.
    #[default]
    Learned,
    /// The head of a response, and the whole exchange, within this.
    Fixed(Duration),
}

impl Timeout {
    /// The duration that the file sets, if it does.
    #[must_use]
    pub fn fixed(self) -> Option<Duration> {
        match self {
            Self::Learned => None,
            Self::Fixed(duration) => Some(duration),
        }
    }
}

/// Second requests while the first are slow; when is learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedge {
    /// Bound on the work that second requests cost the upstream, as a share of the time it works for the route: above 0 and up
    /// to 0.2. Default 0.05.
    pub budget: f64,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { budget: 0.05 }
    }
}

/// Attempts after one that failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Bound on retries as a share of the requests of the route: above 0 and up to 1. Default 0.1: an outage makes a tenth more
    /// load.
    pub budget: f64,
    /// Most attempts after the first, 1 to 3. Default 2: what fails three times in a row does not fail by chance.
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { budget: 0.1, attempts: 2 }
    }
}
