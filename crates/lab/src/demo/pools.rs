//! What the trials of the demo are run on: for each trouble two pools of replicas that know nothing of each other, one to
//! be reached the plain way and one by what unlag does about that trouble.
//!
//! A replica has workers of its own that sleep (`services::Replicas`), so that a slow or overloaded one takes nothing from
//! its neighbours, as it would if all burnt the few cores that the demo has.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Act, Plan};
use crate::services::{
    Outage, RelaySpec, ReplicaSpec, Replicas, ReplicasReport, ReplicasSpec, Timed, When, Work, Wrong,
};

/// Replicas near the proxy; as many are far where there are two regions.
const NEAR: usize = 3;
/// The replica that is slow, freezes or fails.
const TROUBLED: usize = 1;
/// Requests that a replica works on at a time. At the usual 300 requests/s, a replica ten times slower is at 60 % of its
/// capacity with a third of them: it is slow, and not drowned.
const WORKERS: usize = 16;
/// Mean 10 ms, half of the spread the request's own.
const WORK: Work = Work::LogNormal { mean_ms: 10.0, request_sigma: 0.5, copy_sigma: 0.5 };
/// How much slower the slow replica is.
const SLOW: f64 = 10.0;
/// What a collection of garbage or a full disk does to a replica.
const FREEZE: When = When::Every { period_ms: 1_300, for_ms: 300, jitter: 0.1 };
/// Milliseconds to the far region, and as many back.
const FAR_ONE_WAY_MS: f64 = 30.0;

/// What is wrong in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// One replica of three takes ten times as long.
    Slow,
    /// One replica of three stands still for 300 ms every 1.3 s.
    Freezing,
    /// One replica of three answers 500 at once.
    Failing,
    /// Of six replicas three are 30 ms away, each way; those that are near can be lost.
    Far,
}

/// How the replicas of a trial are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As callers had it before: one after the other, or the one with the fewest requests in flight; one attempt.
    Plain,
    /// By what unlag does about the trouble.
    Unlag,
}

/// The replicas of one trial.
#[derive(Debug)]
pub struct Pool {
    /// What is wrong with them.
    pub trouble: Trouble,
    /// How they are to be reached.
    pub way: Way,
    replicas: Replicas,
}

/// The pools of all trials; they end when dropped.
#[derive(Debug)]
pub struct Pools(Vec<Pool>);

impl Pools {
    /// Starts the replicas of all trials. When the near region is lost depends on how long its act is.
    pub fn start(plan: Plan) -> Result<Self> {
        let troubles = [Trouble::Slow, Trouble::Freezing, Trouble::Failing, Trouble::Far];
        let both =
            troubles.into_iter().flat_map(|trouble| [Way::Plain, Way::Unlag].map(|way| (trouble, way)));
        let start = |(trouble, way)| {
            let replicas = Replicas::start(spec(trouble, plan)).context("demo")?;
            Ok(Pool { trouble, way, replicas })
        };
        both.map(start).collect::<Result<_>>().map(Self)
    }

    /// Each pool.
    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.0.iter()
    }

    pub(super) fn of(&self, act: Act) -> Option<&Pool> {
        let (trouble, way) = act.trial()?;
        self.iter().find(|pool| pool.trouble == trouble && pool.way == way)
    }
}

impl Pool {
    /// Its name, `slow-plain`: the host that requests for it ask for is this and `.demo`.
    pub fn name(&self) -> &'static str {
        match (self.trouble, self.way) {
            (Trouble::Slow, Way::Plain) => "slow-plain",
            (Trouble::Slow, Way::Unlag) => "slow-unlag",
            (Trouble::Freezing, Way::Plain) => "freezing-plain",
            (Trouble::Freezing, Way::Unlag) => "freezing-unlag",
            (Trouble::Failing, Way::Plain) => "failing-plain",
            (Trouble::Failing, Way::Unlag) => "failing-unlag",
            (Trouble::Far, Way::Plain) => "far-plain",
            (Trouble::Far, Way::Unlag) => "far-unlag",
        }
    }

    /// The host that its requests ask for.
    pub fn host(&self) -> String {
        format!("{}.demo", self.name())
    }

    /// The replicas near the proxy.
    pub fn near(&self) -> &[SocketAddr] {
        let all = self.replicas.addresses.replicas.as_slice();
        all.get(..NEAR).unwrap_or(all)
    }

    /// Those of the far region, where there is one.
    pub fn far(&self) -> &[SocketAddr] {
        self.replicas.addresses.replicas.get(NEAR..).unwrap_or_default()
    }

    pub(super) fn start_clock(&self) -> Result<()> {
        self.replicas.addresses.start_clock()
    }

    pub(super) fn report(&self) -> Result<ReplicasReport> {
        self.replicas.addresses.report()
    }

    /// The same once they have noticed who has gone.
    pub(super) fn settled(&self) -> Result<ReplicasReport> {
        self.replicas.addresses.settled()
    }

    /// Which of its replicas are those that are better not asked: the troubled one, or the far ones.
    pub(super) fn troubled(&self) -> std::ops::Range<usize> {
        if self.trouble == Trouble::Far { NEAR..2 * NEAR } else { TROUBLED..TROUBLED + 1 }
    }
}

/// When the near region is lost in an act of this length, from its beginning.
pub(super) fn lost_during(act: Duration) -> std::ops::Range<Duration> {
    act / 4..act * 11 / 20
}

fn spec(trouble: Trouble, plan: Plan) -> ReplicasSpec {
    let mut replicas = vec![ReplicaSpec::default(); NEAR];
    let always = |fault| vec![Timed { fault, when: When::Always }];
    let faults = match trouble {
        Trouble::Slow => always(Wrong::Slow(SLOW)),
        Trouble::Freezing => vec![Timed { fault: Wrong::Freeze, when: FREEZE }],
        Trouble::Failing => always(Wrong::Answer { status: 500, share: 1.0, retry_after: None }),
        Trouble::Far => {
            replicas = regions(plan);
            Vec::new()
        }
    };
    if let Some(troubled) = replicas.get_mut(TROUBLED) {
        troubled.faults = faults;
    }
    ReplicasSpec {
        seed: 1,
        work: WORK,
        workers: WORKERS,
        drop_cancelled: true,
        reports_load: false,
        replicas,
    }
}

/// Three replicas whose way can be lost, and three that are far.
fn regions(plan: Plan) -> Vec<ReplicaSpec> {
    let lost = lost_during(plan.length_of(Act::LostPlain));
    let [from_ms, until_ms] = [lost.start, lost.end].map(|at| at.as_millis() as u64);
    let by = |relay| ReplicaSpec { relay: Some(relay), ..ReplicaSpec::default() };
    let near = by(RelaySpec {
        one_way_ms: 0.0,
        outages: vec![(Outage::Close, When::Between { from_ms, until_ms })],
    });
    let far = by(RelaySpec { one_way_ms: FAR_ONE_WAY_MS, outages: Vec::new() });
    [vec![near; NEAR], vec![far; NEAR]].concat()
}
