//! `cargo xtask bench peers`, `stampede`, `cache`, `tail`: unlag beside other proxies, on the same work in the same run; `sim`: its
//! balancing beside other policies in simulated worlds.
//!
//! Only the binary that ships is worth measuring, so that is built. What is measured and how is the
//! lab's business; arguments go to it as they are.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::process::{cargo, run, target_directory};
use crate::trained::{self, Counts};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Side by side with HAProxy, nginx and whichever others are installed
    #[command(disable_help_flag = true)]
    Peers(Passed),
    /// Many callers at once for one thing: coalescing and stale answers, beside nginx, Varnish and HAProxy
    #[command(disable_help_flag = true)]
    Stampede(Passed),
    /// What is stored: CPU of a hit beside other caches, memory of a million small answers
    #[command(disable_help_flag = true)]
    Cache(Passed),
    /// Latency where replicas are slow, freeze, fail, are far away or disappear, beside HAProxy, nginx, Envoy and Traefik
    #[command(disable_help_flag = true)]
    Tail(Passed),
    /// Balancing and hedging policies in simulated worlds
    #[command(disable_help_flag = true)]
    Sim(Passed),
}

/// What the lab is given as it is.
#[derive(Args)]
pub(crate) struct Passed {
    /// Passed to the lab; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds what ships and runs the lab with it.
pub(crate) fn run_bench(what: &Bench) -> Result<()> {
    let (name, Passed { arguments }) = match what {
        Bench::Peers(passed) => ("peers", passed),
        Bench::Stampede(passed) => ("stampede", passed),
        Bench::Cache(passed) => ("cache", passed),
        Bench::Tail(passed) => ("tail", passed),
        Bench::Sim(passed) => ("sim", passed),
    };
    let is_given = |option: &str| arguments.iter().any(|given| given.split('=').next() == Some(option));
    let dist = ["--profile", "dist", "--package"];
    run(cargo().arg("build").args(dist).args(["unlag-lab", "--bins"]))?;
    let mut lab = cargo();
    lab.args(["run", "--quiet"]).args(dist).args(["unlag-lab", "--bin", "lab", "--", name]);
    // Simulated worlds have the engine in them, and no binary.
    if name != "sim" && !is_given("--unlag") {
        lab.arg("--unlag").arg(trained::build(Counts::Kept)?);
    }
    if name == "peers" && !is_given("--recording") {
        run(cargo().arg("build").args(dist).args(["unlag-engine", "--example", "recording"]))?;
        lab.arg("--recording").arg(target_directory().join("dist/examples/recording"));
    }
    run(lab.args(arguments))
}
