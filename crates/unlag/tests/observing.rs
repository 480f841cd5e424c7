//! What a request leaves behind: Server-Timing, the access log, the admin API.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use serde_json::Value;
use unlag_testkit::origin::ok;
use unlag_testkit::ports::RefusedPort;
use unlag_testkit::{RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// The access log line of the request with this id.
fn access_line(unlag: &Unlag, id: &str) -> Value {
    let find = || unlag.log().objects().into_iter().find(|line| line["request_id"] == id);
    wait_until(&format!("an access log line of {id}"), || find().is_some());
    find().expect("just seen")
}

fn nanos(value: &Value) -> u64 {
    let text = value.to_string();
    let (micros, rest) = text.split_once('.').unwrap_or((&text, "0"));
    let rest: u64 = format!("{rest:0<3}").parse().expect("decimals");
    micros.parse::<u64>().expect("microseconds") * 1000 + rest
}

const PHASES: [&str; 11] = [
    "receive",
    "queue",
    "pool_wait",
    "dns",
    "connect",
    "tls",
    "request_write",
    "upstream_ttfb",
    "transfer",
    "cache",
    "overhead",
];

#[test]
fn the_phases_of_an_access_log_line_add_up_to_its_total_exactly() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for n in 0..50 {
        let id = format!("sum-{n}");
        let request =
            format!("POST /{n} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(unlag.connect().send(request).read_response("POST").status(), 200);
        let line = access_line(&unlag, &id);
        let phases = PHASES.iter().filter_map(|phase| line.get(format!("{phase}_us")));
        let sum: u64 = phases.map(nanos).sum();
        assert_eq!(sum, nanos(&line["total_us"]), "{line}");
        assert!(nanos(&line["upstream_ttfb_us"]) > 0, "{line}");
    }
}

#[test]
fn an_access_log_line_says_who_asked_what_and_who_answered() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("name", "\"everything\"").start();
    unlag.connect().send("GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Request-Id: one\r\n\r\n").read_response("GET");
    let line = access_line(&unlag, "one");
    assert_eq!(line["status"], 200);
    assert_eq!(line["method"], "GET");
    assert_eq!(line["target"], "/a?b=c");
    assert_eq!(line["route"], "everything");
    assert_eq!(line["upstream"], "origin");
    assert!(line["endpoint"].as_str().is_some_and(|address| address.contains(&origin.address())), "{line}");
    assert!(line["caller"].as_str().is_some_and(|caller| caller.starts_with("127.0.0.1:")), "{line}");
    assert_eq!(line["attempts"], 1);
}

#[test]
fn a_fault_of_the_origin_is_named_once_in_the_access_log() {
    let origin = RawOrigin::always(Script::new().request().close());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    unlag.connect().send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: bad\r\n\r\n").read_response("GET");
    let line = access_line(&unlag, "bad");
    assert_eq!(line["status"], 502);
    assert!(line["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{line}");
    let lines = unlag.log().objects().into_iter().filter(|line| line["request_id"] == "bad").count();
    assert_eq!(lines, 1);
}

#[test]
fn a_head_that_never_came_whole_is_recorded_from_its_first_byte_on() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("header_timeout", "\"300ms\"").start();
    let status = unlag.connect().send("GET /half HTTP/1.1\r\nHost").read_response("GET").status();
    assert_eq!(status, 408);
    let find = || unlag.log().objects().into_iter().find(|line| line["cause"] == "head_timeout");
    wait_until("a line about the head", || find().is_some());
    let line = find().expect("just seen");
    assert!(nanos(&line["total_us"]) >= 290_000_000, "{line}");
    assert_eq!((&line["method"], &line["target"]), (&"GET".into(), &"/half".into()));
    unlag.connect().send("DELETE /all HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n").read_response("DELETE");
    let named = || {
        unlag.log().objects().into_iter().any(|line| line["method"] == "DELETE" && line["target"] == "/all")
    };
    wait_until("a line about what was asked", named);
}

#[test]
fn every_fault_is_counted_by_the_cause_that_the_access_log_names() {
    let gone = RefusedPort::new();
    let unlag = Setup::of(UNLAG).to([gone.url()]).start();
    for (cause, times, request) in [
        ("connect_refused", 3, "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: ID\r\n\r\n"),
        ("expectation", 2, "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: ID\r\nExpect: wonders\r\n\r\n"),
    ] {
        for n in 0..times {
            let id = format!("{cause}-{n}");
            unlag.connect().send(request.replace("ID", &id)).read_response("GET");
            assert_eq!(access_line(&unlag, &id)["cause"], cause);
        }
        let line = format!("unlag_errors_total{{cause=\"{cause}\"}} {times}");
        let page = unlag.admin("/metrics").text();
        assert!(page.lines().any(|text| text == line), "no {line} in {page}");
    }
    unlag.connect().send("GET / HTTP/1.1 nonsense\r\n\r\n").read_response("GET");
    wait_until("a head that cannot be read is counted", || {
        unlag.admin("/metrics").text().contains("unlag_errors_total{cause=\"bad_head\"} 1\n")
    });
}

