//! What an endpoint costs, learned from answers as the stage learns: the clock is a number.

use super::{fleet, unknown};
use crate::fleet::ranking::Ask;
use crate::fleet::{Endpoint, InFlight, Service};
use crate::techniques::balance::policy::{least_requests, pick, round_robin};
use std::sync::Arc;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn ask<'a>(turn: u32, now: u64) -> Ask<'a> {
    Ask { turn, now, ..Ask::default() }
}

/// Requests one after the other, each answered after what `wait_ms` says for its endpoint; returns how many each endpoint got.
fn serve(
    fleet: &[Arc<Endpoint>],
    service: &Service,
    count: u32,
    now: &mut u64,
    wait_ms: impl Fn(u32, u64) -> u64,
) -> Vec<u32> {
    let mut got = vec![0; fleet.len()];
    for turn in 0..count {
        let chosen = pick(fleet, &service.figures(), &ask(turn, *now)).expect("somebody").endpoint;
        // Work of five sizes, as work is.
        let size = xxhash_rust::xxh3::xxh3_64(&turn.to_le_bytes()) % 5 + 1;
        answer(fleet, service, chosen.begin(*now), wait_ms(chosen.index, size), now);
        got[chosen.index as usize] += 1;
    }
    got
}

fn answer(fleet: &[Arc<Endpoint>], service: &Service, mut request: InFlight, wait_ms: u64, now: &mut u64) {
    *now += wait_ms * MS;
    request.answered();
    request.endpoint().succeeded(*now);
    service.observe(fleet, &request, wait_ms * MS, true, *now);
}

#[test]
fn a_slower_endpoint_is_left_for_its_peers_once_that_is_certain_and_tried_again_later() {
    let (fleet, service, mut now) = (fleet(3), Service::default(), SECOND);
    let slow = |index, size| if index == 0 { size * 20 } else { size * 3 };
    serve(&fleet, &service, 300, &mut now, slow);
    let got = serve(&fleet, &service, 200, &mut now, slow);
    assert!(got[0] <= 2, "{got:?}");
    now += 60 * SECOND;
    let got = serve(&fleet, &service, 60, &mut now, |_, size| size * 3);
    assert!(got[0] > 0, "what no answer confirms fades: {got:?}");
}

#[test]
fn an_endpoint_that_becomes_slow_all_at_once_is_left_after_a_handful_of_answers_and_found_again() {
    let (fleet, service, mut now) = (fleet(3), Service::default(), SECOND);
    serve(&fleet, &service, 300, &mut now, |_, size| size * 3);
    let got =
        serve(&fleet, &service, 200, &mut now, |index, size| if index == 0 { size * 300 } else { size * 3 });
    assert!(got[0] <= 6, "{got:?}");
    now += 60 * SECOND;
    serve(&fleet, &service, 60, &mut now, |_, size| size * 3);
    let got = serve(&fleet, &service, 60, &mut now, |_, size| size * 3);
    assert!(got[0] >= 15, "it is one of three again: {got:?}");
}

#[test]
fn who_was_left_out_and_is_well_again_has_its_share_at_once_and_no_old_failures() {
    let (fleet, service, mut now) = (fleet(2), Service::default(), SECOND);
    serve(&fleet, &service, 100, &mut now, |_, size| size * 3);
    (0..5).for_each(|_| fleet[0].failed("answered 502, 503 or 504", now, now));
    assert!(fleet[0].failing() > 0.2 && fleet[0].is_ejected(now + SECOND));
    now += 7 * SECOND;
    let got = serve(&fleet, &service, 4, &mut now, |_, size| size * 3);
    assert!(got[0] >= 1, "somebody looks: {got:?}");
    assert_eq!(fleet[0].failing(), 0.0);
}

