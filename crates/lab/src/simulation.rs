//! `lab sim`: policies side by side in simulated worlds.

use anyhow::{Context, Result, bail};
use unlag_lab::sim::table::{Comparison, HEADER};
use unlag_lab::sim::{Policy, catalogue, policy};

use crate::say;

/// Compares balancing and hedging policies in simulated worlds.
#[derive(clap::Args)]
pub(crate) struct Simulation {
    /// Only these scenarios; `seen` and `unseen` stand for those that constants were tuned on or not
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Policies, the first of which the others are compared with; `+reported` and `+hedge` may follow `unlag`
    #[arg(long, value_delimiter = ',', default_values_t = ["lr", "rr", "p2c", "peak-ewma", "pace", "unlag", "unlag+hedge"].map(String::from))]
    policy: Vec<String>,
    /// Seeds, from 1
    #[arg(long, default_value_t = 2)]
    seeds: u64,
    /// Requests for each seed
    #[arg(long, default_value_t = 200_000)]
    requests: usize,
    /// Prints a JSON object for each row
    #[arg(long)]
    json: bool,
    /// Lists scenarios and policies
    #[arg(long)]
    list: bool,
}

impl Simulation {
    pub(crate) fn run(&self) -> Result<()> {
        if self.list {
            for scenario in catalogue::all() {
                let seen = if scenario.tuned_on { "" } else { " (unseen)" };
                say(&format!("{:<12} {}{seen}", scenario.name, scenario.says));
            }
            say(&format!("policies: {}", policy::NAMES.join(", ")));
            return Ok(());
        }
        for name in self.scenario.iter().filter(|name| !matches!(name.as_str(), "seen" | "unseen")) {
            if catalogue::named(name).is_none() {
                bail!("no scenario {name}; --list has all");
            }
        }
        let wanted = |name: &str, seen: bool| {
            self.scenario.is_empty()
                || self.scenario.iter().any(|w| w == name || w == if seen { "seen" } else { "unseen" })
        };
        let scenarios = catalogue::all().into_iter().filter(|s| wanted(s.name, s.tuned_on)).collect();
        let mut policies = Vec::new();
        for name in &self.policy {
            policies.push(Policy::named(name).with_context(|| format!("no policy {name}; --list has all"))?);
        }
        let comparison = Comparison { scenarios, policies, seeds: self.seeds, requests: self.requests };
        if !self.json {
            say(HEADER);
        }
        let mut failed = None;
        comparison.run(|row| {
            if !self.json {
                return say(&row.text());
            }
            match serde_json::to_string(row) {
                Ok(line) => say(&line),
                Err(error) => failed = Some(error),
            }
        });
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
