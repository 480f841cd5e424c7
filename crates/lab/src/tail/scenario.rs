//! The scenarios as data: what the replicas are like and what goes wrong with them, the load, the arms, what it is to show.
//! tidy: table

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;

use super::arm::{
    ALL, Arm, ENVOY, FEW, FEW_AND_HEDGE, HAPROXY, NGINX, TRAEFIK, UNLAG, UNLAG_HEDGE, UNLAG_LEAST,
};
use super::plan::{GETS, Kind, Load, Mix, Phase};
use super::verdict::Goal;
use crate::services::{Outage, RelaySpec, ReplicaSpec, ReplicasSpec, Role, Timed, When, Work, Wrong};

/// A group of variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scenario(u8);

impl Scenario {
    const LAST: u8 = 14;

    /// All, in order. Those without a variant say so when they are asked for.
    pub fn all() -> Vec<Self> {
        (1..=Self::LAST).map(Self).collect()
    }

    /// `T1` to `T14`.
    pub fn name(self) -> String {
        format!("T{}", self.0)
    }

    /// Why there is nothing to run, where that is so.
    pub(super) fn missing(self) -> Option<&'static str> {
        match self.0 {
            14 => Some("needs the report on hold-outs, which the proxy does not give yet"),
            _ => None,
        }
    }
}

impl FromStr for Scenario {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let number = name.strip_prefix(['T', 't']).and_then(|number| number.parse().ok());
        match number.filter(|number| (1..=Self::LAST).contains(number)) {
            Some(number) => Ok(Self(number)),
            None => bail!("no scenario `{name}`: there are T1 to T{}", Self::LAST),
        }
    }
}

/// One way of running a scenario.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) scenario: Scenario,
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) replicas: ReplicasSpec,
    /// How many of the replicas, the first ones, are near.
    pub(super) near: usize,
    /// Load of a round.
    pub(super) load: Load,
    pub(super) rounds: usize,
    pub(super) arms: Vec<Arm>,
    pub(super) attempts: u32,
    pub(super) attempt_timeout: Duration,
    /// The replicas whose share of the requests is shown.
    pub(super) watched: Vec<usize>,
    pub(super) goal: Goal,
    /// When a region dies, and when it returns.
    pub(super) outage: Option<(Duration, Duration)>,
    /// What is compared pair by pair, in many short rounds, with nothing restarted between them.
    pub(super) paired: bool,
    /// Replicas come and go in the file that lists them.
    pub(super) churn: bool,
}

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    /// Requests of an arm, over its rounds.
    pub(super) requests: usize,
    pub(super) rounds: usize,
}

const SEED: u64 = 20_261_126;
const WORKERS: usize = 4;
/// Requests per second that one replica can do: four workers, 20 ms.
const REPLICA_RATE: f64 = 200.0;

fn replicas(replicas: Vec<ReplicaSpec>) -> ReplicasSpec {
    let work = Work::USUAL;
    ReplicasSpec { seed: SEED, work, workers: WORKERS, drop_cancelled: true, reports_load: false, replicas }
}

fn equal(n: usize) -> ReplicasSpec {
    replicas(vec![ReplicaSpec::default(); n])
}

fn every_one(n: usize, fault: Wrong, when: When) -> ReplicasSpec {
    replicas(vec![ReplicaSpec { faults: vec![Timed { fault, when }], ..ReplicaSpec::default() }; n])
}

/// Five replicas, the first with a fault.
fn first_of_five(fault: Wrong, when: When) -> ReplicasSpec {
    let mut spec = equal(5);
    if let Some(first) = spec.replicas.first_mut() {
        first.faults.push(Timed { fault, when });
    }
    spec
}

fn steady(rate: f64, amount: Amount) -> Load {
    let requests = amount.requests.div_ceil(amount.rounds.max(1));
    Load { phases: vec![Phase { rate, requests }], mix: GETS, critical: 0.0, keys: 0 }
}

fn variant(
    scenario: u8,
    name: &'static str,
    meaning: &'static str,
    replicas: ReplicasSpec,
    load: Load,
    arms: &[Arm],
    amount: Amount,
) -> Variant {
    Variant {
        scenario: Scenario(scenario),
        name,
        meaning,
        near: replicas.replicas.len(),
        replicas,
        load,
        rounds: amount.rounds,
        arms: arms.into(),
        attempts: 1,
        attempt_timeout: Duration::from_secs(10),
        watched: Vec::new(),
        goal: Goal::None,
        outage: None,
        paired: false,
        churn: false,
    }
}

