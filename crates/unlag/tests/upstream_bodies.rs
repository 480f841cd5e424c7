//! Response bodies that stall, end early or lie, and uploads that the origin does not want: rows U9 to U13, U21 to U26, U28 to U31.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::{Duration, Instant};

use unlag_testkit::h2::Call;
use unlag_testkit::origin::ok;
use unlag_testkit::response::Framing;
use unlag_testkit::wait::{holds_within, pause};
use unlag_testkit::{Gate, RawOrigin, ReadError, Response, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
const GET: &str = "GET / HTTP/1.1\r\nHost: unlag.test\r\n\r\n";

fn through(script: Script) -> (Result<Response, ReadError>, RawOrigin) {
    let (result, origin, _unlag) = through_with("300ms", script);
    (result, origin)
}

fn through_with(idle_timeout: &str, script: Script) -> (Result<Response, ReadError>, RawOrigin, Unlag) {
    let origin = RawOrigin::always(script);
    let setup = Setup::of(UNLAG).to([origin.url()]).route("idle_timeout", &format!("{idle_timeout:?}"));
    let unlag = setup.start();
    let result = unlag.connect().send(GET).try_read_response("GET");
    (result, origin, unlag)
}

/// Two endpoints that both do the same to every request, so that a second attempt would have somewhere to go.
fn pair(script: &Script) -> ([RawOrigin; 2], Unlag) {
    let origins = [(); 2].map(|()| RawOrigin::always(script.clone()));
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).start();
    (origins, unlag)
}

fn sent(origins: &[RawOrigin]) -> usize {
    origins.iter().map(RawOrigin::request_count).sum()
}

/// The caller must see that the body is not whole.
fn assert_cut(what: &str, result: Result<Response, ReadError>) {
    match result {
        Err(ReadError::Cut(seen)) => assert_eq!(seen.status(), 200, "{what}"),
        Err(error) => panic!("{what}: {error}"),
        // It failed before a byte of it had been passed on: better than a cut.
        Ok(response) if response.status() == 502 => {}
        Ok(response) => panic!("{what}: a whole response, {} {:?}", response.status(), response.text()),
    }
}

#[test]
fn u9_a_body_that_stalls_is_cut_at_the_idle_timeout_and_never_ended_as_if_whole() {
    for framing in
        ["Content-Length: 100\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"]
    {
        let script = Script::new().request().send(format!("HTTP/1.1 200 OK\r\n{framing}")).silence();
        let started = Instant::now();
        let (result, origin) = through(script);
        assert!(started.elapsed() >= Duration::from_millis(290), "{framing}: after {:?}", started.elapsed());
        assert_cut(framing, result);
        origin.wait_until_closed(0);
    }
}

#[test]
fn u9_a_caller_of_http_2_sees_a_reset_where_the_body_stalled() {
    let script =
        Script::new().request().send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789").silence();
    let origin = RawOrigin::always(script);
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("idle_timeout", "\"300ms\"").start();
    let answer = Call::get("/").send(unlag.address());
    assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
    assert!(answer.reset.is_some(), "{answer:?}");
}

#[test]
fn u10_a_body_shorter_than_its_length_is_cut() {
    let script = Script::new().request().send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").close();
    let (origins, unlag) = pair(&script);
    assert_cut("short body", unlag.connect().send(GET).try_read_response("GET"));
    assert_eq!(sent(&origins), 1, "no retry after a byte of the response");
}

#[test]
fn u11_a_chunked_body_without_its_last_chunk_is_cut() {
    for rest in
        ["5\r\nhello\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\nX: 1\r\n"]
    {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (result, _origin) = through(Script::new().request().send(format!("{head}{rest}")).close());
        assert_cut(rest, result);
    }
}

#[test]
fn u12_a_reset_in_the_body_is_a_cut_without_a_retry() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst bytes";
    let seen = Gate::new();
    let (origins, unlag) = pair(&Script::new().request().send(head).wait(&seen).reset());
    let mut client = unlag.connect();
    let head = client.send(GET).read_head().expect("a head");
    assert_eq!(head.status, 200);
    seen.open();
    let rest = client.read_to_end().expect("the end of the connection");
    assert!(rest.len() < 1000, "{} bytes", rest.len());
    assert_eq!(sent(&origins), 1);
}

