//! Who may be asked, and who only if there is nobody else. It is one answer for whoever chooses an endpoint and for whoever looks
//! whether there is room at one: a request that was let in is sent to where there was room for it.

use super::Endpoint;
use super::RegionId;
use crate::error::Error;
use std::sync::Arc;
use unlag_record::{Against, LeftOut};

/// The rank of who is only new.
pub const JOINS: u8 = 1;
/// Others of its region have failed this very request.
const LEFT: u8 = 2;
const FULL: u8 = 4;
const EJECTED: u8 = 8;
/// At its limit, and nothing leaves it.
const STUCK: u8 = 16;
/// Ejected, and not to be reached.
const GONE: u8 = 32;
const UNHEALTHY: u8 = 64;
const FAILED_IT: u8 = 128;

/// So many endpoints of a region that fail a request are no chance: who is tried last is of another, if there is one.
const REGION_FAILED: usize = 2;

/// What is asked for: who has failed this very request, in which region it has to stay, whose turn it is, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Endpoints that have failed it, and how.
    pub failed: &'a [(u32, Error)],
    /// The only region that may be asked.
    pub only: Option<RegionId>,
    /// Decides between equals.
    pub turn: u32,
    /// The present.
    pub now: u64,
}

/// An endpoint of a higher rank is not asked while there is one of a lower. The highest have refused this very request; then come
/// those that do not pass their health check, then those that cannot be reached, then those at their limit that do not move, then
/// ejected ones, unless more than half are ejected (then the signal is not about those that can be reached), then those at their
/// limit, then those of a region of which two have failed this request, then those that join and have no connections yet or, where
/// loads are not compared, as much as they may have so soon. What an operator has drained is not asked at all.
pub struct Ranking<'a> {
    fleet: &'a [Arc<Endpoint>],
    ask: Ask<'a>,
    /// Whether loads are compared, in which it counts to have as much as one may have so soon.
    by_load: bool,
    /// Counted only where somebody is ejected.
    are_most_ejected: Option<bool>,
    /// The region that is left; looked for only where somebody has failed the request.
    left: Option<Option<RegionId>>,
    /// How many it was asked about, and what spoke against them.
    pub looked: Looked,
}

/// Who was looked at for a choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    /// How many.
    pub compared: u16,
    /// Of those, who had something against them.
    pub left_out: LeftOut,
}

impl<'a> Ranking<'a> {
    /// Of these endpoints.
    pub fn new(fleet: &'a [Arc<Endpoint>], ask: Ask<'a>) -> Ranking<'a> {
        Ranking { fleet, ask, by_load: false, are_most_ejected: None, left: None, looked: Looked::default() }
    }

    /// Of these, of which one is chosen by its load.
    pub fn by_load(fleet: &'a [Arc<Endpoint>], ask: Ask<'a>) -> Ranking<'a> {
        Ranking { by_load: true, ..Ranking::new(fleet, ask) }
    }

    /// The rank of one of them; none if it is not to be asked.
    #[inline]
    pub fn of(&mut self, endpoint: &Endpoint) -> Option<u8> {
        let Ask { failed, only, now, .. } = self.ask;
        self.looked.compared = self.looked.compared.saturating_add(1);
        if only.is_some() && endpoint.region != only {
            self.looked.left_out.count(Against::Elsewhere);
            return None;
        }
        if failed.is_empty() && endpoint.is_as_ever() {
            return Some(0);
        }
        if endpoint.is_drained() {
            let is_pinned = endpoint.is_left_out();
            self.looked.left_out.count(if is_pinned { Against::NotPinned } else { Against::Drained });
            return None;
        }
        // Who cannot be reached serves nobody, however many others fail as well; but somebody looks whether it is back.
        let contact = &endpoint.gauge.contact;
        let cannot_be_reached =
            || contact.is_lost() && !(contact.is_due(now) && endpoint.silence_ns(now) == 0);
        let is_ejected = endpoint.is_ejected(now);
        let is_gone = is_ejected && cannot_be_reached();
        let is_ejected = is_ejected
            && !is_gone
            && !*self.are_most_ejected.get_or_insert_with(|| are_most_ejected(self.fleet, now));
        let is_left = endpoint.region.is_some()
            && endpoint.region == *self.left.get_or_insert_with(|| left(self.fleet, failed));
        let has_failed = failed.iter().any(|(index, _)| *index == endpoint.index);
        let is_full = endpoint.gauge.is_full(endpoint.in_flight());
        let joins = endpoint.is_cold(now) || !self.by_load && endpoint.has_its_fill();
        let rank = u8::from(has_failed) * FAILED_IT
            + u8::from(endpoint.is_unhealthy()) * UNHEALTHY
            + u8::from(is_gone) * GONE
            + u8::from(is_full && endpoint.is_suspect(now)) * STUCK
            + u8::from(is_ejected) * EJECTED
            + u8::from(is_full) * FULL
            + u8::from(is_left) * LEFT
            + u8::from(joins) * JOINS;
        if let Some(against) = against(rank) {
            self.looked.left_out.count(against);
        }
        Some(rank)
    }
}