/// Every variant of a scenario.
pub(super) fn variants(scenario: Scenario, amount: Amount) -> Vec<Variant> {
    match scenario.0 {
        1 => equal_replicas(amount),
        2 => slow_one(amount),
        3 => freezes(amount),
        4 => bimodal(amount),
        5 => sinkhole(amount),
        6 => many_proxies(amount),
        7 => overload(amount),
        8 => geography(amount),
        9 => region_dies(amount),
        10 => churn(amount),
        11 => hedge_safety(amount),
        12 => deadlines(amount),
        13 => primary(amount),
        _ => Vec::new(),
    }
}

fn equal_replicas(amount: Amount) -> Vec<Variant> {
    let arms = [ALL, &[UNLAG_LEAST]].concat();
    let pair = [UNLAG_LEAST, UNLAG];
    // Twenty-five thousand requests an arm at the default, in rounds of two thousand.
    let short = Amount { requests: 2_000.min(amount.requests), rounds: 1 };
    let rounds = (5 * amount.requests / 4).div_ceil(short.requests).clamp(4, 60);
    let paired = |name, meaning, rate| Variant {
        paired: true,
        rounds,
        goal: Goal::NoHarm { ratio: 1.04 },
        ..variant(1, name, meaning, equal(5), steady(rate, short), &pair, amount)
    };
    vec![
        variant(1, "t1-70", "5 equal replicas, 70 % load", equal(5), steady(700.0, amount), &arms, amount),
        variant(1, "t1-90", "5 equal replicas, 90 % load", equal(5), steady(900.0, amount), &arms, amount),
        paired("t1-paired-70", "adaptive to least-request, the same requests, 70 % load", 700.0),
        paired("t1-paired-90", "adaptive to least-request, the same requests, 90 % load", 900.0),
    ]
}

fn slow_one(amount: Amount) -> Vec<Variant> {
    let slow = Wrong::Slow(10.0);
    let onset = When::Every { period_ms: 10_000, for_ms: 2_000, jitter: 0.0 };
    let load = || steady(600.0, amount);
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
            goal: Goal::NearHealthy { ratio: 1.25 },
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
            ..variant(
                2,
                "t2-onset",
                "1 of 5 replicas 10 x slower for 2 s of every 10, 60 % load",
                first_of_five(slow, onset),
                load(),
                FEW_AND_HEDGE,
                amount,
            )
        },
    ]
}

fn freezes(amount: Amount) -> Vec<Variant> {
    let often = When::Every { period_ms: 5_000, for_ms: 200, jitter: 0.2 };
    let long = When::Every { period_ms: 20_000, for_ms: 800, jitter: 0.2 };
    let frozen = |when| every_one(5, Wrong::Freeze, when);
    // A replica freezes five times in the 100 s that these take.
    let more = Amount { requests: 2 * amount.requests, ..amount };
    let fewer = Amount { requests: amount.requests.min(10_000), ..amount };
    vec![
        Variant {
            goal: Goal::Freezes { ratio: 0.40, extra: 0.025 },
            ..variant(
                3,
                "t3-800-40",
                "every replica freezes 800 ms about every 20 s, 40 % load",
                frozen(long),
                steady(400.0, more),
                ALL,
                amount,
            )
        },
        variant(
            3,
            "t3-200-40",
            "every replica freezes 200 ms about every 5 s, 40 % load",
            frozen(often),
            steady(400.0, fewer),
            FEW_AND_HEDGE,
            amount,
        ),
        variant(
            3,
            "t3-200-70",
            "every replica freezes 200 ms about every 5 s, 70 % load",
            frozen(often),
            steady(700.0, fewer),
            FEW_AND_HEDGE,
            amount,
        ),
    ]
}

fn bimodal(amount: Amount) -> Vec<Variant> {
    let spec = ReplicasSpec { work: Work::BIMODAL, ..equal(5) };
    vec![Variant {
        goal: Goal::HedgeHarmless { ratio: 1.04 },
        ..variant(
            4,
            "t4-bimodal",
            "8 ms, a tenth of the requests 120 ms, 70 % load",
            spec,
            steady(700.0, amount),
            ALL,
            amount,
        )
    }]
}

