//! Who may know whom inside the engine: a technique answers or calls `next`; it knows no other technique, not the
//! server and not the upstream. The compiler cannot hold this border, for they all live in one crate.

use std::collections::BTreeSet;

use super::Finding;
use super::source::Source;

const SOURCES: &str = "crates/engine/src/";
const TECHNIQUES: &str = "crates/engine/src/techniques/";

/// The names of all techniques: the folders and files directly below `techniques`.
pub(crate) fn rooms(paths: &[String]) -> BTreeSet<String> {
    let below = paths.iter().filter_map(|path| path.strip_prefix(TECHNIQUES));
    let names = below.filter_map(|path| path.split(['/', '.']).next());
    names.filter(|name| *name != "mod").map(str::to_owned).collect()
}

/// Reports every path in a technique that leads to where it must not.
pub(crate) fn check(source: &Source<'_>, rooms: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let Some(module) = module_path(source.path) else { return };
    let Some(room) = module.get(1).cloned() else { return };
    for (line, path) in paths(&source.code) {
        let Some(full) = absolute(&module, &path) else { continue };
        let mut parts = full.iter().map(String::as_str);
        let advice = match (parts.next(), parts.next()) {
            (Some(place @ ("server" | "upstream")), _) => {
                format!("a technique must not know `{place}`; call `next`")
            }
            (Some("techniques"), Some(other)) if other != room && rooms.contains(other) => {
                format!("`{room}` must not know `{other}`; share through exchange, fleet, limits or error")
            }
            _ => continue,
        };
        findings.push(Finding { file: source.path.to_owned(), line, rule: "border", advice });
    }
}

/// `crates/engine/src/techniques/hedge/policy.rs` → `techniques, hedge, policy`; nothing outside the techniques.
fn module_path(path: &str) -> Option<Vec<String>> {
    path.strip_prefix(TECHNIQUES)?;
    let inside = path.strip_prefix(SOURCES)?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    Some(inside.split('/').map(str::to_owned).collect())
}

/// A path from the root of the crate; nothing for paths into other crates.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            name => base.push(name.to_owned()),
        }
    }
    Some(base)
}

/// All paths that begin with `crate`, `self` or `super`, with braces expanded, and their lines.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut words = Words { code, at: 0 };
    while let Some(word) = words.next() {
        if matches!(word, "crate" | "self" | "super") {
            let line = code.get(..words.at).unwrap_or_default().lines().count();
            expand(&mut words, vec![word.to_owned()], line, &mut found, 0);
        }
    }
    found
}

/// Deeper nesting of braces than this is not followed.
const DEPTH_MAX: usize = 16;

fn expand(
    words: &mut Words<'_>,
    mut prefix: Vec<String>,
    line: usize,
    found: &mut Vec<(usize, Vec<String>)>,
    depth: usize,
) {
    while words.take("::") {
        if words.take("{") && depth < DEPTH_MAX {
            while !words.take("}") {
                if words.take(",") {
                    continue;
                }
                let Some(word) = words.next() else { return };
                let mut path = prefix.clone();
                path.push(word.to_owned());
                expand(words, path, line, found, depth + 1);
            }
            return;
        }
        match words.next() {
            Some(word) => prefix.push(word.to_owned()),
            None => break,
        }
    }
    found.push((line, prefix));
}

/// Identifiers and punctuation of blanked code.
struct Words<'a> {
    code: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.code.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn take(&mut self, punctuation: &str) -> bool {
        let taken = self.rest().starts_with(punctuation);
        if taken {
            self.at += punctuation.len();
        }
        taken
    }

    /// The next identifier, or one letter of punctuation.
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let end = if end == 0 { rest.chars().next()?.len_utf8() } else { end };
        self.at += end;
        rest.get(..end)
    }
}
