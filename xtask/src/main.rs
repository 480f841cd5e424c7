//! Every developer command, so that there is one list of them: `cargo xtask --help`.
//!
//! CI runs `cargo xtask ci` and nothing else. What the commands need beyond cargo is installed by `setup`.
#![expect(clippy::print_stdout, reason = "a developer tool speaks on stdout")]

mod bench;
mod ci;
mod dist;
mod fuzz;
mod process;
mod setup;
mod suites;
mod tidy;
mod tools;
mod trained;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of unlag", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the third-party suites need: into target/tools, and system packages where that is allowed
    Setup,
    /// Run all tests: documentation tests, unit tests, black-box tests, third-party suites
    Test {
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// Everything that must pass before a change is merged
    Ci,
    /// Check the style rules that a compiler does not know
    Tidy,
    /// Run each fuzz target for a while
    Fuzz {
        /// Seconds per target
        #[arg(default_value_t = 60)]
        seconds: u32,
        /// Only this target
        #[arg(long)]
        only: Option<String>,
    },
    /// Measure with the binary that ships, most of it beside other proxies
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Build the API documentation; a broken link is an error
    Docs {
        /// Open it in a browser
        #[arg(long)]
        open: bool,
    },
    /// Build the binary that ships and pack it
    Dist,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::everything(),
        Command::Test { filter } => suites::test(filter.as_deref()),
        Command::Ci => ci::everything(),
        Command::Tidy => tidy::run(),
        Command::Fuzz { seconds, only } => fuzz::run_targets(seconds, only.as_deref()),
        Command::Bench { what } => bench::run_bench(&what),
        Command::Docs { open } => ci::docs(open),
        Command::Dist => dist::run_dist(),
    }
}
