//! The simulator tells the same story for the same seed, agrees with the research that it follows, and keeps the promises
//! that balancing is built on.

use super::{Outcome, Policy, catalogue, run};

/// Few enough for a second of a debug build, many enough for p99.
const REQUESTS: usize = 20_000;

fn outcome(scenario: &str, policy: &str, requests: usize) -> Outcome {
    let scenario = catalogue::named(scenario).expect("the catalogue has it");
    let policy = Policy::named(policy).expect("there is such a policy");
    run(&scenario, &policy, 1, requests)
}

fn ratio(scenario: &str, policy: &str, reference: &str, q: f64) -> f64 {
    let of = |policy| outcome(scenario, policy, REQUESTS).quantile_ms(q);
    of(policy) / of(reference)
}

#[test]
fn a_seed_repeats_the_run_and_another_seed_does_not() {
    let scenario = catalogue::named("f-mix").expect("the catalogue has it");
    let policy = Policy::named("pace+hedge").expect("there is such a policy");
    let figures = |seed| {
        let outcome = super::world::World::new(&scenario, &policy, seed, 5_000).run();
        (outcome.latency.mean_ns().to_bits(), outcome.sent_to, outcome.extra, outcome.lasted)
    };
    assert_eq!(figures(7), figures(7));
    assert_ne!(figures(7), figures(8));
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
        let (got50, got99) = (ratio(scenario, policy, "rr", 0.5), ratio(scenario, policy, "rr", 0.99));
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
