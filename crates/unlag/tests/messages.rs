//! Well-formed HTTP/1.x in all its forms passes through unchanged.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::response::Framing;
use unlag_testkit::{Gate, RawClient, RawOrigin, Request, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

fn in_front_of(origin: &RawOrigin) -> Unlag {
    Setup::of(UNLAG).to([origin.url()]).start()
}

fn echo_target(request: &Request) -> Vec<u8> {
    ok(&request.target())
}

fn echo_body(request: &Request) -> Vec<u8> {
    ok(&String::from_utf8_lossy(&request.body))
}

#[test]
fn the_one_line_form_proxies_without_a_config() {
    let origin = RawOrigin::answering(echo_target);
    let url = format!("{}/base", origin.url());
    let arguments = ["--to", &url, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let unlag = Setup::of(UNLAG).arguments(arguments).start();
    assert_eq!(unlag.get("/a/b?c=d").text(), "/base/a/b?c=d");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = RawOrigin::answering(echo_target);
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    let requests: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests);
    for n in 0..50 {
        assert_eq!(client.read_response("GET").text(), format!("/{n}"));
    }
}

#[test]
fn pipelined_posts_keep_their_bodies_apart() {
    let origin = RawOrigin::answering(echo_body);
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    let sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
    let chunked =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n";
    client.send(format!("{sized}{chunked}{sized}"));
    for expected in ["one", "two", "one"] {
        assert_eq!(client.read_response("POST").text(), expected);
    }
}

#[test]
fn an_http_1_0_caller_gets_a_response_it_can_read() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let origin = RawOrigin::answering(move |_| chunked.as_bytes().to_vec());
    let unlag = in_front_of(&origin);
    let response = unlag.connect().send("GET / HTTP/1.0\r\n\r\n").read_response("GET");
    assert_ne!(response.framing, Framing::Chunked, "HTTP/1.0 knows no chunks");
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    assert!(response.interim.is_empty());
}

#[test]
fn an_http_1_0_caller_may_ask_to_keep_the_connection() {
    let origin = RawOrigin::ok("fine");
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    let request = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let first = client.send(request).read_response("GET");
    assert_eq!(first.text(), "fine");
    if first.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")) {
        assert_eq!(client.send(request).read_response("GET").text(), "fine");
    } else {
        client.expect_closed();
    }
    let mut client = unlag.connect();
    assert_eq!(client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").read_response("GET").text(), "fine");
    client.expect_closed();
}

#[test]
fn no_interim_response_reaches_an_http_1_0_caller() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let origin = RawOrigin::always(Script::new().request().send(hints).send(ok("final")).silence());
    let unlag = in_front_of(&origin);
    let response = unlag.connect().send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").read_response("GET");
    assert_eq!((response.interim.len(), response.text().as_str()), (0, "final"));
}

#[test]
fn an_http_1_0_origin_is_understood() {
    let origin = RawOrigin::always(Script::new().request().send("HTTP/1.0 200 OK\r\n\r\nold style").close());
    let unlag = in_front_of(&origin);
    assert_eq!(unlag.get("/").text(), "old style");
}

#[test]
fn connection_close_of_the_caller_is_honoured() {
    let origin = RawOrigin::ok("fine");
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    let response = client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").read_response("GET");
    assert!(response.closes());
    client.expect_closed();
}

#[test]
fn the_absolute_form_is_forwarded_as_origin_form() {
    let origin = RawOrigin::answering(echo_target);
    let unlag = in_front_of(&origin);
    let request = "GET http://unlag.test/a?b=c HTTP/1.1\r\nHost: unlag.test\r\n\r\n";
    assert_eq!(unlag.connect().send(request).read_response("GET").text(), "/a?b=c");
    assert_eq!(origin.only_request().header("host").as_deref(), Some("unlag.test"));
}

#[test]
fn the_asterisk_form_of_options_is_answered_or_forwarded_as_it_is() {
    let origin = RawOrigin::answering(echo_target);
    let unlag = in_front_of(&origin);
    let response = unlag.connect().send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").read_response("OPTIONS");
    assert!(response.status() < 500, "{}", response.status());
    assert!(origin.requests().iter().all(|request| request.target() == "*"));
}

#[test]
fn head_carries_the_length_and_no_body() {
    let origin = RawOrigin::answering(|request| match request.method().as_str() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
        _ => ok("next"),
    });
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    let response = client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").read_response("HEAD");
    assert_eq!(response.header("content-length"), Some("1234"));
    assert_eq!(client.get("/").text(), "next", "nothing of a body is on the connection");
}

