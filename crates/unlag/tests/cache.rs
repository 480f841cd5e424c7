//! Answers that are stored: once for all who may have them, never for those who may not.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::h2::Call;
use unlag_testkit::response::Response;
use unlag_testkit::{Gate, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// An origin whose answers carry these lines, and count up.
fn counting(lines: &'static str) -> RawOrigin {
    let count = std::sync::atomic::AtomicUsize::new(0);
    RawOrigin::answering(move |_| {
        let number = 1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 8\r\n\r\nanswer {number}").into_bytes()
    })
}

fn in_front_of(origin: &RawOrigin) -> Unlag {
    Setup::of(UNLAG).to([origin.url()]).workers(2).start()
}

fn ask(unlag: &Unlag, method: &str, fields: &str) -> Response {
    let request = format!("{method} /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    unlag.connect().send(request).read_response(method)
}

#[test]
fn what_the_origin_declares_cacheable_is_fetched_once_for_all_cores_and_protocols() {
    let origin = counting("Cache-Control: max-age=60\r\nETag: \"v\"\r\n");
    let unlag = in_front_of(&origin);
    let first = ask(&unlag, "GET", "");
    assert_eq!(first.header("cache-status"), Some("unlag; fwd=uri-miss; stored; ttl=60"));
    for _ in 0..8 {
        let again = ask(&unlag, "GET", "");
        assert_eq!((again.text().as_str(), again.header("age").is_some()), ("answer 1", true));
        assert!(again.header("cache-status").is_some_and(|said| said.starts_with("unlag; hit; ttl=")));
    }
    let over_http2: Vec<_> = (0..2).map(|_| Call::get("/x").send(unlag.address())).collect();
    assert_eq!(
        (over_http2[0].text(), over_http2[1].text()),
        ("answer 2".into(), "answer 2".into()),
        "of another host"
    );
    let head = ask(&unlag, "HEAD", "");
    assert_eq!((head.status(), head.header("content-length")), (200, Some("8")));
    let part = ask(&unlag, "GET", "Range: bytes=7-\r\n");
    assert_eq!(
        (part.status(), part.text().as_str(), part.header("content-range")),
        (206, "1", Some("bytes 7-7/8"))
    );
    let same = ask(&unlag, "GET", "If-None-Match: \"v\"\r\n");
    assert_eq!((same.status(), same.body.len()), (304, 0));
    assert_eq!(origin.request_count(), 2);
}

#[test]
fn what_is_about_one_caller_is_fetched_for_each() {
    for lines in [
        "Cache-Control: private, max-age=60\r\n",
        "Cache-Control: no-store\r\n",
        "Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n",
        "Cache-Control: max-age=60, private=\"x-a\", private\r\n",
        "Cache-Control: max-age=60, x=\"a, private\r\n",
        "",
    ] {
        let origin = counting(lines);
        let setup = Setup::of(UNLAG).to([origin.url()]).route("cache", "{ stale_if_error = \"1h\" }");
        let unlag = setup.start();
        assert_eq!(ask(&unlag, "GET", "").text(), "answer 1", "{lines}");
        assert_eq!(ask(&unlag, "GET", "").text(), "answer 2", "{lines}");
    }
    let origin = counting("Cache-Control: max-age=60\r\n");
    let unlag = in_front_of(&origin);
    assert_eq!(ask(&unlag, "GET", "Authorization: me\r\n").text(), "answer 1");
    assert_eq!(ask(&unlag, "GET", "Authorization: you\r\n").text(), "answer 2");
}

#[test]
fn a_page_under_the_name_of_a_file_is_fetched_for_each() {
    let origin = counting("Cache-Control: max-age=60\r\nContent-Type: text/html\r\n");
    let unlag = in_front_of(&origin);
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1", "a page under the name of a page");
    for number in 2..=3 {
        let request = "GET /account/me.css HTTP/1.1\r\nHost: a\r\nCookie: session=7\r\n\r\n";
        let page = unlag.connect().send(request).read_response("GET").text();
        assert_eq!(page, format!("answer {number}"));
    }
}

#[test]
fn a_route_may_say_for_how_long_and_may_say_not_at_all() {
    let origin = counting("Cache-Control: no-cache\r\n");
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("cache", "{ ttl = \"1h\" }").start();
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    let origin = counting("Cache-Control: max-age=60\r\n");
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("cache", "\"off\"").start();
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    let second = ask(&unlag, "GET", "");
    assert_eq!((second.text().as_str(), second.header("cache-status")), ("answer 2", None));
}

#[test]
fn a_change_is_seen_by_the_next_who_asks() {
    let origin = counting("Cache-Control: max-age=60\r\n");
    let unlag = in_front_of(&origin);
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    assert_eq!(ask(&unlag, "POST", "Content-Length: 0\r\n").text(), "answer 2");
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 3");
}

#[test]
fn a_change_through_a_route_that_caches_nothing_is_seen_by_the_next_who_asks() {
    let origin = counting("Cache-Control: max-age=60\r\n");
    let toml = "[[route]]\nmatch = \"POST /x\"\nupstream = \"origin\"\ncache = \"off\"\n";
    let unlag = Setup::of(UNLAG).to([origin.url()]).toml(toml).start();
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    assert_eq!(ask(&unlag, "POST", "Content-Length: 0\r\n").text(), "answer 2");
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 3");
}

#[test]
fn a_change_that_began_before_anything_was_stored_takes_out_what_was_fetched_meanwhile() {
    let gate = Gate::new();
    let held = gate.clone();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let origin = RawOrigin::answering(move |request| {
        if request.method() == "POST" {
            held.pass();
        }
        let number = 1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n";
        format!("{head}\r\nanswer {number}").into_bytes()
    });
    let unlag = in_front_of(&origin);
    let mut change = unlag.connect();
    change.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    wait_until("the change is under way", || origin.request_count() == 1);
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    gate.open();
    assert_eq!(change.read_response("POST").status(), 200);
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 3");
}

#[test]
fn what_is_stale_is_served_while_the_origin_is_down_for_as_long_as_is_allowed() {
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").close(),
        _ => Script::new().close(),
    });
    let rules = "{ ttl = \"1ms\", stale_if_error = \"1h\" }";
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("cache", rules).start();
    assert_eq!(ask(&unlag, "GET", "").text(), "one");
    let is_stale = |answer: &Response| {
        let said = answer.header("cache-status").unwrap_or_default();
        answer.text() == "one" && said.contains("fwd=stale")
    };
    wait_until("its lifetime is over", || is_stale(&ask(&unlag, "GET", "")));
    let asked = origin.connections();
    assert!((0..50).all(|_| is_stale(&ask(&unlag, "GET", ""))));
    assert!(origin.connections() <= asked + 2, "an origin that has failed is left in peace for a second");
}

