//! What unlag adds to, takes from and believes of the fields of a message; row S5.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use unlag_testkit::{RawOrigin, Request, Response, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// What the origin received of, and the caller got for, a GET with these fields.
fn exchange(change: impl FnOnce(Setup) -> Setup, fields: &str) -> (Request, Response, Unlag) {
    let origin = RawOrigin::ok("fine");
    let unlag = change(Setup::of(UNLAG).to([origin.url()])).start();
    let response = send(&unlag, fields);
    (origin.only_request(), response, unlag)
}

fn send(unlag: &Unlag, fields: &str) -> Response {
    unlag.connect().send(format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")).read_response("GET")
}

fn plain(fields: &str) -> (Request, Response) {
    let (request, response, _unlag) = exchange(|setup| setup, fields);
    (request, response)
}

#[test]
fn hop_by_hop_fields_and_those_named_in_connection_stay_on_their_hop() {
    let fields = "Connection: keep-alive, X-Hop\r\nX-Hop: secret\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
                  Proxy-Authorization: Basic abc\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nX-End: kept\r\n";
    let (request, _) = plain(fields);
    for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade", "http2-settings"] {
        assert!(request.headers(name).is_empty(), "{name}: {:?}", request.headers(name));
    }
    assert!(!request.headers("te").iter().any(|value| value.contains("gzip")));
    assert_eq!(request.header("x-end").as_deref(), Some("kept"));
}

#[test]
fn the_request_says_that_it_came_through_unlag() {
    let (request, response) = plain("");
    let via = request.header("via").expect("Via");
    assert!(via.starts_with("1.1 unlag-"), "{via}");
    assert_eq!(request.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(request.header("x-forwarded-host").as_deref(), Some("shop.example"));
    let forwarded = request.header("forwarded").expect("Forwarded").to_ascii_lowercase();
    for part in ["for=", "127.0.0.1", "proto=http", "host=", "shop.example"] {
        assert!(forwarded.contains(part), "{forwarded} lacks {part}");
    }
    assert_eq!(response.status(), 200);
}

#[test]
fn a_via_of_others_is_kept_before_ours() {
    let (request, _) = plain("Via: 1.0 fred\r\n");
    let all = request.headers("via").join(", ");
    assert!(all.starts_with("1.0 fred, 1.1 unlag-"), "{all}");
}

#[test]
fn s5_what_an_untrusted_peer_says_about_forwarding_is_replaced() {
    let spoofed = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.7\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\
                   Forwarded: for=6.6.6.6;host=evil\r\nX-Real-IP: 6.6.6.6\r\nX-Original-URL: /admin\r\n";
    let (request, _) = plain(spoofed);
    assert_eq!(request.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.headers("x-forwarded-host"), ["shop.example"]);
    assert_eq!(request.headers("x-forwarded-proto"), ["http"]);
    let all = String::from_utf8_lossy(&request.head).into_owned();
    for mark in ["6.6.6", "evil", "/admin"] {
        assert!(!all.contains(mark), "{mark} in {all}");
    }
}

#[test]
fn s5_a_trusted_peer_is_believed_and_appended_to() {
    let trust = "[trust]\nproxies = [\"127.0.0.0/8\"]";
    let fields =
        "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n";
    let (request, _, _unlag) = exchange(|setup| setup.toml(trust), fields);
    assert_eq!(request.headers("x-forwarded-for").join(", "), "9.9.9.9, 127.0.0.1");
    assert_eq!(request.headers("x-forwarded-proto"), ["https"]);
    assert_eq!(request.headers("x-forwarded-host"), ["public.example"]);
}

#[test]
fn ids_are_created_when_absent_and_the_same_everywhere() {
    let (request, response) = plain("");
    let id = response.header("x-request-id").expect("an id on the response");
    assert_eq!(request.header("x-request-id").as_deref(), Some(id));
    let parent = request.header("traceparent").expect("traceparent");
    let parts: Vec<&str> = parent.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "{parent}");
    assert!(parts[1].bytes().any(|digit| digit != b'0') && parts[2].bytes().any(|digit| digit != b'0'));
}

