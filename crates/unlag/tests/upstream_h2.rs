//! Origins that speak HTTP/2 and change their mind, and gRPC through and through: rows U36, U37 and U40.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::{Duration, Instant};

use unlag_testkit::h2::frame::{ACK, END_HEADERS, END_STREAM, block};
use unlag_testkit::h2::{Call, Frame, H2Origin, Plan, kind};
use unlag_testkit::{Gate, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

fn in_front_of(origin: &H2Origin) -> Unlag {
    setup(origin).start()
}

fn setup(origin: &H2Origin) -> Setup {
    Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"").workers(1)
}

#[test]
fn http_1_callers_and_http_2_callers_reach_an_http_2_origin_over_few_connections() {
    let origin = H2Origin::start(|_, request| Plan::ok(request.uri().path()));
    let unlag = in_front_of(&origin);
    assert_eq!(unlag.get("/one").text(), "/one");
    let calls: Vec<Call> = (0..50).map(|n| Call::get(&format!("/{n}"))).collect();
    for (n, answer) in Call::send_all(unlag.address(), &calls).iter().enumerate() {
        assert_eq!((answer.status, answer.text()), (200, format!("/{n}")));
    }
    assert!(origin.connections() <= 2, "{} connections for 51 requests", origin.connections());
}

#[test]
fn a_post_keeps_its_body_and_an_answer_its_trailers() {
    let origin = H2Origin::start(|_, _| Plan::Answer {
        status: 201,
        fields: vec![("x-kept", "1".into())],
        body: "made".into(),
        trailers: vec![("x-sum", "abc".into())],
    });
    let unlag = in_front_of(&origin);
    let answer = Call::post("/", &[7; 100_000]).field("te", "trailers").send(unlag.address());
    assert_eq!((answer.status, answer.text().as_str()), (201, "made"));
    assert_eq!(answer.trailers.get("x-sum").and_then(|value| value.to_str().ok()), Some("abc"));
    assert_eq!(origin.requests()[0].body.as_deref(), Some(&[7; 100_000][..]));
}

#[test]
fn u36_a_refused_stream_is_sent_again() {
    let origin = H2Origin::start(|number, _| match number {
        0 => Plan::Reset(h2::Reason::REFUSED_STREAM),
        _ => Plan::ok("second try"),
    });
    let unlag = in_front_of(&origin);
    assert_eq!(unlag.get("/").text(), "second try");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn u36_another_reset_is_502_and_what_may_not_be_repeated_is_sent_once_although_there_is_another_endpoint() {
    for (request, attempts) in [(Call::get("/"), 2), (Call::post("/", b"pay"), 1)] {
        let origins = [(); 2].map(|()| H2Origin::start(|_, _| Plan::Reset(h2::Reason::INTERNAL_ERROR)));
        let setup = Setup::of(UNLAG).to(origins.iter().map(H2Origin::url));
        let unlag = setup.upstream("protocol", "\"http2\"").start();
        assert_eq!(request.send(unlag.address()).status, 502);
        let sent: usize = origins.iter().map(|origin| origin.requests().len()).sum();
        assert_eq!(sent, attempts, "{request:?}");
    }
}

#[test]
fn u36_a_refused_post_is_sent_again() {
    let origin = H2Origin::start(|number, _| match number {
        0 => Plan::Reset(h2::Reason::REFUSED_STREAM),
        _ => Plan::ok("second try"),
    });
    let unlag = in_front_of(&origin);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\npay";
    assert_eq!(unlag.connect().send(post).read_response("POST").text(), "second try");
    assert_eq!(origin.requests()[1].body.as_deref(), Some(&b"pay"[..]));
}

/// What an HTTP/2 origin sends first, with this number of streams allowed.
fn settings_of(streams: u32) -> Vec<u8> {
    let limit = [&[0, 3][..], &streams.to_be_bytes()].concat();
    [Frame::new(kind::SETTINGS, 0, 0, limit), Frame::new(kind::SETTINGS, ACK, 0, [])]
        .map(|f| f.bytes())
        .concat()
}

/// Reads the preface, which has two empty lines, and greets.
fn greeting(streams: u32) -> Script {
    Script::new().head().head().send(settings_of(streams))
}

/// A request whose content an origin can wait for with [`Script::head`]: the bytes that end a head.
const MARKED: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n";

#[test]
fn u36_a_stream_above_the_last_of_a_goaway_is_sent_again_on_another_connection() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => greeting(100).head().send(Frame::new(kind::GOAWAY, 0, 0, [0; 8]).bytes()).silence(),
        _ => greeting(100).head().send(Frame::new(kind::HEADERS, 5, 1, [0x88]).bytes()).silence(),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"").workers(1).start();
    assert_eq!(unlag.connect().send(MARKED).read_response("PUT").status(), 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn u36_after_a_goaway_streams_finish_and_new_ones_take_another_connection() {
    let origin = H2Origin::start(|number, _| match number {
        0 => Plan::GoAway("finished".into()),
        _ => Plan::ok("fresh"),
    });
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    assert_eq!(client.get("/").text(), "finished");
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "fresh");
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn u37_one_stream_at_a_time_queues_or_spreads_and_fails_nothing() {
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(1);
    let origin = H2Origin::with_settings(settings, |_, _| Plan::ok("fine"));
    let unlag = in_front_of(&origin);
    let calls = vec![Call::get("/"); 20];
    for answer in Call::send_all(unlag.address(), &calls) {
        assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
    }
}

#[test]
fn u37_no_stream_at_all_is_503_soon_and_one_connection_is_enough_to_know() {
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(0);
    let origin = H2Origin::with_settings(settings, |_, _| Plan::ok("never"));
    let unlag = setup(&origin).upstream("connect_timeout", "\"500ms\"").start();
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(unlag.get("/").status(), 503);
    }
    for answer in Call::send_all(unlag.address(), &vec![Call::get("/"); 20]) {
        assert_eq!(answer.status, 503);
    }
    assert!(started.elapsed() < Duration::from_secs(8), "took {:?}", started.elapsed());
    assert_eq!(origin.connections(), 1);
}

