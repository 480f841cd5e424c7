//! The simulator tells the same story for the same seed, agrees with the research that it follows, and keeps the promises
//! that balancing is built on.

use super::scenario::Failing;
use super::{Outcome, Policy, catalogue, run};

/// Few enough for a second of a debug build, many enough for p99.
const REQUESTS: usize = 15_000;

fn outcome(scenario: &str, policy: &str, requests: usize) -> Outcome {
    let scenario = catalogue::named(scenario).expect("the catalogue has it");
    let policy = Policy::named(policy).expect("there is such a policy");
    run(&scenario, &policy, 1, requests)
}

/// p50 and p99 of a policy against another's.
fn ratios(scenario: &str, policy: &str, reference: &str) -> (f64, f64) {
    let (ours, theirs) = (outcome(scenario, policy, REQUESTS), outcome(scenario, reference, REQUESTS));
    let at = |q| ours.quantile_ms(q) / theirs.quantile_ms(q);
    (at(0.5), at(0.99))
}

#[test]
fn a_seed_repeats_the_run_and_another_seed_does_not() {
    let scenario = catalogue::named("f-mix").expect("the catalogue has it");
    let policy = Policy::named(HEDGED).expect("there is such a policy");
    let figures = |seed| {
        let outcome = super::world::World::new(&scenario, &policy, seed, 5_000).run();
        (outcome.latency.mean_ns().to_bits(), outcome.sent_to, outcome.extra, outcome.lasted)
    };
    assert_eq!(figures(7), figures(7));
    assert_ne!(figures(7), figures(8));
}

#[test]
fn equal_replicas_get_equal_shares_where_a_request_is_short_once_in_a_while() {
    for seed in 1..=8 {
        let scenario = catalogue::named("rare-short").expect("the catalogue has it");
        let policy = Policy::named("unlag").expect("there is such a policy");
        let outcome = run(&scenario, &policy, seed, 4_000);
        let shares = [0, 1, 2].map(|of| outcome.sent_share(|replica| replica == of));
        assert!(shares.iter().all(|share| (0.3..0.37).contains(share)), "seed {seed}: {shares:?}");
    }
}

/// Ratios to round robin from the research's tables: scenario, policy, p50, p99.
const RESEARCH: [(&str, &str, f64, f64); 14] = [
    ("a70", "lr", 0.93, 0.97),
    ("a70", "p2c", 0.96, 0.98),
    ("a70", "peak-ewma", 0.99, 0.99),
    ("a90", "lr", 0.76, 0.68),
    ("a90", "p2c", 0.82, 0.71),
    ("a90", "peak-ewma", 0.85, 0.72),
    ("a90", "c3", 0.77, 0.68),
    ("a90", "pace", 0.77, 0.68),
    ("b-io", "lr", 0.84, 0.44),
    ("b-io", "peak-ewma", 0.82, 0.20),
    ("f90", "p2c", 0.93, 0.79),
    ("g-geo30", "lr", 0.17, 0.90),
    ("ps-a90", "lr", 0.82, 0.56),
    ("ps-a90", "p2c", 0.87, 0.60),
];

#[test]
fn the_known_balancers_stand_to_round_robin_as_the_research_found() {
    for (scenario, policy, p50, p99) in RESEARCH {
        let (got50, got99) = ratios(scenario, policy, "rr");
        assert!((got50 / p50 - 1.0).abs() < 0.1, "{scenario}, {policy}: p50 {got50:.2} against {p50}");
        assert!((got99 / p99 - 1.0).abs() < 0.25, "{scenario}, {policy}: p99 {got99:.2} against {p99}");
    }
}

#[test]
fn round_robin_takes_the_milliseconds_that_the_research_found() {
    for (scenario, p50, p99) in [("a70", 4.7, 21.4), ("a90", 7.4, 33.7), ("g-geo", 30.5, 46.8)] {
        let rr = outcome(scenario, "rr", REQUESTS);
        let (got50, got99) = (rr.quantile_ms(0.5), rr.quantile_ms(0.99));
        assert!((got50 / p50 - 1.0).abs() < 0.1, "{scenario}: p50 {got50:.2} against {p50}");
        assert!((got99 / p99 - 1.0).abs() < 0.25, "{scenario}: p99 {got99:.2} against {p99}");
    }
}

#[test]
fn fast_failures_draw_the_requests_of_balancers_that_ignore_them() {
    let failed = |policy| 100.0 * outcome("e", policy, REQUESTS).failed_share();
    for (policy, percent) in [("rr", 20.0), ("p2c", 35.0), ("peak-ewma", 40.0), ("lr", 52.0)] {
        let got = failed(policy);
        assert!((got - percent).abs() < 3.0, "{policy}: {got:.1} % against {percent} %");
    }
}

/// The code that runs in production, without second copies and with them.
const OURS: &str = "unlag";
const HEDGED: &str = "unlag+hedge";

