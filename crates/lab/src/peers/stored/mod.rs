//! What is stored: what a hit costs in CPU time, and what a million small answers cost in memory.

mod hits;
mod million;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::caches::{Cache, Found, Stage};
use super::process::{Directory, Interrupt};
use super::report::{Machine, PeersReport, reasons};
use super::{LOAD_CORE, pin_to};
use crate::services::Origin;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storing {
    /// Hits of 1 KiB.
    Hit1k,
    /// Hits of 64 KiB.
    Hit64k,
    /// A million small answers where there is room for all.
    MillionFits,
    /// A million small answers where there is not.
    MillionBounded,
}

impl Storing {
    /// All, in the order they are run.
    pub const ALL: [Self; 4] = [Self::Hit1k, Self::Hit64k, Self::MillionFits, Self::MillionBounded];

    /// The name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit1k => "hit-1k",
            Self::Hit64k => "hit-64k",
            Self::MillionFits => "million-fits",
            Self::MillionBounded => "million-bounded",
        }
    }

    /// What is done and measured, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Hit1k => "CPU of the cache per hit of 1 KiB, 64 connections, closed loop",
            Self::Hit64k => "CPU of the cache per hit of 64 KiB, 64 connections, closed loop",
            Self::MillionFits => "Memory after storing answers of 100 bytes, 1 GiB for all",
            Self::MillionBounded => "Memory after storing answers of 100 bytes, 256 MiB for all",
        }
    }
}

impl FromStr for Storing {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|scenario| scenario.name() == name) {
            Some(scenario) => Ok(scenario),
            None => bail!("no scenario `{name}`: there are {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}

/// What to compare and how long.
#[derive(Debug, Clone)]
pub struct StoredOptions {
    /// Rounds of the hits that count, beside the warm-up. Default 5.
    pub rounds: usize,
    /// Which caches; those that cannot be installed are skipped and listed. nginx is the reference of the hits.
    pub caches: Vec<Cache>,
    /// Which scenarios.
    pub scenarios: Vec<Storing>,
    /// Length of one measurement of hits. Default 1 s.
    pub length: Duration,
    /// Answers stored. Default 1,000,000.
    pub objects: u64,
    /// unlag's binary [default: as for the comparison of proxies].
    pub unlag: Option<PathBuf>,
}

impl Default for StoredOptions {
    fn default() -> Self {
        Self {
            rounds: 5,
            caches: vec![Cache::Unlag, Cache::Nginx, Cache::Varnish, Cache::Haproxy],
            scenarios: Storing::ALL.into(),
            length: Duration::from_secs(1),
            objects: 1_000_000,
            unlag: None,
        }
    }
}

/// Runs the comparison. `say` gets a line about every step that takes time.
pub fn run(options: &StoredOptions, say: &mut dyn FnMut(&str)) -> Result<PeersReport> {
    ensure!((1..=100).contains(&options.rounds), "cache: rounds must be 1 to 100");
    ensure!((1_000..=10_000_000).contains(&options.objects), "cache: objects must be 1,000 to 10,000,000");
    ensure!(options.length <= Duration::from_secs(60), "cache: a measurement may take 60 s");
    let interrupt = Interrupt::watch()?;
    let directory = Directory::create(&interrupt)?;
    let mut found = Found::look(&options.caches, options.unlag.clone(), say);
    ensure!(!found.caches.is_empty(), "cache: nothing to measure; {}", reasons(&found.skipped));
    pin_to(LOAD_CORE)?;
    let origin = Origin::start()?;
    let stage = Stage { interrupt: &interrupt, directory: &directory, origin: origin.address };
    let mut scenarios = Vec::new();
    for scenario in &options.scenarios {
        say(&format!("{}: {}", scenario.name(), scenario.meaning()));
        scenarios.extend(match scenario {
            Storing::Hit1k => hits::run(&stage, &origin, *scenario, 1_024, options, &mut found, say)?,
            Storing::Hit64k => hits::run(&stage, &origin, *scenario, 65_536, options, &mut found, say)?,
            Storing::MillionFits => million::run(&stage, *scenario, 1_024, options, &mut found, say)?,
            Storing::MillionBounded => million::run(&stage, *scenario, 256, options, &mut found, say)?,
        });
    }
    let title = "What is stored".to_owned();
    let (versions, skipped) = (found.versions(), found.skipped);
    Ok(PeersReport { title, machine: Machine::read(), versions, rounds: options.rounds, scenarios, skipped })
}
