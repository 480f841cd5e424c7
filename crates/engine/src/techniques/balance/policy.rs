//! The choice of an endpoint, and what counts as its failure.

use super::pace::{self, Cost};
use crate::error::{Error, Fault};
use crate::fleet::ranking::{Ask, Looked, Ranking, against};
use crate::fleet::{Endpoint, Figures, RegionId};
use crate::http::{Fields, Name};
use std::sync::Arc;
use unlag_record::{Against, Candidate, Choice, How};

/// Up to so many endpoints are compared with each other, and of more so many that are drawn: four are enough for the shortest
/// queue (Mitzenmacher 2001), eight for finding the few good ones.
const COMPARED_MAX: usize = 16;
const DRAWN: usize = 8;

/// An endpoint that was chosen, and against what.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// The endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// What it costs; nothing where costs were not compared.
    pub cost: Cost,
    /// Its rank.
    pub rank: u8,
    /// The next best, and what it would have cost, where it might have been asked as well.
    pub other: Option<(&'a Arc<Endpoint>, Cost)>,
    /// The best of the nearest region that is well, where there are regions and the chosen one is not of it.
    pub at_home: Option<(&'a Arc<Endpoint>, Cost)>,
    /// Who else was looked at.
    pub looked: Looked,
}

impl<'a> Picked<'a> {
    /// One that was chosen without regard to costs.
    pub fn regardless(endpoint: &'a Arc<Endpoint>, rank: u8, looked: Looked) -> Picked<'a> {
        Picked { endpoint, cost: Cost::default(), rank, other: None, at_home: None, looked }
    }

    /// What is kept of it, of an upstream with so many endpoints.
    pub fn choice(&self, how: How, endpoints: usize, home: Option<RegionId>) -> Choice {
        Choice {
            how,
            despite: against(self.rank),
            endpoints: u16::try_from(endpoints).unwrap_or(u16::MAX),
            compared: self.looked.compared,
            chosen: candidate(self.endpoint, self.cost),
            other: self.other.map(|(other, cost)| candidate(other, cost)),
            left_out: self.looked.left_out,
            region: self.endpoint.region.map(|region| region.0),
            home: home.map(|region| region.0),
        }
    }
}

/// An endpoint as it is at the moment.
fn candidate(endpoint: &Endpoint, cost: Cost) -> Candidate {
    Candidate {
        endpoint: endpoint.record,
        cost,
        in_flight: endpoint.in_flight(),
        failing: endpoint.failing(),
        slower: endpoint.slower(),
    }
}

/// Picks the endpoint where a request costs least, among those that may best be asked. The turn decides between equals: while
/// nothing is under way, all are equal.
pub fn pick<'a>(fleet: &'a [Arc<Endpoint>], figures: &Figures, ask: &Ask<'_>) -> Option<Picked<'a>> {
    let mut ranking = Ranking::by_load(fleet, *ask);
    let mut best = Best::new(figures, ask.now);
    if fleet.len() <= COMPARED_MAX {
        let (before, from) = fleet.split_at_checked(first_in_turn(fleet, ask.turn)).unwrap_or_default();
        for endpoint in from.iter().chain(before) {
            best.consider(ranking.of(endpoint), endpoint);
        }
        return best.picked(ranking.looked);
    }
    for at in draw(fleet.len(), ask.turn) {
        let Some(endpoint) = fleet.get(at) else { continue };
        best.consider(ranking.of(endpoint), endpoint);
    }
    let lacks_home = figures.home.is_some() && best.at_home.is_none();
    if best.rank != Some(0) || lacks_home {
        // None of them is well, or near: of the others somebody may be.
        ranking.looked = Looked::default();
        best = Best::new(figures, ask.now);
        fleet.iter().for_each(|endpoint| best.consider(ranking.of(endpoint), endpoint));
    }
    best.picked(ranking.looked)
}

/// The best so far.
struct Best<'f, 'a> {
    figures: &'f Figures,
    now: u64,
    rank: Option<u8>,
    suspects: u8,
    first: Option<Seen<'a>>,
    second: Option<Seen<'a>>,
    at_home: Option<Seen<'a>>,
}

/// An endpoint, and what it costs: in all, and by what.
#[derive(Clone, Copy)]
struct Seen<'a> {
    total_ms: f32,
    endpoint: &'a Arc<Endpoint>,
    cost: Cost,
}

impl<'f, 'a> Best<'f, 'a> {
    fn new(figures: &'f Figures, now: u64) -> Best<'f, 'a> {
        Best { figures, now, rank: None, suspects: 0, first: None, second: None, at_home: None }
    }

    #[inline]
    fn consider(&mut self, rank: Option<u8>, endpoint: &'a Arc<Endpoint>) {
        let Some(rank) = rank else { return };
        if self.rank.is_some_and(|known| known < rank) {
            return;
        }
        let cost = pace::cost(endpoint, self.figures, self.now);
        if cost.silence_ms >= pace::SUSPECT_MS && against(rank).is_none() {
            self.suspects = self.suspects.saturating_add(1);
        }
        let seen = Seen { total_ms: cost.total_ms(), endpoint, cost };
        let is_less = |known: &Option<Seen<'_>>| known.is_none_or(|known| seen.total_ms < known.total_ms);
        if self.rank != Some(rank) {
            (self.rank, self.first, self.second, self.at_home) = (Some(rank), None, None, None);
        }
        if self.figures.home.is_some() && endpoint.region == self.figures.home && is_less(&self.at_home) {
            self.at_home = Some(seen);
        }
        if is_less(&self.first) {
            self.second = self.first.replace(seen);
        } else if is_less(&self.second) {
            self.second = Some(seen);
        }
    }

    fn picked(self, mut looked: Looked) -> Option<Picked<'a>> {
        (0..self.suspects).for_each(|_| looked.left_out.count(Against::Suspect));
        let Seen { endpoint, cost, .. } = self.first?;
        let [other, at_home] = [self.second, self.at_home].map(|seen| seen.map(|it| (it.endpoint, it.cost)));
        let at_home = at_home.filter(|_| endpoint.region != self.figures.home);
        Some(Picked { endpoint, cost, rank: self.rank?, other, at_home, looked })
    }
}

