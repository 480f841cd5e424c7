//! Replicas that are far away: when they are asked, what becomes of a region that dies, who takes writes.

use std::time::Duration;

use super::super::arm::{Arm, ENVOY, HAPROXY, NGINX, TRAEFIK, UNLAG};
use super::super::plan::{Kind, Load, Mix, Phase};
use super::super::verdict::Goal;
use super::{Amount, REPLICA_RATE, Variant, replicas, steady, variant};
use crate::services::{Outage, RelaySpec, ReplicaSpec, ReplicasSpec, Role, When};

/// So many near replicas and as many far away.
fn two_regions(near: usize, one_way_ms: f64, outages: Vec<(Outage, When)>) -> ReplicasSpec {
    let relayed = |one_way_ms, outages| ReplicaSpec {
        relay: Some(RelaySpec { one_way_ms, outages }),
        ..ReplicaSpec::default()
    };
    let mut spec = vec![relayed(0.0, outages); near];
    spec.extend(vec![relayed(one_way_ms, Vec::new()); near]);
    replicas(spec)
}

const HAPROXY_BACKUP: Arm = Arm { name: "haproxy-backup", regions: true, health: true, ..HAPROXY };
const NGINX_BACKUP: Arm = Arm { name: "nginx-backup", regions: true, ..NGINX };
const ENVOY_PRIORITY: Arm = Arm { name: "envoy-priority", regions: true, health: true, ..ENVOY };
const UNLAG_REGIONS: Arm = Arm { name: "unlag+regions", regions: true, ..UNLAG };

pub(super) fn geography(amount: Amount) -> Vec<Variant> {
    let all = [HAPROXY, NGINX, ENVOY, TRAEFIK, HAPROXY_BACKUP, ENVOY_PRIORITY, UNLAG, UNLAG_REGIONS];
    let arms = [HAPROXY, ENVOY, HAPROXY_BACKUP, UNLAG, UNLAG_REGIONS];
    let local = 3.0 * REPLICA_RATE;
    let of = |name, meaning, one_way_ms, share: f64, requests: usize| {
        let amount = Amount { requests: amount.requests.min(requests), ..amount };
        let (spec, load) = (two_regions(3, one_way_ms, Vec::new()), steady(local * share, amount));
        Variant { near: 3, watched: vec![3, 4, 5], ..variant(8, name, meaning, spec, load, &arms, amount) }
    };
    vec![
        Variant {
            goal: Goal::Geo { far: 0.01, ratio: 1.05, than: HAPROXY_BACKUP.name },
            ..of(
                "t8-30",
                "3 near replicas and 3 that are 30 ms away, 30 % of near capacity",
                15.0,
                0.3,
                3_000,
            )
        },
        Variant {
            arms: all.into(),
            goal: Goal::Geo { far: 0.01, ratio: 1.05, than: HAPROXY_BACKUP.name },
            ..of(
                "t8-60",
                "3 near replicas and 3 that are 30 ms away, 60 % of near capacity",
                15.0,
                0.6,
                8_000,
            )
        },
        // The proportion for which the goal was set: a distance of six services, not of one and a half.
        Variant {
            goal: Goal::Geo { far: 0.01, ratio: 0.55, than: HAPROXY.name },
            ..of(
                "t8-60-farther",
                "3 near replicas and 3 that are 120 ms away, 60 % of near capacity",
                60.0,
                0.6,
                6_000,
            )
        },
        // More than the near ones can do: what has to leave leaves, by no more than the cap on it, and whoever uses all
        // six alike is the measure.
        Variant {
            goal: Goal::Geo { far: 0.5, ratio: 1.05, than: HAPROXY.name },
            ..of(
                "t8-110",
                "3 near replicas and 3 that are 30 ms away, 110 % of near capacity",
                15.0,
                1.1,
                8_000,
            )
        },
    ]
}

pub(super) fn region_dies(amount: Amount) -> Vec<Variant> {
    let arms = [
        HAPROXY_BACKUP,
        NGINX_BACKUP,
        ENVOY_PRIORITY,
        Arm { name: "unlag+regions", health: true, ..UNLAG_REGIONS },
        Arm { name: "unlag+regions+hedge", health: true, hedge: true, ..UNLAG_REGIONS },
    ];
    const WRITES: Mix = &[(Kind::Get, 9), (Kind::Post, 1)];
    let (from_ms, until_ms) = (4_000, 8_000);
    let (rate, seconds) = (240.0, 21.0);
    let of = |name, meaning, outage| {
        let spec = two_regions(3, 15.0, vec![(outage, When::Between { from_ms, until_ms })]);
        let phases = vec![Phase { rate, requests: (rate * seconds) as usize }];
        let load = Load { phases, mix: WRITES, critical: 0.0, direct: 0.0, keys: 0 };
        Variant {
            near: 3,
            watched: vec![3, 4, 5],
            outage: Some((Duration::from_millis(from_ms), Duration::from_millis(until_ms))),
            goal: Goal::RegionDies { seconds: 2.0, home_s: 10.0, ratio: 1.5 },
            attempt_timeout: Duration::from_secs(5),
            rounds: 1,
            ..variant(9, name, meaning, spec, load, &arms, amount)
        }
    };
    vec![
        of(
            "t9-freeze",
            "the near region freezes from 4 s to 8 s, a tenth of the requests writes",
            Outage::Freeze,
        ),
        of(
            "t9-close",
            "the near region resets and refuses from 4 s to 8 s, a tenth of the requests writes",
            Outage::Close,
        ),
        of(
            "t9-black-hole",
            "the near region accepts and never answers from 4 s to 8 s, a tenth of the requests writes",
            Outage::BlackHole,
        ),
    ]
}

pub(super) fn primary(amount: Amount) -> Vec<Variant> {
    let amount = Amount { requests: amount.requests.min(4_000), ..amount };
    let follower = ReplicaSpec { role: Role::Follower, lag_ms: 300, ..ReplicaSpec::default() };
    let relay = RelaySpec { one_way_ms: 15.0, outages: Vec::new() };
    let primary = ReplicaSpec { role: Role::Primary, relay: Some(relay), ..ReplicaSpec::default() };
    let spec = replicas(vec![follower.clone(), follower.clone(), follower, primary.clone(), primary]);
    let load = Load { mix: &[(Kind::Read(0), 7), (Kind::Write(0), 3)], keys: 200, ..steady(300.0, amount) };
    vec![Variant {
        near: 3,
        watched: vec![3, 4],
        goal: Goal::OwnWrites,
        ..variant(
            13,
            "t13-own-writes",
            "3 near followers 300 ms behind a primary that is 30 ms away, 30 % writes",
            spec,
            load,
            &[UNLAG_REGIONS, Arm { name: "unlag+own-writes", own_writes: true, ..UNLAG_REGIONS }],
            amount,
        )
    }]
}
