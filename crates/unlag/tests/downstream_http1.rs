//! Requests that a strict HTTP/1.1 server refuses, and bodies it bounds: rows D2 to D8 and D13 to D15.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::origin::ok;
use unlag_testkit::{RawClient, RawOrigin, ReadError, Response, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

struct Bed {
    unlag: Unlag,
    origin: RawOrigin,
}

fn bed() -> Bed {
    bed_with(|setup| setup)
}

fn bed_with(change: impl FnOnce(Setup) -> Setup) -> Bed {
    let origin = RawOrigin::ok("fine");
    let unlag = change(Setup::of(UNLAG).to([origin.url()])).start();
    Bed { unlag, origin }
}

impl Bed {
    /// The request is refused with `status`, the connection is closed, and the origin sees nothing.
    fn assert_refused(&self, status: u16, request: impl AsRef<[u8]>) {
        let shown =
            String::from_utf8_lossy(&request.as_ref()[..request.as_ref().len().min(200)]).into_owned();
        let mut client = self.unlag.connect();
        client.send(&request);
        let response = client.try_read_response("GET").unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_made_by_unlag(&shown, &response, status);
        assert!(response.closes(), "{shown:?}: connection: close");
        client.expect_closed();
        assert_eq!(self.origin.request_count(), 0, "{shown:?} reached the origin");
    }
}

fn assert_made_by_unlag(what: &str, response: &Response, status: u16) {
    assert_eq!(response.status(), status, "{what:?}: {}", response.text());
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{what:?}");
    assert!(response.header("x-request-id").is_some(), "{what:?}: x-request-id");
}

#[test]
fn d2_bare_line_feeds_folds_and_control_bytes_are_refused() {
    let bed = bed();
    let heads: [&[u8]; 14] = [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\t: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\x80Y: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\xff: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    heads.iter().for_each(|head| bed.assert_refused(400, head));
}

#[test]
fn d3_a_content_length_that_is_not_plain_digits_is_refused() {
    let bed = bed();
    for value in ["+5", "-5", "5,6", "5 5", "0x5", "5e0", "99999999999999999999", "", "5.0", "\u{665}"] {
        bed.assert_refused(
            400,
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\nhello"),
        );
    }
    bed.assert_refused(
        400,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    );
}

#[test]
fn d1_content_length_beside_transfer_encoding_is_refused() {
    let bed = bed();
    let body = "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 44",
    ] {
        bed.assert_refused(400, format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}"));
    }
    bed.assert_refused(
        400,
        format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
    );
}

#[test]
fn d4_a_malformed_chunk_ends_the_exchange_and_the_origin_never_sees_a_whole_request() {
    for chunk in [
        "0_2e\r\n",
        "5;\nhello\r\n",
        "11111111111111111\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        "5\nhello\r\n",
        " 5\r\nhello\r\n",
    ] {
        let origin = RawOrigin::always(Script::new().request().send(ok("whole")).silence());
        let unlag = Setup::of(UNLAG).to([origin.url()]).start();
        let mut client = unlag.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        ));
        let response = client.try_read_response("POST").unwrap_or_else(|error| panic!("{chunk:?}: {error}"));
        assert_eq!(response.status(), 400, "{chunk:?}: {}", response.text());
        client.expect_closed();
        if origin.connections() > 0 {
            origin.wait_until_closed(0);
            assert!(!origin.connection(0).received.ends_with(b"\r\n0\r\n\r\n"), "{chunk:?} looks whole");
        }
    }
}

#[test]
fn d5_no_host_two_hosts_or_another_host_in_the_target_are_refused() {
    let bed = bed();
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:port\r\n\r\n",
    ] {
        bed.assert_refused(400, head);
    }
}

#[test]
fn d7_connection_cannot_name_a_protected_field() {
    for name in ["Content-Length", "Host", "X-Forwarded-For", "Authorization", "Cookie", "Transfer-Encoding"]
    {
        let bed = bed();
        let mut client = bed.unlag.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nAuthorization: yes\r\nCookie: c=1\r\nConnection: {name}\r\nContent-Length: 2\r\n\r\nhi"
        ));
        let response = client.read_response("POST");
        if response.status() == 400 {
            continue;
        }
        let request = bed.origin.only_request();
        assert_eq!(request.body, b"hi", "{name}");
        for kept in ["host", "authorization", "cookie", "x-forwarded-for"] {
            assert_eq!(request.headers(kept).len(), 1, "{kept} was stripped by Connection: {name}");
        }
    }
}