#[test]
fn u37_when_the_streams_shrink_to_none_under_way_others_get_503_and_not_ever_more_connections() {
    let shrunk = Gate::new();
    let sent = shrunk.clone();
    let none = Frame::new(kind::SETTINGS, 0, 0, [0, 3, 0, 0, 0, 0]).bytes();
    let origin = RawOrigin::scripted(move |number| match number {
        0 => greeting(100).head().send(&none).open(&sent).silence(),
        _ => greeting(0).silence(),
    });
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"").workers(1);
    let unlag = setup.limit("response_head_timeout", "\"10s\"").start();
    let mut first = unlag.connect();
    first.send(MARKED);
    assert!(shrunk.pass(), "the first stream is open and the settings are sent");
    let refused = || unlag.connect().with_deadline(Duration::from_secs(4)).get("/").status();
    for _ in 0..4 {
        assert_eq!(refused(), 503);
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn u37_connections_to_an_origin_with_one_stream_each_are_bounded_and_the_rest_is_503() {
    const CONNECTIONS_MAX: usize = 32;
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(1);
    let origin = H2Origin::with_settings(settings, |_, _| Plan::Hang);
    let setup = setup(&origin).upstream("connect_timeout", "\"2s\"");
    let unlag = setup.limit("response_head_timeout", "\"6s\"").start();
    let answers = Call::send_all(unlag.address(), &vec![Call::get("/"); CONNECTIONS_MAX + 8]);
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(504), count(503)), (CONNECTIONS_MAX, 8));
    assert_eq!(origin.connections(), CONNECTIONS_MAX);
}

#[test]
fn a_connection_on_which_an_answer_did_not_come_is_not_used_again_while_it_says_nothing() {
    let origin = || RawOrigin::always(greeting(100).silence());
    let [by_step, by_total] = [origin(), origin()];
    let setup =
        |origin: &RawOrigin| Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"").workers(1);
    let first = setup(&by_step).limit("response_head_timeout", "\"300ms\"").start();
    let second = setup(&by_total).route("timeout", "\"1500ms\"").start();
    for (origin, unlag) in [(&by_step, &first), (&by_total, &second)] {
        assert_eq!(unlag.get("/").status(), 504);
        assert_eq!(unlag.get("/").status(), 504);
        assert_eq!(origin.connections(), 2);
    }
    // Asked whether they are still there, they did not answer either.
    by_step.wait_until_closed(0);
    by_total.wait_until_closed(0);
}

