//! A request with an `Idempotency-Key` is executed once, on routes that say so, and whoever sends it again gets its answer.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawClient, RawOrigin, Response, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// An origin that counts what it executes, and says so with 201.
fn counting() -> RawOrigin {
    let executed = AtomicUsize::new(0);
    RawOrigin::answering(move |_| created(executed.fetch_add(1, Relaxed) + 1))
}

fn created(number: usize) -> Vec<u8> {
    let text = format!("payment {number}");
    format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\nLocation: /pay/{number}\r\n\r\n{text}", text.len())
        .into_bytes()
}

fn keyed(origin: &RawOrigin) -> Unlag {
    Setup::of(UNLAG).to([origin.url()]).route("idempotency_key", "\"1h\"").start()
}

fn pay(fields: &str, content: &str) -> String {
    let length = content.len();
    format!("POST /pay HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: {length}\r\n{fields}\r\n{content}")
}

fn ask(unlag: &Unlag, fields: &str, content: &str) -> Response {
    unlag.connect().send(pay(fields, content)).read_response("POST")
}

const KEY: &str = "Idempotency-Key: \"8e03978e\"\r\n";

/// A payment that the origin has got, and answers when the gate opens; who waits for it is the last.
fn under_way(gate: &Gate) -> (RawOrigin, Unlag, RawClient) {
    let origin = RawOrigin::always(Script::held(gate, "paid"));
    let unlag = keyed(&origin);
    let mut first = unlag.connect();
    first.send(pay(KEY, "10 EUR"));
    origin.wait_for_requests(1);
    (origin, unlag, first)
}

#[test]
fn a_payment_that_is_sent_twice_is_made_once_and_answered_twice() {
    let origin = counting();
    let unlag = keyed(&origin);
    let first = ask(&unlag, KEY, "10 EUR");
    assert_eq!((first.status(), first.text().as_str()), (201, "payment 1"));
    assert_eq!(first.header("idempotency-replayed"), None);
    for _ in 0..3 {
        let again = ask(&unlag, KEY, "10 EUR");
        assert_eq!((again.status(), again.text().as_str()), (201, "payment 1"));
        assert_eq!(again.header("location"), Some("/pay/1"));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(origin.request_count(), 1);
    assert_eq!(ask(&unlag, "Idempotency-Key: other\r\n", "10 EUR").text(), "payment 2");
}

#[test]
fn a_key_whose_request_is_under_way_is_409_and_one_with_other_content_422() {
    let gate = Gate::new();
    let (origin, unlag, mut first) = under_way(&gate);
    let second = ask(&unlag, KEY, "10 EUR");
    assert_eq!(second.status(), 409);
    assert!(second.header("retry-after").is_some());
    assert_eq!(ask(&unlag, KEY, "99 EUR").status(), 422);
    assert!(unlag.admin("/metrics").text().contains("unlag_idempotency_under_way 1\n"));
    for (status, cause) in [(409, "idempotency_key_under_way"), (422, "idempotency_key_reused")] {
        let is_it = |line: &serde_json::Value| line["status"] == status && line["cause"] == cause;
        wait_until("the log says why", || unlag.log().objects().iter().any(is_it));
    }
    gate.open();
    assert_eq!(first.read_response("POST").text(), "paid");
    assert_eq!(ask(&unlag, KEY, "99 EUR").status(), 422, "also when it is answered");
    assert_eq!(ask(&unlag, KEY, "10 EUR").header("idempotency-replayed"), Some("true"));
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn nobody_gets_the_answer_to_the_key_of_another() {
    let origin = counting();
    let unlag = keyed(&origin);
    let mut seen = Vec::new();
    for who in [
        "",
        "Authorization: Bearer a\r\n",
        "Authorization: Bearer b\r\n",
        "Cookie: session=c\r\n",
        "X-Api-Key: d\r\n",
    ] {
        let response = ask(&unlag, &format!("{KEY}{who}"), "10 EUR");
        assert_eq!(response.header("idempotency-replayed"), None, "{who}");
        seen.push(response.text());
    }
    assert_eq!(seen, ["payment 1", "payment 2", "payment 3", "payment 4", "payment 5"]);
}

#[test]
fn a_caller_that_was_cut_off_learns_what_became_of_its_request() {
    let gate = Gate::new();
    let (origin, unlag, first) = under_way(&gate);
    first.reset();
    unlag.wait_for_cause();
    assert_eq!(ask(&unlag, KEY, "10 EUR").status(), 409, "it goes on without its caller");
    gate.open();
    let mut answer = ask(&unlag, KEY, "10 EUR");
    unlag_testkit::wait_until("it is answered", || {
        answer = ask(&unlag, KEY, "10 EUR");
        answer.status() != 409
    });
    assert_eq!((answer.text().as_str(), answer.header("idempotency-replayed")), ("paid", Some("true")));
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn what_was_not_executed_is_executed_the_next_time() {
    let asked = AtomicUsize::new(0);
    let origin = RawOrigin::answering(move |_| match asked.fetch_add(1, Relaxed) {
        0 => b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 9\r\n\r\n".to_vec(),
        1 => b"HTTP/1.1 429 Slowly\r\nContent-Length: 0\r\n\r\n".to_vec(),
        number => created(number),
    });
    let unlag = keyed(&origin);
    let statuses: Vec<u16> = (0..4).map(|_| ask(&unlag, KEY, "10 EUR").status()).collect();
    assert_eq!(statuses, [503, 429, 201, 201]);
    assert_eq!(origin.request_count(), 3);
}

#[test]
fn what_may_have_been_executed_is_not_sent_once_more() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().close(),
        _ => Script::new().answer(|_| created(2)),
    });
    let unlag = keyed(&origin);
    for _ in 0..3 {
        assert_eq!(ask(&unlag, KEY, "10 EUR").status(), 502);
    }
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn what_may_have_been_executed_is_not_tried_at_another_endpoint_either() {
    let origins = [(); 2].map(|()| RawOrigin::always(Script::new().request().close()));
    let unlag =
        Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).route("idempotency_key", "\"1h\"").start();
    assert_eq!(ask(&unlag, KEY, "10 EUR").status(), 502);
    assert_eq!(origins.iter().map(RawOrigin::request_count).sum::<usize>(), 1);
}

