//! What recording costs a request of unlag. No other proxy has the like, so it stands alone.
//!
//! It is far below what the CPU time of a whole proxy can show, so it is measured where it happens: by an example of the
//! engine that does what the server does for each request. The lab knows it as a program that prints `name value` lines.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::PROXY_CORE;
use super::measure::Bench;
use super::report::{Row, ScenarioReport, Skipped};
use super::scenario::Scenario;

/// Runs the program once a round, beside one that warms up.
pub(super) fn run(
    bench: &Bench<'_>,
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Option<ScenarioReport> {
    let (mut recording, mut readings) = (Vec::new(), Vec::new());
    for round in 0..=bench.options.rounds {
        match measure(bench.options.recording.as_deref()) {
            Ok(found) if round > 0 => {
                say(&format!("  round {round}: {:.0} ns", found.recording_ns));
                recording.push(found.recording_ns);
                readings.push(found.readings_ns);
            }
            Ok(_) => {}
            Err(error) => {
                skipped.push(Skipped::said("unlag", Scenario::Recording.name(), &error, say));
                return None;
            }
        }
    }
    let mut row = Row::new("unlag");
    row.add("recording_ns", &recording);
    row.add("readings_ns", &readings);
    Some(ScenarioReport {
        name: Scenario::Recording.name().into(),
        meaning: Scenario::Recording.meaning().into(),
        headline: "recording_ns".into(),
        goal: None,
        rows: vec![row],
        dropped: 0,
        steal_max: 0.0,
    })
}

#[derive(Debug, PartialEq)]
struct Found {
    /// All of it.
    recording_ns: f64,
    /// The readings of the clock alone, which are part of it.
    readings_ns: f64,
}

fn measure(program: Option<&Path>) -> Result<Found> {
    let program = program.context("no program that measures it: `cargo xtask bench peers` builds one")?;
    let mut command = Command::new("taskset");
    command.arg("-c").arg(PROXY_CORE.to_string()).arg(program).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "{} failed: {}", program.display(), output.status);
    read(&String::from_utf8_lossy(&output.stdout))
}

fn read(text: &str) -> Result<Found> {
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).with_context(|| format!("it prints no {name}"))
    };
    Ok(Found { recording_ns: figure("recording_ns")?, readings_ns: figure("readings_ns")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_read_by_name() {
        let found = read("recording_ns 612.5\nreadings_ns 80\n").expect("both are there");
        assert_eq!(found, Found { recording_ns: 612.5, readings_ns: 80.0 });
        let error = read("recording_ns 612.5\n").expect_err("one is missing").to_string();
        assert!(error.contains("readings_ns"), "{error}");
    }
}
