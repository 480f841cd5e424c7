//! `unlag check`: everything that is wrong with a config file, and what its `auto` values mean.

use crate::Failed;
use crate::args::CheckOptions;
use crate::papers::print;
use anyhow::Context;
use serde_json::json;
use std::path::Path;
use unlag_config::{Problem, Severity};

/// Runs the command.
pub(crate) fn run(options: CheckOptions) -> Result<(), Failed> {
    let name = options.config.display().to_string();
    let text = std::fs::read_to_string(&options.config).with_context(|| format!("cannot read {name}"))?;
    let base = directory_of(&options.config);
    let (problems, explained) = match unlag_config::parse(&text, &name) {
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

/// The directory that relative paths in a config file start from.
pub(crate) fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
