//! Many callers at once for one thing that is slow to make, through each cache and directly.
//!
//! The method: each caller has a connection of its own that was served once before, all are released together, and the
//! clock of each starts then. Every answer is compared with the right one. The way without a cache is taken in the same
//! round, so what a cache adds is a difference within the round. Keys are new in every round and for every cache, the
//! order alternates, and round 0 warms up. The caches run on core 0, the origin and the callers on core 1.

mod rounds;
mod scenario;

use std::path::PathBuf;

use anyhow::{Result, ensure};

pub use scenario::Stampede;

use super::caches::{Cache, Found, Stage};
use super::process::{Directory, Interrupt};
use super::report::{Machine, PeersReport, reasons};
use super::{LOAD_CORE, pin_to};
use crate::services::Origin;

/// What to compare and how long.
#[derive(Debug, Clone)]
pub struct StampedeOptions {
    /// Rounds that count, beside the warm-up. Default 5.
    pub rounds: usize,
    /// Which caches; those that cannot be installed are skipped and listed.
    pub caches: Vec<Cache>,
    /// Which scenarios.
    pub scenarios: Vec<Stampede>,
    /// Callers at once, where a scenario has no number of its own. Default 50.
    pub callers: usize,
    /// unlag's binary [default: as for the comparison of proxies].
    pub unlag: Option<PathBuf>,
}

impl Default for StampedeOptions {
    fn default() -> Self {
        Self {
            rounds: 5,
            caches: Cache::ALL.into(),
            scenarios: Stampede::ALL.into(),
            callers: 50,
            unlag: None,
        }
    }
}

/// Runs the comparison. `say` gets a line about every step that takes time.
pub fn run(options: &StampedeOptions, say: &mut dyn FnMut(&str)) -> Result<PeersReport> {
    ensure!((1..=100).contains(&options.rounds), "stampede: rounds must be 1 to 100");
    ensure!((1..=500).contains(&options.callers), "stampede: callers must be 1 to 500");
    let interrupt = Interrupt::watch()?;
    let directory = Directory::create(&interrupt)?;
    let mut found = Found::look(&options.caches, options.unlag.clone(), say);
    ensure!(!found.caches.is_empty(), "stampede: nothing to measure; {}", reasons(&found.skipped));
    pin_to(LOAD_CORE)?;
    let origin = Origin::start()?;
    let stage = Stage { interrupt: &interrupt, directory: &directory, origin: origin.address };
    let mut scenarios = Vec::new();
    for scenario in &options.scenarios {
        say(&format!("{}: {}", scenario.name(), scenario.meaning()));
        scenarios.push(rounds::run(&stage, &origin, *scenario, options, &mut found, say)?);
    }
    let title = "Many callers at once".to_owned();
    let (versions, skipped) = (found.versions(), found.skipped);
    Ok(PeersReport { title, machine: Machine::read(), versions, rounds: options.rounds, scenarios, skipped })
}