#[test]
fn d8_a_get_with_a_body_and_the_request_behind_it_stay_two_requests() {
    let bed = bed();
    let mut client = bed.unlag.connect();
    client.send("GET /first HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\nGET /evil HTTP/1.1\r\nX: 1\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = client.read_response("GET");
    if first.status() == 200 {
        assert_eq!(client.read_response("GET").status(), 200);
    }
    let targets: Vec<String> = bed.origin.requests().iter().map(|request| request.target()).collect();
    assert!(!targets.contains(&"/evil".to_owned()), "{targets:?}");
    if first.status() == 200 {
        assert_eq!(targets, ["/first", "/second"]);
        assert_eq!(bed.origin.requests()[0].body.len(), 26);
    }
}

#[test]
fn d13_a_head_beyond_a_limit_is_refused_by_its_own_status() {
    let bed =
        bed_with(|setup| setup.limit("head", "\"8KiB\"").limit("fields", "20").limit("uri", "\"1KiB\""));
    bed.assert_refused(431, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(9_000)));
    bed.assert_refused(431, format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(30)));
    bed.assert_refused(414, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(2_000)));
    assert_eq!(bed.unlag.get(&format!("/{}", "a".repeat(900))).status(), 200);
}

#[test]
fn d14_a_body_beyond_its_bound_is_413_before_or_during_and_never_whole_at_the_origin() {
    let known = bed_with(|setup| setup.route("body_max", "\"1KiB\""));
    known.assert_refused_body("Content-Length: 2000\r\n\r\n", b"start");
    assert_eq!(
        known.origin.request_count(),
        0,
        "a length that is too big is refused before the origin is asked"
    );

    let chunked = bed_with(|setup| setup.route("body_max", "\"1KiB\""));
    let body = format!("400\r\n{}\r\n400\r\n{}\r\n0\r\n\r\n", "a".repeat(1024), "b".repeat(1024));
    chunked.assert_refused_body("Transfer-Encoding: chunked\r\n\r\n", body.as_bytes());
    if chunked.origin.connections() > 0 {
        chunked.origin.wait_until_closed(0);
        assert!(!chunked.origin.connection(0).received.ends_with(b"0\r\n\r\n"));
    }
    let mut client = chunked.unlag.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n{}", "a".repeat(1024)));
    assert_eq!(client.read_response("POST").status(), 200, "exactly the bound is allowed");
}

impl Bed {
    fn assert_refused_body(&self, framing: &str, body: &[u8]) {
        let mut client = self.unlag.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}")).send(body);
        assert_made_by_unlag(framing, &client.read_response("POST"), 413);
    }
}

#[test]
fn d15_expect_100_continue_gets_one_100_at_most_and_then_the_answer() {
    let echo = |request: &unlag_testkit::Request| ok(&String::from_utf8_lossy(&request.body));
    let origin = RawOrigin::always(Script::new().answer(echo));
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.read_head().expect("a 100").status, 100);
    let response = client.send("hello").read_response("POST");
    assert!(response.interim.is_empty(), "a second 100");
    assert_eq!(response.text(), "hello");
}

#[test]
fn d15_a_100_of_the_origin_is_not_sent_twice() {
    let script = Script::new().head().send("HTTP/1.1 100 Continue\r\n\r\n").body().send(ok("done")).silence();
    let origin = RawOrigin::always(script);
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.read_head().expect("a 100").status, 100);
    let response = client.send("hello").read_response("POST");
    assert_eq!((response.interim.len(), response.text().as_str()), (0, "done"));
}

#[test]
fn d15_the_origin_is_told_of_the_expectation_and_nobody_waits_for_a_time_out() {
    let script = Script::new().head().send("HTTP/1.1 100 Continue\r\n\r\n").body().send(ok("done")).silence();
    let origin = RawOrigin::always(script);
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    let started = std::time::Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.read_head().expect("a 100").status, 100);
    assert_eq!(client.send("hello").read_response("POST").text(), "done");
    // Held back without a 100, the content goes after a second.
    assert!(started.elapsed() < std::time::Duration::from_millis(900), "{:?}", started.elapsed());
    let request = origin.connection(0).requests.pop().expect("the request");
    assert_eq!(request.header("expect").as_deref(), Some("100-continue"));
}

