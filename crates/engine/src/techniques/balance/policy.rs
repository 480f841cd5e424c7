//! The choice of an endpoint, and what counts as its failure.

use crate::error::{Error, Fault};
use crate::fleet::Endpoint;
use std::sync::Arc;

/// Above this many endpoints only a sample is looked at, so that a choice costs the same in a large fleet.
const SCAN_MAX: usize = 32;

/// Picks the endpoint with the fewest requests in flight for its weight. Endpoints in `failed` have refused this very request
/// and are taken only if there is nothing else; then those that join and have no connections yet; then those that do not pass their health check, then ejected ones, unless
/// more than half are ejected (then the signal is not about them). `turn` decides between equals, so that they take turns.
pub fn pick<'a>(
    fleet: &'a [Arc<Endpoint>],
    failed: &[(u32, Error)],
    turn: u32,
    now: u64,
) -> Option<&'a Arc<Endpoint>> {
    let ejected = fleet.iter().filter(|endpoint| endpoint.is_ejected(now)).count();
    let panic = ejected * 2 > fleet.len();
    let start = turn as usize % fleet.len().max(1);
    let in_turn = fleet.iter().cycle().skip(start).take(fleet.len().min(SCAN_MAX));
    in_turn.min_by(|a, b| {
        let last_resort = |endpoint: &Endpoint| {
            let refused = u8::from(failed.iter().any(|(index, _)| *index == endpoint.index));
            let ejected = u8::from(!panic && endpoint.is_ejected(now));
            refused * 8
                + u8::from(endpoint.is_cold(now)) * 4
                + u8::from(endpoint.is_unhealthy()) * 2
                + ejected
        };
        let load = |a: &Endpoint, b: &Endpoint| u64::from(a.in_flight() + 1) * u64::from(b.weight);
        last_resort(a).cmp(&last_resort(b)).then_with(|| load(a, b).cmp(&load(b, a)))
    })
}

/// Whether an answer says that the endpoint, not the request, is the problem.
pub fn is_gateway_failure(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// Whether an error counts against the endpoint.
pub fn blames_endpoint(error: Error) -> bool {
    error.fault() == Fault::Upstream && error != Error::RefusedStream
}