#[test]
fn of_a_fleet_that_mostly_cannot_be_reached_only_the_rest_is_asked() {
    let fleet = fleet(3);
    for endpoint in &fleet[..2] {
        (0..5).for_each(|_| endpoint.failed("closed_early", SECOND, SECOND));
        (0..5).for_each(|_| _ = endpoint.gauge.contact.failed(0, SECOND));
    }
    for turn in 0..12 {
        let ask = ask(turn, SECOND + 100 * MS);
        assert_eq!(least_requests(&fleet, &ask).expect("somebody").endpoint.index, 2);
        assert_eq!(round_robin(&fleet, &ask).expect("somebody").endpoint.index, 2);
    }
    let later = ask(0, 2 * SECOND);
    let mut found: Vec<u32> = (0..12)
        .map(|turn| round_robin(&fleet, &Ask { turn, ..later }).expect("somebody").endpoint.index)
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [0, 1, 2], "somebody looks whether they are back");
    fleet.iter().for_each(|endpoint| endpoint.gauge.contact.answered());
    let asked =
        (0..12).map(|turn| round_robin(&fleet, &ask(turn, 2 * SECOND)).expect("somebody").endpoint.index);
    assert_eq!(asked.filter(|&index| index < 2).count(), 8, "what they say is about something else");
}

#[test]
fn an_endpoint_that_had_too_much_to_do_is_asked_by_one_at_a_time_once_its_pause_is_over() {
    let (fleet, service, mut now) = (fleet(3), Service::default(), SECOND);
    service.set_slow_start(10 * SECOND);
    serve(&fleet, &service, 100, &mut now, |_, size| size * 3);
    fleet[0].busy(now + SECOND);
    now += 2 * SECOND;
    service.sweep(&fleet, now);
    let under_way: Vec<InFlight> = (0..12)
        .map(|turn| pick(&fleet, &service.figures(), &ask(turn, now)).expect("somebody").endpoint.begin(now))
        .collect();
    let on_it = under_way.iter().filter(|request| request.endpoint().index == 0).count();
    assert_eq!(on_it, 1);
}

#[test]
fn an_endpoint_that_has_too_much_to_do_is_spared_until_its_peers_have_twice_what_they_can() {
    let (fleet, service, mut now) = (fleet(3), Service::default(), SECOND);
    serve(&fleet, &service, 100, &mut now, |_, size| size * 3);
    let knee = service.figures().knee as u32;
    fleet[0].busy(now + SECOND);
    let placed = |count| {
        placed(&fleet, count, now, |ask| {
            pick(&fleet, &service.figures(), ask).expect("somebody").endpoint.begin(now)
        })
    };
    assert_eq!(placed(4 * knee)[0], 0, "a knee of {knee}");
    assert!(placed(8 * knee)[0] > 0, "it is not out of the question");
}