#[test]
fn ids_of_the_caller_are_honoured_and_passed_on() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let fields = format!(
        "X-Request-Id: mine-42\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\ntracestate: a=1,b=2\r\n"
    );
    let (request, response) = plain(&fields);
    assert_eq!(request.headers("x-request-id"), ["mine-42"]);
    assert_eq!(response.header("x-request-id"), Some("mine-42"));
    let parents = request.headers("traceparent");
    assert!(
        parents.len() == 1 && parents[0].starts_with(&format!("00-{trace}-")) && parents[0].ends_with("-01"),
        "{parents:?}"
    );
    assert_eq!(request.headers("tracestate"), ["a=1,b=2"]);
}

#[test]
fn b3_is_honoured() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let (request, _) = plain(&format!("b3: {trace}-00f067aa0ba902b7-1\r\n"));
    let parent = request.header("traceparent").expect("traceparent");
    assert!(parent.contains(trace), "{parent}");
}

#[test]
fn a_trace_that_nobody_has_decided_on_is_sampled_and_a_denied_one_is_not() {
    let flags = |fields: &str| {
        let (request, _) = plain(fields);
        let text = request.header("traceparent").expect("traceparent");
        text.rsplit('-').next().expect("flags").to_owned()
    };
    let trace = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
    assert_eq!(flags(""), "03", "created here, random as a whole");
    assert_eq!(flags(&format!("b3: {trace}-1\r\n")), "01");
    assert_eq!(flags(&format!("b3: {trace}-d\r\n")), "01");
    assert_eq!(flags(&format!("b3: {trace}-0\r\n")), "00");
    assert_eq!(flags("b3: 0\r\n"), "02");
    assert_eq!(flags("X-B3-Sampled: 0\r\n"), "02");
    assert_eq!(flags("traceparent: 00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-00\r\n"), "00");
}

#[test]
fn max_forwards_counts_the_hops_of_options_and_trace_alone() {
    let ask = |method: &str, left: &str| {
        let origin = RawOrigin::ok("fine");
        let unlag = Setup::of(UNLAG).to([origin.url()]).start();
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {left}\r\n\r\n");
        let status = unlag.connect().send(head).read_response(method).status();
        let seen = (origin.request_count() > 0).then(|| origin.only_request().header("max-forwards"));
        (status, seen.flatten())
    };
    assert_eq!(ask("OPTIONS", "5"), (200, Some("4".into())));
    assert_eq!(ask("TRACE", "1"), (200, Some("0".into())));
    assert_eq!(ask("OPTIONS", "0"), (501, None), "it ends here");
    assert_eq!(ask("GET", "0"), (200, Some("0".into())), "others do not obey it");
}