fn sinkhole(amount: Amount) -> Vec<Variant> {
    let answer = |status, share, retry_after| Wrong::Answer { status, share, retry_after };
    let fewer = Amount { requests: amount.requests.min(8_000), ..amount };
    let of = |name, meaning, fault, arms: &[Arm]| Variant {
        watched: vec![0],
        goal: Goal::Errors { share: 0.005 },
        ..variant(5, name, meaning, first_of_five(fault, When::Always), steady(500.0, fewer), arms, amount)
    };
    vec![
        Variant {
            load: steady(500.0, amount),
            ..of(
                "t5-500",
                "1 of 5 replicas answers 500 at once, 50 % load, no retries asked for",
                answer(500, 1.0, None),
                ALL,
            )
        },
        Variant {
            goal: Goal::None,
            ..of(
                "t5-500-half",
                "1 of 5 replicas answers half of its requests with 500 at once",
                answer(500, 0.5, None),
                FEW,
            )
        },
        Variant {
            goal: Goal::None,
            ..of(
                "t5-429",
                "1 of 5 replicas answers 429 with Retry-After: 1 at once",
                answer(429, 1.0, Some(1)),
                FEW,
            )
        },
        Variant {
            goal: Goal::None,
            ..of(
                "t5-reset",
                "1 of 5 replicas resets every connection that asks it for work",
                Wrong::Reset,
                FEW,
            )
        },
    ]
}

