//! The binary: command line in, running system out, exit codes. Everything it can do is a crate of its own; this one wires.

mod admin;
mod args;
mod bench;
mod cache;
mod check;
mod demo;
mod explain;
mod logging;
mod papers;
mod plane;
mod run;
mod system;
mod token;
mod watch;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration is not valid (EX_CONFIG of sysexits).
const BAD_CONFIG: u8 = 78;
/// What clap exits with too.
const BAD_USAGE: u8 = 2;

/// How a command ended without success.
enum Failed {
    /// It did not work; the reason goes to stderr.
    Error(anyhow::Error),
    /// An argument is not valid; said on stderr.
    Usage,
    /// The configuration is not valid; said on stderr.
    Config,
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::Error(error.into())
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => run::run(options),
        Command::Demo(options) => demo::run(options),
        Command::Init(options) => papers::init(options),
        Command::Check(options) => check::run(options),
        Command::Schema => papers::schema(),
        Command::Explain(options) => explain::run(options),
        Command::Cache(command) => cache::run(command),
        Command::Bench(options) => bench::run(options),
        Command::Completions { shell } => papers::completions(shell),
        Command::Man { command } => papers::man(&command),
        Command::Version => papers::version(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Usage) => ExitCode::from(BAD_USAGE),
        Err(Failed::Config) => ExitCode::from(BAD_CONFIG),
        Err(Failed::Error(error)) => {
            eprintln!("unlag: {error:#}");
            ExitCode::FAILURE
        }
    }
}
