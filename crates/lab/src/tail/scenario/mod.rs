//! The scenarios as data: what the replicas are like and what goes wrong with them, the load, the arms, what it is to show.
//! What they have in common is here; the variants stand in a file for each family.

mod balancing;
mod copies;
mod overload;
mod regions;

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;

use super::arm::Arm;
use super::plan::{GETS, Load, Phase};
use super::verdict::Goal;
use crate::services::{ReplicaSpec, ReplicasSpec, Timed, When, Work, Wrong};

/// A group of variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scenario(u8);

impl Scenario {
    const LAST: u8 = 14;

    /// All, in order.
    pub fn all() -> Vec<Self> {
        (1..=Self::LAST).map(Self).collect()
    }

    /// `T1` to `T14`.
    pub fn name(self) -> String {
        format!("T{}", self.0)
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
    /// When a region dies, or the whole service where there is one region, and when it returns.
    pub(super) outage: Option<(Duration, Duration)>,
    /// What is compared pair by pair, in many short rounds, with nothing restarted between them.
    pub(super) paired: bool,
    /// The last two replicas come and go in the file that lists them: there for half of this, gone for the other half, the
    /// last a quarter later than the other.
    pub(super) churn: Option<Duration>,
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
    Load { phases: vec![Phase { rate, requests }], mix: GETS, critical: 0.0, direct: 0.0, keys: 0 }
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
        churn: None,
    }
}

/// Every variant of a scenario.
pub(super) fn variants(scenario: Scenario, amount: Amount) -> Vec<Variant> {
    match scenario.0 {
        1 => balancing::equal_replicas(amount),
        2 => [balancing::slow_one(amount), balancing::most_slow(amount)].concat(),
        3 => copies::freezes(amount),
        4 => copies::bimodal(amount),
        5 => balancing::sinkhole(amount),
        6 => balancing::many_proxies(amount),
        7 => [overload::overload(amount), overload::service_fails(amount)].concat(),
        8 => regions::geography(amount),
        9 => regions::region_dies(amount),
        10 => balancing::churn(amount),
        11 => copies::hedge_safety(amount),
        12 => overload::deadlines(amount),
        13 => regions::primary(amount),
        14 => copies::hold_outs(amount),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_variants_of_its_own_name() {
        let amount = Amount { requests: 20_000, rounds: 2 };
        let mut names = Vec::new();
        for scenario in Scenario::all() {
            assert_eq!(scenario.name().parse::<Scenario>().expect("its own name"), scenario);
            let variants = variants(scenario, amount);
            assert!(!variants.is_empty(), "{}", scenario.name());
            let measures = variants.iter().filter_map(|variant| variant.goal.than());
            for than in measures {
                assert!(variants.iter().any(|variant| variant.name == than), "{than} is run with it");
            }
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
        assert_eq!((of("t2-constant"), of("t3-200-40"), of("t3-800-40")), (5_000, 5_000, 7_500));
    }
}
