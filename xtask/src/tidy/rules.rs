//! The rules that look at one file at a time.

use super::Finding;
use super::source::Source;

/// A file longer than this is two files.
const FILE_LINES_MAX: usize = 600;

/// A function longer than this does not fit on a screen.
const FUNCTION_LINES_MAX: usize = 70;

/// A README longer than this is not read.
const README_LINES_MAX: usize = 60;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"];

/// Work that was left for later, in code.
const UNFINISHED: [(&str, &str); 4] = [
    ("todo!", "write it, or leave the feature out"),
    ("unimplemented!", "write it, or leave the feature out"),
    ("dbg!", "remove it"),
    ("#[ignore", "make the test pass, or remove it with what it promises"),
];

/// Places of one machine, and hosts that a machine's own settings choose. Put together here, so that this file passes.
const ELSEWHERE: [(&str, &str); 7] = [
    (concat!("/ro", "ot/"), MACHINE),
    (concat!("/wo", "rk/"), MACHINE),
    (concat!("index.crates", ".io"), REGISTRY),
    (concat!("static.crates", ".io"), REGISTRY),
    (concat!("pypi", ".org"), REGISTRY),
    (concat!("pythonhosted", ".org"), REGISTRY),
    (concat!("registry.npmjs", ".org"), REGISTRY),
];
const MACHINE: &str =
    "name no place of one machine; use a path inside the repository or a temporary directory";
const REGISTRY: &str = "name the package and leave the registry to the machine's settings";

/// Applies all rules of this file.
pub(crate) fn check(source: &Source<'_>, findings: &mut Vec<Finding>) {
    let mut report = |line: usize, rule: &'static str, advice: String| {
        findings.push(Finding { file: source.path.to_owned(), line, rule, advice });
    };
    names(source, &mut report);
    lengths(source, &mut report);
    text(source, &mut report);
    if source.is_rust() {
        opening(source, &mut report);
        functions(source, &mut report);
        code(source, &mut report);
    }
}

fn names(source: &Source<'_>, report: &mut impl FnMut(usize, &'static str, String)) {
    for part in source.path.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if EMPTY_NAMES.contains(&stem) {
            report(1, "name", format!("`{stem}` says nothing; name it after what is inside"));
        }
    }
}

fn lengths(source: &Source<'_>, report: &mut impl FnMut(usize, &'static str, String)) {
    let lines = source.text.lines().count();
    if source.path == "README.md" && lines > README_LINES_MAX {
        report(
            lines,
            "readme",
            format!("{lines} lines; at most {README_LINES_MAX}, the rest belongs into docs/"),
        );
    }
    let prose = source.path.ends_with(".md");
    let excused =
        source.text.lines().take(20).any(|line| line.contains("tidy: table") || line.contains("@generated"));
    if !prose && !excused && lines > FILE_LINES_MAX {
        let advice =
            format!("{lines} lines; split it by idea, at most {FILE_LINES_MAX} (a table says `tidy: table`)");
        report(FILE_LINES_MAX + 1, "file-length", advice);
    }
}

fn text(source: &Source<'_>, report: &mut impl FnMut(usize, &'static str, String)) {
    for (at, line) in source.text.lines().enumerate() {
        if line.ends_with(' ') || line.ends_with('\t') {
            report(at + 1, "trailing-space", "remove it".into());
        }
        for (word, advice) in ELSEWHERE {
            if names_place(line, word) {
                report(at + 1, "elsewhere", format!("`{word}`: {advice}"));
            }
        }
    }
}

/// A path counts only where a path begins: `target/x/` is inside the repository, and so is a URL's path.
fn names_place(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !word.starts_with('/') || before.is_none_or(|letter| " \"'`=(:,>".contains(letter))
    })
}

fn opening(source: &Source<'_>, report: &mut impl FnMut(usize, &'static str, String)) {
    let first = source.text.lines().find(|line| !line.trim().is_empty());
    if !first.is_some_and(|line| line.starts_with("//!")) {
        report(1, "opening", "begin with `//!`: what the file is for, and what it leaves to others".into());
    }
}

fn functions(source: &Source<'_>, report: &mut impl FnMut(usize, &'static str, String)) {
    for function in source.functions() {
        if function.lines > FUNCTION_LINES_MAX {
            let (name, lines) = (&function.name, function.lines);
            let advice = format!("`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}, name its steps");
            report(function.line, "function-length", advice);
        }
    }
}

fn code(source: &Source<'_>, report: &mut impl FnMut(usize, &'static str, String)) {
    let engine = source.path.starts_with("crates/engine/");
    let clock =
        source.path.starts_with("crates/engine/src/clock") || source.path.starts_with("crates/engine/tests/");
    // On a paused clock, sleeping is how time is made to pass: such a file says so.
    let paused = source.text.contains("paused");
    for (at, line) in source.code.lines().enumerate() {
        for (word, advice) in UNFINISHED {
            if has_word(line, word) {
                report(at + 1, "unfinished", format!("`{word}`: {advice}"));
            }
        }
        let sleeps = line.contains("thread::sleep") || (line.contains("time::sleep(") && !paused);
        if sleeps && source.is_test_line(at) {
            report(at + 1, "sleep", "wait for the condition with a deadline, or pause the clock".into());
        }
        let reads_clock = line.contains("Instant::now") || line.contains("SystemTime::now");
        if engine && !clock && reads_clock {
            report(at + 1, "clock", "take `now` as an argument, or read `engine::clock`".into());
        }
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}
