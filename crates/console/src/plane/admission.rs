//! What upstreams are spared, as the console sees it.

use serde::Serialize;

/// Requests that wait for an upstream, or were refused before they reached it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamAdmission {
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that ever had to wait.
    pub waited: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Of those, how many because no endpoint can be reached.
    pub refused_lost: u64,
    /// Whether all of them are, because no endpoint can be reached.
    pub lost: bool,
}

/// What one endpoint takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndpointAdmission {
    /// Requests at a time; with `limit = "observe"`, what it would be. `None` while nothing is known.
    pub limit: Option<u64>,
    /// Requests that such a limit would have refused, while it does not hold.
    pub would_refuse: u64,
}
