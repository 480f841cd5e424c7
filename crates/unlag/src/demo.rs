//! `unlag demo`: a shop of slow services, load on it, unlag in between with its admin API, all in this process.

use crate::Failed;
use crate::args::DemoOptions;
use crate::papers::print;
use crate::system::System;
use anyhow::anyhow;
use std::fmt::Write;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use unlag_config::Address;
use unlag_console::Console;
use unlag_engine::Engine;
use unlag_lab::demo::{self, PhaseShare, Plan, Screen};
use unlag_lab::services::Shop;
use unlag_record::{HistogramSnapshot, Phase, Registry};

/// Runs the command.
pub(crate) fn run(options: DemoOptions) -> Result<(), Failed> {
    let shop = Shop::start()?;
    let text = config_text(&shop);
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
    let plan = Plan { seconds: options.seconds, rate: options.rate };
    let mut before = Shares::default();
    let mut phases = || before.since(&registry);
    if options.json {
        let mut screen = Screen::new(std::io::sink(), false);
        let report = demo::run(plan, proxy, &shop, &mut screen, &mut phases)?;
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let terminal = std::io::stdout().is_terminal();
        let mut screen = Screen::new(std::io::stdout(), terminal);
        demo::run(plan, proxy, &shop, &mut screen, &mut phases)?;
    }
    console.shutdown();
    Ok(())
}

/// One route and one upstream for each service.
fn config_text(shop: &Shop) -> String {
    let mut text = String::from("[[listen]]\naddress = \"127.0.0.1:0\"\n[monitor]\naccess_log = \"off\"\n");
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
    text
}

/// The phases of all routes together, as they were when last looked at.
#[derive(Default)]
struct Shares {
    last: Vec<(Phase, HistogramSnapshot)>,
}

impl Shares {
    /// What each phase took since the last look.
    fn since(&mut self, registry: &Registry) -> Vec<PhaseShare> {
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
        let now: Vec<_> = Phase::ALL.into_iter().map(merged).collect();
        let new: Vec<_> = now
            .iter()
            .map(|(phase, histogram)| match self.last.iter().find(|(known, _)| known == phase) {
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
