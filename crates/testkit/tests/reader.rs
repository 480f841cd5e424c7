//! The strict reader accepts what is whole and well-formed, and nothing else.

#![allow(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

use unlag_testkit::response::Framing;
use unlag_testkit::{RawClient, RawOrigin, ReadError, Response, Script};

fn read(method: &str, bytes: &str, then_reset: bool) -> Result<Response, ReadError> {
    let script = Script::new().head().send(bytes);
    let origin = RawOrigin::always(if then_reset { script.reset() } else { script.close() });
    let mut client = RawClient::connect(&origin.address());
    client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).try_read_response(method)
}

#[test]
fn whole_responses_are_read_in_every_framing() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Framing::Length(5)),
        (
            "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
            Framing::Chunked,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", Framing::Close),
        (
            "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Framing::Length(5),
        ),
    ];
    for (bytes, framing) in cases {
        let response = read("GET", bytes, false).unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
        assert_eq!((response.status(), response.text().as_str(), response.framing), (200, "hello", framing));
        assert_eq!(response.interim.len(), usize::from(bytes.contains("103")));
        assert_eq!(response.trailers.len(), usize::from(framing == Framing::Chunked));
    }
}

#[test]
fn responses_without_content_end_with_their_head() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ] {
        assert_eq!(read(method, head, false).expect("a response").framing, Framing::None);
    }
}

#[test]
fn what_ends_early_is_a_cut() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nConte",
    ] {
        assert!(matches!(read("GET", bytes, false), Err(ReadError::Cut(_))), "{bytes:?}");
    }
    assert!(matches!(read("GET", "", false), Err(ReadError::Closed)));
}

#[test]
fn a_close_delimited_body_that_is_reset_is_a_cut() {
    assert!(matches!(
        read("GET", "HTTP/1.1 200 OK\r\n\r\nhello", true),
        Err(ReadError::Cut(_) | ReadError::Closed)
    ));
}

#[test]
fn what_no_strict_reader_accepts_is_malformed() {
    for bytes in [
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    ] {
        let read = read("GET", bytes, false);
        assert!(matches!(read, Err(ReadError::Malformed(_))), "{bytes:?}: {read:?}");
    }
}
