//! What is known of endpoints.

use super::health::{FAILURES_TO_EJECT, ejection};
use super::{Service, curve::Curve};
use crate::plan::tests::endpoint;
use std::sync::Arc;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

#[test]
fn the_time_that_an_endpoint_takes_follows_its_answers() {
    let (fleet, service) = ([endpoint(1)], Service::default());
    let wait = || fleet[0].status(0).wait_ns.unwrap_or_default();
    let observe = |wait_ns| {
        service.observe(&fleet, &fleet[0].begin(1), wait_ns, true, wait_ns);
        fleet[0].succeeded(wait_ns);
    };
    assert_eq!(wait(), 0, "not asked yet");
    observe(1_600);
    assert_eq!(wait(), 1_600, "the first is all that is known");
    (0..256).for_each(|_| observe(16_000));
    assert!((15_000..=16_000).contains(&wait()), "{}", wait());
}

#[test]
fn ejections_double_up_to_five_minutes() {
    assert_eq!(ejection(0), Duration::from_secs(5));
    assert_eq!(ejection(2), Duration::from_secs(20));
    assert_eq!(ejection(40), Duration::from_secs(300));
}

#[test]
fn after_an_ejection_one_request_at_a_time_looks_whether_the_endpoint_is_well() {
    let one = endpoint(0);
    (0..5).for_each(|_| one.failed("connect_refused", SECOND, SECOND));
    assert!(one.is_ejected(2 * SECOND));
    let later = 8 * SECOND;
    assert!(!one.is_ejected(later));
    let looks = one.begin(later);
    assert!(one.is_ejected(later), "another request looks already");
    drop(looks);
    one.failed("connect_refused", later, later);
    assert!(one.is_ejected(later + 7 * SECOND), "once is enough now, and it takes longer");
    let last = later + 13 * SECOND;
    assert!(!one.is_ejected(last));
    one.succeeded(last);
    let _busy = one.begin(last);
    assert!(!one.is_ejected(last), "it is as before");
}

#[test]
fn an_answer_that_says_an_error_ends_an_ejection_and_is_held_against_the_endpoint() {
    let one = endpoint(0);
    (0..5).for_each(|_| one.failed("connect_refused", SECOND, SECOND));
    let (failing, later) = (one.failing(), 8 * SECOND);
    one.answered_badly(2 * SECOND);
    assert!(one.is_ejected(3 * SECOND), "it had been asked before");
    one.answered_badly(later);
    let _busy = one.begin(later);
    assert!(!one.is_ejected(later) && one.is_joining() && one.failing() > failing);
}

#[test]
fn an_answer_of_before_an_ejection_does_not_end_it() {
    let one = endpoint(0);
    (0..5).for_each(|_| one.failed("connect_refused", SECOND, SECOND));
    one.succeeded(2 * SECOND);
    assert!(one.is_ejected(3 * SECOND));
}

#[test]
fn the_knee_is_found_where_answers_begin_to_take_longer() {
    for knee in [1u32, 4, 8, 32] {
        let mut curve = Curve::default();
        for nth in 0..6_000u32 {
            let before = nth * 7 % (knee * 3);
            let wait_ms = 5.0 * ((before + 1) as f32 / knee as f32).max(1.0) * (0.8 + (nth % 5) as f32 * 0.1);
            curve.learn(before as f32, wait_ms);
        }
        assert_eq!(curve.knee(), knee as f32);
        assert!((4.5..5.5).contains(&curve.unit_ms()), "{}", curve.unit_ms());
    }
}

#[test]
fn one_request_is_left_with_an_endpoint_that_does_not_move_until_it_does() {
    let endpoint = endpoint(1);
    assert!(endpoint.vigil(1).is_none(), "it is not known not to move");
    endpoint.suspect(SECOND);
    let vigil = endpoint.vigil(2).unwrap();
    assert!(endpoint.vigil(3).is_none(), "one is enough");
    assert_eq!((endpoint.in_flight(), endpoint.silence_ns(5)), (1, 5), "that one is waited for");
    assert!(vigil.is_needed(6) && !vigil.is_needed(SECOND), "nothing is left out for ever");
    drop(vigil);
    assert!(endpoint.is_suspect(6) && endpoint.in_flight() == 0, "it ended without an answer");
    endpoint.vigil(7).unwrap().answered(8);
    assert!(!endpoint.is_suspect(9), "it moves");
}

