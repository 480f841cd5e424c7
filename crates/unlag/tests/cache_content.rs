//! Reads that carry content: QUERY, and the POSTs that a route declares reads.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::h2::{Answer, Call, H2Origin, Plan};
use unlag_testkit::response::Response;
use unlag_testkit::{Gate, RawOrigin, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// An origin that numbers its answers, with this content behind the number.
fn numbering(lines: &'static str, rest: &'static str) -> RawOrigin {
    let count = std::sync::atomic::AtomicUsize::new(0);
    RawOrigin::answering(move |_| {
        let number = 1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = format!("{{\"n\":{number}{rest}}}");
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
}

fn send(unlag: &Unlag, method: &str, content_type: &str, content: &str) -> Response {
    let head = format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{content}", content.len());
    unlag.connect().send(request).read_response(method)
}

fn numbers(unlag: &Unlag, method: &str, contents: &[&str]) -> Vec<String> {
    contents.iter().map(|content| send(unlag, method, "application/json", content).text()).collect()
}

#[test]
fn a_query_is_cached_by_its_content_without_configuration_and_a_post_is_not() {
    let origin = numbering("Cache-Control: max-age=60\r\n", "");
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(2).start();
    let same = [r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#, r#"{"a":2}"#, r#"{"a":1,"b":2}"#];
    assert_eq!(numbers(&unlag, "QUERY", &same), [r#"{"n":1}"#, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":1}"#]);
    assert_eq!(send(&unlag, "QUERY", "text/plain", same[0]).text(), r#"{"n":3}"#, "as another type");
    assert_eq!(numbers(&unlag, "POST", &same[..2]), [r#"{"n":4}"#, r#"{"n":5}"#]);
    assert_eq!(numbers(&unlag, "QUERY", &same[..1]), [r#"{"n":6}"#], "a change has come in between");
}

#[test]
fn a_change_while_a_query_is_under_way_keeps_its_answer_out_of_the_store() {
    let (gate, count) = (Gate::new(), std::sync::atomic::AtomicUsize::new(0));
    let held = gate.clone();
    let origin = RawOrigin::answering(move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if request.method() == "QUERY" && number == 0 {
            held.pass();
        }
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\n{number}")
            .into_bytes()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("cache", "{ stale_if_error = \"1m\" }").start();
    let mut early = unlag.connect();
    early.send("QUERY /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nq");
    origin.wait_for_requests(1);
    assert_eq!(send(&unlag, "POST", "text/plain", "p").status(), 200);
    gate.open();
    assert_eq!(early.read_response("QUERY").text(), "0", "who asked before the change");
    let late = unlag
        .connect()
        .send("QUERY /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nq")
        .read_response("QUERY");
    assert_eq!(late.text(), "2");
}

#[test]
fn posts_that_a_route_declares_reads_are_cached_up_to_a_bound_on_their_content() {
    let origin = numbering("", "");
    let rules = "{ ttl = \"60s\", body = \"json\" }";
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("cache", rules).start();
    let large = format!("\"{}\"", "x".repeat(64 * 1024));
    let contents =
        [r#"{"a":[1]}"#, r#"{"a": [1]}"#, &large, &large, "not json", "not json", r#"{"a":1,"a":1}"#];
    let expected = ["1", "1", "2", "3", "4", "4", "5"].map(|number| format!("{{\"n\":{number}}}"));
    assert_eq!(numbers(&unlag, "POST", &contents), expected);
    let mut lengths: Vec<usize> = origin.requests().iter().map(|request| request.body.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [8, 9, 13, large.len(), large.len()], "all of the content arrives");
}

#[test]
fn graphql_queries_are_cached_and_mutations_and_answers_with_errors_are_not() {
    let origin = numbering("", "");
    let failing = numbering("", ",\"errors\":[]");
    let rules = "{ ttl = \"60s\", body = \"graphql\" }";
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("cache", rules).start();
    let query = [r#"{"query":"{ x, y }"}"#, r#"{"query":"{x y}"}"#];
    assert_eq!(numbers(&unlag, "POST", &query), [r#"{"n":1}"#, r#"{"n":1}"#]);
    let mutation = [r#"{"query":"mutation { x }"}"#; 2];
    assert_eq!(numbers(&unlag, "POST", &mutation), [r#"{"n":2}"#, r#"{"n":3}"#]);
    assert_eq!(numbers(&unlag, "POST", &query[..1]), [r#"{"n":4}"#], "a mutation may have changed it");
    let unlag = Setup::of(UNLAG).to([failing.url()]).route("cache", rules).start();
    assert_ne!(numbers(&unlag, "POST", &query[..1]), numbers(&unlag, "POST", &query[..1]));
}

/// A service whose calls end with this status.
fn service(status: &'static str) -> H2Origin {
    H2Origin::start(move |number, _| Plan::Answer {
        status: 200,
        fields: vec![("content-type", "application/grpc".to_owned())],
        body: format!("\0\0\0\0\u{1}{number}"),
        trailers: vec![("grpc-status", status.to_owned()), ("x-cost", "7".to_owned())],
    })
}

fn call(unlag: &Unlag, message: &[u8]) -> Answer {
    let call = Call::post("/shop.Catalog/Get", message).field("content-type", "application/grpc");
    call.field("te", "trailers").send(unlag.address())
}

#[test]
fn grpc_reads_that_succeed_are_served_with_their_trailers_from_what_is_stored() {
    for (status, is_kept) in [("0", true), ("5", false)] {
        let origin = service(status);
        let setup = Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"");
        let unlag = setup.route("cache", "{ ttl = \"60s\", body = \"grpc\" }").start();
        let first = call(&unlag, b"\0\0\0\0\x02ab");
        assert_eq!((first.status, first.header("grpc-status")), (200, Some(status)));
        let again = call(&unlag, b"\0\0\0\0\x02ab");
        assert_eq!(again.header("grpc-status"), Some(status));
        assert_eq!((again.body == first.body, again.header("x-cost")), (is_kept, Some("7")));
        let other = call(&unlag, b"\0\0\0\0\x02ac");
        assert_ne!(other.body, first.body, "another question");
    }
}
