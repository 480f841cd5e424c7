//! What `unlag demo` does, but for the proxy: it drives the shop and pools of replicas in trouble through their acts, shows a
//! live table, and says in words what an operator would learn. The proxy is an address; what it saw of the phases comes from a closure.

mod act;
mod gains;
mod pools;
mod summary;
mod table;
mod trial;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

pub use act::Act;
pub use pools::{Pool, Pools, Trouble, Way};
pub use table::Screen;
pub use trial::{LossReport, TrialReport};

use crate::load::{self, Arrivals, Latency, Options, Part, Report};
use crate::services::Shop;
use trial::Trial;

/// How often the screen is drawn.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How finely is told when requests fail and succeed again.
const WINDOW: Duration = Duration::from_millis(50);
/// The replicas of a trial get so many times the requests that the shop gets: they do nothing but wait, and it takes a
/// thousand requests to say something of the slowest of a hundred.
const TRIAL_RATE: f64 = 2.0;

/// How long and how hard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Length of the whole in seconds, 4 to 3,600; a tenth for each act with all services, half of that for each of those
    /// that come before and after caching, and 4 % for each on replicas in trouble. Default 100.
    pub seconds: u64,
    /// Requests per second. Default 200: a healthy shop is at a quarter of its capacity, and a replica ten times
    /// slower is overloaded by an equal share.
    pub rate: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seconds: 100, rate: 200.0 }
    }
}

impl Plan {
    fn length_of(self, act: Act) -> Duration {
        Duration::from_secs(self.seconds) * act.hundredths() / 100
    }
}

/// What the proxy measured of one phase of its requests, in one act so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseShare {
    /// The phase's name.
    pub name: String,
    /// Its share of the requests' total time, 0 to 1.
    pub share: f64,
    /// Median time in it, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the time in it, in microseconds.
    pub p99_us: f64,
}

/// What one act found.
#[derive(Debug, Clone, Serialize)]
pub struct ActReport {
    /// Which act.
    pub act: Act,
    /// Requests that were due.
    pub requests: u64,
    /// Requests that reached the services meanwhile.
    pub shop_requests: u64,
    /// Requests that failed, or were answered with 400 and above.
    pub errors: u64,
    /// What callers met, from the intended time to the last byte.
    pub latency_us: Latency,
    /// The same by service.
    pub services: Vec<ServiceReport>,
    /// What the proxy saw in the act, largest share first.
    pub phases: Vec<PhaseShare>,
    /// What the replicas saw, in the acts that are not the shop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialReport>,
}

/// One service in one act.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Requests that were due.
    pub requests: u64,
    /// What its callers met.
    pub latency_us: Latency,
}

/// What the demo found.
#[derive(Debug, Clone, Serialize)]
pub struct DemoReport {
    /// Requests per second asked for.
    pub rate: f64,
    /// The acts in order.
    pub acts: Vec<ActReport>,
    /// What an operator learns, a sentence each.
    pub lessons: Vec<String>,
}

/// Drives the acts against a proxy in front of `shop` and `pools`. Its routes are the services' names: `/catalog/...` goes to
/// `catalog`; it caches what is below `/catalog/cached/` and `/catalog/edge/`, and not what is below `/catalog/products/` and
/// `/catalog/assets/`. A pool is reached by its host. `phases` says what the proxy has seen since the act began; it is asked
/// about once a second, and as each act ends. Blocks until the last act is over.
pub fn run<W: Write>(
    plan: Plan,
    proxy: SocketAddr,
    shop: &Shop,
    pools: &Pools,
    screen: &mut Screen<W>,
    mut phases: impl FnMut(Act) -> Vec<PhaseShare>,
) -> Result<DemoReport> {
    ensure!((4..=3_600).contains(&plan.seconds), "demo: the length must be 4 to 3,600 s");
    let mut began = Duration::ZERO;
    let mut acts: Vec<ActReport> = Vec::new();
    for (number, act) in Act::ALL.into_iter().enumerate() {
        act.set(&shop.faults)?;
        let asked_before = shop.requests();
        let asked = || shop.requests().saturating_sub(asked_before);
        let pool = pools.of(act);
        let options = options(plan, proxy, act, pool, number);
        let mut trial = pool.map(|pool| Trial::begin(pool, act, plan)).transpose()?;
        let mut so_far = Report::default();
        let mut show_at = SHOW_EVERY;
        let report =
            load::run_observed(&options, if pool.is_some() { WINDOW } else { SHOW_EVERY }, |window| {
                so_far.merge(&window);
                if let Some(trial) = &mut trial {
                    trial.observe(&window);
                }
                if so_far.elapsed >= show_at {
                    show_at += SHOW_EVERY;
                    let arrived = trial.as_ref().map_or_else(asked, Trial::copies);
                    let current = act_report(act, &so_far, arrived, sorted(phases(act)));
                    screen.show(&acts, &current, began + so_far.elapsed, plan);
                }
            })
            .context("demo")?;
        shop.faults.clear();
        let ended = trial.map(|trial| trial.end(&report)).transpose()?;
        let (arrived, trial) = ended.map_or_else(|| (asked(), None), |(copies, trial)| (copies, Some(trial)));
        acts.push(ActReport { trial, ..act_report(act, &report, arrived, sorted(phases(act))) });
        began += options.duration;
    }
    let mut lessons = summary::lessons(&acts);
    lessons.extend(gains::gains(&acts));
    screen.finish(&acts, &lessons)?;
    Ok(DemoReport { rate: plan.rate, acts, lessons })
}

fn options(plan: Plan, proxy: SocketAddr, act: Act, pool: Option<&Pool>, number: usize) -> Options {
    let mut options = Options::new(proxy, load::Request::get("/"));
    options.mix = act.mix();
    options.arrivals = Arrivals::Poisson { rate: plan.rate };
    options.duration = plan.length_of(act);
    options.timeout = Duration::from_secs(5);
    options.seed = 1 + number as u64;
    if let Some(pool) = pool {
        options.authority = pool.host();
        options.arrivals = Arrivals::Poisson { rate: plan.rate * TRIAL_RATE };
        // Both of a pair are asked at the same moments.
        options.seed = 1;
    }
    options
}

fn sorted(mut phases: Vec<PhaseShare>) -> Vec<PhaseShare> {
    phases.sort_by(|a, b| b.share.total_cmp(&a.share));
    phases
}

fn act_report(act: Act, report: &Report, shop_requests: u64, phases: Vec<PhaseShare>) -> ActReport {
    let service = |part: &Part| ServiceReport {
        name: part.name.clone(),
        requests: part.offered,
        latency_us: Latency::of(&part.latency),
    };
    ActReport {
        act,
        requests: report.all.offered,
        shop_requests,
        errors: report.errors(),
        latency_us: Latency::of(&report.all.latency),
        services: report.parts.iter().map(service).collect(),
        phases,
        trial: None,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
