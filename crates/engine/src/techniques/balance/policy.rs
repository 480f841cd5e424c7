//! The choice of an endpoint, and what counts as its failure.

use crate::error::{Error, Fault};
use crate::fleet::Endpoint;
use std::sync::Arc;

/// So many endpoints that may be asked are compared with each other: a choice costs the same in a large fleet.
const COMPARED_MAX: usize = 32;

/// Who may be asked, and who only if there is nobody else: an endpoint of a higher rank is not asked while there is one of a
/// lower. The highest have refused this very request; then come those that do not pass their health check, then ejected ones,
/// unless more than half are ejected (then the signal is not about them), then those that join and have no connections yet.
pub struct Ranking<'a> {
    fleet: &'a [Arc<Endpoint>],
    failed: &'a [(u32, Error)],
    now: u64,
    /// Counted only where somebody is ejected.
    are_most_ejected: Option<bool>,
}

impl<'a> Ranking<'a> {
    /// Of these endpoints, at `now`, for a request that those in `failed` have refused.
    pub fn new(fleet: &'a [Arc<Endpoint>], failed: &'a [(u32, Error)], now: u64) -> Ranking<'a> {
        Ranking { fleet, failed, now, are_most_ejected: None }
    }

    /// The rank of one of them.
    pub fn of(&mut self, endpoint: &Endpoint) -> u8 {
        let is_ejected = endpoint.is_ejected(self.now)
            && !*self.are_most_ejected.get_or_insert_with(|| are_most_ejected(self.fleet, self.now));
        let refused = u8::from(self.failed.iter().any(|(index, _)| *index == endpoint.index));
        let cold = u8::from(endpoint.is_cold(self.now));
        refused * 8 + u8::from(endpoint.is_unhealthy()) * 4 + u8::from(is_ejected) * 2 + cold
    }
}

/// Picks the endpoint with the fewest requests in flight for its weight, among those that may best be asked. `turn` decides
/// between equals, so that they take turns, as often as they have weight: while nothing is under way, all are equal.
pub fn pick<'a>(
    fleet: &'a [Arc<Endpoint>],
    failed: &[(u32, Error)],
    turn: u32,
    now: u64,
) -> Option<&'a Arc<Endpoint>> {
    let (before, from) = fleet.split_at_checked(first_in_turn(fleet, turn)).unwrap_or_default();
    let mut ranking = Ranking::new(fleet, failed, now);
    let has_less = |a: &Endpoint, b: &Endpoint| {
        u64::from(a.in_flight()) * u64::from(b.weight) < u64::from(b.in_flight()) * u64::from(a.weight)
    };
    let mut best: Option<(u8, &Arc<Endpoint>)> = None;
    let mut compared = 0;
    for endpoint in from.iter().chain(before) {
        let rank = ranking.of(endpoint);
        if best.is_none_or(|(least, known)| rank < least || rank == least && has_less(endpoint, known)) {
            best = Some((rank, endpoint));
        }
        compared += usize::from(rank == 0);
        if compared == COMPARED_MAX {
            break;
        }
    }
    best.map(|(_, endpoint)| endpoint)
}

fn are_most_ejected(fleet: &[Arc<Endpoint>], now: u64) -> bool {
    fleet.iter().filter(|endpoint| endpoint.is_ejected(now)).count() * 2 > fleet.len()
}

/// The position of the endpoint whose turn it is: each has as many turns in a row as its weight.
fn first_in_turn(fleet: &[Arc<Endpoint>], turn: u32) -> usize {
    if fleet.len() > COMPARED_MAX {
        // In a fleet as large, weight decides among those that are compared.
        return turn as usize % fleet.len();
    }
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