#[test]
fn a_key_that_comes_again_with_other_content_is_refused_however_long_that_is() {
    let origin = counting();
    let unlag = keyed(&origin);
    let [long, other] = ["a", "b"].map(|begins| format!("{begins}{}", "x".repeat(400_000)));
    assert_eq!(ask(&unlag, KEY, &long).status(), 201);
    assert_eq!(ask(&unlag, KEY, &other).status(), 422);
    assert_eq!(ask(&unlag, KEY, &long).header("idempotency-replayed"), Some("true"));
}

#[test]
fn who_has_just_written_is_known_by_the_same_key_after_its_marker_is_gone() {
    let origin = counting();
    let unlag = keyed(&origin);
    let with = |cookie: &str| ask(&unlag, &format!("{KEY}Cookie: {cookie}\r\n"), "10 EUR").text();
    assert_eq!(with("session=a; x-ryw-orders=18f.abc"), "payment 1");
    assert_eq!(with("session=a"), "payment 1");
    assert_eq!(with("session=b"), "payment 2", "another caller");
}

/// A route with keys to one region, in which who wrote reads from the primary for so long.
fn own_writes(window: &str) -> (RawOrigin, Unlag) {
    let origin = RawOrigin::answering(|_| {
        b"HTTP/1.1 201 Created\r\nSet-Cookie: seen=1\r\nContent-Length: 4\r\n\r\npaid".to_vec()
    });
    let toml = format!(
        "[region]\nname = \"us\"\n[upstream.pay]\nregions.us = [\"{}\"]\nprimary = \"us\"\nread_your_writes = \"{window}\"\n\
         [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"pay\"\nidempotency_key = \"1h\"\n",
        origin.url()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    (origin, unlag)
}

#[test]
fn an_answer_that_is_given_again_brings_a_newer_marker_and_every_other_cookie() {
    let (origin, unlag) = own_writes("30s");
    let until_ms = |marker: &str| u64::from_str_radix(marker.split('.').next()?, 16).ok();
    let first = ask(&unlag, KEY, "10 EUR");
    assert_eq!(first.head.headers("set-cookie").len(), 2, "who wrote is told");
    let marker = first.header("x-ryw").expect("a marker");
    pause(Duration::from_millis(2));
    let again = ask(&unlag, KEY, "10 EUR");
    assert_eq!((again.text().as_str(), again.header("idempotency-replayed")), ("paid", Some("true")));
    let newer = again.header("x-ryw").expect("a marker");
    assert!(until_ms(newer) > until_ms(marker), "{newer}, {marker}");
    let cookies = again.head.headers("set-cookie");
    assert!(cookies[0] == "seen=1" && cookies[1].starts_with(&format!("x-ryw-pay={newer};")), "{cookies:?}");
    assert_eq!((cookies.len(), origin.request_count()), (2, 1));
}

#[test]
fn an_answer_that_is_given_again_once_the_copies_have_what_was_written_brings_no_marker() {
    let (origin, unlag) = own_writes("1ms");
    assert!(ask(&unlag, KEY, "10 EUR").header("x-ryw").is_some());
    pause(Duration::from_millis(20));
    let again = ask(&unlag, KEY, "10 EUR");
    assert_eq!((again.header("idempotency-replayed"), again.header("x-ryw")), (Some("true"), None));
    assert_eq!((again.head.headers("set-cookie"), origin.request_count()), (vec!["seen=1"], 1));
}

#[test]
fn a_request_whose_answer_is_not_kept_is_not_executed_again() {
    let large = unlag_testkit::origin::ok(&"x".repeat(600_000));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
    let events =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 11\r\n\r\ndata: one\n\n";
    for (whole, length) in [(large, 600_000), (chunked.into(), 2), (events.into(), 11)] {
        let origin = RawOrigin::answering(move |_| whole.clone());
        let unlag = keyed(&origin);
        let first = ask(&unlag, KEY, "10 EUR");
        assert_eq!((first.status(), first.text().len()), (200, length));
        for _ in 0..2 {
            let again = ask(&unlag, KEY, "10 EUR");
            assert_eq!(again.status(), 409);
            assert!(again.text().contains("was executed"), "{}", again.text());
        }
        assert_eq!(origin.request_count(), 1);
    }
}

#[test]
fn a_request_whose_answer_broke_off_is_not_executed_again() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().send("HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\npay").close(),
        _ => Script::new().answer(|_| created(2)),
    });
    let unlag = keyed(&origin);
    let first = ask(&unlag, KEY, "10 EUR");
    assert_eq!((first.status(), first.header("idempotency-replayed")), (502, None));
    let again = ask(&unlag, KEY, "10 EUR");
    assert_eq!((again.status(), again.header("idempotency-replayed")), (502, Some("true")));
    assert!(again.text().contains("may have been executed"), "{}", again.text());
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn a_stream_to_a_request_with_a_key_is_passed_on_as_it_comes() {
    let gate = Gate::new();
    let origin = RawOrigin::always(
        Script::new().request().send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 22\r\n\r\ndata: one\n\n")
            .wait(&gate)
            .send("data: two\n\n"),
    );
    let unlag = keyed(&origin);
    let mut caller = unlag.connect();
    caller.send(pay(KEY, "10 EUR")).read_head().expect("a head");
    assert_eq!(caller.read_exact(11).expect("an event"), b"data: one\n\n");
    gate.open();
    assert_eq!(caller.read_exact(11).expect("another"), b"data: two\n\n");
}

