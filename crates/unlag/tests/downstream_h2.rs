//! HTTP/2 callers that lie: rows D22 and D23.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use unlag_testkit::h2::frame::{END_HEADERS, END_STREAM, PROTOCOL_ERROR, block, request_block};
use unlag_testkit::h2::{Call, RawH2, kind};
use unlag_testkit::origin::ok;
use unlag_testkit::wait::{holds_within, pause};
use unlag_testkit::{Gate, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

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
    fn connect(&self) -> RawH2 {
        RawH2::connect(self.unlag.address(), &[])
    }
}

fn id(n: usize) -> u32 {
    u32::try_from(n * 2 + 1).expect("a stream")
}

#[test]
fn a_plain_exchange_works_with_prior_knowledge() {
    let bed = bed();
    let answer = Call::get("/a?b=c").field("x-kept", "1").send(bed.unlag.address());
    assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
    let request = bed.origin.only_request();
    assert_eq!(
        (request.target().as_str(), request.header("host").as_deref()),
        ("/a?b=c", Some("unlag.test"))
    );
    assert_eq!(request.header("x-kept").as_deref(), Some("1"));
    let mut caller = bed.connect();
    assert!(caller.get(1, "/"));
    assert_eq!(caller.wait_for_status(1), 200);
}

#[test]
fn http_2_requests_become_http_1_with_exact_framing() {
    let bed = bed();
    let answer = Call::post("/up", &[b'x'; 100_000]).send(bed.unlag.address());
    assert_eq!(answer.status, 200);
    let request = bed.origin.only_request();
    assert_eq!(request.body.len(), 100_000);
    assert!(request.is_chunked() != request.header("content-length").is_some());
    let sized = Call::post("/up", b"hello").field("content-length", "5").send(bed.unlag.address());
    assert_eq!(sized.status, 200);
    assert_eq!(bed.origin.requests()[1].header("content-length").as_deref(), Some("5"));
}

/// One request with these fields after the pseudo-headers of a plain one, or instead of them.
fn send_fields(bed: &Bed, fields: &[(&[u8], &[u8])]) -> RawH2 {
    let mut caller = bed.connect();
    caller.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, block(fields));
    let answered = || {
        caller.is_ended()
            || caller.goaway().is_some()
            || caller.reset_code(1).is_some()
            || caller.status(1).is_some()
    };
    assert!(holds_within(Duration::from_secs(10), answered), "no answer to {fields:?}");
    caller
}

#[test]
fn d22_fields_that_http_1_could_not_carry_are_refused() {
    let plain: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
    let with = |name: &'static [u8], value: &'static [u8]| [plain.as_slice(), &[(name, value)]].concat();
    let cases: Vec<Vec<(&[u8], &[u8])>> = vec![
        with(b"x-a", b"1\r\nX-Evil: 1"),
        with(b"x-a", b"1\nX-Evil: 1"),
        with(b"x-a", b"1\0"),
        with(b"X-Upper", b"1"),
        with(b"x a", b"1"),
        with(b"x:a", b"1"),
        with(b"", b"1"),
        with(b"x\r\n", b"1"),
        with(b"transfer-encoding", b"chunked"),
        with(b"connection", b"close"),
        with(b"upgrade", b"h2c"),
        with(b"te", b"gzip"),
        with(b":path", b"/twice"),
        with(b":unknown", b"1"),
        with(b"host", b"other"),
        with(b"content-length", b"+5"),
        with(b"content-length", b"5"),
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a b"), (b":authority", b"a")],
        vec![
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/a\r\nHost: evil"),
            (b":authority", b"a"),
        ],
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"evil"), (b":authority", b"a")],
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b""), (b":authority", b"a")],
        vec![(b":method", b"G T"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")],
        vec![
            (b":method", b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"a"),
        ],
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a b")],
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"user@a")],
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a")],
        vec![(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")],
        vec![
            (b":method", b"GET"),
            (b"x-a", b"1"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"a"),
        ],
    ];
    let bed = bed();
    for fields in &cases {
        let mut caller = send_fields(&bed, fields);
        let shown: Vec<_> =
            fields.iter().map(|(n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v))).collect();
        if let Some(code) = caller.goaway() {
            // What no decoder takes for a field costs the connection: the `h2` crate reads no further.
            assert_eq!(code, PROTOCOL_ERROR, "{shown:?}");
        } else {
            let refused = caller.reset_code(1) == Some(PROTOCOL_ERROR) || caller.status(1) == Some(400);
            assert!(refused, "{shown:?}: status {:?}, reset {:?}", caller.status(1), caller.reset_code(1));
            caller.get(3, "/another");
            assert_eq!(caller.wait_for_status(3), 200, "{shown:?} costs its own stream only");
        }
        let others = bed.origin.requests().iter().filter(|request| request.target() != "/another").count();
        assert_eq!(others, 0, "{shown:?} reached the origin");
    }
    let caller = send_fields(&bed, &plain);
    assert_eq!(caller.status(1), Some(200), "the plain request is fine");
}

