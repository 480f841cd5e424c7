//! Who may ask the admin API for what, over real sockets.

use crate::served::{TOKEN, TestPlane, connect, get, read_answer, send, serve};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use unlag_console::{Console, Token};

const HOST: &str = "host: localhost";

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

#[test]
fn a_host_that_is_not_this_machine_is_refused_on_every_path() {
    let console = serve(&TestPlane::new());
    for path in ["/healthz", "/metrics", "/api/v1/config", "/nowhere"] {
        for host in
            ["host: evil.example", "host: 192.0.2.7", "x-none: 1", "host: localhost\r\nhost: localhost"]
        {
            let answer = send(&console, "GET", path, &[host], "");
            assert_eq!(answer.status, 403, "{path} {host}");
            assert!(!answer.body.contains("[[listen]]"));
        }
    }
    let own = format!("host: {}", console.address().unwrap());
    for host in ["host: localhost:1", "host: 127.0.0.1", "host: [::1]:9900", &own] {
        assert_eq!(send(&console, "GET", "/healthz", &[host], "").status, 200, "{host}");
    }
    let absolute = send(&console, "GET", "http://evil.example/healthz", &[HOST], "");
    assert_eq!(absolute.status, 403);
}

#[test]
fn an_origin_other_than_the_host_is_refused() {
    let console = serve(&TestPlane::new());
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let answer = send(&console, "GET", "/api/v1/overview", &[HOST, &format!("origin: {origin}")], "");
        assert_eq!(answer.status, 403, "{origin}");
    }
    let same = send(&console, "GET", "/api/v1/overview", &[HOST, "origin: http://localhost"], "");
    assert_eq!(same.status, 200);
    assert_eq!(same.header("access-control-allow-origin"), None);
}

#[test]
fn writes_need_the_token_even_on_this_machine() {
    let plane = TestPlane::new();
    let console = serve(&plane);
    let wrong =
        [String::new(), bearer("wrong"), bearer(""), format!("authorization: {TOKEN}"), bearer("s3cret2")];
    for authorization in &wrong {
        let headers: Vec<&str> = [HOST, "if-match: \"h1\"", authorization]
            .into_iter()
            .filter(|header| !header.is_empty())
            .collect();
        for (method, path) in [
            ("PUT", "/api/v1/config"),
            ("POST", "/api/v1/reload"),
            ("POST", "/api/v1/cache/purge"),
            ("POST", "/api/v1/upstreams/catalog/drain"),
            ("OPTIONS", "/api/v1/config"),
        ] {
            let answer = send(&console, method, path, &headers, "x");
            assert_eq!(answer.status, 401, "{method} {path} {authorization}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(plane.writes.load(SeqCst), 0);
    assert!(plane.purges.lock().unwrap().is_empty());
    assert_eq!(send(&console, "POST", "/api/v1/reload", &[HOST, &bearer(TOKEN)], "").status, 200);
    assert_eq!(plane.writes.load(SeqCst), 1);
}

#[test]
fn without_a_configured_token_nobody_writes() {
    let plane = TestPlane::new();
    let console = Console::start(TcpListener::bind("127.0.0.1:0").unwrap(), None, plane.clone()).unwrap();
    for authorization in [bearer(""), bearer("None"), bearer(TOKEN)] {
        assert_eq!(send(&console, "POST", "/api/v1/reload", &[HOST, &authorization], "").status, 401);
    }
    assert_eq!(get(&console, "/healthz").status, 200);
    assert_eq!(plane.writes.load(SeqCst), 0);
}

#[test]
fn every_answer_forbids_storing_framing_and_running_it() {
    let console = serve(&TestPlane::new());
    let refused = send(&console, "GET", "/healthz", &["host: evil.example"], "");
    for answer in [get(&console, "/metrics"), get(&console, "/nowhere"), refused] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
    }
}

#[test]
fn a_body_past_the_bound_is_refused_and_one_at_the_bound_is_not() {
    let plane = TestPlane::new();
    let console = serve(&plane);
    let authorization = bearer(TOKEN);
    let headers = [HOST, "if-match: \"h1\"", &authorization];
    let fits = "#".repeat(1024 * 1024);
    assert_eq!(send(&console, "PUT", "/api/v1/config", &headers, &format!("{fits}#")).status, 413);
    assert_eq!(plane.writes.load(SeqCst), 0);
    assert_eq!(send(&console, "PUT", "/api/v1/config", &headers, &fits).status, 200);
}

#[test]
fn a_head_past_the_bound_is_refused() {
    let console = serve(&TestPlane::new());
    let long = format!("x-long: {}", "a".repeat(64 * 1024));
    assert_eq!(send(&console, "GET", "/healthz", &[HOST, &long], "").status, 431);
}

#[test]
fn stuck_viewers_do_not_keep_others_out() {
    let console = serve(&TestPlane::new());
    let mut stuck: Vec<_> = (0..64).map(|_| connect(console.address().unwrap())).collect();
    for viewer in &mut stuck {
        viewer.write_all(b"GET /metrics HTTP/1.1\r\nhost: loc").unwrap();
    }
    for _ in 0..3 {
        assert_eq!(get(&console, "/healthz").status, 200);
    }
    let began = Instant::now();
    let mut rest = Vec::new();
    let ended = stuck[0].read_to_end(&mut rest);
    assert!(ended.is_err() || rest.is_empty(), "the oldest lost its place: {ended:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "and not by its time-out");
    stuck[63].set_nonblocking(true).unwrap();
    let youngest = stuck[63].read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(youngest, Err(ErrorKind::WouldBlock), "the youngest kept it");
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let console = serve(&TestPlane::new());
    let mut slow = connect(console.address().unwrap());
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").unwrap();
    let mut rest = String::new();
    slow.read_to_string(&mut rest).expect("the console ends the connection before the client's time-out");
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
}

#[test]
fn whoever_may_open_the_unix_socket_reads_but_does_not_write() {
    let path = std::env::temp_dir().join(format!("unlag-admin-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let console = Console::start(listener, Token::new(TOKEN), TestPlane::new()).unwrap();
    for (line, status) in [("GET /healthz", 200), ("POST /api/v1/reload", 401)] {
        let mut stream = UnixStream::connect(&path).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, status, "{line}");
    }
    assert_eq!(console.address(), None);
    console.shutdown();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_shutdown_ends_the_listener() {
    let console = serve(&TestPlane::new());
    let address = console.address().unwrap();
    assert_eq!(get(&console, "/healthz").status, 200);
    console.shutdown();
    assert!(std::net::TcpStream::connect(address).is_err());
}
