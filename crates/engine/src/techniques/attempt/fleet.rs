//! What a second copy needs to know of the endpoints.

use super::hedge::may_have;
use crate::exchange::Exchange;
use crate::fleet::{Endpoint, RegionId};
use crate::plan::Upstream;
use unlag_record::Trigger;

/// How long an endpoint that stalled is given nothing if it gives no sign of life.
const SUSPECT_NS: u64 = 1_000_000_000;

/// The longest usual silence of an endpoint of `upstream` that works.
pub fn gap_ns(upstream: &Upstream) -> u64 {
    (f64::from(upstream.service.figures().gap_ms) * 1e6) as u64
}

/// How far away an endpoint is.
pub fn distance_ns(endpoint: &Endpoint) -> u64 {
    (f64::from(endpoint.way_ms()) * 1e6) as u64
}

/// Whether a copy of what the `asked` have may go to another endpoint, in the region in which the request has to stay.
pub fn has_alternative(
    upstream: &Upstream,
    asked: impl Iterator<Item = u32>,
    only: Option<RegionId>,
    trigger: Trigger,
    now: u64,
) -> bool {
    let knee = upstream.service.figures().knee;
    let asked: Vec<u32> = asked.collect();
    upstream.fleet().iter().any(|endpoint| {
        let is_out = is_out(endpoint, now) || is_elsewhere(endpoint, only);
        !asked.contains(&endpoint.index)
            && !is_out
            && may_have(trigger, endpoint.in_flight(), endpoint.failing(), knee)
    })
}

/// Whether there is an endpoint that this request has not failed at, in the region in which it has to stay.
pub fn has_another(upstream: &Upstream, request: &Exchange) -> bool {
    upstream.fleet().iter().any(|endpoint| is_new_to(endpoint, request))
}

/// Whether there is one that is known to be well: an answer is not given away for one that cannot be reached.
pub fn has_better(upstream: &Upstream, request: &Exchange, answered: u32, now: u64) -> bool {
    upstream
        .fleet()
        .iter()
        .any(|endpoint| endpoint.index != answered && is_new_to(endpoint, request) && !is_out(endpoint, now))
}

fn is_new_to(endpoint: &Endpoint, request: &Exchange) -> bool {
    let has_failed = request.failed.iter().any(|(index, _)| *index == endpoint.index);
    !has_failed && !endpoint.is_drained() && !is_elsewhere(endpoint, request.region)
}

/// Whether something speaks against an endpoint.
pub fn is_out(endpoint: &Endpoint, now: u64) -> bool {
    !endpoint.is_in_service(now) || endpoint.is_suspect(now)
}

fn is_elsewhere(endpoint: &Endpoint, only: Option<RegionId>) -> bool {
    only.is_some() && endpoint.region != only
}

/// The endpoint does not move: nothing is sent there until it gives a sign of life.
pub fn suspect(endpoint: &Endpoint, now: u64) {
    endpoint.suspect(now + SUSPECT_NS);
}