/// A `POST /sized` that declares a length, and its DATA frames; the last one ends the stream if `ends`. Before every frame the
/// proxy has had time to pass on what came before it.
fn post_in_frames(address: &str, origin: &RawOrigin, declared: &str, frames: &[&[u8]], ends: bool) -> RawH2 {
    let mut caller = RawH2::connect(address, &[]);
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/sized"),
        (b":authority", b"a"),
        (b"content-length", declared.as_bytes()),
    ];
    caller.send(kind::HEADERS, END_HEADERS, 1, block(&fields));
    for (n, data) in frames.iter().enumerate() {
        let path = format!("/behind-{n}");
        assert!(caller.get(id(n + 1), &path));
        wait_until("a later request is at the origin", || {
            origin.requests().iter().any(|request| request.target() == path)
        });
        let flags = if ends && n + 1 == frames.len() { END_STREAM } else { 0 };
        caller.send(kind::DATA, flags, 1, *data);
    }
    caller
}

/// The connections of the origin that received `POST /sized`, and whether it is whole by its own framing.
fn sized_posts(origin: &RawOrigin) -> Vec<(usize, bool)> {
    let is_whole = |n: usize| {
        let received = origin.connection(n).received;
        received.starts_with(b"POST /sized ").then(|| {
            let text = String::from_utf8_lossy(&received).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return (n, false) };
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            match length.and_then(|length| length.trim().parse::<usize>().ok()) {
                Some(length) => (n, body.len() >= length),
                None => (n, !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n")),
            }
        })
    };
    (0..origin.connections()).filter_map(is_whole).collect()
}

#[test]
fn d23_a_content_length_that_differs_from_the_data_is_reset_and_never_whole_at_the_origin() {
    let cases: [(&str, &[&[u8]], bool); 8] = [
        ("10", &[b"hello"], true),
        ("10", &[b"hel", b"lo", b""], true),
        ("3", &[b"hello"], true),
        ("3", &[b"hel", b"lo"], true),
        ("5", &[b"hel", b"lo", b"!"], true),
        ("5", &[b"hello", b"!"], false),
        ("0", &[b"hello"], true),
        ("0", &[b"", b"h"], false),
    ];
    for (declared, frames, ends) in cases {
        let origin = RawOrigin::always(Script::new().request().silence());
        let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
        let caller = post_in_frames(unlag.address(), &origin, declared, frames, ends);
        wait_until("the stream is reset", || caller.reset_code(1).is_some() || caller.is_ended());
        assert_eq!(caller.reset_code(1), Some(PROTOCOL_ERROR), "{declared} for {frames:?}");
        assert_eq!(caller.goaway(), None, "{declared} for {frames:?} costs the stream only");
        for (connection, _) in sized_posts(&origin) {
            origin.wait_until_closed(connection);
        }
        assert!(sized_posts(&origin).iter().all(|&(_, whole)| !whole), "{declared} for {frames:?} is whole");
    }
}

#[test]
fn a_body_whose_end_comes_apart_from_its_last_byte_arrives_whole() {
    let cases: [(&str, &[&[u8]], &str); 3] =
        [("5", &[b"hel", b"lo", b""], "hello"), ("1", &[b"x", b"", b""], "x"), ("0", &[b"", b""], "")];
    for (declared, frames, body) in cases {
        let origin = RawOrigin::ok("fine");
        let unlag = Setup::of(UNLAG).to([origin.url()]).start();
        let caller = post_in_frames(unlag.address(), &origin, declared, frames, true);
        assert_eq!(caller.wait_for_status(1), 200);
        let requests = origin.requests();
        let request = requests.iter().find(|request| request.target() == "/sized").expect("the request");
        assert_eq!(request.body, body.as_bytes());
        assert_eq!(request.header("content-length").as_deref(), Some(declared));
    }
}

#[test]
fn an_empty_body_whose_end_does_not_come_is_not_waited_for_for_ever() {
    let origin = RawOrigin::ok("fine");
    let setup = Setup::of(UNLAG).to([origin.url()]);
    let unlag = setup.limit("body_rate_grace", "\"300ms\"").limit("body_rate_min", "\"1KiB\"").start();
    let caller = post_in_frames(unlag.address(), &origin, "0", &[b""], false);
    assert_eq!(caller.wait_for_status(1), 408);
    assert!(sized_posts(&origin).is_empty(), "an unfinished request is at the origin");
}

#[test]
fn an_http_2_caller_sees_a_cut_body_as_a_reset() {
    let origin = RawOrigin::always(
        Script::new().request().send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").close(),
    );
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let answer = Call::get("/").send(unlag.address());
    assert!(answer.reset.is_some(), "{answer:?}");
}