/// Whether a request may leave the nearest region because it is busy, when `share` of them did lately. A region that does not
/// answer, or answers failures, is not busy but lost, and nobody is held back in it.
pub fn may_leave(home: &Cost, failing: f32, share: f32, share_max: f32) -> bool {
    share < share_max || home.silence_ms > 0.0 || failing > LOST_SHARE
}

/// So many of the last answers fail in a region that is lost.
const LOST_SHARE: f32 = 0.1;

/// The only endpoint that there is: nothing is compared.
pub fn the_only<'a>(fleet: &'a [Arc<Endpoint>], ask: &Ask<'_>) -> Option<Picked<'a>> {
    let mut ranking = Ranking::new(fleet, *ask);
    let endpoint = fleet.first()?;
    let rank = ranking.of(endpoint)?;
    Some(Picked::regardless(endpoint, rank, ranking.looked))
}

/// The endpoint with the fewest requests in flight for its weight, among those that may best be asked.
pub fn least_requests<'a>(fleet: &'a [Arc<Endpoint>], ask: &Ask<'_>) -> Option<Picked<'a>> {
    let of = |endpoint: &Endpoint| endpoint.in_flight() as f32 * endpoint.crowded();
    let has_less = |a: &Endpoint, b: &Endpoint| of(a) * (b.weight() as f32) < of(b) * a.weight() as f32;
    in_turn(fleet, ask, Ranking::by_load(fleet, *ask), has_less)
}

/// The endpoint whose turn it is: each has as many turns as its weight.
pub fn round_robin<'a>(fleet: &'a [Arc<Endpoint>], ask: &Ask<'_>) -> Option<Picked<'a>> {
    in_turn(fleet, ask, Ranking::new(fleet, *ask), |_, _| false)
}

/// The first in turn of the lowest rank that no other has less than.
fn in_turn<'a>(
    fleet: &'a [Arc<Endpoint>],
    ask: &Ask<'_>,
    mut ranking: Ranking<'_>,
    has_less: impl Fn(&Endpoint, &Endpoint) -> bool,
) -> Option<Picked<'a>> {
    let (before, from) = fleet.split_at_checked(first_in_turn(fleet, ask.turn)).unwrap_or_default();
    let mut best: Option<(u8, &Arc<Endpoint>)> = None;
    for endpoint in from.iter().chain(before) {
        let Some(rank) = ranking.of(endpoint) else { continue };
        if best.is_none_or(|(least, known)| rank < least || rank == least && has_less(endpoint, known)) {
            best = Some((rank, endpoint));
        }
    }
    best.map(|(rank, endpoint)| Picked::regardless(endpoint, rank, ranking.looked))
}