#[test]
fn a_cookie_that_reads_as_a_field_is_not_taken_for_whom_that_names() {
    let origin = counting();
    let unlag = keyed(&origin);
    let with = |who: &str| ask(&unlag, &format!("{KEY}{who}"), "10 EUR").text();
    assert_eq!(with("X-User-Id: victim\r\n"), "payment 1");
    assert_eq!(with("Cookie: x-user-id; victim\r\n"), "payment 2");
    assert_eq!(with("Authorization: x-user-id\r\nCookie: victim\r\n"), "payment 3");
    assert_eq!(with("X-User-Id: other\r\nX-User-Id: victim\r\n"), "payment 4");
    assert_eq!(with("X-User-Id: other\r\nX-User-Id: third\r\n"), "payment 5");
}

#[test]
fn a_key_means_nothing_on_a_route_that_does_not_say_so_nor_on_a_read() {
    let origin = counting();
    let plain = Setup::of(UNLAG).to([origin.url()]).start();
    assert_eq!(ask(&plain, KEY, "10 EUR").text(), "payment 1");
    assert_eq!(ask(&plain, KEY, "10 EUR").text(), "payment 2");
    assert_eq!(origin.requests()[0].header("idempotency-key").as_deref(), Some("\"8e03978e\""));
    let unlag = keyed(&origin);
    let get = format!("GET /pay HTTP/1.1\r\nHost: unlag.test\r\n{KEY}\r\n");
    for number in [3, 4] {
        let response = unlag.connect().send(&get).read_response("GET");
        assert_eq!(response.text(), format!("payment {number}"));
    }
}

#[test]
fn a_key_that_is_none_is_refused() {
    let origin = counting();
    let unlag = keyed(&origin);
    let long = format!("Idempotency-Key: {}\r\n", "k".repeat(256));
    for fields in ["Idempotency-Key: \"\"\r\n", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", &long] {
        assert_eq!(ask(&unlag, fields, "10 EUR").status(), 400, "{fields}");
    }
    assert_eq!(origin.request_count(), 0);
}
