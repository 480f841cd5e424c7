//! What is said of a request that nobody has sent.

use super::*;
use crate::plane::{
    EndpointAdmission, EndpointLearned, UpstreamAdmission, UpstreamDrained, UpstreamLearned, UpstreamRegions,
    UpstreamRules,
};

pub(in crate::explain) fn endpoint(number: usize, state: EndpointState) -> EndpointStatus {
    EndpointStatus {
        address: format!("10.0.0.{number}:80"),
        state,
        in_flight: 0,
        connections_open: 0,
        connections_idle: 0,
        successes: 0,
        failures: 0,
        ejections: 0,
        last_error: None,
        wait_us: None,
        learned_idle_ms: None,
        admission: EndpointAdmission { limit: None, would_refuse: 0 },
        learned: EndpointLearned::default(),
    }
}

pub(in crate::explain) fn upstream(endpoints: Vec<EndpointStatus>) -> UpstreamStatus {
    UpstreamStatus {
        name: "shop".into(),
        protocol: "http1".into(),
        pinned: None,
        drained: UpstreamDrained::default(),
        admission: UpstreamAdmission { waiting: 0, waited: 0, refused: 0, refused_lost: 0, lost: false },
        rules: UpstreamRules { balance: "adaptive".into(), limit: "observe".into(), ..Default::default() },
        learned: UpstreamLearned::default(),
        regions: UpstreamRegions::default(),
        endpoints,
    }
}

/// What is said about one decision on a request with this method.
fn said(about: &str, method: &str, rules: RouteRules, upstream: &UpstreamStatus) -> String {
    let route = RouteStatus {
        name: "all".into(),
        matches: "/{path...}".into(),
        upstream: Some("shop".into()),
        respond: None,
        files: None,
        timeout_ms: None,
        rules: Some(rules),
        attempts: None,
    };
    let setting = Setting { route: Some(&route), upstream: Some(upstream) };
    let all = ahead(method, "http://shop/", &Match::Route("all".into()), &setting);
    all.into_iter().find(|reason| reason.about == about).map(|reason| reason.text).unwrap_or_default()
}

#[test]
fn of_more_than_eight_endpoints_only_those_are_named_that_have_something_against_them() {
    let mut endpoints: Vec<_> = (1..=8).map(|number| endpoint(number, EndpointState::Healthy)).collect();
    let text = said("endpoint", "GET", RouteRules::default(), &upstream(endpoints.clone()));
    assert_eq!(text.matches("nothing against it").count(), 8, "{text}");
    endpoints.push(endpoint(9, EndpointState::Unhealthy));
    let text = said("endpoint", "GET", RouteRules::default(), &upstream(endpoints));
    assert!(text.starts_with("balance = \"adaptive\", over 9 endpoints."), "{text}");
    assert!(text.ends_with(" at most. 10.0.0.9:80: 0 in flight, its health check fails."), "{text}");
}

#[test]
fn what_reads_goes_to_the_nearest_region_and_what_does_not_to_the_primary() {
    let mut upstream = upstream(vec![endpoint(1, EndpointState::Healthy)]);
    (upstream.rules.primary, upstream.learned.home) = (Some("us".into()), Some("eu".into()));
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"] {
        let text = said("region", method, RouteRules::default(), &upstream);
        assert!(text.starts_with("The nearest region that is well is eu;"), "{method}: {text}");
    }
    let text = said("region", "POST", RouteRules::default(), &upstream);
    assert_eq!(text, "It goes to us, the primary region: its method may change something.");
    let rules = RouteRules { primary: Some(true), ..RouteRules::default() };
    assert!(said("region", "GET", rules, &upstream).ends_with("its route says so."));
}

