//! What is let in: how often, what waits for how long, and who goes first.

use std::fmt;
use std::time::Duration;

/// How often requests of a route are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// So many requests, 1 to 1 000 000,
    pub requests: u32,
    /// in this time: a second, a minute or an hour.
    pub per: Duration,
    /// So many may come at once, 1 to 1 000 000. Default as many as come in a second, at least one.
    pub burst: u32,
    /// What is counted by itself. Default [`RateBy::Route`].
    pub by: RateBy,
}

impl Rate {
    /// What may come at once when nothing else is said: what comes in a second, at least one.
    #[must_use]
    pub fn burst_of(requests: u32, per: Duration) -> u32 {
        let seconds = u32::try_from(per.as_secs()).unwrap_or(u32::MAX).max(1);
        requests.div_ceil(seconds).max(1)
    }
}

/// What of a route's requests is counted by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RateBy {
    /// All of them together.
    #[default]
    Route,
    /// Those of one client, by the address that trusted proxies say or that connects.
    Client,
    /// Those with one value of the header of this name, in lower case; those without it together.
    Header(String),
}

impl fmt::Display for RateBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::Client => f.write_str("client"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// How much is lost when a request is refused; what is lower is refused first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Nobody waits for it, or it is tried again later anyway.
    Sheddable,
    /// What nothing is said of.
    #[default]
    Default,
    /// Somebody waits for it.
    Critical,
    /// Without it nothing works.
    CriticalPlus,
}

/// Where requests wait for an endpoint below its limit. There is one only where a limit is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Longest wait, 1 ms to 1 min. Default 1 s: who waits longer has often left.
    pub wait_max: Duration,
    /// Most requests that wait, for any endpoint and for those of a region each, 1 to 100 000. Default 1024: memory is bounded, and
    /// no caller in a longer line would be served in time.
    pub length_max: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { wait_max: Duration::from_secs(1), length_max: 1024 }
    }
}
