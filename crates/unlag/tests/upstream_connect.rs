//! What a caller gets when an endpoint cannot be reached at all.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::{Duration, Instant};

use unlag_testkit::origin::ok;
use unlag_testkit::ports::{FullBacklog, RefusedPort};
use unlag_testkit::process::Directory;
use unlag_testkit::{Gate, RawOrigin, Response, Script, Setup, Unlag, namespace, wait_until};

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
    let unlag =
        Setup::of(UNLAG).to([refused.url(), origin.url()]).upstream("balance", "\"round-robin\"").start();
    for _ in 0..20 {
        assert_eq!(unlag.get("/").text(), "alive");
    }
    assert_eq!(origin.request_count(), 20);
    let seen = unlag.endpoint(refused.url().trim_start_matches("http://")).expect("the endpoint");
    assert!(seen["failures"].as_u64() >= Some(5), "{seen}");
    assert_eq!(
        (&seen["last_error"], &seen["state"]),
        (&"connect_refused".into(), &"ejected".into()),
        "{seen}"
    );
}

#[test]
fn u1_a_post_whose_content_is_still_coming_moves_to_another_endpoint_too() {
    for _ in 0..4 {
        let (refused, origin) = (RefusedPort::new(), RawOrigin::ok("stored"));
        let unlag = Setup::of(UNLAG).to([refused.url(), origin.url()]).start();
        let mut client = unlag.connect();
        client.send(
            "POST /orders HTTP/1.1\r\nHost: unlag.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbook\r\n",
        );
        origin.wait_for_requests(1);
        let response = client.send("5\r\nshelf\r\n0\r\n\r\n").read_response("POST");
        assert_eq!((response.status(), response.text()), (200, "stored".to_owned()));
        assert_eq!(origin.only_request().body, b"bookshelf");
    }
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

#[test]
fn of_two_addresses_the_one_that_answers_is_found_and_then_tried_first() {
    let swallows = FullBacklog::new();
    let second = ([127, 0, 0, 2], swallows.address().port()).into();
    let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfound";
    let origin = RawOrigin::scripted_at(second, move |_| Script::new().request().send(closing).close());
    let directory = Directory::new();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 twice\n127.0.0.2 twice\n").expect("a host file");
    let Some(shell) = namespace::with_hosts("Happy Eyeballs", &hosts) else { return };
    let url = format!("http://twice:{}", swallows.address().port());
    let setup = Setup::of(UNLAG).to([url]).upstream("connect_timeout", "\"5s\"");
    let unlag = setup.wrapped_in(&shell).start();
    let started = Instant::now();
    assert_eq!(unlag.get("/").text(), "found");
    let head_start = Duration::from_millis(240);
    assert!(started.elapsed() >= head_start, "the first address was not tried: {:?}", started.elapsed());
    let started = Instant::now();
    (0..10).for_each(|_| assert_eq!(unlag.get("/").text(), "found"));
    assert!(started.elapsed() < 10 * head_start, "the winner was forgotten: {:?}", started.elapsed());
    assert_eq!(origin.connections(), 11);
}

fn learned_idle_ms(unlag: &Unlag) -> Option<u64> {
    unlag.endpoints()[0]["learned_idle_ms"].as_u64()
}

fn wait_until_none_is_open(unlag: &Unlag) {
    wait_until("no connection is open", || unlag.endpoints()[0]["connections_open"] == 0);
}

#[test]
fn an_idle_limit_that_is_declared_is_kept_to_with_a_margin() {
    let declared = |seconds: &str| {
        let seconds = seconds.to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\nKeep-Alive: timeout={seconds}\r\nContent-Length: 0\r\n\r\n");
        RawOrigin::answering(move |_| answer.clone().into_bytes())
    };
    let origin = declared("2");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    unlag.get("/");
    let idle_since = Instant::now();
    assert_eq!(learned_idle_ms(&unlag), Some(2_000));
    origin.wait_until_closed(0);
    assert!(idle_since.elapsed() >= Duration::from_millis(1_500), "{:?}", idle_since.elapsed());
    // What is declared is not believed without end.
    let origin = declared("99999999999");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    unlag.get("/");
    assert_eq!(learned_idle_ms(&unlag), Some(600_000));
}

#[test]
fn an_idle_limit_is_learned_from_two_closes_at_about_the_same_age() {
    let gates: [Gate; 2] = Default::default();
    let closing = gates.clone();
    let origin = RawOrigin::scripted(move |number| match closing.get(number) {
        Some(gate) => Script::new().request().send(ok("fine")).wait(gate).close(),
        None => Script::new().answer(|_| ok("fine")),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
    for gate in &gates {
        assert_eq!(learned_idle_ms(&unlag), None, "one close may be a restart");
        assert_eq!(unlag.get("/").text(), "fine");
        let idle_since = Instant::now();
        wait_until("it has been idle for a while", || idle_since.elapsed() > Duration::from_secs(3));
        gate.open();
        wait_until_none_is_open(&unlag);
    }
    let learned = learned_idle_ms(&unlag).expect("an idle limit");
    assert!((2_900..6_000).contains(&learned), "{learned} ms");
}
