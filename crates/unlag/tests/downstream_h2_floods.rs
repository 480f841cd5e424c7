//! HTTP/2 callers that flood: rows D16 to D20. Each sends a little more than its budget and then nothing, so it is the budget
//! that ends it; another caller is served throughout.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use unlag_testkit::client::get_once;
use unlag_testkit::h2::frame::{
    END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, block,
    indexed_literal, request_block,
};
use unlag_testkit::h2::{Frame, RawH2, kind};
use unlag_testkit::{RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
/// The default of `h2_glitches` is 1,000.
const FLOOD: usize = 1_100;
/// A CONTINUATION costs a twentieth of it.
const PARTS: usize = 22;

struct Bed {
    unlag: Unlag,
    origin: RawOrigin,
}

fn bed() -> Bed {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
    Bed { unlag, origin }
}

impl Bed {
    /// Runs `attack` while another caller asks again and again, and is answered each time within a second.
    fn with_a_victim<T>(&self, what: &str, attack: impl FnOnce() -> T) -> T {
        let before = self.unlag.resident_kib();
        let over = AtomicBool::new(false);
        let (result, (served, slowest)) = std::thread::scope(|scope| {
            let victim = scope.spawn(|| {
                let (mut served, mut slowest) = (0, Duration::ZERO);
                while !over.load(Ordering::Acquire) || served == 0 {
                    let (response, took) = get_once(self.unlag.address(), "/victim");
                    assert_eq!(response.text(), "fine", "{what}: a victim is served");
                    (served, slowest) = (served + 1, slowest.max(took));
                }
                (served, slowest)
            });
            // Dropped when the attack panics as well: the victim must not go on for ever.
            let _over = Raise(&over);
            let result = attack();
            over.store(true, Ordering::Release);
            (result, victim.join().expect("the victim"))
        });
        assert!(slowest < Duration::from_secs(1), "{what}: one of {served} answers took {slowest:?}");
        let grown = self.unlag.resident_kib().saturating_sub(before);
        assert!(grown < 24 * 1024, "{what}: {grown} KiB more");
        result
    }

    /// A flood of `count` ends in a GOAWAY that asks for calm.
    fn assert_calmed(&self, what: &str, count: usize, mut next: impl FnMut(usize) -> Vec<Frame>) -> RawH2 {
        self.with_a_victim(what, || {
            let mut caller = RawH2::connect(self.unlag.address(), &[]);
            caller.flood(count, &mut next);
            assert_eq!(caller.wait_for_end(), Some(ENHANCE_YOUR_CALM), "{what}");
            caller
        })
    }

    /// Half of that many are nobody's business.
    fn assert_peace(&self, what: &str, count: usize, mut next: impl FnMut(usize) -> Vec<Frame>) {
        let mut caller = RawH2::connect(self.unlag.address(), &[]);
        assert_eq!(caller.flood(count / 2, &mut next), count / 2, "{what}: half the budget");
        let mut last = FLOOD;
        assert!(caller.get(id(last), "/"), "{what}: half the budget");
        wait_until("another request is answered after half the budget", || {
            // Refused, while streams of the flood are still being reset.
            if caller.reset_code(id(last)).is_some() {
                last += 1;
                caller.get(id(last), "/");
            }
            caller.status(id(last)) == Some(200)
        });
        assert_eq!(caller.count(kind::GOAWAY), 0, "{what}: half the budget");
    }

    fn assert_budget(&self, what: &str, mut next: impl FnMut(usize) -> Vec<Frame>) {
        self.assert_peace(what, FLOOD, &mut next);
        self.assert_calmed(what, FLOOD, next);
    }
}

struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn id(n: usize) -> u32 {
    u32::try_from(n * 2 + 1).expect("a stream")
}

fn get(n: usize) -> Frame {
    Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, id(n), request_block("GET", "/flood"))
}

#[test]
fn d16_rapid_reset_is_stopped_and_the_origin_is_spared() {
    let bed = bed();
    let cancel = |n: usize| Frame::new(kind::RST_STREAM, 0, id(n), 8_u32.to_be_bytes());
    bed.assert_calmed("rapid reset", FLOOD, |n| vec![get(n), cancel(n)]);
    let flood = bed.origin.requests().iter().filter(|request| request.target() == "/flood").count();
    assert!(flood <= FLOOD, "{flood} requests were started");
}

