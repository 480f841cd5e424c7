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
use unlag_testkit::wait::holds_within;
use unlag_testkit::{Gate, RawOrigin, Script, Setup, wait_until};

use std::time::Duration;

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

/// Everything that the caller may send now on `stream`, 0 for the connection: the window at first and what was added.
fn window(caller: &RawH2, stream: u32, at_first: usize) -> usize {
    let updates = caller.frames().into_iter();
    let updates = updates.filter(|frame| frame.kind == kind::WINDOW_UPDATE && frame.stream == stream);
    let added = updates.filter_map(|frame| frame.payload.try_into().ok().map(u32::from_be_bytes));
    at_first + added.map(|bytes| bytes as usize).sum::<usize>()
}

#[test]
fn an_upload_that_the_origin_does_not_read_is_stopped_by_the_windows() {
    const PIECE: usize = 16 * 1024;
    let origin = RawOrigin::always(Script::new().head().wait(&Gate::new()));
    let setup = Setup::of(UNLAG).to([origin.url()]).limit("h2_stream_window", "\"32KiB\"");
    let unlag = setup.limit("h2_connection_window", "\"128KiB\"").start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    wait_until("the settings", || caller.count(kind::SETTINGS) > 0 && caller.count(kind::WINDOW_UPDATE) > 0);
    let settings = caller.frames().into_iter().find(|frame| frame.kind == kind::SETTINGS);
    let announced = settings.expect("just seen").payload;
    assert!(announced.chunks(6).any(|entry| *entry == [0, 4, 0, 0, 0x80, 0]), "{announced:?}");
    assert_eq!(window(&caller, 0, 65_535), 128 * 1024);
    let before = unlag.resident_kib();
    caller.send(kind::HEADERS, END_HEADERS, 1, request_block("POST", "/up"));
    let mut sent = 0;
    // The sockets between unlag and the origin take some megabytes, then nothing moves.
    while holds_within(Duration::from_millis(500), || {
        window(&caller, 1, 32 * 1024).min(window(&caller, 0, 65_535)) >= sent + PIECE
    }) {
        assert!(caller.send(kind::DATA, 0, 1, vec![b'x'; PIECE]));
        sent += PIECE;
        assert!(sent < 64 << 20, "the upload goes on for ever");
    }
    assert!(sent >= 32 * 1024, "{sent} bytes");
    let grown = unlag.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
    assert_eq!(caller.goaway(), None);
}
