//! Which replica is asked: equal ones, a slow one, one that fails at once, many proxies before the same ones, one that comes
//! and goes.

use std::time::Duration;

use super::super::arm::{
    ALL, Arm, ENVOY, FEW, FEW_AND_HEDGE, HAPROXY, HAPROXY_RANDOM, NGINX, NGINX_RANDOM, TRAEFIK, UNLAG,
    UNLAG_LEAST,
};
use super::super::plan::Load;
use super::super::verdict::Goal;
use super::{Amount, REPLICA_RATE, Variant, equal, first_of_five, steady, variant};
use crate::services::{ReplicasSpec, Timed, When, Wrong};

pub(super) fn equal_replicas(amount: Amount) -> Vec<Variant> {
    let arms = [ALL, &[UNLAG_LEAST]].concat();
    // What is judged at 90 % are the pairs.
    let few = [FEW_AND_HEDGE, &[UNLAG_LEAST]].concat();
    let fewer = Amount { requests: amount.requests.min(14_000), ..amount };
    let pair = [UNLAG_LEAST, UNLAG];
    // In rounds of two thousand requests; at the default twenty-five thousand an arm, and at 90 %, where a queue takes half a round
    // to drain, seventy-five thousand: so many make the interval as narrow.
    let short = Amount { requests: 2_000.min(amount.requests), rounds: 1 };
    let paired = |name, meaning, rate, quarters: usize| Variant {
        paired: true,
        rounds: (quarters * amount.requests / 4).div_ceil(short.requests).clamp(4, 60),
        goal: Goal::NoHarm { ratio: 1.04 },
        ..variant(1, name, meaning, equal(5), steady(rate, short), &pair, amount)
    };
    vec![
        variant(1, "t1-70", "5 equal replicas, 70 % load", equal(5), steady(700.0, amount), &arms, amount),
        variant(1, "t1-90", "5 equal replicas, 90 % load", equal(5), steady(900.0, fewer), &few, amount),
        paired("t1-paired-70", "adaptive to least-request, the same requests, 70 % load", 700.0, 5),
        paired("t1-paired-90", "adaptive to least-request, the same requests, 90 % load", 900.0, 15),
    ]
}

pub(super) fn slow_one(amount: Amount) -> Vec<Variant> {
    let slow = Wrong::Slow(10.0);
    let onset = When::Every { period_ms: 10_000, for_ms: 2_000, jitter: 0.0 };
    let load = || steady(600.0, amount);
    let fewer = Amount { requests: amount.requests.min(12_000), ..amount };
    let healthy = &[HAPROXY, UNLAG];
    vec![
        variant(
            2,
            "t2-healthy",
            "5 equal replicas, 60 % load: what the others are measured by",
            equal(5),
            load(),
            healthy,
            amount,
        ),
        Variant {
            watched: vec![0],
            goal: Goal::NearHealthy { ratio: 1.25, extra: 0.05, than: "t2-healthy" },
            ..variant(
                2,
                "t2-constant",
                "1 of 5 replicas 10 x slower, 60 % load",
                first_of_five(slow, When::Always),
                load(),
                ALL,
                amount,
            )
        },
        Variant {
            watched: vec![0],
            goal: Goal::NearHealthy { ratio: 1.25, extra: 0.05, than: "t2-healthy" },
            ..variant(
                2,
                "t2-onset",
                "1 of 5 replicas 10 x slower for 2 s of every 10, 60 % load",
                first_of_five(slow, onset),
                steady(600.0, fewer),
                FEW_AND_HEDGE,
                amount,
            )
        },
    ]
}

/// More are slow than fast: what those that are left give is the measure.
pub(super) fn most_slow(amount: Amount) -> Vec<Variant> {
    let fewer = Amount { requests: amount.requests.min(4_000), ..amount };
    let load = || steady(2.0 * REPLICA_RATE * 0.6, fewer);
    let mut spec = equal(5);
    for slow in spec.replicas.iter_mut().take(3) {
        slow.faults.push(Timed { fault: Wrong::Slow(10.0), when: When::Always });
    }
    vec![
        variant(
            2,
            "t2-two",
            "2 equal replicas, 60 % load: what t2-most is measured by",
            equal(2),
            load(),
            &[HAPROXY, UNLAG],
            fewer,
        ),
        Variant {
            watched: vec![0, 1, 2],
            goal: Goal::NearHealthy { ratio: 2.0, extra: 0.05, than: "t2-two" },
            ..variant(
                2,
                "t2-most",
                "3 of 5 replicas 10 x slower, load 60 % of what the other two can do",
                spec,
                load(),
                FEW_AND_HEDGE,
                fewer,
            )
        },
    ]
}

/// Second copies of what is slow are none of what is answered at once.
const SINKHOLE: [Arm; 7] = [HAPROXY, HAPROXY_RANDOM, NGINX, NGINX_RANDOM, ENVOY, TRAEFIK, UNLAG];

