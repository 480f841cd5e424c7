//! unlag beside what a user would install instead, in the same run, on the same work.
//!
//! The method: every proxy has one worker, pinned to core 0; the backend and the load generator run on core 1.
//! Proxies that are not being measured are stopped. Rounds are interleaved, their order alternates, the first
//! one is dropped. What counts is CPU time of the proxy per request, read from the kernel's scheduler, and the
//! median of its ratios to the reference of the same round. Rounds in which the hypervisor took more than 2 %
//! of the machine are dropped and reported. No two GETs are for one URL, and the backend must have seen as many requests
//! as were answered: a proxy may let identical requests share an answer, which is other work than passing them on.

mod caches;
pub(crate) mod configure;
mod goal;
mod idle;
pub(crate) mod install;
mod kind;
pub(crate) mod measure;
pub(crate) mod process;
mod recording;
pub(crate) mod report;
pub(crate) mod rounds;
mod scenario;
pub mod stampede;
pub mod stored;
mod svg;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use caches::Cache;
pub use kind::Peer;
pub use report::{Machine, PeersReport, Row, ScenarioReport, Skipped};
pub use scenario::Scenario;

use crate::services::Backend;
use process::{Directory, Interrupt};

/// Core of the measured proxy.
pub(crate) const PROXY_CORE: usize = 0;
/// Core of the backend and the load generator.
pub(crate) const LOAD_CORE: usize = 1;

/// Endpoints that the backend looks like, to whoever is told of more than one.
const ENDPOINTS: usize = 5;

/// What to compare and how long.
#[derive(Debug, Clone)]
pub struct PeersOptions {
    /// Rounds that count, beside the warm-up. Default 5.
    pub rounds: usize,
    /// Which peers; those that cannot be installed are skipped and listed.
    pub peers: Vec<Peer>,
    /// Which scenarios.
    pub scenarios: Vec<Scenario>,
    /// Length of one measurement. Default 1 s.
    pub length: Duration,
    /// unlag's binary; skipped when there is none.
    pub unlag: Option<PathBuf>,
    /// The engine's example that measures its recording; without it that scenario is skipped.
    pub recording: Option<PathBuf>,
    /// More arguments for `unlag run`.
    pub unlag_arguments: Vec<String>,
    /// Where binaries of peers are kept between runs.
    pub cache: PathBuf,
    /// Connections of the idle scenario. Default 5,000.
    pub idle_connections: usize,
}

impl Default for PeersOptions {
    fn default() -> Self {
        let home = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        Self {
            rounds: 5,
            peers: Peer::PROXIES.into(),
            scenarios: Scenario::ALL.into(),
            length: Duration::from_secs(1),
            unlag: ["target/dist/unlag", "target/release/unlag"]
                .map(PathBuf::from)
                .into_iter()
                .find(|p| p.exists()),
            recording: None,
            unlag_arguments: Vec::new(),
            cache: home.unwrap_or_else(std::env::temp_dir).join("unlag-lab"),
            idle_connections: 5_000,
        }
    }
}

/// Runs the comparison. `say` gets a line about every step that takes time.
pub fn run(options: &PeersOptions, say: &mut dyn FnMut(&str)) -> Result<PeersReport> {
    ensure!((1..=100).contains(&options.rounds), "peers: rounds must be 1 to 100");
    ensure!(options.idle_connections <= 10_000, "peers: at most 10,000 idle connections");
    let interrupt = Interrupt::watch()?;
    let directory = Directory::create(&interrupt)?;
    let (installed, mut skipped) = install::all(options, say);
    ensure!(!installed.is_empty(), "peers: nothing to measure; {}", report::reasons(&skipped));
    pin_to(LOAD_CORE).context("peers: two cores are needed")?;
    raise_descriptor_limit();
    let backend = Backend::with_doors(ENDPOINTS)?;
    let bench = measure::Bench { options, interrupt: &interrupt, directory: &directory, backend: &backend };

    let mut scenarios = Vec::new();
    for scenario in &options.scenarios {
        say(&format!("{}: {}", scenario.name(), scenario.meaning()));
        let found = match scenario {
            Scenario::Idle => idle::run(&bench, &installed, &mut skipped, say)?,
            Scenario::Workers2 => workers::run(&bench, &installed, &mut skipped, say)?,
            Scenario::Recording => recording::run(&bench, &mut skipped, say),
            _ => rounds::run(&bench, *scenario, &installed, &mut skipped, say)?,
        };
        scenarios.extend(found);
    }
    let versions = installed.iter().map(|i| (i.peer.name().to_owned(), i.version.clone())).collect();
    let title = "unlag beside other proxies".to_owned();
    Ok(PeersReport { title, machine: Machine::read(), versions, rounds: options.rounds, scenarios, skipped })
}

/// Pins this thread, and the threads it starts from now on.
pub(crate) fn pin_to(core: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Too few descriptors show as errors of the idle scenario.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