#[test]
fn equal_replicas_lose_nothing_to_least_request() {
    for scenario in
        ["a70", "a90", "d1", "f70", "ps-a90", "two", "three", "one-worker", "wide", "pareto", "day"]
    {
        let (p50, p99) = ratios(scenario, OURS, "lr");
        assert!(p50 < 1.03 && p99 < 1.03, "{scenario}: p50 {p50:.3}, p99 {p99:.3} of least-request");
    }
}

#[test]
fn several_proxies_that_know_nothing_of_one_another_stay_near_least_request() {
    let (p50, p99) = ratios("f90", OURS, "lr");
    assert!(p50 < 1.1 && p99 < 1.08, "p50 {p50:.3}, p99 {p99:.3} of least-request");
}

#[test]
fn a_slow_replica_does_not_show_at_p99() {
    for slow in ["b-cpu", "b-io", "b-onset", "ps-b", "creep", "quick-slow"] {
        let mut healthy = catalogue::named(slow).expect("the catalogue has it");
        healthy.replicas[0] = healthy.replicas[1];
        let policy = Policy::named(OURS).expect("there is such a policy");
        let without = run(&healthy, &policy, 1, REQUESTS).quantile_ms(0.99);
        let with = outcome(slow, OURS, REQUESTS).quantile_ms(0.99);
        assert!(with < 1.15 * without, "{slow}: p99 {with:.1} ms, {without:.1} ms when all are healthy");
    }
}

#[test]
fn a_replica_that_fails_at_once_draws_next_to_nothing_and_is_used_again_when_it_is_well() {
    let failed = 100.0 * outcome("e", OURS, REQUESTS).failed_share();
    assert!(failed < 0.1, "{failed:.2} % failed");
    let quiet = 100.0 * outcome("sparse-fails", OURS, REQUESTS).failed_share();
    assert!(quiet < 0.3, "{quiet:.2} % failed of a quiet upstream's");
    for retried in ["e-retry", "e-half"] {
        assert_eq!(outcome(retried, OURS, REQUESTS).failed, 0, "{retried}");
    }
    let healed = outcome("healed", OURS, 4 * REQUESTS);
    let (failed, share) = (healed.failed_share(), healed.sent_share(|replica| replica == 0));
    assert!(failed < 0.001 && share > 0.15, "failed {failed:.4}, {share:.2} of the requests on it");
}

#[test]
fn when_many_replicas_fail_and_come_back_none_has_the_work_of_all() {
    for outage in ["most-down", "all-down", "brown-out"] {
        let mut healthy = catalogue::named(outage).expect("the catalogue has it");
        healthy.replicas.iter_mut().for_each(|replica| replica.failing = Failing::Never);
        let policy = Policy::named(OURS).expect("there is such a policy");
        let without = run(&healthy, &policy, 1, 4 * REQUESTS).quantile_ms(0.99);
        let with = outcome(outage, OURS, 4 * REQUESTS).quantile_ms(0.99);
        assert!(with < 1.3 * without, "{outage}: p99 {with:.1} ms, {without:.1} ms when all are healthy");
    }
}

#[test]
fn the_far_region_is_left_alone_until_the_near_one_is_full() {
    let calm = outcome("g-geo30", OURS, REQUESTS);
    let far = calm.sent_share(|replica| replica >= 3);
    assert!(far < 0.01, "{far:.3} went far at 60 % of the near");
    for (full, bound) in [("g-geo", 1.1), ("far-three", 0.85), ("g-98", 1.0)] {
        let mean = |policy| outcome(full, policy, REQUESTS).mean_ms();
        let got = mean(OURS) / mean("lr");
        assert!(got < bound, "{full}: mean {got:.2} of least-request");
    }
}

#[test]
fn second_copies_save_the_requests_in_a_frozen_replica_for_less_than_a_percent_more() {
    for frozen in ["c40", "c70", "n30"] {
        let (hedged, plain) = (outcome(frozen, HEDGED, 4 * REQUESTS), outcome(frozen, "lr", 4 * REQUESTS));
        let saved = hedged.quantile_ms(0.999) / plain.quantile_ms(0.999);
        let extra = 100.0 * hedged.extra_share();
        assert!(saved < 0.6 && extra < 1.5, "{frozen}: p99.9 {saved:.2} of least-request for {extra:.2} %");
    }
}

#[test]
fn second_copies_harm_nothing_where_nothing_is_wrong() {
    for scenario in ["a70", "a90", "d1", "ps-a90", "ps-d1", "two", "pareto", "bursts"] {
        let [with, without] = [HEDGED, OURS].map(|policy| outcome(scenario, policy, 3 * REQUESTS));
        let ratio = |q: f64| with.quantile_ms(q) / without.quantile_ms(q);
        let (p50, p99) = (ratio(0.5), ratio(0.99));
        assert!(p50 < 1.05 && p99 < 1.05, "{scenario}: p50 {p50:.3}, p99 {p99:.3} of what it is without");
    }
}
