//! Regions: where this node is, and when requests leave the nearest one.

use std::time::Duration;

use crate::secret::Secret;

/// Where this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The region. Until distances are measured, endpoints with the same name count as the nearest.
    pub name: String,
    /// The zone within the region. Default none.
    pub zone: Option<String>,
    /// What markers of writes are signed with, the same on all nodes that share callers. Default none: a key of this process, and
    /// another node, or this one after its next start, does not know who has written.
    pub secret: Option<Secret>,
}

/// When requests leave the nearest healthy region because it is busy.
#[derive(Debug, Clone, PartialEq)]
pub struct Spill {
    /// Bound on the share of requests that leave it: 0 to 1. Default 0.5: a region that is lost is no spill, and what is more than
    /// half would only carry the queue elsewhere.
    pub max: f64,
    /// What is added to the measured distance of the endpoints of a region when endpoints are compared; by region, none twice.
    /// Default nothing: only time counts.
    pub cost: Vec<(String, Duration)>,
}

impl Default for Spill {
    fn default() -> Self {
        Self { max: 0.5, cost: Vec::new() }
    }
}
