//! HTTP/2 callers that are slow, gone, or do not take what they asked for: rows D10 to D12 and D21.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::h2::frame::{END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, request_block};
use unlag_testkit::h2::{Frame, RawH2, kind};
use unlag_testkit::wait::{holds_within, pause};
use unlag_testkit::{Gate, RawOrigin, Script, Setup, wait_until};

use std::time::{Duration, Instant};

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
        assert!(caller.get(id(n), &format!("/large/{n}")));
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
const HELD_KIB_MAX: u64 = 8 * 1024;

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
fn d21_a_small_answer_that_nobody_takes_is_given_up_and_not_recorded_as_complete() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("write_timeout", "\"200ms\"").start();
    let mut caller = RawH2::connect(unlag.address(), &[(INITIAL_WINDOW, 3)]);
    caller.get(1, "/");
    wait_until("the stream is reset", || caller.reset_code(1).is_some());
    assert_eq!(caller.body_bytes(1), 3, "as much as the window holds");
    assert_eq!(unlag.wait_for_cause(), "caller_stalled");
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
        // Each another: streams of the same would share one fetch.
        assert!(caller.get(id(n), &format!("/paused/{n}")));
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

/// What a caller sends of a head before it falls silent.
fn beginnings_of_a_head() -> [(&'static str, Vec<u8>); 4] {
    let whole = Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, 3, request_block("GET", "/half")).bytes();
    let unended = Frame::new(kind::HEADERS, END_STREAM, 3, request_block("GET", "/half")).bytes();
    let continued = [unended.clone(), Frame::new(kind::CONTINUATION, 0, 3, []).bytes()].concat();
    [
        ("half a frame header", whole[..5].to_vec()),
        ("half a frame", whole[..20].to_vec()),
        ("a head that goes on", unended),
        ("a head that goes on and on", continued),
    ]
}

#[test]
fn d10_half_a_head_is_cut_off_beside_another_stream_too() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("header_timeout", "\"300ms\"").start();
    for (n, (what, bytes)) in beginnings_of_a_head().into_iter().enumerate() {
        let mut caller = RawH2::connect(unlag.address(), &[]);
        assert!(caller.get(1, "/waits"));
        origin.wait_for_requests(n + 1);
        caller.send_bytes(&bytes);
        assert_eq!(caller.wait_for_end(), Some(ENHANCE_YOUR_CALM), "{what}");
        wait_until("the connection is closed", || caller.is_ended());
        origin.wait_until_closed(n);
    }
}

#[test]
fn d10_an_idle_connection_and_content_in_parts_have_more_time_than_a_head() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("header_timeout", "\"200ms\"").start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    caller.send(kind::HEADERS, END_HEADERS, 1, request_block("POST", "/up"));
    let data = Frame::new(kind::DATA, END_STREAM, 1, *b"hello").bytes();
    caller.send_bytes(&data[..11]);
    pause(Duration::from_millis(600));
    caller.send_bytes(&data[11..]);
    assert_eq!(caller.wait_for_status(1), 200);
    pause(Duration::from_millis(600));
    caller.get(3, "/");
    assert_eq!(caller.wait_for_status(3), 200);
}

#[test]
fn an_idle_connection_is_asked_to_go_and_closed_after_the_idle_timeout() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("idle_timeout", "\"300ms\"").start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    caller.get(1, "/");
    assert_eq!(caller.wait_for_status(1), 200);
    wait_until("a GOAWAY", || caller.count(kind::GOAWAY) > 0);
    wait_until("the end", || caller.is_ended());
    assert_eq!(caller.goaway(), None, "to be idle is no error");
}

#[test]
fn d11_a_body_below_the_minimum_rate_is_ended_on_both_sides() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let setup = Setup::of(UNLAG).to([origin.url()]);
    let unlag = setup.limit("body_rate_grace", "\"300ms\"").limit("body_rate_min", "\"1KiB\"").start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    caller.send(kind::HEADERS, END_HEADERS, 1, request_block("POST", "/slow"));
    let ended = holds_within(Duration::from_secs(10), || {
        pause(Duration::from_millis(20));
        caller.send(kind::DATA, 0, 1, *b"x");
        caller.status(1) == Some(408) || caller.reset_code(1).is_some()
    });
    assert!(ended, "one byte every 20 ms goes on");
    origin.wait_until_closed(0);
    assert!(caller.get(3, "/another") && !caller.is_ended(), "the connection lives");
    origin.wait_for_requests(2);
}

#[test]
fn d12_when_the_caller_resets_the_stream_or_leaves_the_request_to_the_origin_ends() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for (n, (method, resets)) in
        [("GET", true), ("GET", false), ("POST", true), ("POST", false)].into_iter().enumerate()
    {
        let mut caller = RawH2::connect(unlag.address(), &[]);
        let flags = if method == "GET" { END_HEADERS | END_STREAM } else { END_HEADERS };
        caller.send(kind::HEADERS, flags, 1, request_block(method, "/"));
        if method == "POST" {
            caller.send(kind::DATA, 0, 1, *b"some");
        }
        wait_until("the request is at the origin", || origin.connections() == n + 1);
        wait_until("its head too", || origin.connection(n).received.ends_with(b"\r\n"));
        let left = Instant::now();
        if resets {
            caller.send(kind::RST_STREAM, 0, 1, 8_u32.to_be_bytes());
        } else {
            drop(caller);
        }
        origin.wait_until_closed(n);
        assert!(left.elapsed() < Duration::from_secs(2), "{method}: took {:?}", left.elapsed());
        let received = origin.connection(n).received;
        assert!(!received.ends_with(b"0\r\n\r\n"), "an upload that was broken off looks whole");
    }
}
