//! What the console shows of an endpoint.

use super::{Endpoint, RegionId};
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
    /// As measured, or as assumed of another region until then.
    pub distance_ms: f32,
    pub distance_is_assumed: bool,
    pub toll_ms: f32,
    pub region: Option<RegionId>,
    pub weight: u32,
    pub joining: bool,
    pub left_out: bool,
    /// Requests of others that it last said are in flight.
    pub reported: Option<u32>,
    /// Until its ejection has run out.
    pub ejected_ns: Option<u64>,
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
            distance_is_assumed: self.is_assumed_far(),
            toll_ms: cell.toll_ms.get(),
            region: self.region,
            weight: self.weight(),
            joining: self.is_joining(),
            left_out: self.is_left_out(),
            reported: (cell.reported_ms.load(Relaxed) != 0).then(|| cell.reported.load(Relaxed)),
            ejected_ns: cell.ejected_until_ns.load(Relaxed).checked_sub(now).filter(|&left| left > 0),
        }
    }
}