#[test]
fn u12_a_close_delimited_body_that_ends_by_reset_is_a_cut() {
    let seen = Gate::new();
    let script = Script::new().request().send("HTTP/1.1 200 OK\r\n\r\nfirst bytes").wait(&seen).reset();
    let (origins, unlag) = pair(&script);
    let mut client = unlag.connect().with_deadline(Duration::from_secs(5));
    client.send(GET);
    let opener = std::thread::spawn(move || {
        pause(Duration::from_millis(100));
        seen.open();
    });
    let result = client.try_read_response("GET");
    opener.join().expect("the opener");
    assert_cut("close-delimited", result);
    assert_eq!(sent(&origins), 1);
}

#[test]
fn u13_a_malformed_chunk_gives_502_or_a_cut() {
    let chunks: [&[u8]; 14] = [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\rhello\r0\r\r",
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5_\r\nhello\r\n0\r\n\r\n",
    ];
    for chunk in chunks {
        let bytes = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk].concat();
        let shown = String::from_utf8_lossy(chunk).into_owned();
        // With so long an idle timeout it is the chunk that ends it.
        let (result, _origin, unlag) = through_with("60s", Script::new().request().send(bytes).silence());
        match result {
            Ok(response) => assert_eq!(response.status(), 502, "{shown:?}"),
            Err(ReadError::Cut(_)) => {}
            Err(error) => panic!("{shown:?}: {error}"),
        }
        assert_eq!(unlag.wait_for_cause(), "bad_answer_chunk", "{shown:?}");
    }
}

#[test]
fn u21_an_unsolicited_100_is_swallowed_and_a_103_is_passed_on() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let script =
        Script::new().request().send("HTTP/1.1 100 Continue\r\n\r\n").send(hints).send(ok("final")).silence();
    let response = through(script).0.expect("a response");
    let interim: Vec<u16> = response.interim.iter().map(|head| head.status).collect();
    assert_eq!(interim, [103]);
    assert_eq!(response.interim[0].header("link"), Some("</a.css>; rel=preload"));
    assert_eq!((response.status(), response.text()), (200, "final".to_owned()));
}

#[test]
fn u22_endless_interim_responses_end_in_502() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] {
        let (result, origin) = through(Script::new().request().flood(interim.repeat(20)));
        let response = result.unwrap_or_else(|error| panic!("{interim:?}: {error}"));
        assert_eq!(response.status(), 502, "{interim:?}");
        assert!(response.interim.len() <= 16, "{} interim responses", response.interim.len());
        origin.wait_until_closed(0);
    }
}

#[test]
fn u23_a_101_that_nobody_asked_for_gives_502() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\n";
    let (result, origin) = through(Script::new().request().send(head).silence());
    assert_eq!(result.expect("a response").status(), 502);
    origin.wait_until_closed(0);
}

#[test]
fn u24_a_body_on_204_304_or_head_is_dropped_with_its_connection() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let cases = [
        ("GET", "204 No Content", ""),
        ("GET", "204 No Content", "Content-Length: 48\r\n"),
        ("GET", "304 Not Modified", "Content-Length: 48\r\n"),
        ("GET", "304 Not Modified", ""),
        ("HEAD", "200 OK", "Content-Length: 48\r\n"),
    ];
    for (method, status, fields) in cases {
        let first = format!("HTTP/1.1 {status}\r\n{fields}\r\n{evil}");
        let origin = RawOrigin::scripted(move |number| match number {
            0 => Script::new().request().send(&first).silence(),
            _ => Script::new().answer(|_| ok("own")),
        });
        let unlag = Setup::of(UNLAG).to([origin.url()]).start();
        let mut client = unlag.connect();
        client.send(format!("{method} / HTTP/1.1\r\nHost: unlag.test\r\n\r\n"));
        let response = client.read_response(method);
        assert_eq!(response.status().to_string(), status[..3], "{method}");
        assert!(response.body.is_empty());
        let told = response.header("content-length");
        assert_eq!(
            told,
            (status != "204 No Content" && !fields.is_empty()).then_some("48"),
            "{method} {status}"
        );
        let next = if response.closes() { unlag.get("/next") } else { client.get("/next") };
        assert_eq!(next.text(), "own", "{method} {status}");
        origin.wait_until_closed(0);
    }
}

