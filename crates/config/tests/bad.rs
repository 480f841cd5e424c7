//! Every file in `bad/` is refused, and what is printed about it is the text beside it. `UNLAG_UPDATE=1`
//! writes the texts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a set-up that fails has to fail the test")]

use std::fs;
use std::path::{Path, PathBuf};

fn corpus() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_bad_file_is_refused_with_its_text() {
    let update = std::env::var_os("UNLAG_UPDATE").is_some();
    let mut different = Vec::new();
    for path in corpus() {
        let text = fs::read_to_string(&path).unwrap();
        let problems = match unlag_config::parse(&text, "unlag.toml") {
            Ok(parsed) => panic!("{} is accepted: {:?}", path.display(), parsed.config),
            Err(problems) => problems,
        };
        let shown = format!("{problems}\n");
        let beside = path.with_extension("txt");
        if update {
            fs::write(&beside, &shown).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != shown {
            different.push(format!("{}:\n{shown}", path.display()));
        }
    }
    assert!(different.is_empty(), "UNLAG_UPDATE=1 accepts these:\n{}", different.join("\n"));
}

/// Lines and columns that the file itself marks: the line below a culprit is a comment with a caret under
/// each first character, or `#|` for the first column.
fn marks(text: &str) -> Vec<(usize, usize)> {
    let mut marks = Vec::new();
    for (above, line) in text.lines().enumerate() {
        if line.starts_with('#') && line.chars().all(|c| "#|^ ".contains(c)) {
            let columns = line.chars().enumerate().filter_map(|(at, c)| match c {
                '|' => Some(1),
                '^' => Some(at + 1),
                _ => None,
            });
            marks.extend(columns.map(|column| (above, column)));
        }
    }
    marks
}

/// The places are asserted by whoever wrote the file, not by what the program said.
#[test]
fn every_problem_points_at_the_marked_place_and_helps() {
    let mut marked = 0;
    for path in corpus() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display();
        let expected = marks(&text);
        let problems = unlag_config::parse(&text, "unlag.toml").unwrap_err();
        for problem in &problems.0 {
            assert!(problem.help.as_ref().is_some_and(|help| !help.is_empty()), "{name}: {problem}");
        }
        if !expected.is_empty() {
            marked += 1;
            let found: Vec<(usize, usize)> =
                problems.0.iter().map(|problem| (problem.line, problem.column)).collect();
            assert_eq!(found, expected, "{name}:\n{problems}");
        }
    }
    assert!(marked >= 45, "{marked} files mark their culprits");
    assert!(corpus().len() >= 45);
}

#[test]
fn no_text_shows_a_secret() {
    for path in corpus() {
        let problems = unlag_config::parse(&fs::read_to_string(&path).unwrap(), "unlag.toml").unwrap_err();
        let text = format!("{problems} {problems:?}");
        assert!(!text.contains("hunter2"), "{}", path.display());
    }
}
