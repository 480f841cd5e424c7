//! `cargo xtask ci`: everything that must pass before a change is merged, cheapest first.

use std::time::Instant;

use anyhow::Result;

use crate::process::{self, cargo, run, step, succeeds};
use crate::{setup, suites, tidy};

/// Cases per property: four times what a plain test run does, on a seed of its own.
const PROPERTY_CASES: u32 = 1024;

/// Runs all steps and stops at the first that fails.
pub(crate) fn everything() -> Result<()> {
    let begin = Instant::now();
    step("tidy", tidy::run)?;
    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("setup", || {
        if process::in_ci() {
            setup::everything()
        } else {
            setup::what_is_possible();
            Ok(())
        }
    })?;
    step("dependencies", dependencies)?;
    step("lints", || {
        run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    })?;
    step("API documentation", || docs(false))?;
    step("test", || suites::test(None))?;
    step("properties", || suites::properties(PROPERTY_CASES))?;
    println!("ci: all steps passed in {:.1} min", begin.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

/// API documentation of our own crates; a warning, such as a broken link, is an error.
pub(crate) fn docs(open: bool) -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    doc.args(open.then_some("--open")).env("RUSTDOCFLAGS", "-D warnings");
    run(&mut doc)
}

/// Licences, banned crates and sources. Known vulnerabilities need a database that not every machine can fetch, so
/// they are not part of this step.
fn dependencies() -> Result<()> {
    if succeeds(cargo().args(["deny", "--version"])) {
        return run(cargo().args([
            "deny",
            "--locked",
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ]));
    }
    println!("    skipped: cargo-deny is not here; cargo xtask setup gets it");
    Ok(())
}
