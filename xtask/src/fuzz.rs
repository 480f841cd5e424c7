//! `cargo xtask fuzz [SECONDS]`: each target of `fuzz/` for that long, from its seeds, on the pinned compiler.
//!
//! cargo-fuzz wants sanitizer flags that a stable compiler accepts only with `RUSTC_BOOTSTRAP=1`.

use std::fs;

use anyhow::{Result, bail};

use crate::process::{self, cargo, root, run, step, succeeds};

/// Inputs longer than this find nothing that shorter ones do not, and cost time.
const INPUT_BYTES_MAX: u32 = 16 * 1024;

/// A single input that takes longer than this is a finding.
const INPUT_SECONDS_MAX: u32 = 5;

/// Runs all targets, or the one named.
pub(crate) fn run_targets(seconds: u32, only: Option<&str>) -> Result<()> {
    if !succeeds(cargo().args(["fuzz", "--version"])) {
        bail!("cargo-fuzz is not here; get it with: cargo install cargo-fuzz --locked");
    }
    let targets: Vec<String> =
        targets()?.into_iter().filter(|name| only.is_none_or(|only| only == name)).collect();
    if targets.is_empty() {
        bail!("no such target; there are: {}", self::targets()?.join(", "));
    }
    for target in targets {
        step(&format!("fuzz {target}"), || {
            let here = root().join("fuzz");
            // What is found goes to the first directory; the seeds are only read.
            let (corpus, seeds) = (format!("corpus/{target}"), format!("seeds/{target}"));
            fs::create_dir_all(here.join(&corpus))?;
            if !here.join(&seeds).is_dir() {
                bail!("{target} has no inputs to begin with: write a few into fuzz/{seeds}");
            }
            let mut fuzz = cargo();
            fuzz.current_dir(&here).env("RUSTC_BOOTSTRAP", "1");
            fuzz.args(["fuzz", "run", "--fuzz-dir", ".", &target, &corpus, &seeds, "--"]);
            fuzz.arg(format!("-max_total_time={seconds}"));
            fuzz.arg(format!("-timeout={INPUT_SECONDS_MAX}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
            run(&mut fuzz)
        })?;
    }
    Ok(())
}

/// A target is a file in `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(process::root().join("fuzz").join("fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