/// The gravest that speaks against an endpoint of a rank.
pub fn against(rank: u8) -> Option<Against> {
    match rank {
        FAILED_IT.. => Some(Against::FailedIt),
        UNHEALTHY.. => Some(Against::Unhealthy),
        GONE.. => Some(Against::Ejected),
        STUCK.. => Some(Against::Suspect),
        EJECTED.. => Some(Against::Ejected),
        FULL.. => Some(Against::Full),
        LEFT.. => Some(Against::RegionFailed),
        JOINS => Some(Against::Joining),
        0 => None,
    }
}

/// Those that may be asked, each with its grade: what speaks against it apart from how much it has to do. Of those of the lowest
/// one is asked. A place at an endpoint that does not move is none while others move.
pub fn graded<'a>(fleet: &'a [Arc<Endpoint>], ask: Ask<'a>) -> impl Iterator<Item = (u8, &'a Arc<Endpoint>)> {
    let mut ranking = Ranking::by_load(fleet, ask);
    fleet.iter().filter_map(move |endpoint| {
        let grade = ranking.of(endpoint)? / EJECTED;
        Some((grade.max(u8::from(endpoint.is_suspect(ask.now))), endpoint))
    })
}

/// Whether there is room for one more than was `promised`, at those of which one is asked. Where nobody may be, nobody waits for it.
pub fn has_room(fleet: &[Arc<Endpoint>], ask: Ask<'_>, promised: u32) -> bool {
    let (mut lowest, mut free) = (u8::MAX, 0u32);
    for (grade, endpoint) in graded(fleet, ask) {
        if grade < lowest {
            (lowest, free) = (grade, 0);
        }
        if grade == lowest {
            let place = endpoint.gauge.free(endpoint.in_flight());
            // Who was ejected is asked by one request, which looks whether it is well.
            let is_looked_at = endpoint.is_to_be_looked_at(ask.now);
            free = free.saturating_add(if is_looked_at { place.min(1) } else { place });
        }
        if grade == 0 && free > promised {
            return true;
        }
    }
    lowest == u8::MAX || free > promised
}

/// The region of which several have failed a request. Who only had too much to do has not.
fn left(fleet: &[Arc<Endpoint>], failed: &[(u32, Error)]) -> Option<RegionId> {
    if failed.len() < REGION_FAILED {
        return None;
    }
    let have_failed = fleet.iter().filter(|endpoint| {
        failed.iter().any(|(index, error)| *index == endpoint.index && *error != Error::RefusedStream)
    });
    let regions: Vec<RegionId> = have_failed.filter_map(|endpoint| endpoint.region).collect();
    let failed_in = |region: &RegionId| regions.iter().filter(|other| *other == region).count();
    regions.iter().find(|region| failed_in(region) >= REGION_FAILED).copied()
}

