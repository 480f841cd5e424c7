//! What is said of which decision.

use super::*;
use crate::explain::ahead::tests::{endpoint, upstream};
use crate::plane::{AttemptsStatus, EndpointState, EndpointStatus, RouteRules};
use unlag_record::{Before, CacheUse, Cost, LeftOut, Outcome, Phase, Protocol, RequestId, Timeline, Why};

type Chosen = Choice<String, String>;

fn recent(why: Why<String, String>) -> Recent {
    let mut timeline = Timeline::start(0);
    timeline.enter(Phase::Queue, 0);
    timeline.enter(Phase::Wait, 50_000_000);
    timeline.finish(80_000_000);
    Recent {
        id: RequestId(1),
        request_id: "one".into(),
        route: "product".into(),
        upstream: Some("catalog".into()),
        endpoint: Some("10.0.0.12:8000".into()),
        status: 200,
        outcome: Outcome::Ok,
        cause: None,
        cache: None::<CacheUse>,
        hedge: None,
        held_out: Vec::new(),
        why,
        method: "GET".into(),
        target: "/product/7".into(),
        target_cut: false,
        protocol: Protocol::Http11,
        caller: None,
        bytes_in: 0,
        bytes_out: 10,
        attempts: 1,
        reused: true,
        started_unix_ms: 1_790_000_000_000,
        timeline,
    }
}

fn nothing() -> Why<String, String> {
    Why { choice: None, before: None, placed: None, late: None, refusal: None, retry_after_s: None }
}

fn candidate(last: u8, cost: Cost, in_flight: u32) -> Candidate<String> {
    Candidate { endpoint: format!("10.0.0.{last}:8000"), cost, in_flight, failing: 0.0, slower: 1.0 }
}

fn work(work_ms: f32) -> Cost {
    Cost { work_ms, ..Cost::default() }
}

fn chosen(how: How) -> Chosen {
    Choice {
        how,
        despite: None,
        endpoints: 5,
        compared: 5,
        chosen: candidate(12, work(8.1), 3),
        other: None,
        left_out: LeftOut::default(),
        region: None,
        home: None,
    }
}

/// What is said about one decision of a request.
fn said(recent: &Recent, about: &str, setting: &Setting<'_>) -> String {
    let all = reasons(recent, setting);
    all.into_iter().find(|reason| reason.about == about).map(|reason| reason.text).unwrap_or_default()
}

fn of_choice(choice: Chosen, about: &str) -> String {
    said(&recent(Why { choice: Some(choice), ..nothing() }), about, &Setting::default())
}

#[test]
fn the_cheapest_is_named_with_what_the_next_would_have_cost_and_why() {
    let failing = Cost { work_ms: 8.0, failure_ms: 204.0, ..Cost::default() };
    let other = Candidate { failing: 0.05, slower: 1.0, ..candidate(13, failing, 2) };
    let text = of_choice(Choice { other: Some(other), ..chosen(How::Adaptive) }, "endpoint");
    assert_eq!(
        text,
        "10.0.0.12:8000 was asked of 5 endpoints: it cost 8.10 ms (work 8.10 ms; 3 in flight); next best was 10.0.0.13:8000 at \
         212 ms (work 8.00 ms; failures 204 ms: 5 % of its answers failed lately; 2 in flight)."
    );
}

#[test]
fn a_slow_one_and_a_silent_one_are_said_to_be() {
    let slow = Candidate { slower: 3.04, ..candidate(13, work(24.3), 0) };
    let text = of_choice(Choice { other: Some(slow), ..chosen(How::Adaptive) }, "endpoint");
    assert!(text.contains("24.3 ms (work 24.3 ms, 3.0 times slower than its peers; 0 in flight)"), "{text}");
    let silent = candidate(13, Cost { silence_ms: 100_038.0, ..work(8.0) }, 4);
    let text = of_choice(Choice { other: Some(silent), ..chosen(How::Adaptive) }, "endpoint");
    assert!(text.contains("10.0.0.13:8000 at a price that nobody pays: it gives no sign of life"), "{text}");
}

#[test]
fn of_equals_each_has_its_turn() {
    let other = Some(candidate(13, work(8.1), 3));
    let text = of_choice(Choice { other, ..chosen(How::Adaptive) }, "endpoint");
    let same = "; 10.0.0.13:8000 would have cost the same, and of equals each has its turn.";
    assert!(text.ends_with(same), "{text}");
}