#[test]
fn a_slow_answer_costs_a_living_connection_nothing() {
    let origin = H2Origin::start(|number, _| if number == 0 { Plan::Hang } else { Plan::ok("fine") });
    let unlag = setup(&origin).limit("response_head_timeout", "\"300ms\"").start();
    let started = Instant::now();
    assert_eq!(unlag.get("/").status(), 504);
    assert!(started.elapsed() >= Duration::from_millis(290), "u6: took {:?}", started.elapsed());
    origin.wait_until_cancelled(0);
    wait_until("its answer to a ping has made it good again", || {
        let before = origin.connections();
        unlag.get("/").text() == "fine" && origin.connections() == before
    });
    assert!(origin.connections() <= 2, "{} connections", origin.connections());
}

#[test]
fn an_answer_with_more_fields_than_allowed_is_502() {
    let fields: Vec<(&str, String)> = (0..40).map(|_| ("x-many", "1".into())).collect();
    let origin = H2Origin::start(move |_, _| Plan::Answer {
        status: 200,
        fields: fields.clone(),
        body: "too much".into(),
        trailers: vec![],
    });
    let unlag = setup(&origin).limit("fields", "32").start();
    assert_eq!(unlag.get("/").status(), 502);
}

#[test]
fn u37_a_window_of_zero_holds_the_upload_until_the_write_timeout() {
    let mut settings = h2::server::Builder::new();
    settings.initial_window_size(0);
    let origin = H2Origin::with_settings(settings, |_, _| Plan::ok("never"));
    let setup = setup(&origin).limit("write_timeout", "\"400ms\"");
    let unlag = setup.limit("response_head_timeout", "\"1s\"").start();
    // Before the origin's SETTINGS have come, a sender may use the default window.
    assert_eq!(unlag.get("/").status(), 200);
    let started = Instant::now();
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{}", "x".repeat(5000));
    let status = unlag.connect().send(request).read_response("POST").status();
    assert!(matches!(status, 502..=504), "{status}");
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
}

#[test]
fn when_the_caller_leaves_the_stream_to_the_origin_is_reset_and_its_connection_lives() {
    let origin = H2Origin::start(|number, _| if number == 0 { Plan::Hang } else { Plan::ok("fine") });
    let unlag = in_front_of(&origin);
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    drop(client);
    origin.wait_until_cancelled(0);
    assert_eq!(unlag.get("/").text(), "fine");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn u40_a_grpc_status_in_the_head_alone_is_passed_on() {
    let fields = vec![
        ("content-type", "application/grpc".into()),
        ("grpc-status", "5".into()),
        ("grpc-message", "gone".into()),
    ];
    let origin = H2Origin::start(move |_, _| Plan::Answer {
        status: 200,
        fields: fields.clone(),
        body: String::new(),
        trailers: vec![],
    });
    let unlag = in_front_of(&origin);
    let answer = Call::grpc("/shop.Catalog/Get").send(unlag.address());
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), (Some("5"), Some("gone")));
}

#[test]
fn u40_grpc_trailers_arrive_as_trailers() {
    let origin = H2Origin::start(|_, _| Plan::Answer {
        status: 200,
        fields: vec![("content-type", "application/grpc".into())],
        body: "\0\0\0\0\0".into(),
        trailers: vec![("grpc-status", "0".into())],
    });
    let unlag = in_front_of(&origin);
    let answer = Call::grpc("/shop.Catalog/Get").send(unlag.address());
    assert_eq!((answer.status, answer.body.len()), (200, 5));
    assert_eq!(answer.trailers.get("grpc-status").and_then(|value| value.to_str().ok()), Some("0"));
    assert_eq!(
        origin.requests()[0].head.headers().get("te").and_then(|te| te.to_str().ok()),
        Some("trailers")
    );
}

