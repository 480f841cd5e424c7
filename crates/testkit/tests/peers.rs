//! The peers do what their scripts say, and see what happened to them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use unlag_testkit::h2::frame::{END_HEADERS, END_STREAM, request_block};
use unlag_testkit::h2::{Call, H2Origin, Plan, RawH2, kind};
use unlag_testkit::origin::ok;
use unlag_testkit::ports::{FullBacklog, RefusedPort};
use unlag_testkit::tls::Authority;
use unlag_testkit::{Gate, RawClient, RawOrigin, ReadError, Script};

#[test]
fn an_origin_keeps_every_byte_and_counts_connections_and_requests() {
    let origin = RawOrigin::ok("fine");
    let mut client = RawClient::connect(&origin.address());
    client.get("/one");
    client.send("POST /two HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
    assert_eq!(client.read_response("POST").text(), "fine");
    drop(client);
    origin.wait_until_closed(0);
    assert_eq!((origin.connections(), origin.request_count()), (1, 2));
    assert!(origin.connection(0).received.ends_with(b"0\r\nX-Sum: 1\r\n\r\n"));
    let second = &origin.requests()[1];
    assert_eq!((second.line().as_str(), second.body.as_slice()), ("POST /two HTTP/1.1", &b"abc"[..]));
    assert_eq!(second.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn a_reset_is_seen_as_one_and_a_half_close_leaves_the_other_direction() {
    let script = Script::new().head().send("HTTP/1.1 200 OK\r\n\r\nbytes").head().reset();
    let origin = RawOrigin::always(script);
    let mut client = RawClient::connect(&origin.address());
    client.send("GET / HTTP/1.1\r\n\r\n").read_head().expect("a head");
    let read = client.send("GET / HTTP/1.1\r\n\r\n").try_read_response("GET");
    assert!(matches!(read, Err(ReadError::Closed | ReadError::Cut(_) | ReadError::Malformed(_))), "{read:?}");

    let origin = RawOrigin::always(Script::new().head().half_close().silence());
    let mut client = RawClient::connect(&origin.address());
    client.send("GET / HTTP/1.1\r\n\r\n").expect_closed();
    assert!(!origin.is_closed(0));
    client.send("more");
    drop(client);
    origin.wait_until_closed(0);
    assert!(origin.connection(0).received.ends_with(b"more"));
}

#[test]
fn a_gate_holds_a_script_until_it_opens() {
    let gate = Gate::new();
    let origin = RawOrigin::always(Script::new().head().wait(&gate).send(ok("late")).silence());
    let mut client = RawClient::connect(&origin.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    origin.wait_for_requests(1);
    assert!(!client.is_closed_now());
    gate.open();
    assert_eq!(client.read_response("GET").text(), "late");
}

#[test]
fn ports_refuse_or_swallow_connections() {
    let refused = RefusedPort::new();
    let address = refused.url().replace("http://", "");
    assert!(RawClient::try_connect(&address).is_err());
    let full = FullBacklog::new();
    let address = full.url().replace("http://", "").parse().expect("an address");
    assert!(std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err());
}

#[test]
fn tls_truncation_is_told_from_an_end() {
    let authority = Authority::new();
    let config = authority.certificate(&["localhost"]).server_config();
    let body = "HTTP/1.1 200 OK\r\n\r\nall";
    for (script, whole) in [
        (Script::new().head().send(body).close(), true),
        (Script::new().head().send(body).close_without_notify(), false),
    ] {
        let origin = RawOrigin::scripted_tls(config.clone(), move |_| script.clone());
        let mut client = RawClient::tls(&origin.address(), authority.client_config(&[]), "localhost");
        let read = client.send("GET / HTTP/1.1\r\n\r\n").try_read_response("GET");
        assert_eq!(read.is_ok(), whole, "{read:?}");
    }
}

#[test]
fn http_2_peers_understand_each_other() {
    let origin = H2Origin::start(|number, request| match number {
        0 => Plan::ok(request.uri().path()),
        1 => Plan::Reset(h2::Reason::REFUSED_STREAM),
        _ => Plan::Hang,
    });
    let address = origin.url().replace("http://", "");
    let answer = Call::post("/a", b"body").send(&address);
    assert_eq!((answer.status, answer.text().as_str()), (200, "/a"));
    assert_eq!(origin.requests()[0].body.as_deref(), Some(&b"body"[..]));
    assert_eq!(Call::get("/b").send(&address).reset, Some(h2::Reason::REFUSED_STREAM));
    let mut raw = RawH2::connect(&address, &[]);
    assert!(raw.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, request_block("GET", "/c")));
    origin.wait_for_requests(3);
    raw.send(kind::RST_STREAM, 0, 1, 8_u32.to_be_bytes());
    origin.wait_until_cancelled(2);
    raw.send(kind::DATA, 0, 0, *b"on stream 0");
    assert_eq!(raw.wait_for_end(), Some(1), "PROTOCOL_ERROR");
}