#[test]
fn what_a_caller_sends_cannot_forge_a_log_line() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let request = b"GET /\"\\%1b[31m{\"status\":999} HTTP/1.1\r\nHost: a\r\nX-Request-Id: forge\"\\x\r\n\r\n";
    let status = unlag.connect().send(request).read_response("GET").status();
    assert!(matches!(status, 200 | 400), "{status}");
    unlag
        .connect()
        .send("GET /after HTTP/1.1\r\nHost: a\r\nX-Request-Id: after\r\n\r\n")
        .read_response("GET");
    access_line(&unlag, "after");
    assert!(
        unlag.log().lines().iter().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "every line is JSON"
    );
    assert!(unlag.log().objects().iter().all(|line| line["status"] != 999));
}

#[test]
fn server_timing_shows_the_phases_in_milliseconds() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("server_timing", "true").start();
    let response = unlag.get("/");
    let timing = response.header("server-timing").expect("Server-Timing");
    assert!(timing.split(',').all(|entry| entry.contains("dur=")), "{timing}");
    assert!(timing.contains("upstream_ttfb") || timing.contains("wait"), "{timing}");
}

#[test]
fn the_admin_listener_tells_about_upstreams_metrics_and_health() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for _ in 0..5 {
        unlag.get("/");
    }
    assert_eq!(unlag.admin("/healthz").status(), 200);
    assert_eq!(unlag.admin("/readyz").status(), 200);
    let upstreams = unlag.admin("/api/v1/upstreams");
    assert_eq!(upstreams.status(), 200, "{}", upstreams.text());
    assert!(upstreams.text().contains(&origin.address()), "{}", upstreams.text());
    let metrics = unlag.admin("/metrics").text();
    assert!(metrics.trim_end().ends_with("# EOF") && metrics.contains("unlag_"), "{metrics}");
}

#[test]
fn the_admin_pages_are_not_on_the_data_port_and_not_for_a_foreign_host() {
    let origin = RawOrigin::answering(|_| ok("origin"));
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for page in ["/metrics", "/api/v1/upstreams", "/healthz"] {
        assert_eq!(unlag.get(page).text(), "origin", "{page} belongs to the origin");
    }
    let mut client = unlag_testkit::RawClient::connect(unlag.admin_address());
    let request = "GET /api/v1/upstreams HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(client.send(request).read_response("GET").status(), 403);
}

#[test]
fn the_access_log_and_explain_say_what_the_cache_had() {
    let origin = RawOrigin::answering(|request| {
        let fresh = match request.target().as_str() {
            "/old" => "Cache-Control: max-age=0\r\nETag: \"1\"\r\n",
            _ => "Cache-Control: max-age=60\r\n",
        };
        if !request.headers("if-none-match").is_empty() {
            return format!("HTTP/1.1 304 Not Modified\r\n{fresh}\r\n").into_bytes();
        }
        format!("HTTP/1.1 200 OK\r\n{fresh}Content-Length: 2\r\n\r\nhi").into_bytes()
    });
    let off = "[[route]]\nname = \"off\"\nmatch = \"/off\"\nupstream = \"origin\"\ncache = \"off\"";
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("cache", "{ tags = [\"all\"] }").toml(off).start();
    let ask = |id: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n");
        unlag.connect().send(request).read_response("GET");
        access_line(&unlag, id)["cache"].clone()
    };
    assert_eq!(ask("first", "/new"), "miss");
    assert_eq!(ask("second", "/new"), "hit");
    assert_eq!(ask("third", "/old"), "miss");
    assert_eq!(ask("fourth", "/old"), "revalidated");
    assert_eq!(ask("fifth", "/off"), Value::Null);
    let explained = |id: &str| {
        let answer = unlag.admin(&format!("/api/v1/explain/{id}")).text();
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        (answer["json"]["request"]["cache"].clone(), answer["text"].as_str().expect("a text").to_owned())
    };
    let (had, text) = explained("second");
    assert_eq!(had, "hit");
    assert!(text.contains("from the cache") && !text.contains("upstream"), "{text}");
    let (had, text) = explained("fifth");
    assert_eq!(had, Value::Null);
    assert!(!text.contains("cache"), "{text}");
}