#[test]
fn u28_a_grpc_caller_gets_trailers_even_when_it_did_not_say_so() {
    let origin = H2Origin::start(|_, _| Plan::Answer {
        status: 200,
        fields: vec![("content-type", "application/grpc".into())],
        body: "\0\0\0\0\0".into(),
        trailers: vec![("grpc-status", "0".into()), ("x-cost", "3".into())],
    });
    let unlag = in_front_of(&origin);
    let call = Call::post("/shop.Catalog/Get", &[0; 5]).field("content-type", "application/grpc");
    let answer = call.send(unlag.address());
    assert_eq!((answer.status, answer.body.len()), (200, 5));
    let trailer = |name: &str| answer.trailers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!((trailer("grpc-status"), trailer("x-cost")), (Some("0"), Some("3")), "{answer:?}");
}

#[test]
fn u40_a_missing_grpc_status_becomes_unknown() {
    let origin = H2Origin::start(|_, _| Plan::Answer {
        status: 200,
        fields: vec![("content-type", "application/grpc".into())],
        body: "\0\0\0\0\0".into(),
        trailers: vec![],
    });
    let unlag = in_front_of(&origin);
    let answer = Call::grpc("/shop.Catalog/Get").send(unlag.address());
    assert_eq!(answer.header("grpc-status"), Some("2"), "{answer:?}");
}

#[test]
fn u40_a_deadline_that_passes_is_deadline_exceeded_and_cancels_the_call() {
    let origin = H2Origin::start(|_, _| Plan::Hang);
    let unlag = in_front_of(&origin);
    let answer = Call::grpc("/shop.Catalog/Get").field("grpc-timeout", "300m").send(unlag.address());
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("4")), "{answer:?}");
    origin.wait_until_cancelled(0);
    let left = origin.requests()[0].head.headers()["grpc-timeout"].to_str().expect("text").to_owned();
    let (number, unit) = left.split_at(left.len() - 1);
    let in_ns = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        unit => panic!("{unit:?} in {left:?}"),
    };
    let left_ns = number.parse::<u64>().expect("a number") * in_ns;
    assert!((1..300_000_000).contains(&left_ns), "{left:?} is passed on of 300 ms");
}

#[test]
fn u40_an_origin_that_is_gone_is_unavailable_to_a_grpc_caller() {
    let refused = unlag_testkit::ports::RefusedPort::new();
    let unlag = Setup::of(UNLAG).to([refused.url()]).upstream("protocol", "\"http2\"").start();
    let answer = Call::grpc("/shop.Catalog/Get").send(unlag.address());
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("14")), "{answer:?}");
}

#[test]
fn an_origin_that_answers_the_preface_in_http_1_is_502_at_once() {
    let origin = RawOrigin::always(Script::new().head().send("HTTP/1.1 400 Bad Request\r\n\r\n").close());
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"");
    let unlag = setup.upstream("connect_timeout", "\"10s\"").start();
    let started = Instant::now();
    assert_eq!(unlag.get("/").status(), 502);
    assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
    assert_eq!(unlag.wait_for_cause(), "protocol");
}

#[test]
fn an_interim_answer_of_an_http_2_origin_loses_what_belongs_to_one_hop_and_a_length() {
    let fields: [(&[u8], &[u8]); 5] = [
        (b":status", b"103"),
        (b"link", b"</a.css>; rel=preload"),
        (b"content-length", b"5"),
        (b"trailer", b"x-sum"),
        (b"proxy-authenticate", b"Basic"),
    ];
    let hints = Frame::new(kind::HEADERS, END_HEADERS, 1, block(&fields)).bytes();
    let last = Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, 1, [0x88]).bytes();
    let origin = RawOrigin::always(greeting(100).head().send(hints).send(last).silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"").workers(1).start();
    let answer = unlag.connect().send(MARKED).read_response("PUT");
    assert_eq!((answer.status(), answer.interim.len()), (200, 1));
    let link = ("link".to_owned(), "</a.css>; rel=preload".to_owned());
    assert_eq!(answer.interim[0].fields, [link]);
}
