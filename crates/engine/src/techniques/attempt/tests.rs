//! What is tried again, and how often; when a second copy is due, and who pays.

use super::hedge::{Ladder, Sight, again_ns, may_have};
use super::policy::{self, Verdict, after};
use super::purse::{Copies, Floor, Lost, Retries};
use crate::error::Error;
use crate::http::Fields;
use unlag_record::Trigger;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

#[test]
fn what_reached_no_application_is_tried_again_whatever_the_method() {
    for error in [Error::ConnectRefused, Error::ConnectTimeout, Error::RefusedStream, Error::TlsHandshake] {
        assert_eq!(after(error, 1, 2, false), Verdict::TryAgain, "{error:?}");
        assert_eq!(after(error, 2, 2, false), Verdict::TryAgainWithinBudget, "{error:?}");
        assert_eq!(after(error, 3, 2, true), Verdict::GiveUp, "{error:?}");
        assert_eq!(after(error, 1, 0, true), Verdict::GiveUp, "switched off: {error:?}");
    }
}

#[test]
fn what_may_have_been_acted_on_is_only_repeated_when_that_does_no_harm() {
    for error in [Error::ResetEarly, Error::ClosedEarly, Error::StreamReset] {
        assert_eq!(after(error, 1, 2, true), Verdict::TryAgainWithinBudget);
        assert_eq!(after(error, 1, 2, false), Verdict::GiveUp);
    }
    for error in [Error::AnswerTimeout, Error::Truncated, Error::CallerGone, Error::Deadline, Error::Doomed] {
        assert_eq!(after(error, 1, 2, true), Verdict::GiveUp, "{error:?}");
    }
}

#[test]
fn an_answer_says_whether_it_may_be_followed_by_another_attempt() {
    for (name, value, wait) in [
        ("x", "y", Some(0)),
        ("retry-after", "0", Some(0)),
        ("retry-after", "1", Some(SECOND)),
        ("retry-after", "2", None),
        ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("grpc-retry-pushback-ms", "20", Some(20 * MS)),
        ("grpc-retry-pushback-ms", "-1", None),
        ("x-envoy-overloaded", "true", None),
    ] {
        assert_eq!(policy::pushback_ns(&fields(&[(name, value)])), wait, "{name}: {value}");
    }
}

#[test]
fn the_first_retry_goes_at_once_and_the_others_after_a_time_drawn_at_random() {
    assert_eq!(policy::backoff_ns(1, u64::MAX), 0);
    for (made, most) in [(2, 25 * MS), (3, 50 * MS)] {
        let waits: Vec<u64> = (0..1_000).map(|n| policy::backoff_ns(made, n * 7_919_777)).collect();
        assert!(waits.iter().all(|&wait| wait < most));
        assert!(waits.iter().any(|&wait| wait < most / 10) && waits.iter().any(|&wait| wait > most / 10 * 9));
    }
}

#[test]
fn one_proxy_on_the_way_retries() {
    assert!(policy::is_retried_by_another(Some(b"2")));
    for first in [None, Some(&b"1"[..]), Some(b"0"), Some(b"x")] {
        assert!(!policy::is_retried_by_another(first));
    }
}

#[test]
fn an_outage_is_multiplied_by_three_a_second_and_a_weak_service_by_a_tenth_more() {
    let made = |succeeds_one_in: u64| {
        // Of two routes of one service.
        let (mut floor, mut retries) = (Floor::default(), [Retries::new(1), Retries::new(1)]);
        let mut taken = 0;
        for request in 0..60_000u64 {
            let (now, successes) = (request * MS + 1, request / succeeds_one_in / 2);
            let own = &mut retries[request as usize % 2];
            taken += u32::from(own.take(0.1, successes, now) || floor.take(now));
        }
        taken
    };
    assert!((180..=183).contains(&made(u64::MAX)), "{}: 3/s, and one second to begin with", made(u64::MAX));
    let half = made(2);
    assert!((3_150..=3_200).contains(&half), "{half}: a tenth of 30,000 successes more");
}

#[test]
fn copies_cost_a_twentieth_of_the_work_and_half_of_what_is_saved_is_kept_for_stalls() {
    let mut copies = Copies::new(0);
    // A second's work of 2,000 ms each second: 100 ms may be saved.
    for second in 1..=100u64 {
        let _ = copies.pay(Trigger::Stall, 0.05, second * 2_000 * MS, 0, 0, second * SECOND);
    }
    let mut pay = |trigger, age| copies.pay(trigger, 0.05, 200_000 * MS, 10 * MS, age, 100 * SECOND);
    let late = (0..20).filter(|_| pay(Trigger::Quantile, 20 * MS).is_some()).count();
    assert_eq!(late, 2, "20 ms each, and half of 100 ms is left");
    let stalled = (0..20).filter(|_| pay(Trigger::Stall, 20 * MS).is_some()).count();
    assert_eq!(stalled, 6 + 4, "10 ms each, of what is left of 100 ms, and four that are given");
}

