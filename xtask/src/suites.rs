//! `cargo xtask test`: documentation tests, then everything else in one run of the test runner, the third-party suites
//! included. Those are ordinary tests of the binary's crate (`suite_*`) which look for their tools themselves.
//!
//! A suite that lacks a tool passes with a note outside CI and fails in CI. It leaves the note in a file, because a
//! runner hides what a passing test prints; this command shows the notes at the end.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{self, cargo, in_ci, succeeds};
use crate::{setup, tools};

/// Passed and failed, as the runners counted them.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Which tests to run.
#[derive(Clone, Copy)]
enum Targets {
    /// All of them; documentation tests run apart.
    All,
    /// Those with properties: inside the crates, and the files that hold nothing else.
    Properties,
}

/// Runs all tests and ends with one line that counts them.
pub(crate) fn test(filter: Option<&str>) -> Result<()> {
    if in_ci() {
        setup::everything()?;
    } else {
        setup::what_is_possible();
    }
    let notes = notes_file()?;
    let mut total = Count::default();
    let mut all_well = true;
    for (name, mut runner) in [("documentation tests", documentation()), ("tests", runner(Targets::All))] {
        runner.args(filter).env("UNLAG_SUITE_NOTES", &notes).env("UNLAG_TOOLS", tools::directory());
        if in_ci() {
            runner.env("UNLAG_SUITES", "required");
        }
        let (count, success) = process::step(name, || watched(&mut runner))?;
        total.passed += count.passed;
        total.failed += count.failed;
        all_well &= success;
    }
    let skipped = fs::read_to_string(&notes).unwrap_or_default();
    for line in skipped.lines().collect::<BTreeSet<_>>() {
        println!("skipped: {line}");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if !all_well || total.failed > 0 {
        bail!("not all tests passed");
    }
    if total.passed == 0 {
        bail!(
            "no test ran{}",
            filter.map(|filter| format!(" whose name contains {filter:?}")).unwrap_or_default()
        );
    }
    Ok(())
}

fn notes_file() -> Result<PathBuf> {
    fs::create_dir_all(tools::directory())?;
    let notes = tools::directory().join("skipped-suites.txt");
    fs::write(&notes, "").with_context(|| format!("cannot write {}", notes.display()))?;
    Ok(notes)
}

fn documentation() -> Command {
    let mut cargo = cargo();
    cargo.args(["test", "--workspace", "--doc", "--quiet", "--no-fail-fast"]);
    cargo
}

/// The test runner: nextest where it is there, else the one that comes with cargo.
fn runner(targets: Targets) -> Command {
    let mut runner = cargo();
    if succeeds(process::cargo().args(["nextest", "--version"])) {
        runner.args(["nextest", "run", "--workspace", "--no-tests", "pass", "--no-fail-fast"]);
        if in_ci() {
            runner.args(["--profile", "ci"]);
        }
    } else {
        println!(
            "note: cargo-nextest is not here, so tests run file by file and slower: cargo xtask setup gets it"
        );
        runner.args(["test", "--workspace", "--no-fail-fast"]);
    }
    runner.args(match targets {
        Targets::All => ["--lib", "--bins", "--tests"].as_slice(),
        Targets::Properties => &["--lib", "--test", "properties", "--test", "router", "--test", "total"],
    });
    runner
}

/// The tests with properties once more, with more cases and another seed; `UNLAG_SEED` repeats a run.
pub(crate) fn properties(cases: u32) -> Result<()> {
    let seed = match std::env::var("UNLAG_SEED") {
        Ok(seed) => seed,
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs().to_string(),
    };
    println!("    {cases} cases a property, UNLAG_SEED={seed} repeats this run");
    let mut runner = runner(Targets::Properties);
    runner.env("PROPTEST_CASES", cases.to_string()).env("PROPTEST_RNG_SEED", &seed);
    let (count, success) = watched(&mut runner)?;
    if !success {
        bail!("{} properties do not hold with UNLAG_SEED={seed}", count.failed);
    }
    Ok(())
}

/// Runs, shows every line as it comes, and adds up the summaries of both runners.
fn watched(runner: &mut Command) -> Result<(Count, bool)> {
    // One pipe for both streams keeps the lines in order.
    let (reader, writer) = std::io::pipe()?;
    runner.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = runner.spawn().context("cannot start the test runner")?;
    // The command holds the write ends; while it does, the pipe never ends.
    runner.stdout(Stdio::null()).stderr(Stdio::null());
    let mut count = Count::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        let more = summary(&line);
        count.passed += more.passed;
        count.failed += more.failed;
    }
    Ok((count, child.wait()?.success()))
}

/// What a summary line counts; nothing for any other line. Known are `test result: ok. 3 passed; 0 failed; …` and
/// `Summary [ 0.1s] 3 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 0 skipped`.
fn summary(line: &str) -> Count {
    let line = line.trim_start();
    let counts = match line.strip_prefix("test result:") {
        Some(rest) => rest.split_once('.').map(|(_, counts)| counts),
        None if line.starts_with("Summary [") => line.split_once("run:").map(|(_, counts)| counts),
        None => None,
    };
    let mut count = Count::default();
    for part in counts.unwrap_or_default().split([',', ';']) {
        let mut words = part.split_whitespace();
        let number = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match words.next() {
            Some("passed") => count.passed += number,
            Some("failed" | "timed" | "exec") => count.failed += number,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_understood() {
        let nextest =
            "     Summary [   8.211s] 417 tests run: 412 passed (2 slow), 4 failed, 1 timed out, 3 skipped";
        assert_eq!(summary(nextest), Count { passed: 412, failed: 5 });
        let builtin = "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.2s";
        assert_eq!(summary(builtin), Count { passed: 7, failed: 2 });
    }

    #[test]
    fn a_line_of_a_test_that_speaks_of_passing_counts_nothing() {
        assert_eq!(summary("92 passed, 15 failed"), Count::default());
        assert_eq!(summary("PASS [0.1s] unlag summary::tests::says_3_passed"), Count::default());
    }
}
