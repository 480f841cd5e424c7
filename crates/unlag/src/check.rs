//! `unlag check`: everything that is wrong with a config file, and what its `auto` values mean.

use crate::Failed;
use crate::args::CheckOptions;
use crate::papers::print;
use anyhow::Context;
use serde_json::json;
use std::path::Path;
use unlag_config::{Problem, Problems, Severity};

/// Runs the command.
pub(crate) fn run(options: CheckOptions) -> Result<(), Failed> {
    let name = options.config.display().to_string();
    let text = read(&options.config)?;
    let base = directory_of(&options.config);
    let (problems, explained) = match text.and_then(|text| unlag_config::parse(&text, &name)) {
        Ok(parsed) => {
            let mut problems = parsed.warnings.clone();
            problems.extend(parsed.look(base));
            (problems, Some(unlag_config::explain(&parsed.config)))
        }
        Err(problems) => (problems.0, None),
    };
    let is_bad = |problem: &Problem| problem.severity == Severity::Error || options.strict;
    let bad = problems.iter().any(is_bad);
    if options.json {
        let list: Vec<_> = problems.iter().map(|problem| as_json(problem, &name)).collect();
        print(&format!("{:#}\n", json!({ "file": name, "valid": !bad, "problems": list })))?;
    } else {
        for problem in &problems {
            eprintln!("{problem}");
        }
        if let (Some(explained), false) = (explained, bad) {
            print(&format!("{name} is valid\n\n{explained}"))?;
        }
    }
    if bad { Err(Failed::Config) } else { Ok(()) }
}

fn as_json(problem: &Problem, file: &str) -> serde_json::Value {
    json!({
        "severity": if problem.severity == Severity::Error { "error" } else { "warning" },
        "file": file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "help": problem.help,
    })
}

/// Reads a config file. One that is not text at all is a bad config, not a file that cannot be read.
pub(crate) fn read(file: &Path) -> Result<Result<String, Problems>, Failed> {
    let bytes = std::fs::read(file).with_context(|| {
        let help = match file.is_dir() {
            true => "it is a directory; name the file in it",
            false => "write one with `unlag init`, or run without one: unlag run --to http://127.0.0.1:8000",
        };
        format!("cannot read {} ({help})", file.display())
    })?;
    Ok(unlag_config::text(bytes, &file.display().to_string()))
}

/// The directory that relative paths in a config file start from.
pub(crate) fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
