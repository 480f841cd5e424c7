//! Upgraded connections: rows D6 and D24, and that nothing becomes a tunnel by mistake.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use unlag_testkit::origin::ok;
use unlag_testkit::{Gate, RawOrigin, Script, Setup, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn a_websocket_passes_both_ways_after_the_101() {
    let origin = RawOrigin::always(Script::new().head().send(SWITCHING).echo());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    let response = client.send(UPGRADE).read_response("GET");
    assert_eq!(response.status(), 101);
    assert!(response.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for message in [&b"\x81\x05hello"[..], b"\x00\xff\r\n\r\n", &[7; 100_000]] {
        client.send(message);
        assert_eq!(client.read_exact(message.len()).expect("the echo"), message);
    }
    let request = origin.only_request();
    assert!(request.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
    assert!(request.header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("upgrade")));
    client.half_close();
    origin.wait_until_closed(0);
}

#[test]
fn bytes_that_the_origin_sends_with_its_101_reach_the_caller() {
    let origin = RawOrigin::always(Script::new().head().send(format!("{SWITCHING}at once")).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    assert_eq!(client.send(UPGRADE).read_response("GET").status(), 101);
    assert_eq!(client.read_exact(7).expect("the first bytes"), b"at once");
}

#[test]
fn d6_bytes_after_an_upgrade_are_not_forwarded_before_the_101() {
    let agreed = Gate::new();
    let origin = RawOrigin::always(Script::new().head().wait(&agreed).send(SWITCHING).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send(format!("{UPGRADE}GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"));
    origin.wait_for_requests(1);
    unlag.get_other(&origin);
    assert!(
        !String::from_utf8_lossy(&origin.connection(0).received).contains("/evil"),
        "forwarded before the 101"
    );
    agreed.open();
    let _ = client.try_read_response("GET");
}

/// A marker that everything sent before has been seen: another exchange on the same unlag.
trait Other {
    fn get_other(&self, origin: &RawOrigin);
}

impl Other for unlag_testkit::Unlag {
    fn get_other(&self, origin: &RawOrigin) {
        let mut client = self.connect();
        client.send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
        origin.wait_for_requests(2);
    }
}

#[test]
fn d6_when_the_origin_refuses_the_upgrade_the_bytes_after_it_are_no_tunnel() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().head().send(ok("no websocket here")).silence(),
        _ => Script::new().answer(|_| ok("routed")),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send(format!("{UPGRADE}SMUGGLED\r\n\r\n"));
    assert_eq!(client.read_response("GET").text(), "no websocket here");
    let _ = client.read_to_end();
    assert!(!String::from_utf8_lossy(&origin.connection(0).received).contains("SMUGGLED"));
}

#[test]
fn an_h2c_upgrade_is_not_forwarded() {
    let origin = RawOrigin::ok("plain");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
    let response = client.read_response("GET");
    assert_ne!(response.status(), 101);
    for request in origin.requests() {
        assert!(request.header("upgrade").is_none() && request.header("http2-settings").is_none());
    }
}

#[test]
fn a_tunnel_counts_as_a_request_up_to_its_101_and_as_a_connection_to_its_end() {
    let origin = RawOrigin::always(Script::new().head().send(SWITCHING).echo());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut tunnel = unlag.connect();
    assert_eq!(tunnel.send(UPGRADE).read_response("GET").status(), 101);
    wait_until("its line", || unlag.log().objects().iter().any(|line| line["status"] == 101));
    tunnel.send("still open");
    assert_eq!(tunnel.read_exact(10).expect("the echo"), b"still open");
    let open = || unlag.endpoints()[0]["connections_open"].as_u64();
    assert_eq!(open(), Some(1), "its connection is open");
    assert_eq!(unlag.endpoints()[0]["successes"], 1, "and speaks for its endpoint");
    drop(tunnel);
    wait_until("its connection is closed", || open() == Some(0));
}

#[test]
fn d24_an_idle_tunnel_outlives_the_idle_timeout_and_is_ended_by_a_drain() {
    let origin = RawOrigin::always(Script::new().head().send(SWITCHING).echo());
    let setup = Setup::of(UNLAG).to([origin.url()]);
    let setup = setup.limit("idle_timeout", "\"200ms\"").limit("drain_timeout", "\"500ms\"");
    let mut unlag = setup.route("idle_timeout", "\"200ms\"").start();
    let mut tunnel = unlag.connect();
    assert_eq!(tunnel.send(UPGRADE).read_response("GET").status(), 101);
    for _ in 0..3 {
        unlag.connect().expect_closed();
    }
    tunnel.send("still here");
    assert_eq!(tunnel.read_exact(10).expect("the echo"), b"still here");
    unlag.signal("TERM");
    tunnel.expect_closed();
    assert_eq!(unlag.wait_for_exit(), Some(0));
    origin.wait_until_closed(0);
}

#[test]
fn a_tunnel_that_says_nothing_ends_at_its_own_timeout() {
    let origin = RawOrigin::always(Script::new().head().send(SWITCHING).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("tunnel_idle_timeout", "\"300ms\"").start();
    let mut tunnel = unlag.connect().with_deadline(Duration::from_secs(10));
    assert_eq!(tunnel.send(UPGRADE).read_response("GET").status(), 101);
    tunnel.expect_closed();
    wait_until("the origin's side ends too", || origin.is_closed(0));
}
