//! The access log of the real binary: where it goes, which requests get a line, and how it lets itself be rotated.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::wait::pause;
use unlag_testkit::{RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

fn logging_to(origin: &RawOrigin, keys: &str) -> Setup {
    let monitor = format!("[monitor]\naccess_log = \"./access.log\"\n{keys}");
    // Of two cores each says when its request is over: one core keeps the order of the requests.
    Setup::of(UNLAG).to([origin.url()]).workers(1).toml(&monitor)
}

fn ask(unlag: &Unlag, target: &str) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    unlag.connect().send(request).read_response("GET");
}

/// The targets of the lines in a file, in their order; none while there is no file.
fn targets(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| serde_json::from_str::<Value>(line).expect("every line is JSON");
    let target = |line: Value| line["target"].as_str().expect("a target").to_owned();
    text.split_inclusive('\n').filter(|text| text.ends_with('\n')).map(|text| target(line(text))).collect()
}

#[test]
fn a_file_takes_the_lines_instead_of_stderr() {
    let origin = RawOrigin::ok("fine");
    let unlag = logging_to(&origin, "").start();
    let file = unlag.directory().join("access.log");
    ask(&unlag, "/one");
    ask(&unlag, "/two");
    wait_until("both lines are in the file", || targets(&file) == ["/one", "/two"]);
    assert!(
        unlag.log().objects().iter().all(|line| line.get("target").is_none()),
        "{:?}",
        unlag.log().lines()
    );
}

#[test]
fn sigusr1_goes_on_in_a_new_file_after_the_old_one_was_moved_away() {
    let origin = RawOrigin::ok("fine");
    let unlag = logging_to(&origin, "").start();
    let (file, old) = (unlag.directory().join("access.log"), unlag.directory().join("access.log.1"));
    ask(&unlag, "/before");
    wait_until("the first line is written", || targets(&file) == ["/before"]);
    fs::rename(&file, &old).expect("moved away");
    ask(&unlag, "/between");
    wait_until("the file that was moved is still written", || targets(&old) == ["/before", "/between"]);
    unlag.signal("USR1");
    wait_until("there is a new file", || {
        ask(&unlag, "/after");
        file.exists()
    });
    wait_until("it is written", || targets(&file).contains(&"/after".to_owned()));
    let moved = targets(&old).len();
    ask(&unlag, "/later");
    wait_until("the next line is there too", || targets(&file).contains(&"/later".to_owned()));
    assert_eq!(targets(&old).len(), moved, "the old file is left alone");
}

#[test]
fn slow_keeps_what_took_a_second_and_what_failed() {
    let origin = RawOrigin::always(Script::new().answer(|request| match request.target().as_str() {
        "/slow" => {
            pause(Duration::from_millis(1_050));
            ok("at last")
        }
        "/broken" => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => ok("fine"),
    }));
    let unlag = logging_to(&origin, "access_log_sample = \"slow\"").start();
    for target in ["/quick", "/slow", "/quick", "/broken"] {
        ask(&unlag, target);
    }
    let file = unlag.directory().join("access.log");
    wait_until("the last line is written", || targets(&file).contains(&"/broken".to_owned()));
    assert_eq!(targets(&file), ["/slow", "/broken"]);
}

#[test]
fn a_share_keeps_about_that_many_and_the_last_lines_are_written_at_the_end() {
    let origin = RawOrigin::ok("fine");
    let mut unlag = logging_to(&origin, "access_log_sample = \"50%\"").start();
    let mut client = unlag.connect();
    for n in 0..200 {
        assert_eq!(client.get(&format!("/{n}")).status(), 200);
    }
    drop(client);
    unlag.signal("TERM");
    assert_eq!(unlag.wait_for_exit(), Some(0));
    // Seven is one standard deviation.
    let kept = targets(&unlag.directory().join("access.log")).len();
    assert!((50..=150).contains(&kept), "{kept} of 200");
}

#[test]
fn off_writes_no_line_anywhere() {
    let origin = RawOrigin::ok("fine");
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).toml("[monitor]\naccess_log = \"off\"").start();
    ask(&unlag, "/quiet");
    unlag.signal("TERM");
    assert_eq!(unlag.wait_for_exit(), Some(0));
    unlag.wait_for_log("stopped");
    assert!(unlag.log().lines().iter().all(|line| !line.contains("/quiet")), "{:?}", unlag.log().lines());
}

#[test]
fn a_file_that_cannot_be_opened_is_named_at_the_start() {
    let origin = RawOrigin::ok("fine");
    let directory = Directory::new();
    let monitor = "[monitor]\naccess_log = \"./no-such-directory/access.log\"";
    let config = Setup::of(UNLAG).to([origin.url()]).toml(monitor).config_text(directory.path());
    fs::write(directory.path().join("unlag.toml"), config).expect("the config");
    let output = Command::new(UNLAG).arg("run").current_dir(directory.path()).output().expect("run unlag");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot open the access log"), "{said}");
}