#[test]
fn u9_u10_an_answer_that_was_cut_is_not_stored() {
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nsome";
    let origin = RawOrigin::scripted(move |number| match number {
        0 => Script::new().request().send(head).close(),
        _ => Script::new().answer(|_| {
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nwhole".to_vec()
        }),
    });
    let unlag = in_front_of(&origin);
    let cut = unlag.connect().send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").try_read_response("GET");
    // Cut, or refused where nothing of it had been passed on yet.
    assert!(cut.is_err() || cut.is_ok_and(|answer| answer.status() == 502), "a body that looks whole");
    assert_eq!(ask(&unlag, "GET", "").text(), "whole");
    assert_eq!(ask(&unlag, "GET", "").text(), "whole");
    assert_eq!(origin.request_count(), 2);
}

#[test]
fn s1_the_same_path_of_another_host_is_another_answer() {
    let origin = counting("Cache-Control: max-age=60\r\n");
    let unlag = in_front_of(&origin);
    assert_eq!(ask(&unlag, "GET", "").text(), "answer 1");
    let other = unlag.connect().send("GET /x HTTP/1.1\r\nHost: b\r\n\r\n").read_response("GET");
    assert_eq!(other.text(), "answer 2");
    let query = unlag.connect().send("GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n").read_response("GET");
    assert_eq!(query.text(), "answer 3");
}

#[test]
fn what_an_origin_might_act_on_and_no_key_holds_does_not_reach_it_where_the_answer_may_be_stored() {
    let origin = RawOrigin::answering(|request| {
        let values = request.fields().into_iter().map(|(_, value)| value);
        let seen: String = values.filter(|value| value.contains("evil")).collect();
        let body = format!("seen {seen}");
        format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nVary: X-Scheme\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    let unlag = in_front_of(&origin);
    let fields = "X-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\nX-Host: evil\r\nX-HTTP-Method-Override: evil\r\n\
                  X-Forwarded-Prefix: /evil\r\nX-Scheme: evil\r\nX_Scheme: evil\r\nScript-Name: /evil\r\nX-Nextjs-Data: evil\r\n";
    assert_eq!(ask(&unlag, "GET", fields).text(), "seen ");
    assert_eq!(ask(&unlag, "GET", "").text(), "seen ");
    assert_eq!(origin.request_count(), 1);
}