#[test]
fn who_was_left_out_is_counted_by_what_was_against_them() {
    let mut left_out = LeftOut::default();
    for against in [Against::Ejected, Against::Drained, Against::Ejected] {
        left_out.count(against);
    }
    let text = of_choice(Choice { left_out, ..chosen(How::LeastRequest) }, "endpoint");
    assert_eq!(
        text,
        "10.0.0.12:8000 was asked: of 5 endpoints it had the fewest in flight, 3 requests. Of the others, 1 was taken out by an \
         operator, 2 were ejected after failures in a row."
    );
    let despite = Some(Against::Ejected);
    let text = of_choice(Choice { left_out, despite, ..chosen(How::RoundRobin) }, "endpoint");
    assert!(text.contains("It was ejected after failures in a row, and nobody better was left."), "{text}");
    assert!(text.contains("Of the others, 1 was taken out by an operator, 1 was ejected"), "{text}");
}

#[test]
fn an_attempt_that_failed_before_is_named() {
    let before = Some(Before { endpoint: "10.0.0.13:8000".to_owned(), cause: "connect_refused" });
    let why = Why { before, choice: Some(chosen(How::Hash)), ..nothing() };
    let text = said(&recent(why), "endpoint", &Setting::default());
    assert!(
        text.ends_with("The attempt before went to 10.0.0.13:8000 and failed: connect_refused."),
        "{text}"
    );
}

#[test]
fn a_region_is_explained_by_distance_by_crowd_by_the_bound_or_by_what_the_request_does() {
    let in_regions = |how, region: &str, other| Choice {
        region: Some(region.to_owned()),
        home: Some("eu".to_owned()),
        other,
        ..chosen(how)
    };
    let text = |choice| of_choice(choice, "region");
    assert_eq!(text(in_regions(How::Adaptive, "eu", None)), "eu was the nearest region that was well.");
    let crowded = Some(candidate(13, work(80.0), 12));
    assert_eq!(
        text(in_regions(How::Spilled, "us", crowded.clone())),
        "It left eu, the nearest region, for us, because eu was busy: the best there, 10.0.0.13:8000, would have cost 80.0 ms \
         (work 80.0 ms; 12 in flight)."
    );
    assert!(text(in_regions(How::KeptAtHome, "eu", crowded)).contains("as many had left it as may"));
    assert_eq!(text(chosen(How::Adaptive)), "", "there is one region");
    for (placed, method, why) in [
        (Placed::Primary, "POST", "a POST may change something"),
        (Placed::Primary, "GET", "its route says so"),
        (Placed::Primary, "QUERY", "its route says so"),
        (Placed::Writer, "GET", "its caller had just written"),
        (Placed::Replica, "GET", "a replica asked for it"),
    ] {
        let choice = Some(in_regions(How::Adaptive, "us", None));
        let mut recent = recent(Why { choice, placed: Some(placed), ..nothing() });
        recent.method = method.to_owned();
        let text = said(&recent, "region", &Setting::default());
        assert!(text.contains("It had to go to us, the primary region:") && text.contains(why), "{text}");
    }
}

fn route(hedge: Option<f64>, after_us: Option<f64>) -> RouteStatus {
    RouteStatus {
        name: "product".into(),
        matches: "GET /product/{id}".into(),
        upstream: Some("catalog".into()),
        respond: None,
        files: None,
        timeout_ms: None,
        rules: Some(RouteRules { hedge, rate: Some("10 in 1 s".into()), ..RouteRules::default() }),
        attempts: Some(AttemptsStatus {
            answers: 1_000,
            p50_us: 8_000.0,
            p99_us: 30_000.0,
            p999_us: 60_000.0,
            failing: 0.0,
            hedge_after_us: after_us,
            learned_timeout: None,
        }),
    }
}

#[test]
fn a_copy_that_was_not_sent_is_explained_and_what_would_turn_it_on() {
    let mut recent = recent(Why { choice: Some(chosen(How::Adaptive)), ..nothing() });
    let say = |recent: &Recent, route: &RouteStatus| {
        said(recent, "hedge", &Setting { route: Some(route), upstream: None })
    };
    assert_eq!(
        say(&recent, &route(None, Some(31_000.0))),
        "No second copy was sent: the route has no `hedge`; with `hedge = {}`, one would be due after 31.0 ms, or when the endpoint \
         gives no sign of life."
    );
    let on = route(Some(0.05), Some(31_000.0));
    assert!(say(&recent, &on).contains("none was due by what was known then; now one is after 31.0 ms"));
    let late = route(Some(0.05), Some(90_000.0));
    assert!(say(&recent, &late).contains("none was due; one is after 90.0 ms"));
    assert!(say(&recent, &route(Some(0.05), None)).contains("not known yet"));
    recent.held_out = vec!["hedge"];
    assert!(say(&recent, &on).contains("held out"));
    recent.held_out.clear();
    recent.method = "POST".to_owned();
    assert!(say(&recent, &on).contains("a POST is not sent twice at once"));
    recent.why.choice = None;
    assert_eq!(say(&recent, &on), "", "nobody was asked");
}

