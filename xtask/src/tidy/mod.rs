//! `cargo xtask tidy`: the style rules that neither compiler nor clippy knows, as a test.
//!
//! Each finding says where, which rule, and what to do. There is no list of exceptions: a file that is long because
//! it is a table says so itself (`tidy: table`), everything else is mended.

mod imports;
mod links;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;
use source::Source;

/// Kinds of files that people write here; everything else is data.
const KINDS: [&str; 16] = [
    "rs", "md", "toml", "py", "js", "mjs", "cjs", "ts", "tsx", "css", "html", "proto", "sh", "yml", "yaml",
    "conf",
];

/// Folders that hold nothing that people wrote.
const NOT_OURS: [&str; 8] = [
    "target",
    "node_modules",
    "__pycache__",
    "corpus",
    "artifacts",
    "unlag-data",
    "dist",
    "proptest-regressions",
];

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.advice)
    }
}

/// Checks the whole tree.
pub(crate) fn run() -> Result<()> {
    let findings = findings(&process::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} places break the rules of STYLE.md", findings.len());
    }
    Ok(())
}

/// All findings below a folder, in the order of the files.
fn findings(root: &Path) -> Result<Vec<Finding>> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut findings = Vec::new();
    let paths: Vec<String> = files.iter().map(|file| relative(root, file)).collect();
    let rooms = imports::rooms(&paths);
    for (file, path) in files.iter().zip(&paths) {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let source = Source::new(path, &String::from_utf8_lossy(&bytes));
        rules::check(&source, &mut findings);
        imports::check(&source, &rooms, &mut findings);
        links::check(
            &source,
            &|target| file.parent().is_some_and(|folder| folder.join(target).exists()),
            &mut findings,
        );
    }
    Ok(findings)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        // Of what is hidden, only the folders that hold settings of ours.
        let hidden = name.starts_with('.') && ![".ci", ".config", ".cargo"].contains(&name.as_str());
        if kind.is_dir() && !hidden && !NOT_OURS.contains(&name.as_str()) {
            collect(&path, files)?;
        } else if kind.is_file() && (is_ours(&path) || folder.file_name().is_some_and(|name| name == ".ci")) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| KINDS.contains(&extension))
}

fn relative(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap_or(file);
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
