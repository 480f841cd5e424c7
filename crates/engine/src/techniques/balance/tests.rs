//! Who gets the request.

mod cost;
mod hash;

use super::policy::pick;
use crate::error::Error;
use crate::fleet::ranking::Ask;
use crate::fleet::{Endpoint, Figures, Service};
use std::sync::Arc;
use unlag_record::{Against, How};

fn fleet(count: u32) -> Vec<Arc<Endpoint>> {
    (0..count).map(crate::plan::tests::endpoint).collect()
}

fn unknown() -> Figures {
    Service::default().figures()
}

fn picked(fleet: &[Arc<Endpoint>], failed: &[(u32, Error)], turn: u32) -> u32 {
    pick(fleet, &unknown(), &Ask { failed, turn, now: 1, only: None }).expect("somebody").endpoint.index
}

#[test]
fn the_endpoint_with_the_fewest_requests_in_flight_is_picked() {
    let fleet = fleet(3);
    let _busy = [fleet[0].begin(1), fleet[2].begin(1)];
    for turn in 0..6 {
        assert_eq!(picked(&fleet, &[], turn), 1);
    }
}

#[test]
fn equals_take_turns() {
    let fleet = fleet(3);
    let order: Vec<u32> = (0..6).map(|turn| picked(&fleet, &[], turn)).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn while_nothing_is_under_way_turns_go_by_weight() {
    let fleet = [crate::plan::tests::weighing(0, 3), crate::plan::tests::weighing(1, 1)];
    let order: Vec<u32> = (0..8).map(|turn| picked(&fleet, &[], turn)).collect();
    assert_eq!(order, [0, 0, 0, 1, 0, 0, 0, 1]);
}

#[test]
fn a_request_goes_back_to_an_endpoint_that_failed_it_only_when_there_is_no_other() {
    let two = fleet(2);
    assert_eq!(picked(&two, &[(0, Error::ConnectRefused)], 0), 1);
    let one = fleet(1);
    assert_eq!(picked(&one, &[(0, Error::ConnectRefused)], 0), 0);
}

#[test]
fn five_failures_in_a_row_eject_but_never_the_last_endpoint() {
    let fleet = fleet(2);
    (0..5).for_each(|_| fleet[0].failed("connect_refused", 1, 1));
    assert!((0..4).all(|turn| picked(&fleet, &[], turn) == 1));
    (0..5).for_each(|_| fleet[1].failed("connect_refused", 1, 1));
    // Both are out: more than half, so the signal is not about them, and both are used.
    let seen: Vec<u32> = (0..2).map(|turn| picked(&fleet, &[], turn)).collect();
    assert_eq!(seen, [0, 1]);
    // Ejections end.
    assert!(!fleet[0].is_ejected(10_000_000_000));
}

#[test]
fn in_a_large_fleet_nobody_who_may_not_be_asked_is_picked_while_another_may() {
    let fleet = fleet(60);
    fleet[..40].iter().for_each(|endpoint| endpoint.set_healthy(false, 0));
    let failed: Vec<(u32, Error)> = (40..59).map(|index| (index, Error::ConnectRefused)).collect();
    for turn in 0..120 {
        assert!(picked(&fleet, &[], turn) >= 40, "turn {turn}");
        assert_eq!(picked(&fleet, &failed, turn), 59, "turn {turn}");
    }
    let seen: std::collections::HashSet<u32> = (0..120).map(|turn| picked(&fleet, &[], turn)).collect();
    assert_eq!(seen.len(), 20, "all of those take turns");
}

#[test]
fn nobody_is_picked_from_nobody() {
    assert!(pick(&[], &unknown(), &Ask::default()).is_none());
}

#[test]
fn a_choice_says_who_was_left_out_why_and_what_the_next_best_would_have_cost() {
    let fleet = fleet(5);
    fleet[1].set_healthy(false, 0);
    fleet[2].set_drained(true, 0);
    (0..5).for_each(|_| fleet[3].failed("connect_refused", 1, 1));
    let _busy = fleet[4].begin(1);
    let picked = pick(&fleet, &unknown(), &Ask { now: 1, ..Ask::default() }).expect("somebody");
    let choice = picked.choice(How::Adaptive, fleet.len(), None);
    assert_eq!((choice.despite, choice.endpoints, choice.compared), (None, 5, 5));
    let left_out: Vec<_> = choice.left_out.each().collect();
    assert_eq!(left_out, [(Against::Drained, 1), (Against::Unhealthy, 1), (Against::Ejected, 1)]);
    let other = choice.other.expect("another is well");
    assert_eq!((other.endpoint, other.in_flight), (fleet[4].record, 1));
    assert!(other.cost.work_ms > choice.chosen.cost.work_ms, "{choice:?}");
    let only = [(0, Error::ConnectRefused), (4, Error::ConnectRefused)];
    let picked = pick(&fleet[..1], &unknown(), &Ask { failed: &only, now: 1, ..Ask::default() });
    let choice = picked.expect("somebody").choice(How::OnlyOne, 1, None);
    assert_eq!(choice.despite, Some(Against::FailedIt), "it is asked all the same");
}