/// The position of the endpoint whose turn it is.
fn first_in_turn(fleet: &[Arc<Endpoint>], turn: u32) -> usize {
    let all: u32 = fleet.iter().map(|endpoint| endpoint.weight()).sum();
    if all as usize == fleet.len() {
        return turn as usize % fleet.len().max(1);
    }
    let mut left = turn % all.max(1);
    for (index, endpoint) in fleet.iter().enumerate() {
        match left.checked_sub(endpoint.weight()) {
            Some(less) => left = less,
            None => return index,
        }
    }
    0
}

/// Positions of endpoints to compare, as good as drawn: from one that changes every turn, in steps that do as well and that meet
/// none twice.
fn draw(count: usize, turn: u32) -> impl Iterator<Item = usize> {
    let drawn = (u64::from(turn) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let first = (drawn >> 32) as usize % count;
    let from = (drawn as u32 >> 8) as usize % (count - 1);
    // So many in a row hold one that has no factor in common with any count that there may be.
    let steps = (0..count).map(|nth| 1 + (from + nth) % (count - 1));
    let step = steps.into_iter().find(|step| has_no_common_factor(*step, count)).unwrap_or(1);
    (0..DRAWN).map(move |nth| (first + nth * step) % count)
}

fn has_no_common_factor(mut a: usize, mut b: usize) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

/// What an answer says of the endpoint that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did the work.
    Good,
    /// It has too much to do, for as many seconds as it says.
    Busy(u32),
    /// Something went wrong behind it: a cost, but it is there.
    Bad,
    /// It is the problem, not the request.
    Failed,
}

/// The verdict on an answer, by its status and, of gRPC, by its own.
pub fn judge(status: u16, grpc_status: Option<u8>, retry_after_s: Option<u32>) -> Verdict {
    match (status, grpc_status) {
        (429, _) | (_, Some(8)) => Verdict::Busy(retry_after_s.unwrap_or(1)),
        (502..=504, _) | (_, Some(14)) => Verdict::Failed,
        (501, _) => Verdict::Good,
        (500.., _) => Verdict::Bad,
        // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, DATA_LOSS.
        (_, Some(2 | 4 | 13 | 15)) => Verdict::Bad,
        _ => Verdict::Good,
    }
}

/// How a call of gRPC ended, by the head of an answer without content, or by its trailers.
pub fn grpc_status(fields: &Fields) -> Option<u8> {
    fields.get(Name::GrpcStatus).and_then(number).and_then(|status| u8::try_from(status).ok())
}

/// A whole number that stands for itself.
pub fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Whether an error counts against the endpoint.
pub fn blames_endpoint(error: Error) -> bool {
    error.fault() == Fault::Upstream && error != Error::RefusedStream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_eight_are_compared_and_none_twice() {
        for count in COMPARED_MAX + 1..300 {
            for turn in 0..200 {
                let mut drawn: Vec<usize> = draw(count, turn).collect();
                drawn.sort_unstable();
                drawn.dedup();
                assert_eq!(drawn.len(), DRAWN, "{count} endpoints, turn {turn}");
                assert!(drawn.iter().all(|at| *at < count));
            }
        }
    }

    #[test]
    fn a_region_of_which_a_tenth_fails_is_lost_and_one_that_is_busy_keeps_its_share() {
        let busy = Cost { work_ms: 500.0, failure_ms: 400.0, ..Cost::default() };
        assert!(!may_leave(&busy, 0.05, 0.5, 0.5), "one failure of a slow service");
        assert!(may_leave(&busy, 0.05, 0.4, 0.5), "fewer than may have left");
        assert!(may_leave(&busy, 0.11, 0.5, 0.5), "it fails");
        assert!(may_leave(&Cost { silence_ms: 9.0, ..busy }, 0.0, 0.5, 0.5), "it is silent");
    }
}
