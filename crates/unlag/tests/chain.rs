//! Caches in a row: an unlag at the edge in front of an unlag as a shield in front of an origin. What one of them promises has to
//! hold through both.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use unlag_testkit::h2::{Call, Frame, RawH2};
use unlag_testkit::process::Directory;
use unlag_testkit::response::Response;
use unlag_testkit::tls::Authority;
use unlag_testkit::{Gate, RawClient, RawOrigin, Request, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// A node with a cache of this name in front of these. A route that says something of caching is looked at from the first request
/// on; a tag changes nothing else.
fn node<U: Into<String>>(name: &str, behind: impl IntoIterator<Item = U>) -> Setup {
    let named = Setup::of(UNLAG).toml(&format!("[cache]\nname = {name:?}"));
    named.to(behind).route("cache", "{ tags = [\"chain\"] }")
}

fn shield(origin: &RawOrigin) -> Unlag {
    node("shield", [origin.url()]).start()
}

fn edge(name: &str, shield: &Unlag) -> Unlag {
    node(name, [url_of(shield)]).start()
}

fn url_of(node: &Unlag) -> String {
    format!("http://{}", node.address())
}

/// An origin whose answers carry these lines, and count up.
fn counting(lines: &'static str) -> RawOrigin {
    let count = AtomicUsize::new(0);
    RawOrigin::answering(move |_| {
        let number = 1 + count.fetch_add(1, Relaxed);
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 8\r\n\r\nanswer {number}").into_bytes()
    })
}

fn ask(node: &Unlag, fields: &str) -> Response {
    let request = format!("GET /x HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n");
    node.connect().send(request).read_response("GET")
}

fn age_s(answer: &Response) -> u64 {
    answer.header("age").and_then(|age| age.parse().ok()).expect("an age")
}

/// The members of `Cache-Status`, that of the cache nearest to the origin first.
fn said(answer: &Response) -> Vec<String> {
    let said = answer.header("cache-status").unwrap_or_default();
    said.split(", ").map(str::to_owned).collect()
}

#[test]
fn each_cache_says_under_its_own_name_what_it_did_and_counts_the_age_on() {
    let origin = counting("Cache-Control: max-age=60\r\nAge: 10\r\n");
    let shield = shield(&origin);
    let edges = [edge("edge-1", &shield), edge("edge-2", &shield)];
    let first = said(&ask(&edges[0], ""));
    assert_eq!(first.len(), 2);
    for (member, name) in first.iter().zip(["shield", "edge-1"]) {
        let ttl = member.strip_prefix(&format!("{name}; fwd=uri-miss; stored; ttl="));
        assert!(ttl.is_some_and(|ttl| ("45"..="50").contains(&ttl)), "{first:?}");
    }
    let again = ask(&edges[0], "");
    assert!(
        said(&again).len() == 1 && said(&again)[0].starts_with("edge-1; hit; ttl="),
        "{:?}",
        said(&again)
    );
    let other = said(&ask(&edges[1], ""));
    assert!(other[0].starts_with("shield; hit; ttl="), "{other:?}");
    assert!(other[1].starts_with("edge-2; fwd=uri-miss; stored; ttl="), "{other:?}");
    let last = ask(&edges[1], "");
    assert!((10..20).contains(&age_s(&last)), "{}", age_s(&last));
    assert_eq!((last.text().as_str(), origin.request_count()), ("answer 1", 1));
}

#[test]
fn time_spent_in_the_shield_counts_once() {
    // Thirty years before it is asked for.
    let origin = counting("Cache-Control: max-age=2000000000\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let shield = shield(&origin);
    let edge = edge("edge", &shield);
    ask(&shield, "");
    let ages = [age_s(&ask(&shield, "")), age_s(&ask(&edge, "")), age_s(&ask(&edge, ""))];
    assert!(ages[0] > 900_000_000 && ages.iter().all(|age| age - ages[0] <= 2), "{ages:?}");
}

#[test]
fn what_is_older_than_its_lifetime_is_not_made_fresh_by_another_cache_on_its_way() {
    const LIFETIME: &str = "Cache-Control: max-age=60, stale-while-revalidate=30\r\n";
    // Within the window: each serves it at once, as old as it is, and fetches beside.
    let origin = RawOrigin::scripted(|_| {
        Script::new().answer(|_| {
            format!("HTTP/1.1 200 OK\r\n{LIFETIME}Age: 70\r\nContent-Length: 3\r\n\r\nold").into_bytes()
        })
    });
    let nodes = shield(&origin);
    let edge_node = edge("edge", &nodes);
    ask(&edge_node, "");
    let stale = ask(&edge_node, "");
    assert!(said(&stale)[0].starts_with("edge; hit; fwd=stale; ttl=-1"), "{:?}", said(&stale));
    assert!((70..80).contains(&age_s(&stale)));
    // Beyond it: nobody gets it, although the edge has it for a moment only.
    let origin = RawOrigin::scripted(|_| {
        Script::new().answer(|_| {
            format!("HTTP/1.1 200 OK\r\n{LIFETIME}Age: 91\r\nContent-Length: 3\r\n\r\nold").into_bytes()
        })
    });
    let shield = shield(&origin);
    let edge = edge("edge", &shield);
    for count in 1..4 {
        let answer = ask(&edge, "");
        assert!(said(&answer)[1].contains("fwd="), "{:?}", said(&answer));
        assert_eq!(origin.request_count(), count);
    }
}

#[test]
fn fifty_callers_at_two_edges_cause_one_fetch() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = RawOrigin::answering(move |_| {
        held.pass();
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\none".to_vec()
    });
    let shield = shield(&origin);
    let edges = [edge("edge-1", &shield), edge("edge-2", &shield)];
    let mut callers: Vec<RawClient> = (0..50).map(|number| edges[number % 2].connect()).collect();
    for caller in &mut callers {
        caller.send("GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    }
    origin.wait_for_requests(1);
    gate.open();
    for mut caller in callers {
        assert_eq!(caller.read_response("GET").text(), "one");
    }
    assert_eq!(origin.request_count(), 1);
}

/// `unlag cache purge` of what stands for `/x`.
fn purge(node: &Unlag) {
    let mut command = Command::new(UNLAG);
    command.args(["cache", "purge", "--url", "http://shop.example/x"]);
    command.args(["--admin", &format!("http://{}", node.admin_address())]);
    let output = command.arg("-c").arg(node.directory().join("unlag.toml")).output().expect("run unlag");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_purge_goes_from_the_inside_out() {
    let origin = counting("Cache-Control: max-age=60\r\n");
    let shield = shield(&origin);
    let edge = edge("edge", &shield);
    assert_eq!(ask(&edge, "").text(), "answer 1");
    purge(&edge);
    assert_eq!(ask(&edge, "").text(), "answer 1", "the shield has it still: the wrong way round");
    purge(&shield);
    assert_eq!(ask(&edge, "").text(), "answer 1", "the edge has taken it in again");
    purge(&edge);
    assert_eq!(ask(&edge, "").text(), "answer 2");
}

#[test]
fn a_field_for_cdns_reaches_every_cache_and_goes_no_further_than_the_edge_says() {
    let lines = "Cache-Control: no-store\r\nCDN-Cache-Control: max-age=60\r\n";
    let origin = counting(lines);
    let shield = shield(&origin);
    let passing = edge("passing", &shield);
    let removing = node("removing", [url_of(&shield)])
        .route("response_headers", "{ remove = [\"CDN-Cache-Control\"] }")
        .start();
    for (edge, seen) in [(&passing, Some("max-age=60")), (&removing, None)] {
        ask(edge, "");
        let answer = ask(edge, "");
        assert!(said(&answer)[0].contains("; hit; ttl="), "{:?}", said(&answer));
        assert_eq!(
            (answer.header("cdn-cache-control"), answer.header("cache-control")),
            (seen, Some("no-store"))
        );
    }
    assert_eq!(origin.request_count(), 1);
}

/// Answers 304 to whoever has `"v"`.
fn validating(request: &Request) -> Vec<u8> {
    match request.header("if-none-match").as_deref() {
        Some("\"v\"") => {
            b"HTTP/1.1 304 Not Modified\r\nCache-Control: no-cache\r\nETag: \"v\"\r\n\r\n".to_vec()
        }
        _ => b"HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nETag: \"v\"\r\nContent-Length: 4\r\n\r\nbody"
            .to_vec(),
    }
}

#[test]
fn content_passes_once_and_is_asked_about_through_both() {
    let origin = RawOrigin::answering(validating);
    let shield = shield(&origin);
    let edge = edge("edge", &shield);
    assert_eq!(ask(&edge, "").text(), "body");
    let asked = ask(&edge, "");
    assert_eq!((asked.status(), asked.text().as_str()), (200, "body"));
    assert_eq!(said(&asked), ["edge; hit; fwd=stale; fwd-status=304; ttl=0"]);
    let same = ask(&edge, "If-None-Match: \"v\"\r\n");
    assert_eq!((same.status(), same.body.len()), (304, 0));
    let other = ask(&edge, "If-None-Match: \"w\"\r\n");
    assert_eq!((other.status(), other.text().as_str()), (200, "body"), "what it has is another");
    let conditions: Vec<Option<String>> =
        origin.requests().iter().map(|request| request.header("if-none-match")).collect();
    let v = Some("\"v\"".to_owned());
    assert_eq!(conditions, [None, v.clone(), v.clone(), v]);
}

#[test]
fn parts_are_cut_from_what_either_has_and_are_not_taken_for_the_whole() {
    let origin = RawOrigin::answering(|request| {
        let head = "Cache-Control: max-age=60\r\nETag: \"v\"\r\n";
        match request.header("range").as_deref() {
            Some("bytes=1-2") => format!(
                "HTTP/1.1 206 Partial Content\r\n{head}Content-Range: bytes 1-2/5\r\nContent-Length: 2\r\n\r\nho"
            ),
            _ => format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 5\r\n\r\nwhole"),
        }
        .into_bytes()
    });
    let shield = shield(&origin);
    let edges = [edge("edge-1", &shield), edge("edge-2", &shield)];
    let part = |edge| {
        let answer = ask(edge, "Range: bytes=1-2\r\n");
        assert_eq!((answer.status(), answer.text().as_str()), (206, "ho"));
        assert_eq!(answer.header("content-range"), Some("bytes 1-2/5"));
        said(&answer)
    };
    part(&edges[0]);
    assert_eq!(ask(&edges[0], "").text(), "whole");
    assert!(part(&edges[0])[0].starts_with("edge-1; hit"));
    assert!(part(&edges[1])[0].starts_with("shield; hit"), "from the shield");
    assert_eq!(ask(&edges[1], "").text(), "whole");
    assert_eq!(origin.request_count(), 2);
}

#[test]
fn what_must_not_be_stored_is_in_neither() {
    let origin = counting("Cache-Control: no-store\r\n");
    let shield_node = shield(&origin);
    let edge_node = edge("edge", &shield_node);
    let texts: Vec<String> = (0..3).map(|_| ask(&edge_node, "").text()).collect();
    assert_eq!(texts, ["answer 1", "answer 2", "answer 3"]);
    // A caller that says so is obeyed by both.
    let origin = counting("Cache-Control: max-age=60\r\n");
    let shield = shield(&origin);
    let edge = edge("edge", &shield);
    assert_eq!(ask(&edge, "Cache-Control: no-store\r\n").text(), "answer 1");
    assert_eq!(ask(&edge, "").text(), "answer 2");
    assert_eq!(ask(&shield, "").text(), "answer 2");
}

#[test]
fn early_hints_pass_through_both_to_an_http_2_caller() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let fine = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nfine";
    let origin = RawOrigin::always(Script::new().request().send(hints).send(fine).silence());
    let shield = shield(&origin);
    let edge = edge("edge", &shield);
    let mut caller = RawH2::connect(edge.address(), &[]);
    caller.get(1, "/");
    wait_until("the end of the stream", || {
        caller.frames().iter().any(|frame| frame.stream == 1 && frame.flags & 1 != 0)
    });
    let statuses: Vec<_> = caller.frames().iter().filter_map(Frame::status).collect();
    assert_eq!(statuses, [103, 200]);
}

#[test]
fn what_is_stale_is_served_while_the_origin_is_down_and_then_the_shield_as_well() {
    let first = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1, stale-if-error=600\r\nAge: 100\r\nContent-Length: 3\r\n\r\none";
    let origin = RawOrigin::scripted(move |number| match number {
        0 => Script::new().request().send(first).close(),
        _ => Script::new().close(),
    });
    let shield = shield(&origin);
    let edge = edge("edge", &shield);
    assert_eq!(ask(&edge, "").text(), "one");
    let from_shield = ask(&edge, "");
    assert_eq!((from_shield.status(), from_shield.text().as_str()), (200, "one"));
    assert!(said(&from_shield)[0].starts_with("shield; hit; fwd=stale"), "{:?}", said(&from_shield));
    assert!(age_s(&from_shield) >= 100);
    drop(shield);
    for _ in 0..20 {
        let alone = ask(&edge, "");
        assert_eq!((alone.status(), alone.text().as_str()), (200, "one"));
        assert!(said(&alone)[0].starts_with("edge; hit; fwd=stale"), "{:?}", said(&alone));
        assert!((100..600).contains(&age_s(&alone)));
    }
}

#[test]
fn answers_are_encoded_at_the_edge_and_stored_as_they_are() {
    let text = "{\"words\": \"and words\"}".repeat(100);
    let body = text.clone();
    let origin = RawOrigin::answering(move |_| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Type: application/json\r\nETag: \"v\"\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let shield = shield(&origin);
    let edge = node("edge", [url_of(&shield)]).route("compress", "\"auto\"").start();
    let takes = |encoding: &str| ask(&edge, &format!("Accept-Encoding: {encoding}\r\n"));
    for encoding in ["gzip", "br", "zstd"] {
        let answer = takes(encoding);
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        assert_eq!((answer.header("etag"), answer.body.len() < text.len()), (Some("W/\"v--encoded\""), true));
    }
    assert!(takes("identity").text() == text);
    let stored = ask(&shield, "Accept-Encoding: gzip\r\n");
    assert_eq!((stored.header("content-encoding"), stored.text() == text), (None, true));
    assert!(said(&stored)[0].starts_with("shield; hit"));
    assert_eq!(origin.only_request().header("accept-encoding").as_deref(), Some("identity"));
}

#[test]
fn over_two_edges_and_three_shields_each_object_is_fetched_once() {
    let origin = RawOrigin::answering(|request| {
        let target = request.target();
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{target}", target.len()).into_bytes()
    });
    let shields = [shield(&origin), shield(&origin), shield(&origin)];
    let by_hash = |name, protocol| {
        let edge = node(name, shields.iter().map(url_of)).upstream("protocol", protocol);
        edge.upstream("balance", "\"hash\"").upstream("hash", "\"path\"").start()
    };
    let edges = [by_hash("edge-1", "\"http1\""), by_hash("edge-2", "\"http2\"")];
    for edge in &edges {
        let mut caller = edge.connect();
        for number in 0..60 {
            let target = format!("/products/{number}?page=1");
            assert_eq!(caller.get(&target).text(), target);
        }
        let over_http2: Vec<Call> = (0..60).map(|n| Call::get(&format!("/h2/{n}"))).collect();
        assert!(Call::send_all(edge.address(), &over_http2).iter().all(|answer| answer.status == 200));
    }
    assert_eq!(origin.request_count(), 120);
}

#[test]
fn behind_a_trusted_edge_the_two_schemes_are_two_urls() {
    let origin = RawOrigin::answering(|request| {
        match request.header("x-forwarded-proto").as_deref() {
        Some("https") => b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\npage".to_vec(),
        _ => b"HTTP/1.1 301 Moved Permanently\r\nCache-Control: max-age=60\r\nLocation: https://shop.example/x\r\n\
               Content-Length: 0\r\n\r\n"
            .to_vec(),
    }
    });
    let shield = node("shield", [origin.url()]).toml("[trust]\nproxies = [\"127.0.0.1/32\"]").start();
    let (authority, directory) = (Authority::new(), Directory::new());
    authority.certificate(&["shop.example"]).write(directory.path(), "site");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let tls = format!("tls = {{ certificate = {:?}, key = {:?} }}", at("site.pem"), at("site.key"));
    let setup = node("edge", [url_of(&shield)]).listen("address = \"127.0.0.1:0\"");
    let edge = setup.listen(&format!("address = \"127.0.0.1:0\"\n{tls}")).start();
    let over_tls = || {
        let config = authority.client_config(&["http/1.1"]);
        let mut caller = RawClient::tls(&edge.addresses()[1], config, "shop.example");
        caller.send("GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n").read_response("GET")
    };
    for _ in 0..2 {
        assert_eq!(ask(&edge, "").status(), 301);
        assert_eq!(over_tls().text(), "page", "not a redirect to itself");
    }
    assert_eq!(origin.request_count(), 2);
    // Without trust, the edge's word counts for nothing.
    let claimed = ask(&edge, "X-Forwarded-Proto: https\r\n");
    assert_eq!(claimed.status(), 301);
}

#[test]
fn a_shield_is_not_left_for_what_its_origin_answers() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let origin = RawOrigin::answering(move |request| {
        if down.load(Relaxed) || request.target() != "/x" {
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=1, stale-if-error=600\r\nAge: 100\r\nContent-Length: 3\r\n\r\none"
            .to_vec()
    });
    let shields = [shield(&origin), shield(&origin), shield(&origin)];
    let by_shop = |name| {
        let edge = node(name, shields.iter().map(url_of)).upstream("balance", "\"hash\"");
        edge.upstream("hash", "\"header:x-shop\"").start()
    };
    assert_eq!(ask(&by_shop("edge-1"), "X-Shop: 7\r\n").text(), "one");
    is_down.store(true, Relaxed);
    let edge = by_shop("edge-2");
    // Enough to have it left, were they its own, and too few to have the next one left as well.
    for number in 0..8 {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: shop.example\r\nX-Shop: 7\r\n\r\n");
        assert_eq!(edge.connect().send(request).read_response("GET").status(), 503);
    }
    let stale = ask(&edge, "X-Shop: 7\r\n");
    assert_eq!((stale.status(), stale.text().as_str()), (200, "one"), "from the shield that has it");
}

#[test]
fn what_a_trusted_edge_passes_on_unread_finds_nothing_that_others_find() {
    let count = AtomicUsize::new(0);
    let origin = RawOrigin::answering(move |_| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n";
        format!("{head}\r\n{}", count.fetch_add(1, Relaxed)).into_bytes()
    });
    let shield = node("shield", [origin.url()]).toml("[trust]\nproxies = [\"127.0.0.1/32\"]").start();
    let claims = ["", "Forwarded: for=10.0.0.1;host=evil.example\r\n", "X-Forwarded-Proto: HTTPS\r\n"];
    for (number, claim) in claims.iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(ask(&shield, claim).text(), number.to_string(), "{claim}");
        }
    }
    assert_eq!(ask(&shield, "Forwarded: for=10.0.0.2\r\n").text(), "0", "who asks is not what is asked for");
}

#[test]
fn behind_a_trusted_edge_the_hosts_that_it_was_asked_for_are_kept_apart() {
    let count = AtomicUsize::new(0);
    let origin = RawOrigin::answering(move |request| {
        let (number, host) =
            (count.fetch_add(1, Relaxed), request.header("x-forwarded-host").unwrap_or_default());
        let body = format!("{number} for {host}");
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v\"\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let shield = node("shield", [origin.url()]).toml("[trust]\nproxies = [\"127.0.0.1/32\"]").start();
    let edge = node("edge", [url_of(&shield)]).upstream("host", "\"shop.internal\"");
    let edges = [edge.start(), edge.start()];
    let of = |edge: &Unlag, method: &str, host: &str| {
        let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
        let request = format!("{method} /x HTTP/1.1\r\nHost: {host}\r\n{length}\r\n");
        edge.connect().send(request).read_response(method).text()
    };
    for edge in &edges {
        assert_eq!(of(edge, "GET", "a.example"), "0 for a.example");
        assert_eq!(of(edge, "GET", "b.example"), "1 for b.example");
    }
    // The shield answers to its own name as well, and a change is one for all.
    assert_eq!(of(&shield, "GET", "shop.internal"), "2 for shop.internal");
    assert_eq!(of(&shield, "GET", "shop.internal"), "2 for shop.internal");
    assert_eq!(of(&edges[0], "POST", "a.example"), "3 for a.example");
    assert_eq!(of(&edges[0], "GET", "a.example"), "4 for a.example");
    assert_eq!(of(&shield, "GET", "shop.internal"), "5 for shop.internal");
}
