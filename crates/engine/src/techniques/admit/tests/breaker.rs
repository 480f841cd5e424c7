//! Endpoints that are given up, and how somebody looks after them.

use super::super::breaker::{Contact, FAILURES, is_unreachable, pause_ns};
use crate::error::Error;

const MS: u64 = 1_000_000;

fn lost(now: u64) -> Contact {
    let contact = Contact::default();
    for _ in 0..FAILURES {
        contact.failed(0, now);
    }
    contact
}

#[test]
fn failures_in_a_row_give_an_endpoint_up_and_one_answer_takes_it_back() {
    let contact = Contact::default();
    for _ in 1..FAILURES {
        assert!(!contact.failed(0, 0));
    }
    contact.answered();
    (1..FAILURES).for_each(|_| assert!(!contact.failed(0, 0)));
    assert!(!contact.is_lost() && contact.failed(0, 0) && contact.is_lost());
    contact.answered();
    assert!(!contact.is_lost());
}

#[test]
fn one_at_a_time_looks_and_only_after_the_pause() {
    let contact = lost(0);
    assert!(!contact.looks(contact.look_at_ns() - 1));
    let now = contact.look_at_ns();
    assert!(contact.looks(now));
    assert!(!contact.looks(now + 4_999 * MS), "while somebody looks, nobody else does");
    contact.failed(0, now);
    contact.looked();
    assert!(!contact.looks(now), "it came back in vain: the next pause begins");
    assert!(contact.looks(contact.look_at_ns()));
}

#[test]
fn whoever_looks_for_long_keeps_nobody_else_from_looking() {
    let contact = lost(0);
    let now = contact.look_at_ns();
    assert!(contact.looks(now));
    assert!(contact.looks(now + 5_000 * MS), "a slow upload is still on its way");
}

#[test]
fn pauses_double_and_none_is_longer_than_a_second() {
    let contact = lost(0);
    let mut pauses = Vec::new();
    let mut now = 0;
    for _ in 0..8 {
        pauses.push(contact.look_at_ns() - now);
        now = contact.look_at_ns();
        assert!(contact.looks(now));
        contact.failed(0, now);
        contact.looked();
    }
    assert_eq!(&pauses[..4], [200 * MS, 400 * MS, 640 * MS, 640 * MS]);
    assert!(pauses.iter().all(|&pause| pause <= 1_000 * MS));
    assert!((0..100).all(|jitter| (640..=960).contains(&(pause_ns(9, jitter) / MS))));
}

#[test]
fn who_was_lost_with_others_is_looked_at_as_soon_as_one_of_them_is_back() {
    let contact = lost(0);
    assert!(!contact.is_due(MS));
    contact.look_now(MS);
    assert!(contact.is_due(MS) && contact.looks(MS));
    let well = Contact::default();
    well.look_now(MS);
    assert!(!well.is_due(MS), "who is there is not looked for");
}

#[test]
fn what_was_under_way_when_an_endpoint_was_given_up_makes_no_pause_longer() {
    let contact = lost(0);
    let look_at = contact.look_at_ns();
    (0..100).for_each(|_| assert!(contact.failed(0, 10 * MS)));
    assert_eq!(contact.look_at_ns(), look_at);
    assert!(contact.looks(look_at));
    contact.failed(0, look_at);
    assert_eq!(contact.look_at_ns() - look_at, 400 * MS);
}

#[test]
fn a_bad_answer_is_a_sign_of_life_and_a_deadline_of_the_caller_is_no_sign_at_all() {
    for error in [Error::ConnectRefused, Error::ResetEarly, Error::AnswerTimeout, Error::ConnectTimeout] {
        assert!(is_unreachable(error), "{error:?}");
    }
    for error in
        [Error::Deadline, Error::CallerGone, Error::Truncated, Error::StreamReset, Error::BodyTimeout]
    {
        assert!(!is_unreachable(error), "{error:?}");
    }
}
