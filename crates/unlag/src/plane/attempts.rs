//! What was done for routes and what they have learned of their attempts, as the console shows it.

use std::collections::HashSet;
use std::sync::Arc;

use unlag_console::{AttemptsStatus, Counter, LearnedTimeout};
use unlag_engine::plan::{Plan, Route};
use unlag_engine::shared::Shared;
use unlag_engine::techniques::attempt::learned::AttemptStatus;
use unlag_record::{OTHER, RouteId};

/// What is counted, by route and what became of it; also what never came about, so that the first time is seen as a change.
pub(super) fn counters(shared: &Shared) -> Vec<Counter> {
    let mut counters = Vec::new();
    let plan = shared.current();
    let may_copy = |route: &&Arc<Route>| route.config.attempts.hedge.is_some();
    let copied: HashSet<&str> =
        plan.routes.iter().filter(may_copy).map(|route| route.config.name.as_str()).collect();
    for status in shared.attempts.status() {
        let is_known = shared.registry.route(&status.route) != RouteId::OTHER;
        let route = if is_known { status.route.clone() } else { OTHER.to_owned() };
        let mut count = |name, help, labels: &[(&'static str, &str)], value: u64| {
            let mut all = vec![("route", route.clone())];
            all.extend(labels.iter().map(|(name, value)| (*name, (*value).to_owned())));
            counters.push(Counter { name, help, labels: all, value });
        };
        // More than half of all the series of a route: only of one that has copies, or had them before a reload.
        let may_copy = copied.contains(status.route.as_str());
        let is_shown = |value: u64| value > 0 || may_copy;
        for (trigger, outcome, value) in [
            ("stall", "won", status.stall_won),
            ("stall", "lost", status.stall_lost),
            ("quantile", "won", status.quantile_won),
            ("quantile", "lost", status.quantile_lost),
        ]
        .into_iter()
        .filter(|(_, _, value)| is_shown(*value))
        {
            let labels = [("trigger", trigger), ("outcome", outcome)];
            count("unlag_attempt_hedges", "Second copies that were sent.", &labels, value);
        }
        for (hedge, value) in status.not_sent.iter().filter(|(_, value)| is_shown(*value)) {
            let labels = [("trigger", hedge.trigger.name()), ("reason", hedge.fate.name())];
            count(
                "unlag_attempt_hedges_not_sent",
                "Second copies that were due and not sent.",
                &labels,
                *value,
            );
        }
        for (name, help, value) in [
            ("unlag_attempt_replayed", "Answers replayed to an Idempotency-Key.", status.replayed),
            ("unlag_attempt_retries", "Further attempts that the budget paid for.", status.retries),
            ("unlag_attempt_retries_refused", "Further attempts that it did not.", status.retries_refused),
            ("unlag_attempt_doomed", "Requests with too little time left for an answer.", status.doomed),
            ("unlag_attempt_timed_out", "Requests given up at a learned time-out.", status.timed_out),
            (
                "unlag_attempt_would_have_timed_out",
                "Answers that a learned time-out would have broken while it was only watched.",
                status.tempo.would_have_broken,
            ),
        ] {
            count(name, help, &[], value);
        }
    }
    counters.extend(rates(shared, &plan));
    counters
}

/// Requests that were over the rate of their route, where it has one.
fn rates(shared: &Shared, plan: &Plan) -> Vec<Counter> {
    let of = |route: &Arc<Route>| {
        let refused = route.allowance.as_ref()?.refused();
        let name = &route.config.name;
        let is_known = shared.registry.route(name) != RouteId::OTHER;
        let label = if is_known { name.clone() } else { OTHER.to_owned() };
        Some(Counter {
            name: "unlag_rate_refused",
            help: "Requests over the rate of their route.",
            labels: vec![("route", label)],
            value: refused,
        })
    };
    plan.routes.iter().filter_map(of).collect()
}

/// What is shown of one route.
pub(super) fn status(of: &AttemptStatus) -> AttemptsStatus {
    let us = |ns: u64| ns as f64 / 1_000.0;
    let limit = of.tempo.limit;
    AttemptsStatus {
        answers: of.tempo.answers,
        p50_us: us(of.tempo.p50_ns),
        p99_us: us(of.tempo.p99_ns),
        p999_us: us(of.tempo.p999_ns),
        failing: f64::from(of.tempo.failing),
        hedge_after_us: of.hedge_after_ns.map(us),
        learned_timeout: (limit.learned_ns > 0).then_some(LearnedTimeout {
            timeout_ms: limit.learned_ns / 1_000_000,
            in_force: limit.is_in_force,
            watched: limit.answers,
            broken: limit.broken,
        }),
    }
}
