//! Response heads that are late, missing, broken, too big or too many: rows U4 to U8, U14 to U20 and U27.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::{Duration, Instant};

use unlag_testkit::origin::ok;
use unlag_testkit::{RawOrigin, ReadError, Response, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

const POST: &str = "POST / HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 2\r\n\r\nhi";

/// One GET through a fresh unlag to an origin that plays `script` on every connection.
fn answer_to(script: Script) -> (Response, RawOrigin, Unlag) {
    let origin = RawOrigin::always(script);
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("response_head_timeout", "\"5s\"").start();
    let response = unlag.get("/");
    (response, origin, unlag)
}

/// The origin answers with exactly these bytes and then says nothing more.
fn answer_to_bytes(bytes: impl AsRef<[u8]>) -> Response {
    answer_to(Script::new().request().send(bytes).silence()).0
}

fn assert_bad_gateway(what: &str, response: &Response) {
    assert_eq!(response.status(), 502, "{what}: {}", response.text());
    assert!(response.header("x-request-id").is_some(), "{what}: x-request-id");
    assert!(!response.text().trim().is_empty(), "{what}: a reason");
}

#[test]
fn u4_a_reused_connection_that_dies_is_replayed_once() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().send(ok("first")).head().close(),
        _ => Script::new().request().send(ok("second")).silence(),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    assert_eq!(client.get("/first").text(), "first");
    assert_eq!(client.get("/second").text(), "second");
    let lines: Vec<String> = origin.requests().iter().map(|request| request.target()).collect();
    assert_eq!(lines, ["/first", "/second", "/second"]);
}

#[test]
fn u4_a_post_on_a_reused_connection_that_dies_is_not_replayed() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().send(ok("first")).request().close(),
        _ => Script::new().request().send(ok("again")).silence(),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.get("/first");
    client.send("POST /pay HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 3\r\n\r\nten");
    assert_eq!(client.read_response("POST").status(), 502);
    let posts = origin.requests().iter().filter(|request| request.method() == "POST").count();
    assert_eq!(posts, 1, "a payment was sent twice");
}

#[test]
fn u4_a_replay_that_dies_too_gives_502() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().send(ok("first")).head().close(),
        _ => Script::new().head().close(),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.get("/first");
    assert_bad_gateway("a replay that dies", &client.get("/second"));
    assert_eq!(origin.request_count(), 3, "one replay, not more");
}

#[test]
fn u5_a_fresh_connection_that_ends_without_a_byte_gives_502_and_no_replay() {
    let (response, origin, _unlag) = answer_to(Script::new().request().close());
    assert_bad_gateway("FIN without a byte", &response);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn u5_a_post_that_was_sent_is_never_sent_again_although_there_is_another_endpoint() {
    let origins = [(); 2].map(|()| RawOrigin::always(Script::new().request().close()));
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).start();
    let response = unlag.connect().send(POST).read_response("POST");
    assert_bad_gateway("FIN without a byte", &response);
    assert_eq!(origins.iter().map(RawOrigin::request_count).sum::<usize>(), 1);
    let failed = unlag.endpoints().iter().filter(|seen| seen["last_error"] == "closed_early").count();
    assert_eq!(failed, 1, "it counts as a failure of the endpoint");
}

#[test]
fn u6_an_origin_that_never_answers_gives_504_at_the_head_deadline_and_is_hung_up_on() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("response_head_timeout", "\"200ms\"").start();
    let started = Instant::now();
    assert_eq!(unlag.get("/").status(), 504);
    assert!(started.elapsed() >= Duration::from_millis(190), "took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
    assert_eq!(unlag.wait_for_cause(), "answer_timeout");
    origin.wait_until_closed(0);
}

#[test]
fn u7_a_head_that_drips_is_held_to_the_total_deadline() {
    let head = format!("HTTP/1.1 200 OK\r\nX-Slow: {}\r\n", "a".repeat(10_000));
    let origin = RawOrigin::always(Script::new().request().drip(head, Duration::from_millis(20)));
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("response_head_timeout", "\"400ms\"").start();
    let started = Instant::now();
    assert_eq!(unlag.get("/").status(), 504);
    assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
    origin.wait_until_closed(0);
}

#[test]
fn u8_half_a_head_and_a_close_gives_502() {
    let (response, _origin, _unlag) =
        answer_to(Script::new().request().send("HTTP/1.1 200 OK\r\nConte").close());
    assert_bad_gateway("half a head", &response);
}

