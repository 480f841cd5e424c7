//! `unlag demo`: a shop of slow services, load on it, unlag in between with its admin API, all in this process.

use crate::Failed;
use crate::args::DemoOptions;
use crate::papers::print;
use crate::system::System;
use anyhow::anyhow;
use std::fmt::Write;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use unlag_config::Address;
use unlag_console::Console;
use unlag_engine::Engine;
use unlag_lab::demo::{self, Act, PhaseShare, Plan, Pool, Pools, Screen, Trouble, Way};
use unlag_lab::services::Shop;
use unlag_record::{HistogramSnapshot, Phase, Registry};

/// Runs the command.
pub(crate) fn run(options: DemoOptions) -> Result<(), Failed> {
    let plan = Plan { seconds: options.seconds, rate: options.rate };
    let shop = Shop::start()?;
    let pools = Pools::start(plan)?;
    let text = config_text(&shop, &pools);
    let parsed = unlag_config::parse(&text, "demo").map_err(|problems| anyhow!("{problems}"))?;
    let registry = Registry::new(Default::default(), None);
    let engine = Engine::start(&parsed.config, 1, Arc::clone(&registry))?;
    let address = engine.addresses().into_iter().find_map(|address| match address {
        Address::Tcp(address) => Some(address),
        Address::Unix(_) => None,
    });
    let proxy = address.ok_or_else(|| anyhow!("the demo's proxy has no address"))?;
    let system = System::new(engine, &parsed.config, None, "demo".into(), text);
    // Without a token nothing can be changed through it, and only this machine may read.
    let console = Console::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, None, Arc::new(system))?;
    if let Some(address) = console.address() {
        eprintln!("while it runs: http://{address}/metrics, and unlag explain --admin http://{address}\n");
    }
    let mut shares = Shares::default();
    let mut phases = |act| shares.during(act, phases_of(&registry));
    if options.json {
        let mut screen = Screen::new(std::io::sink(), false);
        let report = demo::run(plan, proxy, &shop, &pools, &mut screen, &mut phases)?;
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let terminal = std::io::stdout().is_terminal();
        let mut screen = Screen::new(std::io::stdout(), terminal);
        demo::run(plan, proxy, &shop, &pools, &mut screen, &mut phases)?;
    }
    console.shutdown();
    Ok(())
}

/// What is told apart below the catalogue for the acts before and after caching.
const SHELVES: [(&str, &str); 4] = [
    ("products", "\"off\""),
    ("cached", "{ ttl = \"10s\" }"),
    ("assets", "\"off\""),
    ("edge", "{ ttl = \"1s\", stale_while_revalidate = \"60s\" }"),
];

/// One route and one upstream for each service and each pool, and a route for each shelf of the catalogue.
fn config_text(shop: &Shop, pools: &Pools) -> String {
    let mut text = String::from(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[region]\nname = \"near\"\n[monitor]\naccess_log = \"off\"\n",
    );
    for service in &shop.services {
        let name = service.name;
        let endpoints: Vec<String> =
            service.replicas.iter().map(|address| format!("\"http://{address}\"")).collect();
        let _ = writeln!(text, "[upstream.{name}]\nendpoints = [{}]", endpoints.join(", "));
        let _ = writeln!(
            text,
            "[[route]]\nname = \"{name}\"\nmatch = \"/{name}/{{rest...}}\"\nupstream = \"{name}\""
        );
    }
    for (shelf, cache) in SHELVES {
        let _ = writeln!(
            text,
            "[[route]]\nname = \"catalog-{shelf}\"\nmatch = \"/catalog/{shelf}/{{rest...}}\"\n\
             upstream = \"catalog\"\ncache = {cache}"
        );
    }
    pools.iter().for_each(|pool| add_pool(&mut text, pool));
    text
}

