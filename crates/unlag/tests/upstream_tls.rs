//! Origins behind TLS that cannot be trusted, or stop in the middle: row U39.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use unlag_testkit::h2::{Call, H2Origin, Plan};
use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::tls::Authority;
use unlag_testkit::{RawOrigin, ReadError, Response, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

struct Bed {
    directory: Directory,
    authority: Authority,
}

impl Bed {
    fn new() -> Bed {
        let (directory, authority) = (Directory::new(), Authority::new());
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("the authority");
        Bed { directory, authority }
    }

    fn trusting(&self, url: String) -> Unlag {
        let ca = format!("{{ ca = \"{}/ca.pem\" }}", self.directory.path().display());
        Setup::of(UNLAG).to([url]).upstream("tls", &ca).limit("tls_handshake_timeout", "\"500ms\"").start()
    }

    /// What a caller gets from an origin with this certificate.
    fn answer_with(&self, certificate: Arc<ServerConfig>) -> (Response, RawOrigin, Unlag) {
        let origin = RawOrigin::scripted_tls(certificate, |_| Script::new().answer(|_| ok("over TLS")));
        let unlag = self.trusting(origin.url());
        (unlag.get("/"), origin, unlag)
    }
}

#[test]
fn u39_a_trusted_certificate_with_the_right_name_is_accepted() {
    let bed = Bed::new();
    let certificate = bed.authority.certificate(&["localhost"]).server_config();
    let (response, _origin, _unlag) = bed.answer_with(certificate);
    assert_eq!((response.status(), response.text().as_str()), (200, "over TLS"));
}

#[test]
fn u39_an_expired_a_foreign_or_a_misnamed_certificate_gives_502_and_no_request_is_sent() {
    let bed = Bed::new();
    let bad = [
        ("expired", bed.authority.expired(&["localhost"])),
        ("another name", bed.authority.certificate(&["other.example"])),
        ("another authority", Authority::new().certificate(&["localhost"])),
    ];
    for (what, certificate) in bad {
        let (response, origin, unlag) = bed.answer_with(certificate.server_config());
        assert_eq!(response.status(), 502, "{what}: {}", response.text());
        assert_eq!(origin.request_count(), 0, "{what}: a request was sent");
        assert_eq!(unlag.wait_for_cause(), "certificate", "{what}");
        assert_eq!(unlag.endpoints()[0]["last_error"], "certificate", "{what}");
    }
}

#[test]
fn u39_the_configured_name_is_the_one_that_is_checked() {
    let bed = Bed::new();
    let certificate = bed.authority.certificate(&["orders.internal"]).server_config();
    let origin = RawOrigin::scripted_tls(certificate, |_| Script::new().answer(|_| ok("over TLS")));
    let tls = format!("{{ ca = \"{}/ca.pem\", name = \"orders.internal\" }}", bed.directory.path().display());
    let unlag = Setup::of(UNLAG).to([origin.url()]).upstream("tls", &tls).start();
    assert_eq!(unlag.get("/").text(), "over TLS");
}

#[test]
fn u39_a_handshake_that_stalls_is_given_up() {
    let bed = Bed::new();
    let origin = RawOrigin::always(Script::new().silence());
    let unlag = bed.trusting(origin.url().replace("http://127.0.0.1", "https://localhost"));
    let started = Instant::now();
    let status = unlag.get("/").status();
    assert!(matches!(status, 502 | 504), "{status}");
    assert!(started.elapsed() >= Duration::from_millis(490), "took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
    assert_eq!(unlag.wait_for_cause(), "tls_handshake");
    origin.wait_until_closed(0);
}

#[test]
fn u39_a_plain_port_behind_https_gives_502() {
    let bed = Bed::new();
    let origin = RawOrigin::always(Script::new().send("HTTP/1.1 400 Bad Request\r\n\r\n").close());
    let unlag = bed.trusting(origin.url().replace("http://127.0.0.1", "https://localhost"));
    assert_eq!(unlag.get("/").status(), 502);
    assert_eq!(unlag.wait_for_cause(), "tls_handshake");
}

#[test]
fn u39_a_close_delimited_body_without_close_notify_is_a_cut() {
    let bed = Bed::new();
    let certificate = bed.authority.certificate(&["localhost"]).server_config();
    let body = "HTTP/1.1 200 OK\r\n\r\nall of it?";
    let whole =
        RawOrigin::scripted_tls(certificate.clone(), move |_| Script::new().request().send(body).close());
    assert_eq!(bed.trusting(whole.url()).get("/").text(), "all of it?");
    let cut = RawOrigin::scripted_tls(certificate, move |_| {
        Script::new().request().send(body).close_without_notify()
    });
    let unlag = bed.trusting(cut.url());
    let result = unlag.connect().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").try_read_response("GET");
    match result {
        Err(ReadError::Cut(_)) => {}
        Ok(response) if response.status() == 502 => {}
        other => panic!("a truncated body looks whole: {:?}", other.map(|response| response.text())),
    }
}

#[test]
fn u39_connections_over_tls_are_reused() {
    let bed = Bed::new();
    let certificate = bed.authority.certificate(&["localhost"]).server_config();
    let origin = RawOrigin::scripted_tls(certificate, |_| Script::new().answer(|_| ok("over TLS")));
    let unlag = bed.trusting(origin.url());
    let mut client = unlag.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "over TLS");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn requests_and_answers_pass_over_tls_with_http_2_and_share_one_connection_even_when_they_come_at_once() {
    let bed = Bed::new();
    let tls = bed.authority.certificate(&["localhost"]).server_config_for(&["h2", "http/1.1"]);
    let origin = H2Origin::over_tls(tls, |_, request| Plan::ok(request.uri().path()));
    let ca = format!("{{ ca = \"{}/ca.pem\" }}", bed.directory.path().display());
    let unlag = Setup::of(UNLAG).to([origin.url()]).upstream("tls", &ca).workers(1).start();
    let calls: Vec<Call> = (0..20).map(|n| Call::post(&format!("/{n}"), b"content")).collect();
    for (n, answer) in Call::send_all(unlag.address(), &calls).iter().enumerate() {
        assert_eq!((answer.status, answer.text()), (200, format!("/{n}")));
    }
    assert_eq!(origin.connections(), 1, "for {} requests at once", calls.len());
    assert!(origin.requests().iter().all(|seen| seen.body.as_deref() == Some(b"content")));
    let first = origin.requests().remove(0).head;
    assert_eq!(first.uri().scheme_str(), Some("https"));
}

#[test]
fn a_websocket_to_an_origin_that_prefers_http_2_goes_over_http_1() {
    const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let bed = Bed::new();
    let tls = bed.authority.certificate(&["localhost"]).server_config_for(&["h2", "http/1.1"]);
    let origin = H2Origin::over_tls(tls, |_, _| Plan::ok("over HTTP/2"));
    let unlag = bed.trusting(origin.url());
    // With and without a shared connection that an upgrade might take by mistake.
    for _ in 0..2 {
        let mut client = unlag.connect();
        assert_eq!(client.send(UPGRADE).read_response("GET").status(), 101);
        client.send(b"\x81\x05hello");
        assert_eq!(client.read_exact(7).expect("the echo"), b"\x81\x05hello");
        assert_eq!(unlag.get("/").text(), "over HTTP/2");
    }
}
