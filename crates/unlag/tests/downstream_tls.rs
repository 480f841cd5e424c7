//! Callers over TLS, well- and ill-behaved: row D25.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use unlag_testkit::h2::frame::{END_HEADERS, END_STREAM, PREFACE, block};
use unlag_testkit::h2::{Frame, kind};
use unlag_testkit::process::Directory;
use unlag_testkit::stream::Stream;
use unlag_testkit::tls::Authority;
use unlag_testkit::wait::DEADLINE;
use unlag_testkit::{RawClient, RawOrigin, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

struct Bed {
    authority: Authority,
    unlag: Unlag,
    origin: RawOrigin,
    _directory: Directory,
}

/// An unlag with certificates for `a.example` (the first) and `b.example`.
fn bed() -> Bed {
    let (directory, authority, origin) = (Directory::new(), Authority::new(), RawOrigin::ok("fine"));
    authority.certificate(&["a.example"]).write(directory.path(), "a");
    authority.certificate(&["b.example"]).write(directory.path(), "b");
    let pair = |name: &str| {
        let path = directory.path().join(name);
        format!("{{ certificate = \"{0}.pem\", key = \"{0}.key\" }}", path.display())
    };
    let keys = format!("address = \"127.0.0.1:0\"\ntls = [{}, {}]", pair("a"), pair("b"));
    let setup = Setup::of(UNLAG).listen(&keys).to([origin.url()]).limit("tls_handshake_timeout", "\"400ms\"");
    Bed { authority, unlag: setup.start(), origin, _directory: directory }
}

impl Bed {
    fn connect(&self, server_name: &str, alpn: &[&str]) -> RawClient {
        RawClient::tls(self.unlag.address(), self.authority.client_config(alpn), server_name)
    }
}

fn alpn_of(client: &mut RawClient) -> Option<Vec<u8>> {
    let Stream::TlsClient(tls) = client.stream() else { panic!("not TLS") };
    tls.conn.alpn_protocol().map(<[u8]>::to_vec)
}

fn get(client: &mut RawClient, host: &str) -> (u16, String) {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let response = client.read_response("GET");
    (response.status(), response.text())
}

#[test]
fn d25_the_certificate_is_chosen_by_the_name_asked_for() {
    let bed = bed();
    for name in ["a.example", "b.example"] {
        let mut client = bed.connect(name, &["http/1.1"]);
        assert_eq!(get(&mut client, name), (200, "fine".to_owned()), "{name}");
    }
    assert_eq!(bed.origin.requests()[0].header("x-forwarded-proto").as_deref(), Some("https"));
}

#[test]
fn d25_no_server_name_gets_the_first_certificate() {
    let bed = bed();
    let config = bed.authority.client_config_without_sni();
    let mut client = RawClient::tls(bed.unlag.address(), config, "a.example");
    assert_eq!(get(&mut client, "a.example").0, 200);
}

#[test]
fn d25_another_authority_than_the_server_name_is_421() {
    let bed = bed();
    let mut client = bed.connect("a.example", &["http/1.1"]);
    assert_eq!(get(&mut client, "b.example").0, 421);
    assert_eq!(bed.origin.request_count(), 0);
}

#[test]
fn a_caller_without_a_certificate_of_the_right_authority_is_not_let_in() {
    let (directory, authority, origin) = (Directory::new(), Authority::new(), RawOrigin::ok("fine"));
    authority.certificate(&["a.example"]).write(directory.path(), "a");
    let callers = Authority::new();
    std::fs::write(directory.path().join("callers.pem"), callers.pem()).expect("the callers' authority");
    let path = directory.path().display();
    let keys = format!(
        "address = \"127.0.0.1:0\"\n\
         tls = {{ certificate = \"{path}/a.pem\", key = \"{path}/a.key\", client_ca = \"{path}/callers.pem\" }}"
    );
    let unlag = Setup::of(UNLAG).listen(&keys).to([origin.url()]).start();
    let ask = |config| {
        let mut client = RawClient::tls(unlag.address(), config, "a.example");
        let _ = client.try_send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        client.try_read_response("GET").map(|response| response.status()).ok()
    };
    assert_eq!(ask(authority.client_config_with(&callers.certificate(&["caller"]))), Some(200));
    assert_eq!(ask(authority.client_config(&["http/1.1"])), None, "none");
    let foreign = Authority::new().certificate(&["caller"]);
    assert_eq!(ask(authority.client_config_with(&foreign)), None, "somebody else's");
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn d25_alpn_none_is_http_1_and_h2_is_preferred() {
    let bed = bed();
    let mut plain = bed.connect("a.example", &[]);
    assert_eq!(get(&mut plain, "a.example").0, 200);
    assert_eq!(alpn_of(&mut plain), None);
    let mut both = bed.connect("a.example", &["h2", "http/1.1"]);
    both.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let settings = both.read_exact(9).expect("a SETTINGS frame");
    assert_eq!(settings[3], 4, "the first frame is SETTINGS");
    assert_eq!(alpn_of(&mut both).as_deref(), Some(&b"h2"[..]));
}

#[test]
fn d25_a_handshake_that_stalls_is_closed_at_its_timeout() {
    let bed = bed();
    for first in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(bed.unlag.address()).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("an option");
        stream.write_all(first).expect("send");
        let started = Instant::now();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
    }
}

#[test]
fn d25_plain_http_or_garbage_on_a_tls_port_is_closed_and_never_routed() {
    let bed = bed();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], b"\x80\x2e\x01\x03\x01", &[0xff; 300]] {
        let mut client = RawClient::connect(bed.unlag.address());
        client.send(bytes).half_close();
        let answer = client.read_to_end().expect("the end of the connection");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(bed.origin.request_count(), 0);
    assert_eq!(get(&mut bed.connect("a.example", &[]), "a.example").0, 200);
}

/// The next frame that unlag sends.
fn read_frame(client: &mut RawClient) -> Frame {
    let mut bytes = client.read_exact(9).expect("a frame header");
    let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
    bytes.extend(client.read_exact(length as usize).expect("its payload"));
    Frame::take(&mut bytes).expect("a whole frame")
}

#[test]
fn d25_a_request_over_http_2_is_answered_and_must_name_the_server() {
    let bed = bed();
    let mut client = bed.connect("a.example", &["h2"]);
    let mut bytes = [PREFACE, &Frame::new(kind::SETTINGS, 0, 0, []).bytes()].concat();
    for (stream, authority) in [(1, &b"a.example"[..]), (3, b"b.example")] {
        let fields: [(&[u8], &[u8]); 4] =
            [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", authority)];
        bytes.extend(Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, stream, block(&fields)).bytes());
    }
    client.send(bytes);
    assert_eq!(alpn_of(&mut client).as_deref(), Some(&b"h2"[..]));
    let (mut statuses, mut ended, mut body) = ([0; 4], 0, Vec::new());
    while ended < 2 {
        let frame = read_frame(&mut client);
        if let Some(status) = frame.status() {
            statuses[frame.stream as usize] = status;
        }
        if frame.stream > 0 && frame.flags & END_STREAM != 0 {
            ended += 1;
        }
        if frame.stream == 1 && frame.kind == kind::DATA {
            body.extend(frame.payload);
        }
    }
    assert_eq!((statuses[1], statuses[3], body.as_slice()), (200, 421, &b"fine"[..]));
    assert_eq!(bed.origin.only_request().header("x-forwarded-proto").as_deref(), Some("https"));
}
