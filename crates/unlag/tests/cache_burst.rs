//! Many who want the same at one time, over all cores, cause one fetch.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use unlag_testkit::response::Response;
use unlag_testkit::{Gate, RawClient, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
const CALLERS: usize = 50;

fn burst(unlag: &Unlag, fields: &str) -> Vec<RawClient> {
    let request = format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut callers: Vec<RawClient> = (0..CALLERS).map(|_| unlag.connect()).collect();
    for caller in &mut callers {
        caller.send(&request);
    }
    callers
}

fn requests_under_way(unlag: &Unlag) -> u64 {
    let overview: serde_json::Value =
        serde_json::from_slice(&unlag.admin("/api/v1/overview").body).expect("JSON");
    overview["workers"]
        .as_array()
        .expect("workers")
        .iter()
        .filter_map(|worker| worker["streams"].as_u64())
        .sum()
}

fn answers(callers: Vec<RawClient>) -> Vec<Response> {
    callers.into_iter().map(|mut caller| caller.read_response("GET")).collect()
}

#[test]
fn fifty_callers_on_two_cores_cause_one_fetch_and_get_all_of_its_content_as_it_arrives() {
    let (head, rest) = (Gate::new(), Gate::new());
    let body = "x".repeat(300_000);
    let start = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n{}",
        body.len() + 5,
        &body[..100_000]
    );
    let script = Script::new().request().wait(&head).send(start).wait(&rest);
    let origin = RawOrigin::always(script.send(format!("{}whole", &body[100_000..])).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(2).start();
    let mut callers = burst(&unlag, "");
    origin.wait_for_requests(1);
    head.open();
    for caller in &mut callers {
        assert_eq!(caller.read_head().expect("a head").status, 200, "before the rest has come");
        assert_eq!(caller.read_exact(50_000).expect("a part"), body.as_bytes()[..50_000]);
    }
    let late = unlag.connect().send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").read_head().expect("a head");
    assert_eq!(late.status, 200, "who comes while it arrives reads it as well");
    rest.open();
    for caller in &mut callers {
        assert!(caller.read_exact(250_005).expect("the rest").ends_with(b"whole"));
    }
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn a_stream_of_unknown_length_is_joined_while_it_arrives() {
    let rest = Gate::new();
    let start =
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let script = Script::new().request().send(start).wait(&rest).send("6\r\nsecond\r\n0\r\n\r\n").silence();
    let origin = RawOrigin::always(script);
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(2).start();
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut callers: Vec<RawClient> = (0..4).map(|_| unlag.connect()).collect();
    for caller in &mut callers {
        caller.send(request).read_head().expect("a head");
        assert_eq!(caller.read_exact(8).expect("a chunk"), b"5\r\nfirst");
    }
    rest.open();
    for caller in &mut callers {
        assert!(caller.read_exact(16).expect("the rest").ends_with(b"second\r\n0\r\n"));
    }
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn an_answer_about_one_caller_sets_the_others_free_and_the_next_burst_does_not_wait() {
    let (first, second) = (Gate::new(), Gate::new());
    let (held, count) = ([first.clone(), second.clone()], AtomicUsize::new(0));
    let origin = RawOrigin::answering(move |_| {
        held[usize::from(count.fetch_add(1, Ordering::Relaxed) >= CALLERS)].pass();
        b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 4\r\n\r\nmine".to_vec()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(2).start();
    let callers = burst(&unlag, "");
    origin.wait_for_requests(1);
    first.open();
    assert!(answers(callers).iter().all(|answer| answer.text() == "mine"));
    assert_eq!(origin.request_count(), CALLERS);
    let callers = burst(&unlag, "");
    wait_until("all of them are with the origin", || origin.request_count() == 2 * CALLERS);
    second.open();
    answers(callers);
}

#[test]
fn callers_with_cookies_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::answering(move |_| {
        held.pass();
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine".to_vec()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(2).start();
    let callers = burst(&unlag, "Cookie: a=b\r\n");
    wait_until("all of them are with the origin", || origin.request_count() == CALLERS);
    gate.open();
    answers(callers);
}

#[test]
fn a_fetch_whose_caller_hangs_up_goes_on_for_those_who_wait() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::answering(move |_| {
        held.pass();
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\none".to_vec()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
    let mut first = unlag.connect();
    first.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    let callers = burst(&unlag, "");
    wait_until("they wait", || requests_under_way(&unlag) > CALLERS as u64);
    first.reset();
    gate.open();
    assert!(answers(callers).iter().all(|answer| answer.text() == "one"));
    assert_eq!(origin.request_count(), 1);
}