#[test]
fn what_stood_still_for_longer_than_a_collector_pauses_gets_its_share_back_slowly() {
    for (silent_ns, is_slow) in [(SECOND / 2, false), (3 * SECOND, true)] {
        let one = endpoint(1);
        drop(one.begin(SECOND));
        one.suspect(SECOND + 1);
        let _asked_again = one.begin(SECOND + silent_ns / 2);
        let now = SECOND + silent_ns;
        assert_eq!(one.silence_ns(now), silent_ns, "it has not moved since");
        one.progressed(now);
        one.succeeded(now);
        assert_eq!(one.has_its_fill(), is_slow, "one request is all that it may have at first");
    }
}

#[test]
fn what_fails_as_often_as_its_peers_is_not_left_out_and_what_fails_more_is() {
    let one = endpoint(0);
    let others = [endpoint(1), endpoint(2)];
    let fleet = [Arc::clone(&one), Arc::clone(&others[0]), Arc::clone(&others[1])];
    // Six of ten: five in a row come often.
    for nth in 0..1_000u64 {
        fleet.iter().for_each(|endpoint| match (nth + u64::from(endpoint.index) * 7) % 20 {
            0..12 => endpoint.refused(&fleet, SECOND, SECOND),
            _ => endpoint.succeeded(SECOND),
        });
    }
    assert!(fleet.iter().all(|endpoint| !endpoint.is_ejected(SECOND + 1)));
    (0..100).for_each(|_| others.iter().for_each(|endpoint| endpoint.succeeded(2 * SECOND)));
    (0..FAILURES_TO_EJECT).for_each(|_| one.refused(&fleet, 2 * SECOND, 2 * SECOND));
    assert!(one.is_ejected(2 * SECOND + 1), "the others are well");
}

#[test]
fn what_was_sent_before_an_ejection_and_fails_after_it_does_not_eject_again() {
    let one = endpoint(0);
    (0..FAILURES_TO_EJECT).for_each(|_| one.failed("silent", SECOND, SECOND));
    let later = 8 * SECOND;
    assert!(!one.is_ejected(later));
    one.failed("answer_timeout", 2 * SECOND, later);
    assert!(!one.is_ejected(later), "it did not look");
    one.failed("answer_timeout", later, later + SECOND);
    assert!(one.is_ejected(later + SECOND));
}

#[test]
fn what_was_silent_long_ago_is_asked_as_if_it_had_not_been() {
    let one = endpoint(1);
    drop(one.begin(SECOND));
    one.suspect(SECOND + 1);
    let later = 60 * SECOND;
    assert!(!one.is_mistrusted(later));
    let _asked = one.begin(later);
    assert_eq!(one.silence_ns(later), 0, "nobody waited meanwhile");
    one.progressed(later + 20_000_000);
    assert!(!one.is_joining(), "it answered at once");
}

#[test]
fn nobody_joins_for_ever_and_who_is_alone_or_comes_back_with_most_has_its_share_at_once() {
    let (service, fleet) = (Service::default(), [endpoint(0), endpoint(1), endpoint(2)]);
    service.set_slow_start(10 * SECOND);
    let goes_and_comes = |endpoint: &Arc<crate::fleet::Endpoint>, now| {
        endpoint.set_healthy(false, now);
        endpoint.set_healthy(true, now);
    };
    let joining = |fleet: &[Arc<crate::fleet::Endpoint>], now| {
        service.sweep(fleet, now);
        fleet.iter().filter(|endpoint| endpoint.is_joining()).count()
    };
    goes_and_comes(&fleet[0], SECOND);
    assert_eq!((joining(&fleet, 2 * SECOND), joining(&fleet, 12 * SECOND)), (1, 0));
    fleet[..2].iter().for_each(|endpoint| goes_and_comes(endpoint, 20 * SECOND));
    assert_eq!(joining(&fleet, 21 * SECOND), 0, "most of them");
    goes_and_comes(&fleet[0], 30 * SECOND);
    assert_eq!(joining(&fleet[..1], 31 * SECOND), 0, "there is no other");
    fleet[1..].iter().for_each(|endpoint| endpoint.joins(40 * SECOND));
    assert_eq!(
        joining(&fleet, 45 * SECOND),
        2,
        "who is new starts slowly: the others have done the work so far"
    );
}