#[test]
fn responses_without_content_keep_the_connection() {
    for status in ["204 No Content", "304 Not Modified"] {
        let origin = RawOrigin::answering(move |request| match request.target().as_str() {
            "/empty" => format!("HTTP/1.1 {status}\r\nETag: \"a\"\r\n\r\n").into_bytes(),
            _ => ok("next"),
        });
        let unlag = in_front_of(&origin);
        let mut client = unlag.connect();
        let response = client.get("/empty");
        assert_eq!(response.status().to_string(), status[..3]);
        assert_eq!(response.header("etag"), Some("\"a\""));
        assert_eq!(client.get("/").text(), "next");
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn a_chunked_request_reaches_the_origin_chunk_by_chunk_with_its_trailers() {
    let origin = RawOrigin::answering(echo_body);
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;ext=\"1\"\r\nhello\r\n");
    origin.wait_for_requests(1);
    client.send("6\r\n world\r\n0\r\nX-Sum: 11\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.read_response("POST").text(), "hello world");
    let request = origin.only_request();
    assert!(request.is_chunked() && request.header("content-length").is_none());
    assert!(!request.trailers.iter().any(|(name, _)| name == "content-length"), "{:?}", request.trailers);
}

#[test]
fn a_response_streams_before_it_is_whole() {
    let rest = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let origin = RawOrigin::always(
        Script::new().request().send(head).wait(&rest).send("4\r\nlast\r\n0\r\n\r\n").silence(),
    );
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_head().expect("a head").status, 200);
    assert_eq!(client.read_exact(10).expect("the first chunk"), b"5\r\nfirst\r\n");
    rest.open();
    assert_eq!(client.read_exact(14).expect("the rest"), b"4\r\nlast\r\n0\r\n\r\n");
}

#[test]
fn sixty_four_mebibytes_stream_down_in_flat_memory() {
    const SIZE: usize = 64 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let body: Vec<u8> = (0..SIZE).map(|n| (n / 7 % 251) as u8).collect();
    let bytes = [head.into_bytes(), body.clone()].concat();
    let origin = RawOrigin::answering(move |_| bytes.clone());
    let unlag = in_front_of(&origin);
    let before = unlag.resident_kib();
    // What the allocator keeps of a first one is a good part of the bound, and does not grow with what comes.
    for _ in 0..3 {
        assert!(unlag.connect().get("/big").body == body, "the bytes differ");
    }
    assert!(unlag.resident_kib() < before + 32 * 1024, "{} KiB after {before}", unlag.resident_kib());
}

#[test]
fn sixty_four_mebibytes_stream_up_in_flat_memory() {
    const SIZE: usize = 64 << 20;
    let origin = RawOrigin::answering(|request| ok(&request.body.len().to_string()));
    let unlag = in_front_of(&origin);
    let before = unlag.resident_kib();
    let mut client = unlag.connect();
    client.send(format!("PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let block = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        client.try_send(&block).expect("the upload goes on");
    }
    assert_eq!(client.read_response("PUT").text(), SIZE.to_string());
    assert!(unlag.resident_kib() < before + 16 * 1024, "{} KiB after {before}", unlag.resident_kib());
}

#[test]
fn unix_sockets_work_on_both_sides() {
    let directory = Directory::new();
    let socket = directory.path().join("origin.sock");
    let origin = RawOrigin::scripted_unix(socket, |_| Script::new().answer(echo_target));
    let listen = directory.path().join("unlag.sock");
    let keys = format!("address = \"unix:{}\"", listen.display());
    let unlag = Setup::of(UNLAG).listen(&keys).to([origin.url()]).start();
    let mut client = RawClient::connect(&format!("unix:{}", listen.display()));
    assert_eq!(client.get("/over/a/socket").text(), "/over/a/socket");
    assert_eq!(client.get("/again").text(), "/again");
    assert!(
        unlag.addresses().iter().any(|address| address.contains("unlag.sock")),
        "{:?}",
        unlag.addresses()
    );
}

#[test]
fn connections_to_the_origin_are_reused() {
    let origin = RawOrigin::ok("fine");
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "fine");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn empty_lines_before_a_request_are_tolerated_once_or_refused() {
    let origin = RawOrigin::ok("fine");
    let unlag = in_front_of(&origin);
    let response = unlag.connect().send("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").read_response("GET");
    assert!(matches!(response.status(), 200 | 400), "{}", response.status());
}

#[test]
fn a_port_scan_leaves_no_trace() {
    let origin = RawOrigin::ok("fine");
    let unlag = in_front_of(&origin);
    for _ in 0..200 {
        let mut stream = TcpStream::connect(unlag.address()).expect("connect");
        stream.set_write_timeout(Some(Duration::from_secs(1))).expect("an option");
        let _ = stream.write(b"G");
    }
    assert_eq!(unlag.get("/").text(), "fine");
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn a_refused_request_that_was_the_last_is_the_last() {
    let origin = RawOrigin::ok("fine");
    let toml = format!(
        "[upstream.o]\nendpoints = [{:?}]\n[[route]]\nmatch = \"GET /only\"\nupstream = \"o\"\n",
        origin.url()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    let behind = "GET /only HTTP/1.1\r\nHost: a\r\n\r\n";
    for (line, status) in [("GET /none", 404), ("DELETE /only", 405)] {
        for last in ["Connection: close", "Connection: upgrade\r\nUpgrade: websocket"] {
            let mut client = unlag.connect();
            client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{last}\r\n\r\n{behind}"));
            let response = client.read_response("GET");
            assert_eq!(
                (response.status(), response.header("connection")),
                (status, Some("close")),
                "{line} {last}"
            );
            client.expect_closed();
        }
        let mut client = unlag.connect();
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n{behind}"));
        assert_eq!(client.read_response("GET").status(), status);
        assert_eq!(client.read_response("GET").text(), "fine", "{line}");
    }
}
