//! Which sentence which request gets.

use super::*;
use std::sync::Arc;
use unlag_record::{Bounds, Protocol, Record, Registry, RequestId, Timeline};

const MS: u64 = 1_000_000;

fn registry(usual: &[(Phase, u64)], times: usize) -> Arc<Registry> {
    let registry = Registry::new(Bounds::default(), None);
    (0..times).for_each(|_| add(&registry, usual, "usual"));
    registry
}

fn add(registry: &Arc<Registry>, phases: &[(Phase, u64)], request_id: &str) {
    let mut now = 0;
    let mut timeline = Timeline::start(now);
    for &(phase, ns) in phases {
        timeline.enter(phase, now);
        now += ns;
    }
    timeline.finish(now);
    registry.recorder().record(&Record {
        id: RequestId(1),
        request_id: request_id.as_bytes(),
        route: registry.route("product"),
        endpoint: Some(registry.endpoint("catalog", "10.0.0.1:80")),
        status: 200,
        outcome: Outcome::Ok,
        cause: None,
        cache: None,
        hedge: None,
        trials: Default::default(),
        why: &unlag_record::Why::NONE,
        method: "GET",
        target: b"/product/7\x1b[2J",
        protocol: Protocol::Http11,
        caller: None,
        bytes_in: 0,
        bytes_out: 10,
        attempts: 1,
        reused: true,
        started_unix_ms: 1_790_000_000_000,
        timeline: &timeline,
    });
}

fn explained(registry: &Arc<Registry>, phases: &[(Phase, u64)]) -> String {
    let baseline = Baseline::of(&registry.snapshot(), "product");
    add(registry, phases, "this");
    explain(&registry.find("this").unwrap(), &baseline, &[])
}

#[test]
fn the_phase_most_out_of_the_ordinary_is_named_even_if_another_is_longer() {
    let usual = [(Phase::PoolWait, MS / 10), (Phase::Wait, 100 * MS), (Phase::Transfer, MS)];
    let text = explained(
        &registry(&usual, 50),
        &[(Phase::PoolWait, 90 * MS), (Phase::Wait, 110 * MS), (Phase::Transfer, MS)],
    );
    let text = text.replace('\n', " ");
    assert!(text.contains("201 ms, 2.0 times this route's median"), "{text}");
    assert!(text.contains("90.0 ms went into waiting for a free connection (usually "), "{text}");
}

#[test]
fn a_request_as_usual_is_said_to_be_one() {
    let usual = [(Phase::Wait, 20 * MS), (Phase::Transfer, MS)];
    let text = explained(&registry(&usual, 50), &usual).replace('\n', " ");
    assert!(text.contains("21.0 ms, as usual for this route"), "{text}");
    assert!(text.contains("most of it, 20.0 ms, went into waiting for the upstream's first byte"), "{text}");
}

#[test]
fn few_requests_are_no_baseline_and_the_first_has_none() {
    let slow = [(Phase::Wait, 90 * MS)];
    let text = explained(&registry(&[(Phase::Wait, MS)], 3), &slow).replace('\n', " ");
    assert!(text.contains("(Only 3 requests of this route so far.)"), "{text}");
    let text = explained(&registry(&[], 0), &slow).replace('\n', " ");
    assert!(text.contains("90.0 ms, the first of its route: 90.0 ms went into"), "{text}");
}

#[test]
fn a_phase_that_few_requests_enter_has_a_median_of_zero() {
    let registry = registry(&[(Phase::Wait, MS)], 60);
    (0..40).for_each(|_| add(&registry, &[(Phase::Connect, 3 * MS), (Phase::Wait, MS)], "usual"));
    let baseline = Baseline::of(&registry.snapshot(), "product");
    assert_eq!(baseline.requests, 100);
    assert_eq!(baseline.phases_ns[Phase::Connect.index()], 0);
    assert!(baseline.phases_ns[Phase::Wait.index()].abs_diff(MS) <= MS / 32);
}

#[test]
fn every_line_is_at_most_80_wide_and_steers_no_terminal() {
    let phases: Vec<(Phase, u64)> = Phase::ALL.into_iter().map(|phase| (phase, 12 * MS)).collect();
    let text = explained(&registry(&[(Phase::Wait, MS)], 5), &phases);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn bars_stand_where_their_phase_was() {
    let text = explained(
        &registry(&[], 0),
        &[(Phase::Send, 50 * MS), (Phase::Wait, 25 * MS), (Phase::Transfer, 25 * MS)],
    );
    let bar = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let cells: Vec<char> = line.chars().skip(14).take(BAR).collect();
        (
            cells.iter().position(|cell| *cell == '█').unwrap(),
            cells.iter().filter(|cell| **cell == '█').count(),
        )
    };
    assert_eq!((bar("request_write"), bar("upstream_ttfb"), bar("transfer")), ((0, 22), (22, 11), (33, 11)));
}

#[test]
fn a_refusal_is_not_called_usual_and_a_phase_that_is_new_was_usually_nothing() {
    let usual = [(Phase::Wait, 20 * MS)];
    let registry = registry(&usual, 50);
    let baseline = Baseline::of(&registry.snapshot(), "product");
    add(&registry, &usual, "this");
    let mut recent = registry.find("this").unwrap();
    recent.cause = Some("rate");
    let text = sentence(&recent, &baseline);
    assert!(text.starts_with("20.0 ms: most of it") && !text.contains("usual"), "{text}");
    assert!(!sentence(&recent, &Baseline::default()).contains("first of its route"));
    let text = explained(&registry, &[(Phase::Queue, 90 * MS), (Phase::Wait, 20 * MS)]).replace('\n', " ");
    assert!(text.contains("waiting for admission (usually nothing)"), "{text}");
}