#[test]
fn only_what_may_be_sent_to_two_at_once_is_promised_a_second_copy() {
    let two = upstream(vec![endpoint(1, EndpointState::Healthy), endpoint(2, EndpointState::Healthy)]);
    let one = upstream(vec![endpoint(1, EndpointState::Healthy)]);
    let rules = RouteRules { hedge: Some(0.05), ..RouteRules::default() };
    let promised = |method: &str, rules: &RouteRules, upstream: &UpstreamStatus| {
        said("hedge", method, rules.clone(), upstream).starts_with("A second copy is due")
    };
    assert!(promised("GET", &rules, &two));
    for method in ["POST", "QUERY", "TRACE"] {
        assert!(!promised(method, &rules, &two), "{method}");
        assert!(promised(method, &RouteRules { idempotent: true, ..rules.clone() }, &two), "{method}");
    }
    assert!(!promised("GET", &rules, &one));
    assert!(!promised("GET", &RouteRules::default(), &two));
}

#[test]
fn what_fewer_than_fifty_answers_say_is_called_a_default() {
    let mut upstream = upstream(vec![endpoint(1, EndpointState::Healthy)]);
    let mut text = |answers| {
        upstream.learned = UpstreamLearned { answers, unit_ms: 5.0, knee: 8.0, ..Default::default() };
        said("endpoint", "GET", RouteRules::default(), &upstream)
    };
    assert!(text(49).contains("Not learned yet, of 49 answers; the default is that one takes 5.00 ms"));
    assert!(text(50).contains("Of 50 answers it was learned that one takes 5.00 ms"));
}

#[test]
fn a_distance_that_is_not_measured_is_called_assumed_and_what_is_added_is_named() {
    let mut far = endpoint(1, EndpointState::Healthy);
    (far.learned.distance_ms, far.learned.distance_is_assumed) = (20.0, true);
    (far.learned.toll_ms, far.learned.joining) = (5.0, true);
    let text =
        |far: &EndpointStatus| said("endpoint", "GET", RouteRules::default(), &upstream(vec![far.clone()]));
    let assumed = text(&far);
    assert!(
        assumed.contains("in another region, assumed to be 20.0 ms away until it has answered"),
        "{assumed}"
    );
    assert!(assumed.contains("5.00 ms added for its region or zone"), "{assumed}");
    assert!(assumed.contains("new or just back, and given more slowly"), "{assumed}");
    far.learned.distance_is_assumed = false;
    assert!(text(&far).contains("20.0 ms farther than the nearest"));
}

#[test]
fn an_upstream_of_which_all_are_taken_out_would_be_answered_503() {
    let (well, out) = (endpoint(1, EndpointState::Healthy), endpoint(2, EndpointState::Drained));
    let text = |endpoints| said("endpoint", "GET", RouteRules::default(), &upstream(endpoints));
    assert!(
        text(vec![out.clone()]).contains("unless the cache has an answer, it is 503. `undrain` or `unpin`")
    );
    assert!(!text(vec![well, out]).contains("503"));
}

#[test]
fn criticality_and_keys_are_told_where_a_route_says_something_of_them() {
    let upstream = upstream(vec![endpoint(1, EndpointState::Healthy)]);
    let rules =
        RouteRules { criticality: "sheddable", idempotency_key_s: Some(3_600.0), ..Default::default() };
    let text = |about, method, rules: &RouteRules| said(about, method, rules.clone(), &upstream);
    assert!(text("criticality", "GET", &rules).ends_with("under overload its requests are refused first."));
    assert!(text("idempotency_key", "POST", &rules).contains("its answer is kept for 1 h and replayed"));
    assert_eq!(text("idempotency_key", "GET", &rules), "");
    let plain = RouteRules { criticality: "default", ..Default::default() };
    assert_eq!(text("criticality", "POST", &plain) + &text("idempotency_key", "POST", &plain), "");
}

#[test]
fn the_budget_of_retries_is_a_share_of_what_succeeds() {
    let retry = Some(crate::plane::RetryRules { attempts: 2, budget: 0.1 });
    let rules = RouteRules { retry, ..Default::default() };
    let text = said("retry", "GET", rules, &upstream(vec![endpoint(1, EndpointState::Healthy)]));
    assert!(text.contains("for at most 10 % of the requests that succeed"), "{text}");
}
