//! More than there is room or time for: twice the load that can be done, and requests that have 50 ms in all.

use std::time::Duration;

use super::super::arm::{Arm, ENVOY, HAPROXY, NGINX, UNLAG};
use super::super::plan::{GETS, Kind, Load, Phase};
use super::super::verdict::Goal;
use super::{Amount, Variant, equal, steady, variant};

pub(super) fn overload(amount: Amount) -> Vec<Variant> {
    let limited = Arm { name: "unlag+limit", limit: true, ..UNLAG };
    // 5 s below, 10 s of twice what there is, 10 s below again, whatever the amount is.
    let phase = |rate: f64, seconds: f64| Phase { rate, requests: (rate * seconds) as usize };
    let phases = vec![phase(700.0, 5.0), phase(2_000.0, 10.0), phase(700.0, 10.0)];
    let load = Load { phases, mix: GETS, critical: 0.2, keys: 0 };
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

pub(super) fn deadlines(amount: Amount) -> Vec<Variant> {
    let amount = Amount { requests: amount.requests.min(6_000), ..amount };
    let load = Load { mix: &[(Kind::Deadline, 1)], ..steady(500.0, amount) };
    let chained = |arm: Arm, name| Arm { name, chain: true, ..arm };
    let arms =
        [chained(HAPROXY, "haproxy-haproxy"), chained(ENVOY, "envoy-envoy"), chained(UNLAG, "unlag-unlag")];
    vec![Variant {
        goal: Goal::Deadlines { after_ms: 5.0 },
        ..variant(
            12,
            "t12-chain",
            "two nodes in a row, x-request-timeout-ms 50, 50 % load",
            equal(5),
            load,
            &arms,
            amount,
        )
    }]
}
