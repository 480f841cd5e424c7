//! The bounds of HTTP/2 callers, each set small and reached, and what of HTTP semantics has a form of its own there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::h2::frame::{
    END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, REFUSED_STREAM, block, request_block,
};
use unlag_testkit::h2::{Call, RawH2, kind};
use unlag_testkit::{RawOrigin, Script, Setup, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

#[test]
fn streams_beyond_h2_streams_are_refused_and_the_others_served() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("h2_streams", "2").start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    for stream in [1, 3, 5] {
        caller.send(kind::HEADERS, END_HEADERS, stream, request_block("POST", "/up"));
    }
    wait_until("the third is reset", || caller.reset_code(5).is_some());
    assert_eq!(caller.reset_code(5), Some(REFUSED_STREAM));
    for stream in [1, 3] {
        caller.send(kind::DATA, END_STREAM, stream, *b"hello");
        assert_eq!(caller.wait_for_status(stream), 200);
    }
}

#[test]
fn h2_glitches_is_the_budget() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("h2_glitches", "10").start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    for _ in 0..11 {
        caller.send(kind::PING, 0, 0, [0; 8]);
    }
    assert_eq!(caller.wait_for_end(), Some(ENHANCE_YOUR_CALM));
}

#[test]
fn uri_and_fields_bound_an_http_2_head_as_well() {
    let origin = RawOrigin::ok("fine");
    let setup = Setup::of(UNLAG).to([origin.url()]).limit("uri", "\"100B\"").limit("fields", "10");
    let unlag = setup.start();
    assert_eq!(Call::get(&format!("/{}", "a".repeat(99))).send(unlag.address()).status, 200);
    assert_eq!(Call::get(&format!("/{}", "a".repeat(100))).send(unlag.address()).status, 414);
    let with_fields =
        |count: usize| (0..count).fold(Call::get("/"), |call, n| call.field(&format!("x-{n}"), "1"));
    assert_eq!(with_fields(10).send(unlag.address()).status, 200);
    assert_eq!(with_fields(11).send(unlag.address()).status, 431);
    assert_eq!(origin.request_count(), 2);
}

#[test]
fn interim_answers_reach_an_http_2_caller_before_the_final_one() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let origin = RawOrigin::always(
        Script::new().request().send(hints).send(unlag_testkit::origin::ok("fine")).silence(),
    );
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    caller.get(1, "/");
    wait_until("the end of the stream", || {
        caller.frames().iter().any(|frame| frame.stream == 1 && frame.flags & END_STREAM != 0)
    });
    let statuses: Vec<_> = caller.frames().iter().filter_map(unlag_testkit::h2::Frame::status).collect();
    assert_eq!(statuses, [103, 200]);
}

#[test]
fn connect_is_refused_and_opens_nothing() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    let fields: [(&[u8], &[u8]); 2] = [(b":method", b"CONNECT"), (b":authority", b"unlag.test:443")];
    caller.send(kind::HEADERS, END_HEADERS, 1, block(&fields));
    wait_until("an answer", || caller.status(1).is_some() || caller.reset_code(1).is_some());
    assert!(caller.status(1).is_none_or(|status| status == 405), "{:?}", caller.status(1));
    assert_eq!(origin.connections(), 0);
    caller.get(3, "/");
    assert_eq!(caller.wait_for_status(3), 200);
}