#[test]
fn u25_bytes_after_a_response_never_reach_the_next_request() {
    let with_extra = [ok("first"), ok("evil")].concat();
    let origin = RawOrigin::scripted(move |number| match number {
        0 => Script::new().request().send(&with_extra).silence(),
        _ => Script::new().answer(|_| ok("own")),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    assert_eq!(client.get("/").text(), "first");
    assert_eq!(client.get("/next").text(), "own");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn u25_bytes_on_an_idle_connection_end_it() {
    let (idle, sent) = (Gate::new(), Gate::new());
    let (wait, open) = (idle.clone(), sent.clone());
    let origin = RawOrigin::scripted(move |number| match number {
        0 => Script::new().request().send(ok("first")).wait(&wait).send(ok("evil")).open(&open).silence(),
        _ => Script::new().answer(|_| ok("own")),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    assert_eq!(client.get("/").text(), "first");
    idle.open();
    assert!(sent.pass(), "the origin has sent its bytes");
    assert_eq!(client.get("/next").text(), "own");
    origin.wait_until_closed(0);
}

#[test]
fn u26_a_connection_announced_as_closing_is_not_pooled() {
    let origin = RawOrigin::always(
        Script::new()
            .request()
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\none")
            .silence(),
    );
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.text(), "one");
        assert!(!response.closes(), "the origin's Connection: close is not the caller's");
    }
    assert_eq!(origin.connections(), 3);
    (0..3).for_each(|number| origin.wait_until_closed(number));
}

#[test]
fn u28_trailers_reach_a_caller_who_asked_for_them_without_framing_names() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum\r\n\r\n\
                   5\r\nhello\r\n0\r\nX-Checksum: abc\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nHost: evil\r\n\
                   X_Forwarded_For: evil\r\n\r\n";
    let origin = RawOrigin::answering(move |_| chunked.as_bytes().to_vec());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: unlag.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let asked = client.read_response("GET");
    assert_eq!((asked.text().as_str(), asked.framing), ("hello", Framing::Chunked));
    assert_eq!(asked.trailers, [("x-checksum".to_owned(), "abc".to_owned())]);
    let unasked = client.get("/");
    assert_eq!(unasked.text(), "hello");
    assert!(unasked.trailers.is_empty(), "{:?}", unasked.trailers);
    assert_eq!(origin.connections(), 1, "trailers end an answer, not its connection");
}

#[test]
fn u29_fields_named_in_connection_are_removed_from_the_response() {
    let head = "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: secret\r\nKeep-Alive: timeout=5\r\n\
                Proxy-Connection: keep-alive\r\nX-End: kept\r\nContent-Length: 0\r\n\r\n";
    let response = through(Script::new().request().send(head).silence()).0.expect("a response");
    for name in ["x-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_eq!(response.header("x-end"), Some("kept"));
}

#[test]
fn u30_an_early_413_is_passed_on_and_the_upload_stops() {
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch";
    let origin = RawOrigin::always(Script::new().head().send(answer).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client
        .send("PUT /big HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 100000000\r\n\r\n")
        .send([b'x'; 1000]);
    let response = client.read_response("PUT");
    assert_eq!((response.status(), response.text()), (413, "much".to_owned()));
    origin.wait_until_closed(0);
    assert!(
        holds_within(Duration::from_secs(5), || client.try_send(&[b'x'; 65_536]).is_err()),
        "the upload stops"
    );
    let taken = origin.connection(0).received.len();
    assert!(taken < 512 * 1024, "the origin was sent {taken} bytes that it did not want");
}

#[test]
fn u31_an_origin_that_stops_reading_slows_the_caller_in_bounded_memory_until_the_write_timeout() {
    let never = Gate::new();
    let origin = RawOrigin::always(Script::new().head().wait(&never).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("write_timeout", "\"500ms\"").start();
    let before = unlag.resident_kib();
    let mut client = unlag.connect();
    client.send("PUT /big HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 10000000000\r\n\r\n");
    let (started, block, mut sent) = (Instant::now(), vec![b'x'; 256 * 1024], 0_usize);
    while sent < 1 << 30 && client.try_send(&block).is_ok() {
        sent += block.len();
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken for an origin that reads nothing");
    let taken = started.elapsed();
    assert!(taken >= Duration::from_millis(490), "before the write timeout: {taken:?}");
    assert!(taken < Duration::from_secs(12), "ended by the write timeout: {taken:?}");
    assert_eq!(unlag.wait_for_cause(), "upstream_stalled");
    assert!(unlag.resident_kib() < before + 16 * 1024, "{} KiB after {before}", unlag.resident_kib());
    never.open();
    origin.wait_until_closed(0);
}