#[test]
fn what_a_copy_really_cost_is_settled_and_a_frozen_endpoint_costs_nothing() {
    let mut copies = Copies::new(0);
    let pay = |copies: &mut Copies| copies.pay(Trigger::Stall, 0.05, 0, 10 * MS, 0, 0);
    let paid: Vec<_> = std::iter::from_fn(|| pay(&mut copies)).collect();
    assert_eq!(paid.len(), 4, "a quiet route can send four");
    copies.settle(paid[0], Lost::First(500 * MS));
    assert!(pay(&mut copies).is_none(), "the first was frozen: it had been paid for");
    copies.settle(paid[1], Lost::Copy(0));
    assert!(pay(&mut copies).is_some(), "the copy did nothing: it is paid back");
    copies.settle(paid[2], Lost::Copy(30 * MS));
    copies.settle(paid[3], Lost::Copy(0));
    assert!(pay(&mut copies).is_none(), "one cost three times as much");
}

fn sight() -> Sight {
    Sight {
        sent_ns: SECOND,
        p50_ns: Some(5 * MS),
        rung_ns: Some(40 * MS),
        progress_ns: Some(SECOND),
        gap_ns: 8 * MS,
        distance_ns: MS,
    }
}

#[test]
fn an_endpoint_stalls_when_it_is_silent_for_longer_than_ever_and_the_request_is_not_young() {
    let at = |ms: u64| sight().trigger(SECOND + ms * MS);
    assert_eq!((at(16), at(17)), (None, Some(Trigger::Stall)), "two gaps and the way there");
    assert_eq!(sight().due_ns(), SECOND + 17 * MS);
    let long_silent = Sight { progress_ns: Some(0), ..sight() };
    assert_eq!(long_silent.trigger(SECOND + 4 * MS), None, "half of all take as long");
    assert_eq!(long_silent.trigger(SECOND + 5 * MS), Some(Trigger::Stall));
    let moving = Sight { progress_ns: Some(SECOND + 30 * MS), ..sight() };
    assert_eq!(moving.trigger(SECOND + 39 * MS), None, "somebody else got an answer");
}

#[test]
fn a_request_is_late_by_the_rung_in_use_and_by_none_while_nothing_is_known() {
    let moving = Sight { progress_ns: Some(SECOND + 39 * MS), ..sight() };
    assert_eq!(moving.trigger(SECOND + 40 * MS), Some(Trigger::Quantile));
    let unknown = Sight { p50_ns: None, rung_ns: None, ..sight() };
    assert_eq!((unknown.trigger(u64::MAX - 1), unknown.due_ns()), (None, u64::MAX));
    let waiting = Sight { progress_ns: None, rung_ns: None, ..sight() };
    assert_eq!(waiting.due_ns(), u64::MAX, "nobody has it yet");
}

#[test]
fn a_request_that_can_have_no_copy_is_looked_at_ever_more_rarely() {
    assert_eq!(again_ns(0, Some(5 * MS)), 5 * MS);
    assert_eq!(again_ns(3, Some(5 * MS)), 40 * MS);
    assert_eq!(again_ns(u32::MAX, None), 100 * MS);
    assert_eq!(
        again_ns(9, Some(900 * MS)),
        900 * MS,
        "an answer that takes long is not looked at more often"
    );
}

#[test]
fn copies_go_where_answers_are_good_and_those_of_late_requests_where_there_is_slack() {
    let late = |in_flight, failing, knee| may_have(Trigger::Quantile, in_flight, failing, knee);
    assert!(late(1, 0.0, 4.0) && !late(2, 0.0, 4.0));
    assert!(late(0, 0.0, 1.0), "whoever has nothing to do has slack");
    assert!(!late(0, 0.1, 4.0));
    assert!(may_have(Trigger::Stall, 9, 0.0, 4.0), "what a frozen endpoint has is no further load");
    assert!(!may_have(Trigger::Stall, 0, 0.1, 4.0));
}

#[test]
fn the_rung_follows_how_many_copies_win_and_copies_end_where_none_does() {
    let mut ladder = Ladder::new(3, 7);
    (0..50).for_each(|_| ladder.note(true, 0));
    assert_eq!(ladder.rung(), 2, "many win: more could be won");
    (0..400).for_each(|_| ladder.note(false, SECOND));
    assert_eq!(ladder.rung(), 6, "none wins: the slow ones are slow by nature");
    assert!(ladder.off_until_ns() > SECOND, "and beyond the last rung nothing is copied for a while");
}