#[test]
fn d17_resets_that_the_server_is_made_to_send_count_too() {
    let bed = bed();
    let widest = 0x7fff_ffff_u32.to_be_bytes();
    bed.assert_calmed("a window that overflows", FLOOD, |n| {
        vec![get(n), Frame::new(kind::WINDOW_UPDATE, 0, id(n), widest)]
    });
    let head = |fields: &[(&[u8], &[u8])]| [request_block("GET", "/bad"), block(fields)].concat();
    let malformed = head(&[(b"connection", b"close")]);
    bed.assert_budget("a malformed head, seen by h2", |n| {
        vec![Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, id(n), malformed.clone())]
    });
    let malformed = head(&[(b"host", b"another")]);
    bed.assert_budget("a malformed head, seen by us", |n| {
        vec![Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, id(n), malformed.clone())]
    });
    let longer = head(&[(b"content-length", b"5")]);
    bed.assert_budget("content that is missing", |n| {
        vec![Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, id(n), longer.clone())]
    });
    assert!(bed.origin.requests().iter().all(|request| request.target() != "/bad"));
}

#[test]
fn d17_streams_beyond_the_limit_are_refused_and_their_resets_count() {
    let bed = bed();
    let open = Frame::new(kind::HEADERS, END_HEADERS, 1, request_block("POST", "/flood"));
    let caller =
        bed.assert_calmed("refused streams", FLOOD + 100, |n| vec![Frame { stream: id(n), ..open.clone() }]);
    let refused = caller.frames().iter().filter(|frame| frame.kind == kind::RST_STREAM).count();
    assert!((900..=FLOOD).contains(&refused), "{refused} were refused");
}

#[test]
fn d17_what_would_be_a_reset_elsewhere_ends_the_connection_at_once() {
    let bed = bed();
    let end = |what: &str, frame: Frame| {
        let mut caller = RawH2::connect(bed.unlag.address(), &[]);
        caller.send_bytes(&[get(0).bytes(), frame.bytes()].concat());
        bed.with_a_victim(what, || caller.wait_for_end())
    };
    let zero = Frame::new(kind::WINDOW_UPDATE, 0, 1, 0_u32.to_be_bytes());
    assert_eq!(end("a window update of zero", zero), Some(PROTOCOL_ERROR));
    let late = Frame::new(kind::DATA, 0, 1, *b"after the end");
    assert_eq!(end("data after the end", late), Some(STREAM_CLOSED));
    let widest = Frame::new(kind::WINDOW_UPDATE, 0, 0, 0x7fff_ffff_u32.to_be_bytes());
    assert_eq!(end("a connection's window that overflows", widest), Some(FLOW_CONTROL_ERROR));
}

#[test]
fn d18_a_head_without_end_is_stopped() {
    let bed = bed();
    for (what, part) in [("CONTINUATION", block(&[(b"x-part", &[b'a'; 1000])])), ("empty ones", vec![])] {
        bed.assert_calmed(what, PARTS, |n| match n {
            0 => vec![Frame::new(kind::HEADERS, END_STREAM, 1, request_block("GET", "/flood"))],
            _ => vec![Frame::new(kind::CONTINUATION, 0, 1, part.clone())],
        });
    }
    assert!(bed.origin.requests().iter().all(|request| request.target() != "/flood"));
}

#[test]
fn d19_a_flood_of_settings_is_stopped() {
    bed().assert_budget("SETTINGS", |_| vec![Frame::new(kind::SETTINGS, 0, 0, [0, 3, 0, 0, 0, 100])]);
}

#[test]
fn d19_a_flood_of_pings_is_stopped() {
    bed().assert_budget("PING", |n| vec![Frame::new(kind::PING, 0, 0, (n as u64).to_be_bytes())]);
}