pub(super) fn sinkhole(amount: Amount) -> Vec<Variant> {
    let answer = |status, share, retry_after| Wrong::Answer { status, share, retry_after };
    let fewer = Amount { requests: amount.requests.min(5_000), ..amount };
    let of = |name, meaning, fault, arms: &[Arm]| Variant {
        watched: vec![0],
        goal: Goal::Errors { share: 0.005 },
        ..variant(5, name, meaning, first_of_five(fault, When::Always), steady(500.0, fewer), arms, amount)
    };
    vec![
        Variant {
            load: steady(500.0, Amount { requests: amount.requests.min(14_000), ..amount }),
            ..of(
                "t5-500",
                "1 of 5 replicas answers 500 at once, 50 % load, no retries asked for",
                answer(500, 1.0, None),
                &SINKHOLE,
            )
        },
        of(
            "t5-500-half",
            "1 of 5 replicas answers half of its requests with 500 at once",
            answer(500, 0.5, None),
            FEW,
        ),
        of(
            "t5-429",
            "1 of 5 replicas answers 429 with Retry-After: 1 at once",
            answer(429, 1.0, Some(1)),
            FEW,
        ),
        of("t5-reset", "1 of 5 replicas resets every connection that asks it for work", Wrong::Reset, FEW),
    ]
}

pub(super) fn many_proxies(amount: Amount) -> Vec<Variant> {
    let workers = |arm: Arm, workers, name| Arm { name, workers, ..arm };
    let processes = |arm: Arm, name| Arm { name, processes: 4, ..arm };
    let arms = [
        UNLAG,
        workers(UNLAG, 2, "unlag-2-workers"),
        workers(UNLAG, 4, "unlag-4-workers"),
        processes(UNLAG, "unlag-4-processes"),
        HAPROXY,
        workers(HAPROXY, 4, "haproxy-4-threads"),
        workers(NGINX, 4, "nginx-4-workers"),
        workers(ENVOY, 4, "envoy-4-workers"),
    ];
    let rate = 10.0 * REPLICA_RATE * 0.8;
    vec![
        Variant {
            goal: Goal::WorkersAsOne { ratio: 1.03 },
            ..variant(
                6,
                "t6-split",
                "10 replicas, 80 % load, through one worker, several, or several processes",
                equal(10),
                steady(rate, amount),
                &arms,
                amount,
            )
        },
        Variant {
            goal: Goal::WorkersAsOne { ratio: 1.03 },
            ..variant(
                6,
                "t6-direct",
                "the same, and 20 % of the requests go to the replicas past the proxy",
                equal(10),
                Load { direct: 0.2, ..steady(rate, amount) },
                &[UNLAG, workers(UNLAG, 4, "unlag-4-workers"), HAPROXY, NGINX, ENVOY],
                amount,
            )
        },
        variant(
            6,
            "t6-reported",
            "the same, with replicas that report what they hold (x-lb-rif)",
            ReplicasSpec { reports_load: true, ..equal(10) },
            steady(rate, amount),
            &[UNLAG, processes(UNLAG, "unlag-4-processes")],
            amount,
        ),
    ]
}

/// A replica that comes and goes does so once in this: half of it there, half of it gone. There are two of them, a
/// quarter of it apart: something changes every two seconds.
const CHURN_PERIOD: Duration = Duration::from_secs(8);

pub(super) fn churn(amount: Amount) -> Vec<Variant> {
    let amount = Amount { requests: amount.requests.min(14_000), ..amount };
    let load = steady(700.0, amount);
    // Both are slow for the first three seconds of each of their lives.
    let lives = (load.seconds() / CHURN_PERIOD.as_secs_f64()) as u64 + 2;
    let period_ms = CHURN_PERIOD.as_millis() as u64;
    let mut spec = equal(7);
    for (comes, replica) in spec.replicas.iter_mut().skip(5).enumerate() {
        replica.faults = (0..lives)
            .map(|life| life * period_ms + comes as u64 * period_ms / 4)
            .map(|from_ms| When::Between { from_ms, until_ms: from_ms + 3_000 })
            .map(|when| Timed { fault: Wrong::Slow(5.0), when })
            .collect();
    }
    let arms = [HAPROXY, Arm { name: "unlag+file", discovers: true, ..UNLAG }];
    vec![
        variant(
            10,
            "t10-stable",
            "5 equal replicas, 70 % load: what t10-churn is measured by",
            equal(5),
            load.clone(),
            &[UNLAG],
            amount,
        ),
        Variant {
            churn: Some(CHURN_PERIOD),
            watched: vec![5, 6],
            goal: Goal::Churn { ratio: 1.3, than: "t10-stable" },
            ..variant(
                10,
                "t10-churn",
                "5 replicas and 2 that come and go, one change every 2 s, 5 x slower when cold, 70 % load; haproxy keeps all",
                spec,
                load,
                &arms,
                amount,
            )
        },
    ]
}
