//! The tail of latency, unlag beside other proxies: replicas that are slow, freeze, fail, are far away or disappear.
//!
//! The method: replicas have a capacity of their own (they sleep, on a thread of their own, in a process of their own), load
//! is open loop, a request's clock starts when it is due, and the time that a request takes on a replica follows from its
//! number, so that every arm of a round is asked the same. Proxies have core 0, replicas and callers core 1. Arms are
//! interleaved, everything is started anew between them, and what the hypervisor disturbed is run again or left out. How
//! many copies of a request there were is counted where they arrive.

mod answer;
mod arm;
mod caller;
mod configure;
mod facts;
mod paired;
mod picture;
mod plan;
mod report;
mod rounds;
mod sample;
mod scenario;
mod stack;
mod trials;
mod verdict;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

pub use paired::Ratio;
pub use report::{Figure, Row, TailReport, VariantReport};
pub use scenario::Scenario;

use crate::peers::process::{Directory, Interrupt};
use crate::peers::{self, LOAD_CORE, Machine, Peer, PeersOptions, Skipped};
use rounds::BESIDE_S;
use scenario::{Amount, Variant};
use stack::Place;

/// What to run.
#[derive(Debug, Clone)]
pub struct TailOptions {
    /// Which scenarios.
    pub scenarios: Vec<Scenario>,
    /// Peers, arms or variants by name; everything when empty.
    pub only: Vec<String>,
    /// Rounds, over which the requests of an arm are spread. Default 2.
    pub rounds: usize,
    /// Requests of an arm: half as many again where replicas freeze rarely, fewer where fewer say it. Default 20,000.
    pub requests: usize,
    /// Whether replicas drop what its caller has given up. Default true; where it is false, they work on it to the end.
    pub drop_cancelled: bool,
    /// unlag's binary.
    pub unlag: Option<PathBuf>,
    /// This program, which also serves the replicas.
    pub lab: PathBuf,
}

/// Runs the scenarios. `say` gets a line about every step that takes time.
pub fn run(options: &TailOptions, say: &mut dyn FnMut(&str)) -> Result<TailReport> {
    ensure!((1..=100).contains(&options.rounds), "tail: rounds must be 1 to 100");
    ensure!((100..=2_000_000).contains(&options.requests), "tail: requests must be 100 to 2,000,000");
    let interrupt = Interrupt::watch()?;
    let directory = Directory::create(&interrupt)?;
    let variants = chosen(options);
    ensure!(!variants.is_empty(), "tail: nothing to run: no variant has these arms");
    let mut peers: Vec<Peer> = Vec::new();
    for arm in variants.iter().flat_map(|variant| &variant.arms) {
        if !peers.contains(&arm.peer) {
            peers.push(arm.peer);
        }
    }
    let mut peers_options = PeersOptions { peers, ..PeersOptions::default() };
    peers_options.unlag = options.unlag.clone().or(peers_options.unlag);
    let (installed, mut skipped) = peers::install::all(&peers_options, say);
    ensure!(!installed.is_empty(), "tail: nothing to measure; {}", reasons(&skipped));
    peers::pin_to(LOAD_CORE).context("tail: two cores are needed")?;
    peers::raise_descriptor_limit();
    say(&estimate(&variants));

    let place = Place { interrupt: &interrupt, directory: &directory, lab: options.lab.clone() };
    let mut found = Vec::new();
    for variant in &variants {
        say(&format!("{}: {} (about {:.1} minutes)", variant.name, variant.meaning, seconds(variant) / 60.0));
        found.extend(rounds::run(&place, variant, &installed, &mut skipped, say)?);
        judge(&variants, &mut found);
        if let Some(last) = found.last() {
            say(&last.text());
        }
    }
    let versions = installed.iter().map(|i| (i.peer.name().to_owned(), i.version.clone())).collect();
    Ok(TailReport { machine: Machine::read(), versions, variants: found, skipped })
}

/// The variants that were asked for, each with the arms that were.
fn chosen(options: &TailOptions) -> Vec<Variant> {
    let amount = Amount { requests: options.requests, rounds: options.rounds };
    let mut chosen = Vec::new();
    let is_variant = |word: &str| {
        word.starts_with('t') && word.contains('-') && word[1..].starts_with(|c: char| c.is_ascii_digit())
    };
    let (names, arms): (Vec<&String>, Vec<&String>) = options.only.iter().partition(|word| is_variant(word));
    for scenario in &options.scenarios {
        for mut variant in scenario::variants(*scenario, amount) {
            if !names.is_empty() && !names.iter().any(|name| *name == variant.name) {
                continue;
            }
            variant.replicas.drop_cancelled = options.drop_cancelled;
            if !arms.is_empty() {
                variant.arms.retain(|arm| arms.iter().any(|word| arm.is_meant_by(word)));
            }
            if !variant.arms.is_empty() && (!variant.paired || variant.arms.len() == 2) {
                chosen.push(variant);
            }
        }
    }
    chosen
}

/// How long a variant takes, about.
fn seconds(variant: &Variant) -> f64 {
    let arms = variant.arms.len() as f64;
    let beside = if variant.paired { 0.5 } else { BESIDE_S };
    arms * variant.rounds as f64 * (variant.load.seconds() + beside)
}

/// How long all of them take, about, and each scenario.
fn estimate(variants: &[Variant]) -> String {
    let mut minutes: BTreeMap<Scenario, f64> = BTreeMap::new();
    for variant in variants {
        *minutes.entry(variant.scenario).or_default() += seconds(variant) / 60.0;
    }
    let each: Vec<String> =
        minutes.iter().map(|(scenario, minutes)| format!("{} {minutes:.1}", scenario.name())).collect();
    format!(
        "{} variants, about {:.0} minutes: {}",
        variants.len(),
        minutes.values().sum::<f64>(),
        each.join(", ")
    )
}

/// Says of unlag's rows whether they meet the goal. What healthy replicas give comes from a variant of its own.
fn judge(variants: &[Variant], found: &mut [VariantReport]) {
    let best = |report: &VariantReport| {
        report.rows.iter().filter_map(|row| row.p99_ms).map(|figure| figure.value).reduce(f64::min)
    };
    let best: BTreeMap<String, Option<f64>> =
        found.iter().map(|report| (report.name.clone(), best(report))).collect();
    for report in found {
        let Some(variant) = variants.iter().find(|variant| variant.name == report.name) else { continue };
        let healthy = variant.goal.than().and_then(|than| best.get(than).copied().flatten());
        let met: Vec<Option<bool>> = report
            .rows
            .iter()
            .map(|row| if row.own { variant.goal.is_met(row, report, healthy) } else { None })
            .collect();
        report.rows.iter_mut().zip(met).for_each(|(row, met)| row.met = met);
    }
}

fn reasons(skipped: &[Skipped]) -> String {
    skipped
        .iter()
        .map(|skipped| format!("{}: {}", skipped.peer, skipped.reason))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_takes_no_more_than_ninety_minutes() {
        let amount = Amount { requests: 20_000, rounds: 2 };
        let all: Vec<Variant> =
            Scenario::all().into_iter().flat_map(|scenario| scenario::variants(scenario, amount)).collect();
        let minutes = all.iter().map(seconds).sum::<f64>() / 60.0;
        assert!(minutes <= 90.0, "{}", estimate(&all));
    }
}