fn are_most_ejected(fleet: &[Arc<Endpoint>], now: u64) -> bool {
    fleet.iter().filter(|endpoint| endpoint.is_ejected(now)).count() * 2 > fleet.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::endpoint;
    use unlag_config::Limit;

    const SECOND: u64 = 1_000_000_000;

    /// Two endpoints that take one request at a time, of which the first has one.
    fn one_busy_of_two() -> ([Arc<Endpoint>; 2], super::super::InFlight) {
        let fleet = [endpoint(0), endpoint(1)];
        fleet.iter().for_each(|endpoint| endpoint.set_limit(Limit::Fixed(1)));
        let busy = fleet[0].begin(1);
        (fleet, busy)
    }

    fn in_region((region, index): (Option<u16>, u32)) -> Arc<Endpoint> {
        let mut endpoint = endpoint(index);
        Arc::get_mut(&mut endpoint).unwrap().region = region.map(RegionId);
        endpoint
    }

    fn at(now: u64) -> Ask<'static> {
        Ask { now, ..Ask::default() }
    }

    /// Whether the first endpoint would be asked rather than the second.
    fn prefers_the_first(fleet: &[Arc<Endpoint>; 2], ask: Ask<'_>) -> bool {
        let mut ranking = Ranking::by_load(fleet, ask);
        ranking.of(&fleet[0]) < ranking.of(&fleet[1])
    }

    #[test]
    fn a_place_at_an_endpoint_that_does_not_move_is_no_room_while_another_moves() {
        let (fleet, busy) = one_busy_of_two();
        assert!(has_room(&fleet, at(2), 0), "the other is free");
        assert!(!has_room(&fleet, at(2), 1), "and promised");
        fleet[1].suspect(100);
        assert!(!has_room(&fleet, at(2), 0), "it would be for nothing");
        fleet[0].suspect(100);
        drop(busy);
        assert!(has_room(&fleet, at(2), 1), "nobody moves: somebody is asked all the same");
    }

    #[test]
    fn an_ejected_endpoint_with_room_is_asked_before_one_that_is_full_and_silent() {
        let (fleet, _busy) = one_busy_of_two();
        (0..5).for_each(|n| fleet[1].failed("reset", n, n + 1));
        assert!(fleet[1].is_ejected(6));
        assert!(prefers_the_first(&fleet, at(6)) && !has_room(&fleet, at(6), 0), "a place will be free");
        fleet[0].suspect(100);
        assert!(!prefers_the_first(&fleet, at(6)) && has_room(&fleet, at(6), 0), "none will");
        (0..5).for_each(|_| _ = fleet[1].gauge.contact.failed(0, 6));
        assert!(prefers_the_first(&fleet, at(7)) && !has_room(&fleet, at(7), 0), "that one is not there");
    }

    #[test]
    fn who_was_ejected_has_room_for_one_request_which_looks_whether_it_is_well() {
        let fleet = [endpoint(0)];
        fleet[0].set_limit(Limit::Fixed(10));
        (0..5).for_each(|n| fleet[0].failed("reset", n, n + 1));
        let later = 60 * SECOND;
        assert!(fleet[0].is_to_be_looked_at(later));
        assert!(has_room(&fleet, at(later), 0) && !has_room(&fleet, at(later), 1));
    }

    #[test]
    fn what_has_failed_a_request_has_no_room_for_it_while_others_have_not() {
        let (fleet, _busy) = one_busy_of_two();
        let failed = [(fleet[1].index, Error::ResetEarly)];
        assert!(!has_room(&fleet, Ask { failed: &failed, ..at(2) }, 0));
        let failed = [(fleet[0].index, Error::ResetEarly)];
        assert!(has_room(&fleet, Ask { failed: &failed, ..at(2) }, 0));
    }

    #[test]
    fn a_region_of_which_two_have_failed_a_request_is_asked_after_the_others_and_before_those_that_failed_it()
    {
        let fleet: Vec<_> =
            [Some(0), Some(0), Some(0), Some(1), None].into_iter().zip(0..).map(in_region).collect();
        let ranks = |failed: &[(u32, Error)]| {
            let mut ranking = Ranking::by_load(&fleet, Ask { failed, ..at(2) });
            fleet.iter().map(|endpoint| ranking.of(endpoint).unwrap()).collect::<Vec<_>>()
        };
        let refused = |index| (index, Error::ConnectRefused);
        assert_eq!(ranks(&[refused(0)]), [FAILED_IT, 0, 0, 0, 0], "one may be the only one");
        let failed_it = FAILED_IT + LEFT;
        assert_eq!(ranks(&[refused(0), refused(1)]), [failed_it, failed_it, LEFT, 0, 0]);
        assert_eq!(ranks(&[refused(0), refused(3)]), [FAILED_IT, 0, 0, FAILED_IT, 0], "of two regions");
        assert_eq!(ranks(&[refused(0), (1, Error::RefusedStream)]), [FAILED_IT, FAILED_IT, 0, 0, 0], "busy");
        assert!(LEFT > JOINS && LEFT < FULL && against(LEFT) == Some(Against::RegionFailed));
    }
}