#[test]
fn d19_floods_of_a_caller_that_never_reads_are_stopped() {
    for (kind, payload) in [(kind::PING, vec![0; 8]), (kind::SETTINGS, vec![0, 3, 0, 0, 0, 100])] {
        let bed = bed();
        bed.with_a_victim("a deaf caller", || {
            let mut caller = RawH2::deaf(bed.unlag.address(), &[]);
            caller.flood(FLOOD, |_| vec![Frame::new(kind, 0, 0, payload.clone())]);
            wait_until("the flood is noticed", || {
                bed.unlag.admin("/metrics").text().lines().any(|line| line == "unlag_http2_floods_total 1")
            });
            caller.listen();
            assert_eq!(caller.wait_for_end(), Some(ENHANCE_YOUR_CALM));
        });
    }
}

#[test]
fn d19_a_flood_of_priorities_is_stopped() {
    bed().assert_budget("PRIORITY", |n| vec![Frame::new(kind::PRIORITY, 0, id(n), [0, 0, 0, 0, 16])]);
}

#[test]
fn d19_a_flood_of_empty_data_is_stopped() {
    // Of these the `h2` crate takes a hundred before it says the same.
    bed().assert_calmed("empty DATA", FLOOD, |n| match n {
        0 => vec![Frame::new(kind::HEADERS, END_HEADERS, 1, request_block("POST", "/flood"))],
        _ => vec![Frame::new(kind::DATA, 0, 1, [])],
    });
}

#[test]
fn d19_a_flood_of_tiny_window_updates_is_stopped() {
    bed()
        .assert_budget("WINDOW_UPDATE", |_| vec![Frame::new(kind::WINDOW_UPDATE, 0, 0, 1_u32.to_be_bytes())]);
}

#[test]
fn a_caller_near_its_budget_is_asked_for_another_connection_and_served_to_the_end() {
    let bed = bed();
    let mut caller = RawH2::connect(bed.unlag.address(), &[]);
    caller.send(kind::HEADERS, END_HEADERS, 1, request_block("POST", "/up"));
    caller.flood(850, |n| vec![Frame::new(kind::PING, 0, 0, (n as u64).to_be_bytes())]);
    wait_until("a GOAWAY", || caller.count(kind::GOAWAY) > 0);
    caller.send(kind::DATA, END_STREAM, 1, *b"hello");
    assert_eq!(caller.wait_for_status(1), 200);
    wait_until("the end", || caller.is_ended());
    assert_eq!(caller.goaway(), None, "no error yet");
}

#[test]
fn d20_a_small_block_that_decodes_to_megabytes_is_refused_in_little_memory() {
    const STREAMS: usize = 10;
    let bed = bed();
    let mut payload = request_block("GET", "/bomb");
    payload.extend(indexed_literal(b"x-bomb", &[b'a'; 3_900]));
    payload.extend(std::iter::repeat_n(0xbe, 8_000));
    bed.with_a_victim("a bomb", || {
        let mut caller = RawH2::connect(bed.unlag.address(), &[]);
        for n in 0..STREAMS {
            caller.send(kind::HEADERS, END_HEADERS | END_STREAM, id(n), payload.clone());
        }
        for n in 0..STREAMS {
            wait_until("each of them is refused", || {
                caller.is_ended() || caller.reset_code(id(n)).is_some() || caller.status(id(n)).is_some()
            });
            assert!(caller.status(id(n)).is_none_or(|status| status == 431), "stream {n}");
        }
    });
    assert!(bed.origin.requests().iter().all(|request| request.target() != "/bomb"));
}

#[test]
fn d16_a_flood_that_is_cut_at_once_is_counted_and_fills_no_log() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    let flood = (0..200).flat_map(|n| {
        let stream = 2 * n + 1;
        let head =
            Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, stream, request_block("GET", "/flood"));
        [head.bytes(), Frame::new(kind::RST_STREAM, 0, stream, [0, 0, 0, 8]).bytes()].concat()
    });
    caller.send_bytes(&flood.collect::<Vec<u8>>());
    wait_until("a GOAWAY", || caller.goaway() == Some(ENHANCE_YOUR_CALM));
    wait_until("it is counted", || {
        unlag.admin("/metrics").text().lines().any(|line| line == "unlag_http2_floods_total 1")
    });
    assert!(unlag.log().objects().iter().all(|line| line["level"] != "WARN"), "{:?}", unlag.log().lines());
}
