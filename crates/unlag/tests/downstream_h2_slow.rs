//! HTTP/2 callers that are slow, gone, or do not take what they asked for: rows D10 to D12 and D21.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::h2::frame::{END_HEADERS, END_STREAM, request_block};
use unlag_testkit::h2::{Frame, RawH2, kind};
use unlag_testkit::wait::holds_within;
use unlag_testkit::{Gate, RawOrigin, Script, Setup, wait_until};

use std::time::Duration;

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
/// SETTINGS_INITIAL_WINDOW_SIZE
const INITIAL_WINDOW: u16 = 4;
const STREAMS: usize = 100;

fn id(n: usize) -> u32 {
    u32::try_from(n * 2 + 1).expect("a stream")
}

/// Asks for large answers on a hundred streams and takes none: the most memory, in KiB, that unlag had more than while it waited
/// for them, until it had let all of them go.
fn memory_of_a_hundred_answers(settings: &[(u16, u32)], connection_window: u32) -> u64 {
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    let origin = RawOrigin::always(Script::new().request().wait(&gate).send(head).flood([b'x'; 65_536]));
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).limit("write_timeout", "\"1s\"").start();
    let mut caller = RawH2::deaf(unlag.address(), settings);
    caller.send(kind::WINDOW_UPDATE, 0, 0, connection_window.to_be_bytes());
    for n in 0..STREAMS {
        assert!(caller.get(id(n), "/large"));
    }
    origin.wait_for_requests(STREAMS);
    let before = unlag.resident_kib();
    let mut most = before;
    gate.open();
    wait_until("every request to the origin is ended", || {
        most = most.max(unlag.resident_kib());
        (0..STREAMS).all(|n| origin.is_closed(n))
    });
    most - before
}

/// A MiB of content, as much again in buffers that were read with the heads; the allocator takes memory in steps of 2 MiB.
const HELD_KIB_MAX: u64 = 6 * 1024;

#[test]
fn d21_a_caller_that_opens_its_windows_and_does_not_read_holds_little_until_it_is_reset() {
    let held = memory_of_a_hundred_answers(&[(INITIAL_WINDOW, 0x7fff_ffff)], 0x7fff_0000);
    assert!(held < HELD_KIB_MAX, "{held} KiB more");
}

#[test]
fn d21_a_caller_whose_windows_stay_shut_holds_little_until_it_is_reset() {
    let held = memory_of_a_hundred_answers(&[(INITIAL_WINDOW, 0)], 1);
    assert!(held < HELD_KIB_MAX, "{held} KiB more");
}

#[test]
fn d21_two_thousand_streams_with_a_window_of_zero_stay_at_a_hundred() {
    let hold = Gate::new();
    let held = hold.clone();
    let origin = RawOrigin::scripted(move |_| Script::new().request().wait(&held).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
    let mut caller = RawH2::connect(unlag.address(), &[(INITIAL_WINDOW, 0)]);
    let sent = caller.flood(2_000, |n| {
        vec![Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, id(n), request_block("GET", "/"))]
    });
    let refused =
        || caller.count(kind::RST_STREAM) + STREAMS >= sent || caller.is_ended() || caller.goaway().is_some();
    assert!(
        holds_within(Duration::from_secs(10), refused),
        "{} of {sent} were refused",
        caller.count(kind::RST_STREAM)
    );
    assert!(origin.request_count() <= STREAMS, "{} requests at the origin", origin.request_count());
    hold.open();
}

#[test]
fn a_paused_stream_does_not_hold_the_others_up() {
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n{}", "x".repeat(1 << 20));
    let origin = RawOrigin::always(Script::new().request().send(&large).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
    // A window for the connection, none for its streams but those that are opened one by one.
    let mut caller = RawH2::connect(unlag.address(), &[(INITIAL_WINDOW, 1_000)]);
    caller.send(kind::WINDOW_UPDATE, 0, 0, 0x7fff_0000_u32.to_be_bytes());
    for n in 0..STREAMS - 1 {
        assert!(caller.get(id(n), "/paused"));
    }
    wait_until("the paused streams have used their windows", || caller.count(kind::DATA) >= STREAMS - 1);
    let last = id(STREAMS - 1);
    assert!(caller.get(last, "/wanted"));
    caller.send(kind::WINDOW_UPDATE, 0, last, (1_u32 << 20).to_be_bytes());
    wait_until("the answer that is read is whole", || caller.body_bytes(last) == 1 << 20);
    wait_until("the paused streams are as they were", || {
        (0..STREAMS - 1).all(|n| caller.body_bytes(id(n)) == 1_000)
    });
}
