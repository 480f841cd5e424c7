//! The choice of an endpoint, and what counts as its failure.

use crate::error::{Error, Fault};
use crate::fleet::Endpoint;
use std::sync::Arc;

/// Above this many endpoints only a sample is looked at, so that a choice costs the same in a large fleet.
const SCAN_MAX: usize = 32;

/// Picks the endpoint with the fewest requests in flight for its weight. Endpoints in `failed` have refused this very request
/// and are taken only if there is nothing else; then those that do not pass their health check, then ejected ones, unless
/// more than half are ejected (then the signal is not about them), then those that join and have no connections yet. `turn`
/// decides between equals, so that they take turns, as often as they have weight: while nothing is under way, all are equal.
pub fn pick<'a>(
    fleet: &'a [Arc<Endpoint>],
    failed: &[(u32, Error)],
    turn: u32,
    now: u64,
) -> Option<&'a Arc<Endpoint>> {
    let ejected = fleet.iter().filter(|endpoint| endpoint.is_ejected(now)).count();
    let panic = ejected * 2 > fleet.len();
    let in_turn = fleet.iter().cycle().skip(first_in_turn(fleet, turn)).take(fleet.len().min(SCAN_MAX));
    in_turn.min_by(|a, b| {
        let last_resort = |endpoint: &Endpoint| {
            let refused = u8::from(failed.iter().any(|(index, _)| *index == endpoint.index));
            let ejected = u8::from(!panic && endpoint.is_ejected(now));
            let cold = u8::from(endpoint.is_cold(now));
            refused * 8 + u8::from(endpoint.is_unhealthy()) * 4 + ejected * 2 + cold
        };
        let load = |a: &Endpoint, b: &Endpoint| u64::from(a.in_flight()) * u64::from(b.weight);
        last_resort(a).cmp(&last_resort(b)).then_with(|| load(a, b).cmp(&load(b, a)))
    })
}

/// The position of the endpoint whose turn it is: each has as many turns in a row as its weight.
fn first_in_turn(fleet: &[Arc<Endpoint>], turn: u32) -> usize {
    let all: u32 = fleet.iter().map(|endpoint| endpoint.weight).sum();
    let mut left = turn % all.max(1);
    for (index, endpoint) in fleet.iter().enumerate() {
        match left.checked_sub(endpoint.weight) {
            Some(less) => left = less,
            None => return index,
        }
    }
    0
}

/// Whether an answer says that the endpoint, not the request, is the problem.
pub fn is_gateway_failure(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// Whether an error counts against the endpoint.
pub fn blames_endpoint(error: Error) -> bool {
    error.fault() == Fault::Upstream && error != Error::RefusedStream
}
