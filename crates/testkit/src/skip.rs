//! The one way to skip a test that lacks what it needs: a note for whoever ran the tests, and a failure where
//! `UNLAG_SUITES=required`, as in CI.

use std::io::Write;

/// Notes that `suite` could not run, why, and how to get what it lacks.
pub fn skip(suite: &str, reason: &str) {
    let note = format!("{suite}: {reason}");
    assert_ne!(
        std::env::var("UNLAG_SUITES").as_deref(),
        Ok("required"),
        "a required suite cannot run: {note}"
    );
    eprintln!("skipped: {note}");
    if let Some(notes) = std::env::var_os("UNLAG_SUITE_NOTES") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(notes);
        let line = format!("{note}\n");
        // One write, so that suites which skip at the same time do not mix their lines.
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("leave a note");
    }
}
