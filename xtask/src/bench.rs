//! `cargo xtask bench peers`: unlag beside other proxies, on the same work in the same run.
//!
//! Only the binary that ships is worth measuring, so this builds the `dist` profile. What is measured and how is the
//! lab's business; arguments go to it as they are.

use anyhow::Result;
use clap::Subcommand;

use crate::process::{cargo, run, target_directory};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Side by side with HAProxy, nginx and whichever others are installed
    #[command(disable_help_flag = true)]
    Peers {
        /// Passed to the lab; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Builds what ships and runs the lab with it.
pub(crate) fn run_bench(what: &Bench) -> Result<()> {
    let Bench::Peers { arguments } = what;
    run(cargo().args([
        "build",
        "--profile",
        "dist",
        "--package",
        "unlag",
        "--package",
        "unlag-lab",
        "--bins",
    ]))?;
    run(cargo().args(["build", "--profile", "dist", "--package", "unlag-engine", "--example", "recording"]))?;
    let built = target_directory().join("dist");
    let mut lab = cargo();
    lab.args([
        "run",
        "--quiet",
        "--profile",
        "dist",
        "--package",
        "unlag-lab",
        "--bin",
        "lab",
        "--",
        "peers",
    ]);
    for (option, program) in [("--unlag", "unlag"), ("--recording", "examples/recording")] {
        let is_given = |argument: &String| argument.split('=').next() == Some(option);
        if !arguments.iter().any(is_given) {
            lab.arg(option).arg(built.join(program));
        }
    }
    run(lab.args(arguments))
}
