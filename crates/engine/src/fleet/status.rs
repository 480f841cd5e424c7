//! What the console shows of an endpoint.

use super::Endpoint;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

/// A copy of an endpoint's figures.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are named after what they count")]
pub struct EndpointStatus {
    pub address: String,
    pub unhealthy: bool,
    pub ejected: bool,
    pub drained: bool,
    pub suspect: bool,
    pub unresolved: bool,
    pub in_flight: u32,
    pub connections: u32,
    pub idle: u32,
    pub successes: u64,
    pub failures: u64,
    pub ejections: u64,
    pub last_error: Option<&'static str>,
    pub idle_limit_ns: Option<u64>,
    pub wait_ns: Option<u64>,
    /// Share of its last answers that were failures.
    pub failing: f32,
    /// How many times slower it is than its peers, where that is certain; else 1.
    pub slower: f32,
    pub distance_ms: f32,
}

impl Endpoint {
    /// A copy of the figures.
    pub fn status(&self, now: u64) -> EndpointStatus {
        let cell = &self.cell;
        EndpointStatus {
            address: self.authority(),
            unhealthy: self.is_unhealthy(),
            ejected: self.is_ejected(now),
            drained: self.is_drained(),
            suspect: self.is_suspect(now),
            unresolved: self.addresses.load().is_empty() && self.url.scheme != unlag_config::Scheme::Unix,
            in_flight: self.in_flight(),
            connections: cell.connections.load(Relaxed),
            idle: cell.idle.load(Relaxed),
            successes: cell.successes.load(Relaxed),
            failures: cell.failures.load(Relaxed),
            ejections: cell.ejections.load(Relaxed),
            last_error: *self.last_error.lock().unwrap_or_else(PoisonError::into_inner),
            wait_ns: Some(cell.wait_ns.load(Relaxed)).filter(|&ns| ns > 0),
            idle_limit_ns: Some(cell.idle_limit_ns.load(Relaxed)).filter(|&ns| ns > 0),
            failing: cell.failing.get(),
            slower: cell.factor.get(),
            distance_ms: cell.distance_ms.get(),
        }
    }
}
