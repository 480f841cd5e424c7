//! Second copies: where they are to save requests, where they are to do no harm, and what must never be sent twice.

use super::super::arm::{Arm, EACH, FEW_AND_HEDGE, HAPROXY, NGINX, UNLAG, UNLAG_HEDGE};
use super::super::plan::{Kind, Load, Mix};
use super::super::verdict::Goal;
use super::{Amount, Variant, equal, every_one, steady, variant};
use crate::services::{ReplicasSpec, When, Work, Wrong};

pub(super) fn freezes(amount: Amount) -> Vec<Variant> {
    let often = When::Every { period_ms: 5_000, for_ms: 200, jitter: 0.2 };
    let long = When::Every { period_ms: 20_000, for_ms: 800, jitter: 0.2 };
    let frozen = |when| every_one(5, Wrong::Freeze, when);
    // A replica freezes about four times in the 75 s that these take.
    let more = Amount { requests: 3 * amount.requests / 2, ..amount };
    let fewer = Amount { requests: amount.requests.min(10_000), rounds: 1 };
    // Ten services long, and so hardly longer than what one in a thousand takes anyway: nobody can gain much.
    let short = |name, meaning, rate| Variant {
        goal: Goal::Freezes { ratio: 1.0, extra: 0.025 },
        ..variant(3, name, meaning, frozen(often), steady(rate, fewer), FEW_AND_HEDGE, fewer)
    };
    vec![
        Variant {
            goal: Goal::Freezes { ratio: 0.40, extra: 0.025 },
            ..variant(
                3,
                "t3-800-40",
                "every replica freezes 800 ms about every 20 s, 40 % load",
                frozen(long),
                steady(400.0, more),
                EACH,
                amount,
            )
        },
        short("t3-200-40", "every replica freezes 200 ms about every 5 s, 40 % load", 400.0),
        short("t3-200-70", "every replica freezes 200 ms about every 5 s, 70 % load", 700.0),
    ]
}

pub(super) fn bimodal(amount: Amount) -> Vec<Variant> {
    let spec = ReplicasSpec { work: Work::BIMODAL, ..equal(5) };
    vec![Variant {
        goal: Goal::HedgeHarmless { ratio: 1.04 },
        ..variant(
            4,
            "t4-bimodal",
            "8 ms, a tenth of the requests 120 ms, 70 % load",
            spec,
            steady(700.0, amount),
            EACH,
            amount,
        )
    }]
}

/// What hold-outs say beside what is true: in one round, as the two have to have the same freezes.
pub(super) fn hold_outs(amount: Amount) -> Vec<Variant> {
    let long = When::Every { period_ms: 20_000, for_ms: 800, jitter: 0.2 };
    let frozen = every_one(5, Wrong::Freeze, long);
    let held_out = |name, share| Arm { name, holdout: Some(share), ..UNLAG_HEDGE };
    let arms = [UNLAG, UNLAG_HEDGE, held_out("unlag+hedge+5%", "5%"), held_out("unlag+hedge+1%", "1%")];
    let once = |requests| Amount { requests, rounds: 1 };
    let (many, few) = (once(3 * amount.requests / 2), once(amount.requests));
    vec![
        Variant {
            goal: Goal::HoldOut { saves: true },
            ..variant(
                14,
                "t14-freezes",
                "replicas freeze 800 ms about every 20 s, 40 % load: what hold-outs of 5 % and 1 % say that hedging saves",
                frozen,
                steady(400.0, many),
                &arms,
                many,
            )
        },
        Variant {
            goal: Goal::HoldOut { saves: false },
            ..variant(
                14,
                "t14-equal",
                "5 equal replicas, 70 % load: what hold-outs of 5 % and 1 % say that hedging saves",
                equal(5),
                steady(700.0, few),
                &arms,
                few,
            )
        },
    ]
}

pub(super) fn hedge_safety(amount: Amount) -> Vec<Variant> {
    const KINDS: Mix =
        &[(Kind::Get, 60), (Kind::Post, 30), (Kind::Stream, 8), (Kind::Download, 1), (Kind::Upload, 1)];
    let often = When::Every { period_ms: 5_000, for_ms: 200, jitter: 0.2 };
    let amount = Amount { requests: amount.requests.min(8_000), ..amount };
    let load = Load { mix: KINDS, ..steady(500.0, amount) };
    let arms = &[HAPROXY, NGINX, UNLAG, UNLAG_HEDGE];
    vec![Variant {
        goal: Goal::NothingTwice { extra: 0.05 },
        ..variant(
            11,
            "t11-safety",
            "POST, streams and bodies of 1 MiB among the requests, freezes of 200 ms, 50 % load",
            every_one(5, Wrong::Freeze, often),
            load,
            arms,
            amount,
        )
    }]
}