#[test]
fn a_copy_is_explained_by_who_was_late_and_by_how_much() {
    let late = Late {
        first: Some("10.0.0.12:8000".to_owned()),
        copy: Some("10.0.0.13:8000".to_owned()),
        after_ms: 38.0,
        usual_ms: 7.0,
    };
    let mut recent = recent(Why { choice: Some(chosen(How::Adaptive)), late: Some(late), ..nothing() });
    let mut say = |trigger, fate| {
        recent.hedge = Some(Hedge { trigger, fate });
        said(&recent, "hedge", &Setting::default())
    };
    assert_eq!(
        say(Trigger::Stall, Fate::Won),
        "A second copy went to 10.0.0.13:8000, because 10.0.0.12:8000 had given no sign of life for 38.0 ms, where 7.00 ms is the \
         longest usual; its answer came first."
    );
    let lost = say(Trigger::Quantile, Fate::Lost);
    assert!(
        lost.contains("it had been on its way for 38.0 ms") && lost.contains("answered sooner"),
        "{lost}"
    );
    assert!(say(Trigger::Stall, Fate::NoBudget).contains("`hedge.budget`"));
}

#[test]
fn a_refusal_has_the_figures_of_its_bound_and_the_time_to_come_again() {
    let overloaded = |bound| {
        let (limit, in_flight, waiting, waiting_max, wait_max_ms) = (2, 2, 1, 1, 50);
        Some(Refusal::Overloaded { bound, limit, in_flight, waiting, waiting_max, wait_max_ms })
    };
    let refusal = overloaded(Bound::Wait);
    let mut refused = recent(Why { refusal, retry_after_s: Some(2), ..nothing() });
    refused.cause = Some("overloaded");
    assert_eq!(
        said(&refused, "refusal", &Setting::default()),
        "Refused: the upstream takes 2 requests at a time, 2 were in flight, 1 waited (at most 1), and it had waited \
         50.0 ms (at most 50.0 ms). Its caller was told to come again in 2 s."
    );
    for (bound, words) in [
        (
            Bound::Class,
            "1 waited (at most 1), and as more came than was served, callers as critical as its own",
        ),
        (Bound::Length, "and the line was full: 1 waited (at most 1), none of them less critical"),
    ] {
        refused.why.refusal = overloaded(bound);
        let text = said(&refused, "refusal", &Setting::default());
        assert!(text.contains(words), "{text}");
    }
    refused.why = Why { refusal: Some(Refusal::Doomed { left_ms: 3.0, takes_ms: 12.0 }), ..nothing() };
    refused.cause = Some("doomed");
    assert_eq!(
        said(&refused, "refusal", &Setting::default()),
        "Refused: its caller waits for 3.00 ms more, and nine of ten answers of this route take 12.0 ms at least."
    );
    refused.why = nothing();
    let route = route(None, None);
    for (cause, words) in [
        ("rate", "more requests than the `rate` of its route allows (10 in 1 s)"),
        ("upstream_lost", "none of the endpoints could be reached"),
        ("drained", "taken out by an operator"),
        ("bad_idempotency_key", "one value of 1 to 255 characters"),
        ("idempotency_key_reused", "used before with other content"),
        ("idempotency_key_under_way", "is under way"),
        ("idempotency_answer_not_kept", "was executed, and its answer was larger than is kept"),
        ("idempotent_request_failed", "may have been executed, so it is not sent again"),
        ("idempotency_keys_full", "as many requests with an `Idempotency-Key` as may be"),
        ("connect_refused", ""),
    ] {
        refused.cause = Some(cause);
        let text = said(&refused, "refusal", &Setting { route: Some(&route), upstream: None });
        assert!(text.contains(words) && text.is_empty() == words.is_empty(), "{cause}: {text}");
    }
}

#[test]
fn a_refusal_for_want_of_anybody_says_what_most_endpoints_failed_with() {
    let failed = |number, failure: &str| {
        let last_error = Some(failure.to_owned());
        EndpointStatus { last_error, ..endpoint(number, EndpointState::Ejected) }
    };
    let lost = upstream(vec![
        failed(1, "connect_refused"),
        failed(2, "answer_timeout"),
        failed(3, "connect_refused"),
    ]);
    let mut refused = recent(nothing());
    refused.cause = Some("upstream_lost");
    let text = said(&refused, "refusal", &Setting { route: None, upstream: Some(&lost) });
    assert!(text.contains("lately (the last failure of 2 of 3: `connect_refused`); one request"), "{text}");
}