#[test]
fn u14_tls_bytes_or_garbage_on_a_plain_port_give_502() {
    assert_bad_gateway("a TLS alert", &answer_to_bytes(b"\x15\x03\x01\x00\x02\x02\x46"));
    assert_bad_gateway("garbage", &answer_to_bytes(b"\x00\xff\xfe\x01 garbage \r\n\r\n"));
    assert_bad_gateway("an SSH banner", &answer_to_bytes("SSH-2.0-OpenSSH_9.6\r\n\r\n"));
    assert_bad_gateway("an HTTP/2 preface", &answer_to_bytes(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"));
}

#[test]
fn u15_a_body_without_a_status_line_gives_502() {
    let script = Script::new().request().send("<html>hello</html>\r\n\r\n").close();
    assert_bad_gateway("HTTP/0.9", &answer_to(script).0);
}

#[test]
fn u16_a_status_that_is_not_three_digits_gives_502() {
    for status in ["20", "20000", "2x0", "-20", "099", "", "+200"] {
        let bytes = format!("HTTP/1.1 {status} OK\r\nContent-Length: 0\r\n\r\n");
        assert_bad_gateway(status, &answer_to_bytes(bytes));
    }
}

#[test]
fn u16_a_version_that_is_not_http_1_gives_502() {
    for version in ["HTTP/2.0", "HTTP/3", "HTTP/1.1.1", "http/1.1", "HTTPS/1.1", "HTTP/01.1"] {
        assert_bad_gateway(
            version,
            &answer_to_bytes(format!("{version} 200 OK\r\nContent-Length: 0\r\n\r\n")),
        );
    }
}

#[test]
fn u17_a_response_with_both_framings_is_read_as_chunked_or_refused_and_never_reused() {
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n";
    let origin = RawOrigin::scripted(move |number| match number {
        0 => Script::new().request().send(both).silence(),
        _ => Script::new().answer(|_| ok("own")),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    let response = client.get("/");
    match response.status() {
        200 => assert_eq!(response.text(), "whole"),
        status => assert_eq!(status, 502),
    }
    let next = if response.closes() { unlag.get("/next") } else { client.get("/next") };
    assert_eq!(next.text(), "own");
    assert_eq!(origin.connections(), 2);
    origin.wait_until_closed(0);
}

#[test]
fn u18_a_doubtful_content_length_gives_502() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 5, 6",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
    ] {
        assert_bad_gateway(fields, &answer_to_bytes(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello")));
    }
}

#[test]
fn u18_a_doubtful_transfer_encoding_gives_502() {
    for fields in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n0\r\n\r\n");
        assert_bad_gateway(fields, &answer_to_bytes(bytes));
    }
}

#[test]
fn u19_control_bytes_in_a_field_give_502_and_are_never_forwarded() {
    let fields: [&[u8]; 7] = [
        b"X-Bad: a\0b",
        b"X-Bad: a\rSet-Cookie: evil=1",
        b"X-Bad: a\nSet-Cookie: evil=1",
        b"X-Bad: a\x0bb",
        b"X-Bad: a\x7fb",
        b"X Bad: a",
        b"X-B\x01d: a",
    ];
    for field in fields {
        let bytes = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", field, b"\r\n\r\n"].concat();
        let response = answer_to_bytes(bytes);
        assert_bad_gateway(&String::from_utf8_lossy(field), &response);
        assert!(response.header("x-bad").is_none() && response.header("set-cookie").is_none());
    }
}

#[test]
fn u20_a_head_beyond_the_limits_gives_502_in_bounded_memory() {
    let field = format!("X-Big: {}\r\n", "a".repeat(64 * 1024));
    assert_bad_gateway("64 KiB field", &answer_to_bytes(format!("HTTP/1.1 200 OK\r\n{field}\r\n")));
    let fields = "X-Many: 1\r\n".repeat(5_000);
    assert_bad_gateway("5,000 fields", &answer_to_bytes(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")));
    let fields = "X: 1\r\n".repeat(200);
    assert_bad_gateway("200 small fields", &answer_to_bytes(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")));
}

#[test]
fn u20_an_endless_head_gives_502_and_is_hung_up_on() {
    let script =
        Script::new().request().send("HTTP/1.1 200 OK\r\n").flood("X-Endless: and on and on\r\n".repeat(50));
    let origin = RawOrigin::always(script);
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    // What a process takes with its first request, it takes once.
    assert_bad_gateway("endless head", &unlag.get("/"));
    origin.wait_until_closed(0);
    let before = unlag.resident_kib();
    assert!(before < 128 * 1024, "{before} KiB resident after the first");
    for number in 1..8 {
        assert_bad_gateway("endless head", &unlag.get(&format!("/{number}")));
        origin.wait_until_closed(number);
    }
    let after = unlag.resident_kib();
    assert!(after < before + 8 * 1024, "{after} KiB resident after {before}");
}

#[test]
fn u27_a_half_close_without_a_response_gives_502_at_once_and_not_at_the_timeout() {
    let origin = RawOrigin::always(Script::new().request().half_close().silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let started = Instant::now();
    assert_bad_gateway("half-close", &unlag.get("/"));
    assert!(started.elapsed() < Duration::from_millis(500), "took {:?}", started.elapsed());
}

#[test]
fn a_fault_of_one_exchange_leaves_the_connection_of_the_caller_usable_or_says_close() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().close(),
        _ => Script::new().answer(|_| ok("fine")),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    let failed = client.send(POST).read_response("POST");
    assert_eq!(failed.status(), 502);
    if failed.closes() {
        client.expect_closed();
    } else {
        match client.send("GET / HTTP/1.1\r\nHost: unlag.test\r\n\r\n").try_read_response("GET") {
            Ok(response) => assert_eq!(response.text(), "fine"),
            Err(ReadError::Closed) => panic!("closed without having said so"),
            Err(error) => panic!("{error}"),
        }
    }
}