#[test]
fn an_invalid_traceparent_is_replaced() {
    for bad in
        ["00-zz-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "garbage"]
    {
        let (request, _) = plain(&format!("traceparent: {bad}\r\n"));
        let parents = request.headers("traceparent");
        assert!(parents.len() == 1 && parents[0] != bad && parents[0].len() == 55, "{parents:?}");
    }
}

#[test]
fn a_request_that_comes_round_again_gets_508() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    send(&unlag, "");
    let via = origin.only_request().header("via").expect("Via");
    let response = send(&unlag, &format!("Via: 1.0 fred, {via}, 1.1 other\r\n"));
    assert_eq!(response.status(), 508);
    assert!(response.header("x-request-id").is_some());
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn a_deadline_of_the_caller_is_shortened_and_passed_on() {
    let (request, _) = plain("x-request-timeout-ms: 5000\r\n");
    let left: u64 = request.header("x-request-timeout-ms").expect("a deadline").parse().expect("a number");
    assert!((1..=5000).contains(&left), "{left}");
    let (request, _) = plain("grpc-timeout: 5S\r\n");
    let value = request.header("grpc-timeout").expect("a deadline");
    assert!(millis_of_grpc_timeout(&value) <= 5000, "{value}");
}

fn millis_of_grpc_timeout(value: &str) -> u64 {
    let (number, unit) = value.split_at(value.len() - 1);
    let number: u64 = number.parse().expect("a number");
    match unit {
        "H" => number * 3_600_000,
        "M" => number * 60_000,
        "S" => number * 1000,
        "m" => number,
        "u" => number / 1000,
        "n" => number / 1_000_000,
        other => panic!("unit {other}"),
    }
}

#[test]
fn a_deadline_that_passes_is_504_and_ends_the_call_to_the_origin() {
    let origin = RawOrigin::always(Script::new().request().silence());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let started = std::time::Instant::now();
    assert_eq!(send(&unlag, "x-request-timeout-ms: 200\r\n").status(), 504);
    assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
    origin.wait_until_closed(0);
}

#[test]
fn a_deadline_that_is_no_number_changes_nothing() {
    for bad in ["soon", "-5", "1e3", "99999999999999999999999"] {
        let (_, response) = plain(&format!("x-request-timeout-ms: {bad}\r\n"));
        assert!(matches!(response.status(), 200 | 400), "{bad}: {}", response.status());
    }
}

#[test]
fn end_to_end_fields_pass_byte_for_byte_in_both_directions() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Latin: caf\xe9\r\nServer: own\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    let origin = RawOrigin::answering(|_| answer.to_vec());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let response =
        send(&unlag, "Cookie: a=1; b=2\r\nAccept: text/html;q=0.5,  */*\r\nX-Twice: 1\r\nX-Twice: 2\r\n");
    assert_eq!(response.head.headers("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("server"), Some("own"));
    assert_eq!(response.head.headers("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    let request = origin.only_request();
    assert_eq!(request.headers("cookie"), ["a=1; b=2"]);
    assert_eq!(request.headers("accept"), ["text/html;q=0.5,  */*"]);
    assert_eq!(request.headers("x-twice"), ["1", "2"]);
    assert_eq!(request.headers("host"), ["shop.example"]);
}

#[test]
fn the_host_is_kept_or_the_endpoint_s_or_a_literal() {
    let host_of = |value: Option<&str>| {
        let change = |setup: Setup| value.map_or(setup.clone(), |value| setup.upstream("host", value));
        exchange(change, "").0.headers("host")
    };
    assert_eq!(host_of(None), ["shop.example"]);
    assert_eq!(host_of(Some("\"internal.example\"")), ["internal.example"]);
    let upstream = host_of(Some("\"upstream\""));
    assert!(upstream[0].starts_with("127.0.0.1:"), "{upstream:?}");
}

#[test]
fn fields_are_set_and_removed_as_the_route_says() {
    let origin = RawOrigin::answering(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Powered-By: old\r\nX-Kept: 1\r\n\r\n".to_vec()
    });
    let setup = Setup::of(UNLAG).to([origin.url()]);
    let setup = setup.route("request_headers", "{ set = { x-shop = \"1\" }, remove = [\"x-debug\"] }");
    let unlag = setup
        .route("response_headers", "{ set = { x-frame = \"deny\" }, remove = [\"x-powered-by\"] }")
        .start();
    let response = send(&unlag, "X-Debug: yes\r\nX-Shop: 0\r\n");
    let request = origin.only_request();
    assert_eq!((request.headers("x-shop"), request.headers("x-debug")), (vec!["1".to_owned()], vec![]));
    assert_eq!(response.header("x-frame"), Some("deny"));
    assert_eq!((response.header("x-powered-by"), response.header("x-kept")), (None, Some("1")));
}

#[test]
fn server_timing_of_the_origin_is_kept_beside_ours() {
    let origin = RawOrigin::answering(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer-Timing: db;dur=3\r\n\r\n".to_vec()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("server_timing", "true").start();
    let all = send(&unlag, "").head.headers("server-timing").join(", ");
    assert!(all.contains("db;dur=3") && all.matches("dur=").count() > 1, "{all}");
    let (_, silent) = plain("");
    assert_eq!(silent.header("server-timing"), None, "only where the route says so");
}

#[test]
fn a_caller_cannot_have_the_trace_context_stripped_by_naming_it_in_connection() {
    let (request, response) = plain("Connection: close, traceparent, x-own\r\nX-Own: 1\r\n");
    assert!(request.header("traceparent").is_some(), "a trace that goes on");
    assert_eq!(request.header("x-own"), None);
    assert!(response.header("x-request-id").is_some());
}
