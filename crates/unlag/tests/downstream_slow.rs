//! Callers that are slow, idle, gone or too many: rows D10 to D12 and D26.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use unlag_testkit::client::get_once;
use unlag_testkit::wait::{holds_within, pause};
use unlag_testkit::{RawClient, RawOrigin, ReadError, Script, Setup, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

#[test]
fn d10_slow_heads_are_cut_off_while_a_good_caller_is_served() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("header_timeout", "\"1s\"").start();
    let mut slow: Vec<RawClient> = (0..500).map(|_| unlag.connect()).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: unlag.test\r\nX-Slow: ");
    }
    let (response, took) = get_once(unlag.address(), "/");
    assert_eq!(response.text(), "fine");
    assert!(took < Duration::from_millis(500), "a good caller waited {took:?}");
    for client in &mut slow {
        client.send("a");
        match client.try_read_response("GET") {
            Ok(response) => assert_eq!(response.status(), 408),
            Err(ReadError::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn d10_half_a_head_behind_a_finished_request_is_cut_off_too() {
    let origin = RawOrigin::ok("fine");
    let setup = Setup::of(UNLAG).to([origin.url()]).limit("header_timeout", "\"300ms\"");
    let unlag = setup.limit("idle_timeout", "\"1s\"").start();
    let mut client = unlag.connect().with_deadline(Duration::from_secs(6));
    client.send("GET / HTTP/1.1\r\nHost: unlag.test\r\n\r\nGET /half HTTP/1.1\r\nHo");
    assert_eq!(client.read_response("GET").text(), "fine");
    let rest = client.read_to_end().unwrap_or_else(|error| panic!("held open for ever: {error}"));
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&rest));
}

#[test]
fn d11_a_body_below_the_minimum_rate_is_ended_on_both_sides() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let setup = Setup::of(UNLAG).to([origin.url()]);
    let unlag = setup.limit("body_rate_grace", "\"300ms\"").limit("body_rate_min", "\"1KiB\"").start();
    let mut client = unlag.connect();
    client.send("POST / HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 100000\r\n\r\n");
    let started = Instant::now();
    let ended = holds_within(Duration::from_secs(10), || {
        pause(Duration::from_millis(20));
        client.try_send(b"x").is_err()
    });
    assert!(ended, "one byte every 20 ms went on for {:?}", started.elapsed());
    if origin.connections() > 0 {
        origin.wait_until_closed(0);
    }
}

#[test]
fn d11_a_body_at_a_good_rate_may_take_longer_than_the_grace() {
    let origin = RawOrigin::ok("fine");
    let setup = Setup::of(UNLAG).to([origin.url()]);
    let unlag = setup.limit("body_rate_grace", "\"200ms\"").limit("body_rate_min", "\"1KiB\"").start();
    let mut client = unlag.connect();
    client.send("POST / HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 40000\r\n\r\n");
    for _ in 0..40 {
        client.send([b'x'; 1000]);
        pause(Duration::from_millis(20));
    }
    assert_eq!(client.read_response("POST").text(), "fine");
}

#[test]
fn d11_a_caller_that_does_not_read_is_ended_and_the_origin_let_go() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    let origin = RawOrigin::always(Script::new().request().send(head).flood(vec![b'x'; 65_536]));
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("write_timeout", "\"500ms\"").start();
    let before = unlag.resident_kib();
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: unlag.test\r\n\r\n");
    origin.wait_until_closed(0);
    assert!(unlag.resident_kib() < before + 16 * 1024, "{} KiB after {before}", unlag.resident_kib());
    match client.try_read_response("GET") {
        Err(ReadError::Cut(_)) => {}
        other => panic!("not a cut: {:?}", other.map(|response| response.status())),
    }
}

#[test]
fn d12_when_the_caller_leaves_the_request_to_the_origin_ends() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for (number, reset) in [(0, true), (1, false)] {
        let mut client = unlag.connect();
        client.send("GET / HTTP/1.1\r\nHost: unlag.test\r\n\r\n");
        origin.wait_for_requests(number + 1);
        let left = Instant::now();
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        origin.wait_until_closed(number);
        assert!(left.elapsed() < Duration::from_millis(500), "took {:?}", left.elapsed());
    }
}

#[test]
fn d12_when_the_caller_leaves_in_the_middle_of_its_body_the_origin_sees_no_whole_request() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    origin.wait_for_requests(1);
    drop(client);
    origin.wait_until_closed(0);
    assert!(!origin.connection(0).received.ends_with(b"0\r\n\r\n"), "an aborted upload looks whole");
}

#[test]
fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("idle_timeout", "\"300ms\"").start();
    let mut client = unlag.connect();
    assert_eq!(client.get("/").text(), "fine");
    client.expect_closed();
    unlag.connect().expect_closed();
}

/// Raises the limit of open files of this process (and so of its children) to what the system allows.
fn raise_file_limit(files: u64) {
    let limit = format!("--nofile={files}:{files}");
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("run prlimit");
    assert!(status.success(), "prlimit {limit}");
}

#[test]
fn d26_five_thousand_idle_connections_cost_little_memory_each() {
    const CONNECTIONS: usize = 5_000;
    raise_file_limit(16_000);
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("idle_timeout", "\"120s\"").start();
    for _ in 0..50 {
        assert_eq!(unlag.get("/").text(), "fine");
    }
    let before = unlag.resident_kib();
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut client = unlag.connect();
        assert_eq!(client.get("/").text(), "fine");
        idle.push(client);
    }
    let each = (unlag.resident_kib() - before) as f64 / CONNECTIONS as f64;
    eprintln!("{each:.1} KiB for each of {CONNECTIONS} idle connections");
    assert!(each <= 16.0, "{each:.1} KiB for each idle connection");
    assert!(
        idle.iter_mut().step_by(100).all(|client| client.get("/").text() == "fine"),
        "all of them still live"
    );
}

#[test]
fn d26_at_the_limit_the_oldest_idle_connection_makes_room() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).limit("connections", "10").start();
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..10 {
        let mut client = unlag.connect();
        assert_eq!(client.get("/").text(), "fine");
        clients.push(client);
    }
    let mut newest = unlag.connect();
    assert_eq!(newest.get("/").text(), "fine", "a new caller is served at the limit");
    wait_until("the oldest idle connection is closed", || clients[0].is_closed_now());
    assert_eq!(clients[9].get("/").text(), "fine", "the youngest idle connection lives");
}

#[test]
fn d11_an_upload_is_not_spared_the_minimum_rate_because_it_calls_itself_grpc() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let setup = Setup::of(UNLAG).to([origin.url()]);
    let unlag = setup.limit("body_rate_grace", "\"300ms\"").start();
    let mut client = unlag.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 100\r\n\r\nabc",
    );
    assert_eq!(client.read_response("POST").status(), 200, "a status of gRPC");
    client.expect_closed();
}