/// The upstream and the route of a pool: the plain way with what unlag does about its trouble taken out, or as the defaults
/// are, but for hedging, which is off by default. Ejection has no switch: both have it.
fn add_pool(text: &mut String, pool: &Pool) {
    let list = |addresses: &[SocketAddr]| {
        let urls: Vec<String> = addresses.iter().map(|address| format!("\"http://{address}\"")).collect();
        format!("[{}]", urls.join(", "))
    };
    let name = pool.name();
    let (near, far) = (list(pool.near()), list(pool.far()));
    let (upstream, route) = match (pool.way, pool.trouble) {
        (Way::Plain, Trouble::Slow | Trouble::Failing) => {
            (format!("endpoints = {near}\nbalance = \"round-robin\""), "retry = \"off\"")
        }
        (Way::Plain, Trouble::Freezing | Trouble::Far) => {
            let all = list(&[pool.near(), pool.far()].concat());
            (format!("endpoints = {all}\nbalance = \"least-request\""), "retry = \"off\"")
        }
        (Way::Unlag, Trouble::Slow | Trouble::Failing) => (format!("endpoints = {near}"), ""),
        (Way::Unlag, Trouble::Freezing) => (format!("endpoints = {near}"), "hedge = {}"),
        (Way::Unlag, Trouble::Far) => (format!("regions.near = {near}\nregions.far = {far}"), ""),
    };
    let _ = writeln!(
        text,
        "[upstream.{name}]\n{upstream}\n[[route]]\nname = \"{name}\"\nmatch = \"{}/{{rest...}}\"\n\
         upstream = \"{name}\"\ncache = \"off\"\n{route}",
        pool.host()
    );
}

/// The histogram of each phase, all routes together.
type Phases = Vec<(Phase, HistogramSnapshot)>;

fn phases_of(registry: &Registry) -> Phases {
    let snapshot = registry.snapshot();
    let merged = |phase: Phase| {
        let mut all = HistogramSnapshot::default();
        snapshot
            .phases
            .iter()
            .filter(|series| series.phase == phase)
            .for_each(|series| all.merge(&series.histogram));
        (phase, all)
    };
    Phase::ALL.into_iter().map(merged).collect()
}

/// What the phases took in the act that is on. The last look of an act comes as it ends, after whatever part of a
/// second is left: a few requests, so a share of those alone would say nothing.
#[derive(Default)]
struct Shares {
    act: Option<Act>,
    /// The histograms as that act began.
    began: Phases,
    /// The histograms as last looked at.
    last: Phases,
}

impl Shares {
    /// What each phase took since `act` began, which is when the act before it was last looked at.
    fn during(&mut self, act: Act, now: Phases) -> Vec<PhaseShare> {
        if self.act.replace(act) != Some(act) {
            self.began = std::mem::take(&mut self.last);
        }
        let new: Vec<_> = now
            .iter()
            .map(|(phase, histogram)| match self.began.iter().find(|(known, _)| known == phase) {
                Some((_, earlier)) => (*phase, histogram.since(earlier)),
                None => (*phase, histogram.clone()),
            })
            .collect();
        self.last = now;
        let total: u64 = new.iter().map(|(_, histogram)| histogram.sum_ns()).sum();
        new.iter()
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(phase, histogram)| PhaseShare {
                name: phase.name().into(),
                share: histogram.sum_ns() as f64 / total.max(1) as f64,
                p50_us: histogram.quantile(0.5) as f64 / 1e3,
                p99_us: histogram.quantile(0.99) as f64 / 1e3,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `waits` of 9 ms each, and `own` of 1 ms each.
    fn phases(waits: u64, own: u64) -> Phases {
        let of = |count, ns| {
            let mut histogram = HistogramSnapshot::default();
            (0..count).for_each(|_| histogram.record(ns));
            histogram
        };
        vec![(Phase::Wait, of(waits, 9_000_000)), (Phase::Overhead, of(own, 1_000_000))]
    }

    fn shares(found: &[PhaseShare]) -> Vec<(&str, f64)> {
        found.iter().map(|phase| (phase.name.as_str(), phase.share)).collect()
    }

    #[test]
    fn a_share_is_of_the_whole_act_not_of_the_moment_since_the_last_look() {
        let mut seen = Shares::default();
        seen.during(Act::Healthy, phases(100, 0));
        let end = seen.during(Act::Healthy, phases(100, 100));
        assert_eq!(shares(&end), [("upstream_ttfb", 0.9), ("overhead", 0.1)]);
    }

    #[test]
    fn an_act_knows_nothing_of_the_act_before_it() {
        let mut seen = Shares::default();
        seen.during(Act::Healthy, phases(100, 100));
        let next = seen.during(Act::SlowReplica, phases(150, 100));
        assert_eq!(shares(&next), [("upstream_ttfb", 1.0)]);
        let later = seen.during(Act::SlowReplica, phases(200, 200));
        assert_eq!(shares(&later), [("upstream_ttfb", 0.9), ("overhead", 0.1)]);
    }
}
