//! Two nodes, one in each region: requests of the first reach services near the second over one warm connection, and each of
//! the nodes knows who the other is.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::Path;

use unlag_testkit::process::Directory;
use unlag_testkit::tls::Authority;
use unlag_testkit::{RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

struct Bed {
    directory: Directory,
    authority: Authority,
    origin: RawOrigin,
    far: Unlag,
}

impl Bed {
    /// A node that lets only nodes in, in front of an origin.
    fn new() -> Bed {
        let (directory, authority) = (Directory::new(), Authority::new());
        let path = directory.path().display().to_string();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("the authority");
        authority.certificate(&["localhost"]).write(directory.path(), "far");
        authority.certificate(&["near"]).write(directory.path(), "near");
        let origin = RawOrigin::ok("from afar");
        let listen = format!(
            "address = \"127.0.0.1:0\"\n\
             tls = {{ certificate = \"{path}/far.pem\", key = \"{path}/far.key\", client_ca = \"{path}/ca.pem\" }}"
        );
        let far = Setup::of(UNLAG).to([origin.url()]).listen(&listen).start();
        Bed { directory, authority, origin, far }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A node whose only endpoint is the other one, with these further keys of `tls`.
    fn near(&self, shown: &str) -> Setup {
        let port = self.far.address().rsplit(':').next().expect("a port");
        let tls = format!("{{ ca = \"{}/ca.pem\"{shown} }}", self.path().display());
        Setup::of(UNLAG)
            .to([format!("https://localhost:{port}")])
            .upstream("tls", &tls)
            .route("server_timing", "true")
            .workers(1)
    }

    fn showing(&self) -> Setup {
        let path = self.path().display();
        self.near(&format!(", certificate = \"{path}/near.pem\", key = \"{path}/near.key\""))
    }
}

/// Whether a request had to wait for a handshake of TLS.
fn shook_hands(unlag: &Unlag) -> bool {
    let answer = unlag.get("/");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "from afar"));
    answer.header("server-timing").expect("the phases").contains("tls;")
}

#[test]
fn requests_of_a_region_share_one_connection_to_the_gateway_of_another_and_it_knows_who_asks() {
    let bed = Bed::new();
    let near = bed.showing().start();
    let handshakes = (0..30).filter(|_| shook_hands(&near)).count();
    assert_eq!(handshakes, 1, "for 30 requests");
    assert_eq!(near.endpoints()[0]["connections_open"], 1);
    assert_eq!(bed.origin.request_count(), 30);
}

#[test]
fn a_gateway_lets_nobody_in_who_shows_no_certificate_or_a_foreign_one() {
    let bed = Bed::new();
    assert_eq!(bed.near("").start().get("/").status(), 502);
    Authority::new().certificate(&["near"]).write(bed.path(), "near");
    assert_eq!(bed.showing().start().get("/").status(), 502);
    assert_eq!(bed.origin.request_count(), 0);
}

#[test]
fn a_renewed_certificate_is_shown_at_the_next_handshake_without_a_signal() {
    let bed = Bed::new();
    let valid = std::fs::read(bed.path().join("near.pem")).expect("the certificate");
    let key = std::fs::read(bed.path().join("near.key")).expect("the key");
    Authority::new().certificate(&["near"]).write(bed.path(), "near");
    let near = bed.showing().start();
    assert_eq!(near.get("/").status(), 502);
    std::fs::write(bed.path().join("near.key"), key).expect("the key");
    std::fs::write(bed.path().join("near.pem"), valid).expect("the certificate");
    near.wait_for_log("reloaded");
    wait_until("the new one is let in", || near.get("/").status() == 200);
}

#[test]
fn a_key_that_does_not_belong_to_its_certificate_is_refused_at_the_start() {
    let bed = Bed::new();
    let other = bed.authority.certificate(&["near"]);
    std::fs::write(bed.path().join("near.key"), other.key_pem).expect("the key");
    let error = bed.showing().try_start().err().expect("no start");
    assert!(error.stderr.contains("near.key"), "{}", error.stderr);
    assert_eq!(error.code, Some(78), "{}", error.stderr);
}
