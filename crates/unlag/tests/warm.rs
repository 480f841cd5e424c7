//! Connections are there before a request needs them, and only where they are of use.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::time::Duration;
use unlag_testkit::process::Directory;
use unlag_testkit::wait::holds_within;
use unlag_testkit::{RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

fn one_core(origin: &RawOrigin) -> Setup {
    Setup::of(UNLAG).to([origin.url()]).workers(1).limit("warm_connections", "1")
}

#[test]
fn the_next_connection_is_open_before_it_is_needed() {
    let origin = RawOrigin::ok("fine");
    let unlag = one_core(&origin).start();
    unlag.get("/first");
    unlag.get("/second");
    wait_until("a second connection", || origin.connections() == 2);
    assert_eq!(origin.request_count(), 2, "nobody has asked on it");
    assert!(has_no_connect_phase(&unlag, "/second"));
}

#[test]
fn to_an_origin_that_keeps_no_connection_none_is_opened_ahead() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine";
    let origin = RawOrigin::always(Script::new().request().send(answer));
    let unlag = one_core(&origin).start();
    (0..5).for_each(|_| assert_eq!(unlag.get("/").status(), 200));
    // Connections are opened ahead twice a second.
    let ahead = holds_within(Duration::from_millis(1_500), || origin.connections() > 5);
    assert!(!ahead, "{} connections for five requests", origin.connections());
}

#[test]
fn an_endpoint_that_joins_is_connected_to_before_it_is_asked() {
    let (old, new) = (RawOrigin::ok("old"), RawOrigin::ok("new"));
    let directory = Directory::new();
    let file = directory.path().join("endpoints");
    fs::write(&file, old.url()).expect("writes");
    let toml = format!(
        "[upstream.shop]\ndiscover = \"file://{}\"\n[[route]]\nmatch = \"/{{path...}}\"\nupstream = \"shop\"\n",
        file.display()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).workers(1).limit("warm_connections", "1").start();
    unlag.get("/before");
    fs::write(&file, format!("{}\n{}\n", old.url(), new.url())).expect("writes");
    let mut sent = 0;
    wait_until("an answer of the new one", || {
        sent += 1;
        unlag.get("/after").text() == "new"
    });
    let after = || unlag.log().objects().into_iter().filter(|line| line["target"] == "/after");
    wait_until("a line for each request", || after().count() == sent);
    assert_eq!(after().filter(|line| !line["connect_us"].is_null()).count(), 0, "no request has met it cold");
}

/// Whether the request did not wait for a connection to be opened.
fn has_no_connect_phase(unlag: &Unlag, target: &str) -> bool {
    let line = || unlag.log().objects().into_iter().find(|line| line["target"] == target);
    wait_until("its line", || line().is_some());
    line().is_some_and(|line| line["connect_us"].is_null() && line["reused"] == true)
}