/// On which endpoint so many requests under way are, by a rule that chooses for one after the other.
fn placed(fleet: &[Arc<Endpoint>], count: u32, now: u64, choose: impl Fn(&Ask<'_>) -> InFlight) -> Vec<u32> {
    let under_way: Vec<InFlight> = (0..count).map(|turn| choose(&ask(turn, now))).collect();
    let placed = fleet.iter().map(|endpoint| endpoint.in_flight()).collect();
    drop(under_way);
    placed
}

#[test]
fn who_comes_back_gets_less_than_its_peers_and_nobody_the_load_of_all() {
    let (fleet, service, mut now) = (fleet(5), Service::default(), SECOND);
    service.set_slow_start(10 * SECOND);
    serve(&fleet, &service, 1_000, &mut now, |_, size| size * 3);
    for (back, bound) in [(1, 12), (2, 17), (4, 12)] {
        for endpoint in &fleet[..back] {
            endpoint.set_drained(true, now);
            endpoint.set_drained(false, now);
        }
        now += SECOND / 5;
        service.sweep(&fleet, now);
        let figures = service.figures();
        let by_cost = placed(&fleet, 50, now, |ask| pick(&fleet, &figures, ask).unwrap().endpoint.begin(now));
        let by_count =
            placed(&fleet, 50, now, |ask| least_requests(&fleet, ask).unwrap().endpoint.begin(now));
        for got in [by_cost, by_count] {
            assert!(got.iter().all(|&count| count <= bound), "{back} are back: {got:?}");
            assert_eq!(got[0] < 5, back < 3, "most of them have their share at once: {got:?}");
        }
        now += 20 * SECOND;
        service.sweep(&fleet, now);
    }
}

#[test]
fn endpoints_that_all_fail_alike_share_the_load_and_one_that_fails_more_is_left() {
    let (fleet, service, mut now) = (fleet(5), Service::default(), SECOND);
    let mut ask_of = |usual: u64, worse: u32| {
        let mut got = [0; 5];
        for turn in 0..600u32 {
            now += 10 * MS;
            let endpoint = pick(&fleet, &service.figures(), &ask(turn, now)).expect("somebody").endpoint;
            got[endpoint.index as usize] += 1;
            let drawn = xxhash_rust::xxh3::xxh3_64(&(turn ^ worse << 16).to_le_bytes()) % 100;
            let fails = if endpoint.index == worse { 100 } else { usual };
            if drawn < fails {
                endpoint.answered_badly(now)
            } else {
                endpoint.succeeded(now)
            }
            service.sweep(&fleet, now);
        }
        got
    };
    let alike = ask_of(60, 9);
    assert!(alike.iter().all(|&count| (90..=150).contains(&count)), "{alike:?}");
    let one_worse = ask_of(10, 0);
    assert!(one_worse[0] < 60, "{one_worse:?}");
}

#[test]
fn endpoints_that_are_alike_are_chosen_by_least_requests_whatever_was_learned() {
    let (fleet, service, mut now) = (fleet(5), Service::default(), SECOND);
    serve(&fleet, &service, 2_000, &mut now, |index, size| size * 3 + u64::from(index % 3));
    let _busy: Vec<InFlight> = [0, 0, 1, 2, 2, 4].map(|at: usize| fleet[at].begin(now)).into();
    for turn in 0..20 {
        let own = pick(&fleet, &service.figures(), &ask(turn, now)).expect("somebody").endpoint.index;
        assert_eq!(own, least_requests(&fleet, &ask(turn, now)).expect("somebody").endpoint.index);
    }
}

#[test]
fn an_endpoint_that_answers_errors_at_once_gets_next_to_nothing() {
    let (fleet, service, mut now) = (fleet(5), Service::default(), SECOND);
    let mut to_bad = 0;
    for turn in 0..5_000 {
        let chosen = pick(&fleet, &service.figures(), &ask(turn, now)).expect("somebody").endpoint;
        let mut request = chosen.begin(now);
        now += 2 * MS;
        request.answered();
        if chosen.index == 3 {
            to_bad += 1;
            service.observe(&fleet, &request, MS / 5, false, now);
            chosen.answered_badly(now);
        } else {
            service.observe(&fleet, &request, 20 * MS, true, now);
            chosen.succeeded(now);
        }
    }
    assert!((1..=10).contains(&to_bad), "{to_bad} of 5,000 in ten seconds");
}

#[test]
fn an_endpoint_that_stops_moving_is_left_as_soon_as_its_silence_is_unusual() {
    let (fleet, service, mut now) = (fleet(3), Service::default(), SECOND);
    serve(&fleet, &service, 1_000, &mut now, |_, size| size * 3);
    let gap_ms = service.figures().gap_ms;
    assert!((15.0..18.0).contains(&gap_ms), "{gap_ms}");
    let _waits = fleet[1].begin(now);
    let _others = [fleet[0].begin(now), fleet[2].begin(now)];
    now += (gap_ms * 4.5) as u64 * MS;
    // The others move.
    [0, 2].iter().for_each(|&at: &usize| answer(&fleet, &service, fleet[at].begin(now), 1, &mut now));
    let _crowd = [0, 2].map(|at: usize| [fleet[at].begin(now), fleet[at].begin(now)]);
    assert!(
        (0..9)
            .all(|turn| pick(&fleet, &service.figures(), &ask(turn, now)).expect("one").endpoint.index != 1)
    );
}

#[test]
fn a_far_endpoint_is_asked_only_when_the_crowd_nearby_costs_as_much_as_the_way() {
    let (fleet, service, mut now) = (fleet(4), Service::default(), SECOND);
    let far = |index, size| size * 3 + if index >= 2 { 30 } else { 0 };
    serve(&fleet, &service, 600, &mut now, far);
    let got = serve(&fleet, &service, 300, &mut now, far);
    assert_eq!(got[2] + got[3], 0, "{got:?}");
    assert!((25.0..=30.0).contains(&fleet[2].distance_ms()), "{}", fleet[2].distance_ms());
    let mut crowd = Vec::new();
    while crowd.len() < 60 {
        let chosen =
            pick(&fleet, &service.figures(), &ask(crowd.len() as u32, now)).expect("somebody").endpoint;
        crowd.push(chosen.begin(now));
    }
    let near = fleet[0].in_flight() + fleet[1].in_flight();
    assert!((8..60).contains(&near), "{near} of 60 are near: the rest went on");
}

#[test]
fn what_others_have_in_flight_counts_while_it_is_fresh() {
    let (fleet, service, mut now) = (fleet(2), Service::default(), SECOND);
    serve(&fleet, &service, 100, &mut now, |_, size| size * 3);
    fleet[0].reported(9, 1, now);
    fleet[1].reported(1, 1, now);
    now += 200 * MS;
    service.sweep(&fleet, now);
    let at = |now| {
        (0..4)
            .filter(|&turn| pick(&fleet, &service.figures(), &ask(turn, now)).unwrap().endpoint.index == 0)
            .count()
    };
    assert_eq!(at(now), 2, "two hundred milliseconds old: nothing but what is usual of both");
    fleet[0].reported(9, 1, now);
    assert_eq!(at(now), 0);
}

#[test]
fn what_one_endpoint_says_of_itself_turns_nobody_away_from_the_others() {
    let (fleet, service, mut now) = (fleet(3), Service::default(), SECOND);
    serve(&fleet, &service, 100, &mut now, |_, size| size * 3);
    fleet[0].reported(10_000, 1, now);
    fleet[1].reported(3, 1, now);
    now += 5 * SECOND;
    fleet[2].reported(3, 1, now);
    service.sweep(&fleet, now);
    assert_eq!(service.figures().others, 2.0);
    let liar = |turn| pick(&fleet, &service.figures(), &ask(turn, now)).unwrap().endpoint.index == 0;
    // Of no report so old is anything left: each is taken to have what is usual.
    assert!((0..6).any(liar));
    now += 10 * SECOND;
    service.sweep(&fleet, now);
    assert!(service.figures().others < 0.0, "who says nothing any more is forgotten");
}

#[test]
fn a_new_endpoint_gets_its_share_slowly() {
    let (fleet, service, mut now) = (fleet(3), Service::default(), SECOND);
    service.set_slow_start(10 * SECOND);
    serve(&fleet, &service, 100, &mut now, |_, size| size * 3);
    fleet[2].joins(now);
    let _busy: Vec<InFlight> = (0..6).map(|nth| fleet[nth % 2].begin(now)).collect();
    let share = |mut now: u64| {
        // The others move.
        fleet[..2].iter().for_each(|other| answer(&fleet, &service, other.begin(now), 3, &mut now));
        service.sweep(&fleet, now);
        let mut held: Vec<InFlight> = Vec::new();
        (0..6).for_each(|turn| {
            held.push(pick(&fleet, &service.figures(), &ask(turn, now)).unwrap().endpoint.begin(now));
        });
        fleet[2].in_flight()
    };
    assert_eq!(share(now + SECOND / 2), 0, "connections first");
    assert_eq!(share(now + 2 * SECOND), 1);
    assert!(share(now + 12 * SECOND) >= 4);
}

#[test]
fn two_workers_that_learn_at_once_lose_no_request_from_the_count() {
    let (fleet, service) = (fleet(4), Service::default());
    std::thread::scope(|scope| {
        (0..2u64).for_each(|worker| {
            let (fleet, service) = (&fleet, &service);
            scope.spawn(move || {
                let mut now = SECOND + worker;
                serve(fleet, service, 5_000, &mut now, |_, size| size);
            });
        });
    });
    assert!(fleet.iter().all(|endpoint| endpoint.in_flight() == 0 && endpoint.silence_ns(u64::MAX) == 0));
    assert!(service.answers() > 0);
    assert_eq!(unknown().knee, 4.0);
}