#[test]
fn u10_a_grpc_caller_sees_a_cut_answer_as_unavailable() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n";
    for framing in ["Content-Length: 100\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"] {
        let origin = RawOrigin::always(Script::new().request().send(format!("{head}{framing}")).close());
        let unlag = Setup::of(UNLAG).to([origin.url()]).start();
        let answer = Call::grpc("/svc/Method").send(unlag.address());
        assert_eq!((answer.reset, answer.text().as_str()), (None, "short"), "{framing:?}");
        assert_eq!(answer.header("grpc-status"), Some("14"), "{framing:?}");
    }
}

#[test]
fn u10_an_answer_that_is_not_grpc_and_was_cut_is_reset_for_a_grpc_caller_too() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
    let cut = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n");
    let origin = RawOrigin::always(Script::new().request().send(cut).close());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let answer = Call::grpc("/svc/Method").send(unlag.address());
    assert!(answer.reset.is_some(), "{answer:?}");
}

#[test]
fn l1_a_drain_sends_goaway_twice_and_finishes_streams() {
    let finish = Gate::new();
    let origin = RawOrigin::always(
        Script::new().request().wait(&finish).send(unlag_testkit::origin::ok("late")).silence(),
    );
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    caller.get(1, "/");
    origin.wait_for_requests(1);
    unlag.signal("TERM");
    let goaways = |caller: &RawH2| {
        let frames = caller.frames();
        let last_streams = frames.iter().filter(|frame| frame.kind == kind::GOAWAY);
        last_streams.map(|frame| frame.payload[..4].to_vec()).collect::<Vec<_>>()
    };
    wait_until("the first GOAWAY, which rejects no stream", || {
        goaways(&caller) == [0x7fff_ffff_u32.to_be_bytes()]
    });
    wait_until("the PING that tells when the caller has seen it", || caller.count(kind::PING) > 0);
    caller.answer_pings();
    wait_until("the second, which names the last stream", || {
        goaways(&caller).last().is_some_and(|last| *last == 1_u32.to_be_bytes())
    });
    finish.open();
    assert_eq!(caller.wait_for_status(1), 200);
    assert_eq!(unlag.wait_for_exit(), Some(0));
    assert!(caller.goaway().is_none(), "a drain is no error");
}

#[test]
fn d15_an_http2_caller_that_waits_for_100_continue_gets_it_and_then_the_answer() {
    let echo = |request: &unlag_testkit::Request| ok(&String::from_utf8_lossy(&request.body));
    let origin = RawOrigin::always(Script::new().answer(echo));
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    let mut head = request_block("POST", "/upload");
    head.extend(block(&[(b"expect", b"100-continue"), (b"content-length", b"5")]));
    caller.send(kind::HEADERS, END_HEADERS, 1, head);
    assert_eq!(caller.wait_for_status(1), 100);
    caller.send(kind::DATA, END_STREAM, 1, *b"hello");
    wait_until("the echo", || caller.body_bytes(1) == 5);
}

#[test]
fn l1_a_drain_lets_an_upload_finish() {
    let origin = RawOrigin::ok("fine");
    let mut unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    caller.send(kind::HEADERS, END_HEADERS, 1, request_block("POST", "/up"));
    caller.send(kind::DATA, 0, 1, *b"hel");
    wait_until("the request is at the origin", || origin.connections() > 0);
    unlag.signal("TERM");
    wait_until("a GOAWAY", || caller.count(kind::GOAWAY) > 0);
    caller.send(kind::DATA, END_STREAM, 1, *b"lo");
    assert_eq!(caller.wait_for_status(1), 200);
    assert_eq!(origin.only_request().body, b"hello");
    caller.answer_pings();
    assert_eq!(unlag.wait_for_exit(), Some(0));
}

#[test]
fn what_follows_a_hash_in_a_path_is_nobodys() {
    let bed = bed();
    for (path, target) in [("/a#b", "/a"), ("/a?q#x", "/a?q"), ("/x#/../admin", "/x")] {
        let mut caller = bed.connect();
        caller.get(1, path);
        assert_eq!(caller.wait_for_status(1), 200, "{path}");
        assert_eq!(bed.origin.requests().last().expect("a request").target(), target, "{path}");
    }
}

#[test]
fn a_refusal_reaches_a_caller_that_stops_its_upload_when_it_sees_it() {
    let stall = Gate::new();
    let head = "HTTP/1.1 501 No\r\nContent-Length: 6\r\n\r\n";
    let script = Script::new().head().send(head).wait(&stall).send("refuse").silence();
    let origin = RawOrigin::always(script);
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).start();
    let mut caller = RawH2::connect(unlag.address(), &[]);
    let mut fields = request_block("POST", "/");
    fields.extend(block(&[(b"content-length", b"3")]));
    caller.send(kind::HEADERS, END_HEADERS, 1, fields);
    let opener = std::thread::spawn(move || {
        pause(Duration::from_millis(200));
        stall.open();
    });
    assert_eq!(caller.wait_for_status(1), 501);
    // Short of what was declared: an error of the stream, but the answer has left as a whole.
    caller.send(kind::DATA, END_STREAM, 1, []);
    wait_until("the answer is whole", || caller.body_bytes(1) == 6);
    opener.join().expect("the opener");
}