fn many_proxies(amount: Amount) -> Vec<Variant> {
    let workers = |arm: Arm, workers, name| Arm { name, workers, ..arm };
    let processes = |arm: Arm, name| Arm { name, processes: 4, ..arm };
    let arms = [
        UNLAG,
        workers(UNLAG, 2, "unlag-2-workers"),
        workers(UNLAG, 4, "unlag-4-workers"),
        processes(UNLAG, "unlag-4-processes"),
        HAPROXY,
        workers(HAPROXY, 4, "haproxy-4-threads"),
        processes(HAPROXY, "haproxy-4-processes"),
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

fn overload(amount: Amount) -> Vec<Variant> {
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

fn geography(amount: Amount) -> Vec<Variant> {
    let all = [HAPROXY, NGINX, ENVOY, TRAEFIK, HAPROXY_BACKUP, ENVOY_PRIORITY, UNLAG, UNLAG_REGIONS];
    let arms = [HAPROXY, ENVOY, HAPROXY_BACKUP, UNLAG, UNLAG_REGIONS];
    let local = 3.0 * REPLICA_RATE;
    let of = |name, meaning, one_way_ms, share: f64, requests: usize| {
        let amount = Amount { requests: amount.requests.min(requests), ..amount };
        let (spec, load) = (two_regions(3, one_way_ms, Vec::new()), steady(local * share, amount));
        Variant { near: 3, watched: vec![3, 4, 5], ..variant(8, name, meaning, spec, load, &arms, amount) }
    };
    vec![
        of("t8-30", "3 near replicas and 3 that are 30 ms away, 30 % of near capacity", 15.0, 0.3, 5_000),
        Variant {
            arms: all.into(),
            goal: Goal::Geo { far: 0.01, ratio: 1.05, than: HAPROXY_BACKUP.name },
            ..of(
                "t8-60",
                "3 near replicas and 3 that are 30 ms away, 60 % of near capacity",
                15.0,
                0.6,
                12_000,
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
                8_000,
            )
        },
        of("t8-110", "3 near replicas and 3 that are 30 ms away, 110 % of near capacity", 15.0, 1.1, 12_000),
    ]
}

fn region_dies(amount: Amount) -> Vec<Variant> {
    let arms = [
        HAPROXY_BACKUP,
        NGINX_BACKUP,
        ENVOY_PRIORITY,
        Arm { name: "unlag", health: true, ..UNLAG },
        Arm { name: "unlag+regions", health: true, ..UNLAG_REGIONS },
        Arm { name: "unlag+regions+hedge", health: true, hedge: true, ..UNLAG_REGIONS },
    ];
    const WRITES: Mix = &[(Kind::Get, 9), (Kind::Post, 1)];
    let (from_ms, until_ms) = (6_000, 14_000);
    let (rate, seconds) = (240.0, 20.0);
    let of = |name, meaning, outage| {
        let spec = two_regions(3, 15.0, vec![(outage, When::Between { from_ms, until_ms })]);
        let phases = vec![Phase { rate, requests: (rate * seconds) as usize }];
        let load = Load { phases, mix: WRITES, critical: 0.0, keys: 0 };
        Variant {
            near: 3,
            watched: vec![3, 4, 5],
            outage: Some((Duration::from_millis(from_ms), Duration::from_millis(until_ms))),
            goal: Goal::RegionDies { seconds: 2.0 },
            attempt_timeout: Duration::from_secs(5),
            rounds: 1,
            ..variant(9, name, meaning, spec, load, &arms, amount)
        }
    };
    vec![
        of(
            "t9-freeze",
            "the near region freezes from 6 s to 14 s, a tenth of the requests writes",
            Outage::Freeze,
        ),
        of(
            "t9-close",
            "the near region resets and refuses from 6 s to 14 s, a tenth of the requests writes",
            Outage::Close,
        ),
        of(
            "t9-black-hole",
            "the near region accepts and never answers from 6 s to 14 s, a tenth of the requests writes",
            Outage::BlackHole,
        ),
    ]
}

fn churn(amount: Amount) -> Vec<Variant> {
    // The sixth is slow for the first three seconds of each of its lives.
    let mut spec = equal(6);
    if let Some(last) = spec.replicas.last_mut() {
        let when = When::Every { period_ms: CHURN_PERIOD.as_millis() as u64, for_ms: 3_000, jitter: 0.0 };
        last.faults.push(Timed { fault: Wrong::Slow(5.0), when });
    }
    let arms = [HAPROXY, Arm { name: "unlag+file", discovers: true, ..UNLAG }];
    vec![Variant {
        churn: true,
        watched: vec![5],
        goal: Goal::NoErrors,
        ..variant(
            10,
            "t10-churn",
            "a sixth replica comes and goes every 4 s, 5 x slower when it is cold, 70 % load; haproxy keeps all six",
            spec,
            steady(700.0, amount),
            &arms,
            amount,
        )
    }]
}

/// A replica that comes and goes does so once in this: half of it there, half of it gone.
pub(super) const CHURN_PERIOD: Duration = Duration::from_secs(8);

fn hedge_safety(amount: Amount) -> Vec<Variant> {
    const KINDS: Mix =
        &[(Kind::Get, 60), (Kind::Post, 30), (Kind::Stream, 8), (Kind::Download, 1), (Kind::Upload, 1)];
    let often = When::Every { period_ms: 5_000, for_ms: 200, jitter: 0.2 };
    let amount = Amount { requests: amount.requests.min(12_000), ..amount };
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

fn deadlines(amount: Amount) -> Vec<Variant> {
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

fn primary(amount: Amount) -> Vec<Variant> {
    let amount = Amount { requests: amount.requests.min(6_000), ..amount };
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
            &[UNLAG, UNLAG_REGIONS],
            amount,
        )
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_variants_of_its_own_name_or_says_why_not() {
        let amount = Amount { requests: 20_000, rounds: 2 };
        let mut names = Vec::new();
        for scenario in Scenario::all() {
            assert_eq!(scenario.name().parse::<Scenario>().expect("its own name"), scenario);
            let variants = variants(scenario, amount);
            assert_eq!(variants.is_empty(), scenario.missing().is_some(), "{}", scenario.name());
            for variant in variants {
                assert!(
                    variant.name.starts_with(&format!("{}-", scenario.name().to_lowercase())),
                    "{}",
                    variant.name
                );
                assert!(variant.near <= variant.replicas.replicas.len() && !variant.arms.is_empty());
                assert!(variant.watched.iter().all(|n| *n < variant.replicas.replicas.len()));
                let mut arms: Vec<&str> = variant.arms.iter().map(|arm| arm.name).collect();
                arms.sort_unstable();
                assert!(arms.windows(2).all(|pair| pair[0] != pair[1]), "{}: {arms:?}", variant.name);
                names.push(variant.name);
            }
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!("T15".parse::<Scenario>().is_err() && "T0".parse::<Scenario>().is_err());
    }

    #[test]
    fn an_arm_gets_as_many_requests_as_were_asked_for_over_its_rounds() {
        let amount = Amount { requests: 5_000, rounds: 4 };
        let of = |name: &str| {
            let scenario = name[..2].parse().expect("a scenario");
            let variant = variants(scenario, amount).into_iter().find(|v| v.name == name).expect(name);
            variant.load.requests() * variant.rounds
        };
        assert_eq!((of("t2-constant"), of("t3-200-40"), of("t3-800-40")), (5_000, 5_000, 10_000));
    }
}
