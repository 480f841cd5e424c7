//! The commands that put unlag beside others: what they are given, and where the report goes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use unlag_lab::peers::stampede::{self, Stampede, StampedeOptions};
use unlag_lab::peers::stored::{self, StoredOptions, Storing};
use unlag_lab::peers::{self, Cache, Peer, PeersOptions, PeersReport, Scenario};
use unlag_lab::tail::{self, TailOptions};

use crate::say;

/// Where a report goes, beside the terminal.
#[derive(clap::Args)]
struct Output {
    /// Writes the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the report as a picture.
    #[arg(long)]
    svg: Option<PathBuf>,
}

impl Output {
    fn write(&self, report: &PeersReport) -> Result<()> {
        say(&report.text());
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_string_pretty(report)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(path) = &self.svg {
            std::fs::write(path, report.svg()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Peers {
    /// Rounds that count, beside the warm-up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 1.0)]
    length: f64,
    /// Only these peers, and haproxy as the reference.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// unlag's binary [default: target/dist/unlag, then target/release/unlag].
    #[arg(long)]
    unlag: Option<PathBuf>,
    /// The program that measures recording, an example of the engine.
    #[arg(long)]
    recording: Option<PathBuf>,
    /// One more argument for `unlag run`; may be given several times.
    #[arg(long = "unlag-argument", allow_hyphen_values = true)]
    unlag_arguments: Vec<String>,
    /// Where binaries of peers are kept between runs.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Connections of the idle scenario.
    #[arg(long, default_value_t = 5_000)]
    idle_connections: usize,
    #[command(flatten)]
    output: Output,
}

impl Peers {
    pub(crate) fn run(self) -> Result<()> {
        let mut options = PeersOptions {
            rounds: self.rounds,
            length: Duration::try_from_secs_f64(self.length)?,
            recording: self.recording,
            unlag_arguments: self.unlag_arguments,
            idle_connections: self.idle_connections,
            ..PeersOptions::default()
        };
        if !self.only.is_empty() {
            options.peers.retain(|peer| *peer == Peer::Haproxy || self.only.contains(peer));
        }
        if !self.scenario.is_empty() {
            options.scenarios = self.scenario;
        }
        options.unlag = self.unlag.or(options.unlag);
        options.cache = self.cache.unwrap_or(options.cache);
        self.output.write(&peers::run(&options, &mut |line| eprintln!("{line}"))?)
    }
}

#[derive(clap::Args)]
pub(crate) struct Stampedes {
    /// Rounds that count, beside the warm-up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Callers at once.
    #[arg(long, default_value_t = 50)]
    callers: usize,
    /// Only these caches; the direct way is always measured.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Cache>,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Stampede>,
    /// unlag's binary [default: target/dist/unlag, then target/release/unlag].
    #[arg(long)]
    unlag: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Stampedes {
    pub(crate) fn run(self) -> Result<()> {
        let default = StampedeOptions::default();
        let options = StampedeOptions {
            rounds: self.rounds,
            caches: if self.only.is_empty() { default.caches } else { self.only },
            scenarios: if self.scenario.is_empty() { default.scenarios } else { self.scenario },
            callers: self.callers,
            unlag: self.unlag,
        };
        self.output.write(&stampede::run(&options, &mut |line| eprintln!("{line}"))?)
    }
}

#[derive(clap::Args)]
pub(crate) struct Stored {
    /// Rounds of the hits that count, beside the warm-up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement of hits.
    #[arg(long, default_value_t = 1.0)]
    length: f64,
    /// Small answers to store.
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Only these caches; hits are compared with nginx, which is kept as the reference.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Cache>,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Storing>,
    /// unlag's binary [default: target/dist/unlag, then target/release/unlag].
    #[arg(long)]
    unlag: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Stored {
    pub(crate) fn run(self) -> Result<()> {
        let mut options = StoredOptions {
            rounds: self.rounds,
            length: Duration::try_from_secs_f64(self.length)?,
            objects: self.objects,
            unlag: self.unlag,
            ..StoredOptions::default()
        };
        if !self.only.is_empty() {
            options.caches = Cache::ALL.into();
            options.caches.retain(|cache| *cache == Cache::Nginx || self.only.contains(cache));
        }
        if !self.scenario.is_empty() {
            options.scenarios = self.scenario;
        }
        self.output.write(&stored::run(&options, &mut |line| eprintln!("{line}"))?)
    }
}

#[derive(clap::Args)]
pub(crate) struct Tails {
    /// Only these scenarios: T1 to T14.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<tail::Scenario>,
    /// Only these peers (haproxy), arms (haproxy-leastconn, unlag+hedge) or variants (t2-constant).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds, over which the requests of an arm are spread.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Requests of an arm: half as many again where replicas freeze rarely, fewer where fewer say it.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Has replicas work to the end on what its caller has given up.
    #[arg(long)]
    keep_cancelled: bool,
    /// unlag's binary [default: target/dist/unlag, then target/release/unlag].
    #[arg(long)]
    unlag: Option<PathBuf>,
    /// Writes the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the report as a picture.
    #[arg(long)]
    picture: Option<PathBuf>,
}

impl Tails {
    pub(crate) fn run(self) -> Result<()> {
        let options = TailOptions {
            scenarios: if self.scenario.is_empty() { tail::Scenario::all() } else { self.scenario },
            only: self.only,
            rounds: self.rounds,
            requests: self.requests,
            drop_cancelled: !self.keep_cancelled,
            unlag: self.unlag,
            lab: std::env::current_exe().context("cannot find this program")?,
        };
        let report = tail::run(&options, &mut |line| eprintln!("{line}"))?;
        say(&report.text());
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_string_pretty(&report)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(path) = &self.picture {
            std::fs::write(path, report.svg()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}