#[test]
fn d15_nobody_waits_for_content_that_has_come_already() {
    let bed = bed();
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = bed.unlag.connect();
    client.send(format!("{chunked}3\r\nabc\r\n0\r\n\r\n"));
    assert_eq!(client.read_response("POST").status(), 200, "and no 100 before it");
    let request = bed.origin.only_request();
    assert_eq!((request.header("expect"), &*request.body), (None, &b"abc"[..]));
}

#[test]
fn d15_an_unknown_expectation_is_417() {
    let bed = bed();
    for value in ["100-continue, 200-ok", "x 100-continue", "200-ok", "100-continu"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 0\r\n\r\n");
        let response = bed.unlag.connect().send(head).read_response("POST");
        assert_made_by_unlag(value, &response, 417);
    }
    assert_eq!(bed.origin.request_count(), 0);
}

#[test]
fn versions_and_methods_that_are_not_spoken_here_are_refused_by_name() {
    let bed = bed();
    bed.assert_refused(505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n");
    bed.assert_refused(505, "GET / HTTP/3.1\r\nHost: a\r\n\r\n");
    bed.assert_refused(400, "GET / HTTP/1.1.1\r\nHost: a\r\n\r\n");
    bed.assert_refused(400, "GET / http/1.1\r\nHost: a\r\n\r\n");
    bed.assert_refused(400, "GET /\r\n\r\n");
    let connect = "CONNECT internal:22 HTTP/1.1\r\nHost: internal:22\r\n\r\nSSH-2.0";
    let mut client = bed.unlag.connect();
    let response = client.send(connect).read_response("CONNECT");
    assert_eq!((response.status(), response.header("allow")), (405, Some("")), "nothing can be tunnelled to");
    assert_eq!(bed.origin.connections(), 0);
}

#[test]
fn an_unknown_transfer_coding_is_501_or_400_and_never_forwarded() {
    let bed = bed();
    for coding in
        ["gzip", "gzip, chunked", "identity", "chunked, chunked", "xchunked", "\"chunked\"", "chunked;q=1"]
    {
        let mut client = bed.unlag.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"));
        let status = client.read_response("POST").status();
        assert!(matches!(status, 400 | 501), "{coding}: {status}");
        client.expect_closed();
    }
    assert_eq!(bed.origin.request_count(), 0);
}

#[test]
fn escaped_dot_segments_and_nulls_in_the_target_are_refused() {
    let bed = bed();
    for target in [
        "/a/%2e%2e/b",
        "/a/%2E%2e/b",
        "/%2e/a",
        "/a/.%2e/b",
        "/a%00b",
        "/a%0d%0ab",
        "/a%1fb",
        "/a%7fb",
        "/a%zz",
        "/a\\..\\b",
    ] {
        let mut client = bed.unlag.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let status = client.read_response("GET").status();
        let escaped_control = ["%0d", "%1f", "%7f", "%zz", "\\"].iter().any(|part| target.contains(part));
        if escaped_control {
            assert!(matches!(status, 200 | 400), "{target}: {status}");
        } else {
            assert_eq!(status, 400, "{target}");
        }
    }
    assert!(bed.origin.requests().iter().all(|request| !request.target().contains("..")));
}

#[test]
fn a_refusal_is_read_whole_even_when_the_caller_is_still_sending() {
    let bed = bed();
    for _ in 0..10 {
        let mut client = bed.unlag.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n").send(vec![b'x'; 200_000]);
        match client.try_read_response("POST") {
            Ok(response) => assert_eq!(response.status(), 400),
            Err(ReadError::Closed) => panic!("reset before the caller could read why"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_head_may_arrive_in_any_pieces() {
    let bed = bed();
    let head = b"GET /pieces HTTP/1.1\r\nHost: unlag.test\r\nX-A: 1\r\n\r\n";
    for split in 1..head.len() {
        let mut client = RawClient::connect(bed.unlag.address());
        client.send_pieces(&[&head[..split], &head[split..]], std::time::Duration::from_millis(1));
        assert_eq!(client.read_response("GET").status(), 200, "split at {split}");
    }
    let one_by_one: Vec<&[u8]> = head.chunks(1).collect();
    let mut client = bed.unlag.connect();
    client.send_pieces(&one_by_one, std::time::Duration::from_micros(200));
    assert_eq!(client.read_response("GET").status(), 200);
}
