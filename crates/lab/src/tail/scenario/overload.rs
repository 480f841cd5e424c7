//! More than there is room or time for: twice the load that can be done, replicas that all fail, and requests that have
//! 50 ms in all.

use std::time::Duration;

use super::super::arm::{Arm, ENVOY, HAPROXY, NGINX, UNLAG, UNLAG_HEDGE};
use super::super::plan::{GETS, Kind, Load, Phase};
use super::super::verdict::Goal;
use super::{Amount, Variant, equal, every_one, steady, variant};
use crate::services::{When, Wrong};

pub(super) fn overload(amount: Amount) -> Vec<Variant> {
    let limited = Arm { name: "unlag+limit", limit: true, ..UNLAG };
    // 5 s below, 10 s of twice what there is, 10 s below again, whatever the amount is.
    let phase = |rate: f64, seconds: f64| Phase { rate, requests: (rate * seconds) as usize };
    let phases = vec![phase(700.0, 5.0), phase(2_000.0, 10.0), phase(700.0, 10.0)];
    let load = Load { phases, mix: GETS, critical: 0.2, direct: 0.0, keys: 0 };
    let arms = &[HAPROXY, NGINX, ENVOY, UNLAG, limited];
    vec![Variant {
        attempts: 3,
        attempt_timeout: Duration::from_millis(500),
        goal: Goal::Overload { goodput: 0.90, critical: 0.99, recovery_s: 1.0 },
        rounds: 1,
        ..variant(
            7,
            "t7-spike",
            "0.7 of capacity, 10 s of twice as much as there is, 0.7 again; three attempts of 500 ms",
            equal(5),
            load,
            arms,
            amount,
        )
    }]
}

/// All replicas fail at once, and are well again after some seconds.
pub(super) fn service_fails(amount: Amount) -> Vec<Variant> {
    let (from_ms, until_ms) = (2_000, 6_000);
    let (rate, seconds) = (500.0, 10.0);
    let load = || Load {
        phases: vec![Phase { rate, requests: (rate * seconds) as usize }],
        mix: GETS,
        critical: 0.0,
        direct: 0.0,
        keys: 0,
    };
    let of = |name, meaning, fault| Variant {
        attempts: 3,
        attempt_timeout: Duration::from_millis(500),
        outage: Some((Duration::from_millis(from_ms), Duration::from_millis(until_ms))),
        // Callers alone make three of each request that fails.
        goal: Goal::ServiceFails { sent: 1.2, recovery_s: 1.0, peak: 3.0 * 1.2 },
        rounds: 1,
        ..variant(
            7,
            name,
            meaning,
            every_one(5, fault, When::Between { from_ms, until_ms }),
            load(),
            &[HAPROXY, NGINX, ENVOY, UNLAG, UNLAG_HEDGE],
            amount,
        )
    };
    vec![
        of(
            "t7-brown-out",
            "every replica answers 60 % with 503 from 2 s to 6 s, 50 % load; callers try three times",
            Wrong::Answer { status: 503, share: 0.6, retry_after: None },
        ),
        of(
            "t7-all-down",
            "every replica resets what asks it from 2 s to 6 s, 50 % load; callers try three times",
            Wrong::Reset,
        ),
        of(
            "t7-all-silent",
            "no replica answers from 2 s to 6 s, 50 % load; callers try three times, for 500 ms each",
            Wrong::Silent,
        ),
    ]
}

pub(super) fn deadlines(amount: Amount) -> Vec<Variant> {
    let amount = Amount { requests: amount.requests.min(6_000), ..amount };
    let load = Load { mix: &[(Kind::Deadline, 1), (Kind::GrpcDeadline, 1)], ..steady(500.0, amount) };
    let chained = |arm: Arm, name| Arm { name, chain: true, ..arm };
    let arms =
        [chained(HAPROXY, "haproxy-haproxy"), chained(ENVOY, "envoy-envoy"), chained(UNLAG, "unlag-unlag")];
    vec![Variant {
        goal: Goal::Deadlines { after_ms: 5.0 },
        ..variant(
            12,
            "t12-chain",
            "two nodes in a row, 50 ms by x-request-timeout-ms or by grpc-timeout, 50 % load",
            equal(5),
            load,
            &arms,
            amount,
        )
    }]
}
