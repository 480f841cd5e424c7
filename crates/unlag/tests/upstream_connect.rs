//! What a caller gets when an endpoint cannot be reached at all.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::{Duration, Instant};

use unlag_testkit::ports::{FullBacklog, RefusedPort};
use unlag_testkit::{RawOrigin, Response, Setup};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

fn assert_made_by_unlag(response: &Response, status: u16) {
    assert_eq!(response.status(), status, "{}", response.text());
    let kind = response.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "content-type: {kind}");
    assert!(!response.text().trim().is_empty(), "a reason");
    assert!(response.header("x-request-id").is_some_and(|id| !id.is_empty()), "x-request-id");
}

#[test]
fn u1_a_refused_connection_is_tried_on_another_endpoint() {
    let (refused, origin) = (RefusedPort::new(), RawOrigin::ok("alive"));
    let unlag = Setup::of(UNLAG).to([refused.url(), origin.url()]).start();
    for _ in 0..20 {
        assert_eq!(unlag.get("/").text(), "alive");
    }
    assert_eq!(origin.request_count(), 20);
}

#[test]
fn u1_even_a_post_moves_to_another_endpoint_when_nothing_was_sent() {
    let (refused, origin) = (RefusedPort::new(), RawOrigin::ok("stored"));
    let unlag = Setup::of(UNLAG).to([refused.url(), origin.url()]).start();
    for _ in 0..20 {
        let request = "POST /orders HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 4\r\n\r\nbook";
        let response = unlag.connect().send(request).read_response("POST");
        assert_eq!((response.status(), response.text()), (200, "stored".to_owned()));
    }
    assert!(origin.requests().iter().all(|request| request.body == b"book"));
    assert_eq!(origin.request_count(), 20);
}

#[test]
fn u1_when_every_endpoint_refuses_the_caller_gets_502_at_once() {
    let (first, second) = (RefusedPort::new(), RefusedPort::new());
    let unlag = Setup::of(UNLAG).to([first.url(), second.url()]).start();
    let started = Instant::now();
    let response = unlag.get("/");
    assert_made_by_unlag(&response, 502);
    assert!(started.elapsed() < Duration::from_millis(500), "took {:?}", started.elapsed());
}

#[test]
fn u2_an_endpoint_that_swallows_connections_costs_the_connect_timeout_and_gives_504() {
    let blackhole = FullBacklog::new();
    let unlag = Setup::of(UNLAG).to([blackhole.url()]).upstream("connect_timeout", "\"200ms\"").start();
    let started = Instant::now();
    let response = unlag.get("/");
    assert_made_by_unlag(&response, 504);
    assert!(started.elapsed() >= Duration::from_millis(190), "took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
}

#[test]
fn u2_a_swallowed_connection_is_tried_on_another_endpoint() {
    let (blackhole, origin) = (FullBacklog::new(), RawOrigin::ok("alive"));
    let setup = Setup::of(UNLAG).to([blackhole.url(), origin.url()]);
    let unlag = setup.upstream("connect_timeout", "\"200ms\"").start();
    for _ in 0..6 {
        assert_eq!(unlag.get("/").text(), "alive");
    }
}

#[test]
fn u38_a_name_that_does_not_resolve_gives_502_and_leaves_other_routes_alone() {
    let origin = RawOrigin::ok("alive");
    let broken = "[upstream.gone]\nendpoints = [\"http://nowhere.invalid:8000\"]\n\n\
                  [[route]]\nmatch = \"/gone/{rest...}\"\nupstream = \"gone\"\n";
    let unlag = Setup::of(UNLAG).to([origin.url()]).toml(broken).start();
    let response = unlag.get("/gone/x");
    assert!(matches!(response.status(), 502 | 503), "{}", response.status());
    assert_made_by_unlag(&response, response.status());
    assert_eq!(unlag.get("/").text(), "alive");
}

#[test]
fn an_endpoint_by_name_is_resolved() {
    let origin = RawOrigin::ok("by name");
    let url = origin.url().replace("127.0.0.1", "localhost");
    let unlag = Setup::of(UNLAG).to([url]).start();
    assert_eq!(unlag.get("/").text(), "by name");
}
