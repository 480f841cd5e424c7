//! Which region a request goes to: writes to the primary and nowhere else, the reads of who wrote after them, and what a replica
//! cannot answer.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use unlag_testkit::origin::ok;
use unlag_testkit::ports::RefusedPort;
use unlag_testkit::{Gate, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// A node beside two regions, of which `us` is the primary.
fn beside(eu: &str, us: &str, upstream: &str, route: &str) -> Unlag {
    let toml = format!(
        "[region]\nname = \"eu\"\nsecret = \"a secret that all nodes share\"\n\
         [upstream.orders]\nregions.eu = [\"{eu}\"]\nregions.us = [\"{us}\"]\nprimary = \"us\"\n{upstream}\n\
         [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"orders\"\n{route}\n"
    );
    Setup::of(UNLAG).toml(&toml).workers(1).start()
}

fn post(unlag: &Unlag, path: &str) -> unlag_testkit::Response {
    let mut caller = unlag.connect();
    caller.send(format!("POST {path} HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 2\r\n\r\nab"));
    caller.read_response("POST")
}

fn get(unlag: &Unlag, path: &str, fields: &str) -> unlag_testkit::Response {
    let mut caller = unlag.connect();
    caller.send(format!("GET {path} HTTP/1.1\r\nHost: unlag.test\r\n{fields}\r\n"));
    caller.read_response("GET")
}

/// An origin that answers with its name until it falls silent, and then when the gate opens.
fn falling_silent(name: &'static str, silent: &Arc<AtomicBool>, gate: &Gate) -> RawOrigin {
    let (silent, gate) = (Arc::clone(silent), gate.clone());
    RawOrigin::answering(move |_| {
        if silent.load(Relaxed) {
            gate.pass();
        }
        ok(name)
    })
}

/// What the API says of requests that went to a region by these reasons.
fn counted<const N: usize>(unlag: &Unlag, reasons: [&str; N]) -> [u64; N] {
    let all: serde_json::Value =
        serde_json::from_str(&unlag.admin("/api/v1/upstreams").text()).expect("JSON");
    reasons.map(|reason| all["upstreams"][0]["regions"][reason].as_u64().expect("a number"))
}

#[test]
fn writes_go_to_the_primary_and_reads_to_the_region_of_the_node() {
    let (eu, us) = (RawOrigin::ok("eu"), RawOrigin::ok("us"));
    let unlag = beside(&eu.url(), &us.url(), "", "cache = \"off\"");
    (0..10).for_each(|_| assert_eq!(post(&unlag, "/orders").text(), "us"));
    (0..10).for_each(|_| assert_eq!(get(&unlag, "/orders", "").text(), "eu"));
    assert_eq!((eu.request_count(), us.request_count()), (10, 10));
}

#[test]
fn rules_that_know_no_distance_and_held_out_requests_keep_to_the_nearest_region_too() {
    for (rule, route) in [
        ("balance = \"least-request\"", ""),
        ("balance = \"round-robin\"", ""),
        ("balance = \"hash\"\nhash = \"header:x-user\"", ""),
        ("", "holdout = \"20%\""),
    ] {
        let (eu, us) = (RawOrigin::ok("eu"), RawOrigin::ok("us"));
        let unlag = beside(&eu.url(), &us.url(), rule, &format!("cache = \"off\"\n{route}"));
        for user in 0..40 {
            assert_eq!(get(&unlag, "/orders", &format!("x-user: {user}\r\n")).text(), "eu", "{rule} {route}");
        }
        let gone = RefusedPort::new();
        let unlag = beside(&gone.url(), &us.url(), rule, &format!("cache = \"off\"\n{route}"));
        for _ in 0..12 {
            assert_eq!(get(&unlag, "/orders", "").text(), "us", "{rule} {route}: the nearest is lost");
        }
        assert!(counted(&unlag, ["spilled"])[0] > 0, "{rule} {route}");
    }
}

#[test]
fn a_write_whose_primary_is_lost_goes_nowhere_else() {
    let (eu, us) = (RawOrigin::ok("eu"), RefusedPort::new());
    let unlag = beside(&eu.url(), &us.url(), "", "");
    for _ in 0..8 {
        let status = post(&unlag, "/orders").status();
        assert!(matches!(status, 502 | 503), "{status}");
    }
    assert_eq!(eu.request_count(), 0);
    assert_eq!(get(&unlag, "/orders", "").text(), "eu", "reads are answered all the same");
}

#[test]
fn a_write_that_comes_while_nobody_is_there_is_not_the_one_that_looks_whether_a_replica_is_back() {
    let cut = || Script::new().request().close();
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let eu = RawOrigin::scripted(
        move |_| if back.load(Relaxed) { Script::new().answer(|_| ok("eu")) } else { cut() },
    );
    let us = RawOrigin::always(cut());
    let unlag = beside(&eu.url(), &us.url(), "", "retry = \"off\"");
    for _ in 0..12 {
        get(&unlag, "/orders", "");
        post(&unlag, "/orders");
    }
    assert!(unlag.admin("/metrics").text().contains("upstream_lost"), "the upstream is lost");
    is_back.store(true, Relaxed);
    unlag_testkit::wait_until("reads are answered", || {
        assert_ne!(post(&unlag, "/orders").text(), "eu");
        get(&unlag, "/orders", "").text() == "eu"
    });
    assert!(eu.requests().iter().all(|request| request.method() == "GET"));
}

#[test]
fn who_wrote_reads_from_the_primary_past_what_is_stored_and_nobody_else_does() {
    let stored = |name: &'static str| {
        RawOrigin::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\n{name}")
                .into_bytes()
        })
    };
    let (eu, us) = (stored("eu"), stored("us"));
    let unlag = beside(&eu.url(), &us.url(), "read_your_writes = \"30s\"", "cache = {}");
    assert_eq!(get(&unlag, "/orders/1", "").text(), "eu");
    let wrote = post(&unlag, "/orders");
    let marker = wrote.header("x-ryw").expect("a marker").to_owned();
    let cookie = wrote.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.starts_with(&format!("x-ryw-orders={marker};")) && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    assert_eq!(get(&unlag, "/orders/1", &format!("x-ryw: {marker}\r\n")).text(), "us");
    assert_eq!(get(&unlag, "/orders/1", &format!("Cookie: a=b; x-ryw-orders={marker}\r\n")).text(), "us");
    assert_eq!(get(&unlag, "/orders/1", "").text(), "eu", "who has not written is given what is stored");
    let forged = marker.replace(['a', '1'], "b");
    assert_eq!(get(&unlag, "/orders/1", &format!("x-ryw: {forged}\r\n")).text(), "eu", "{forged}");
    assert_eq!(counted(&unlag, ["writes", "reads_after_write", "replayed"]), [1, 2, 0]);
    assert_eq!(counted(&unlag, ["spilled", "kept_at_home"]), [0, 0], "these are no loads that left");
    let other = beside(&eu.url(), &us.url(), "read_your_writes = \"30s\"", "cache = {}");
    assert_eq!(
        get(&other, "/orders/1", &format!("x-ryw: {marker}\r\n")).text(),
        "us",
        "another node knows it"
    );
}

#[test]
fn what_a_replica_leaves_to_the_primary_is_asked_there_once() {
    let replica = RawOrigin::answering(|_| {
        b"HTTP/1.1 409 Conflict\r\nx-replay: role=primary\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let primary = RawOrigin::answering(|request| match request.target().as_str() {
        "/loop" => {
            b"HTTP/1.1 409 Conflict\r\nx-replay: role=primary\r\ncontent-length: 4\r\n\r\nloop".to_vec()
        }
        _ => ok("primary"),
    });
    let unlag = beside(&replica.url(), &primary.url(), "", "cache = \"off\"");
    assert_eq!(get(&unlag, "/orders/1", "").text(), "primary");
    let last = get(&unlag, "/loop", "");
    assert_eq!(last.text(), "loop", "the primary has the last word");
    assert_eq!(last.header("x-replay"), None, "which is for nobody else");
    assert_eq!((replica.request_count(), primary.request_count()), (2, 2));
    assert_eq!(counted(&unlag, ["writes", "reads_after_write", "replayed"]), [0, 0, 2]);
}

#[test]
fn a_region_that_is_lost_is_left_and_no_read_fails() {
    let (eu, us) = (RefusedPort::new(), RawOrigin::ok("us"));
    let unlag = beside(&eu.url(), &us.url(), "", "cache = \"off\"");
    (0..30).for_each(|_| assert_eq!(get(&unlag, "/orders", "").text(), "us"));
}

#[test]
fn of_two_zones_of_a_region_the_own_one_is_asked_while_it_is_no_busier() {
    let (own, other) = (RawOrigin::ok("own"), RawOrigin::ok("other"));
    let unlag = Setup::of(UNLAG)
        .toml(&format!(
            "[region]\nname = \"eu\"\nzone = \"a\"\n\
             [upstream.orders]\nendpoints = [\n  {{ url = \"{}\", region = \"eu\", zone = \"b\" }},\n  \
             {{ url = \"{}\", region = \"eu\", zone = \"a\" }},\n]\n\
             [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"orders\"\ncache = \"off\"\n",
            other.url(),
            own.url()
        ))
        .workers(1)
        .start();
    (0..40).for_each(|_| assert_eq!(get(&unlag, "/", "").status(), 200));
    assert!(own.request_count() >= 36, "{} of 40", own.request_count());
}

#[test]
fn a_read_whose_region_falls_silent_is_copied_into_the_next_one() {
    let (gate, silent) = (Gate::new(), Arc::new(AtomicBool::new(false)));
    let eu = falling_silent("eu", &silent, &gate);
    let us = RawOrigin::ok("us");
    let unlag = beside(&eu.url(), &us.url(), "", "cache = \"off\"\nhedge = {}");
    (0..150).for_each(|_| assert_eq!(get(&unlag, "/", "").status(), 200));
    let (before, at_home) = (us.request_count(), eu.request_count());
    assert!(at_home > 140, "{at_home} of 150 stayed at home");
    silent.store(true, Relaxed);
    (0..10).for_each(|_| assert_eq!(get(&unlag, "/", "").text(), "us"));
    assert!(eu.request_count() > at_home && us.request_count() - before == 10, "some were sent twice");
    let has_won =
        |line: &serde_json::Value| line["hedge"].as_str().is_some_and(|hedge| hedge.ends_with("_won"));
    wait_until("a copy has won", || unlag.log().objects().iter().any(has_won));
    gate.open();
}

#[test]
fn a_read_that_left_a_silent_primary_and_is_sent_back_to_it_is_answered_at_once() {
    let (gate, silent) = (Gate::new(), Arc::new(AtomicBool::new(false)));
    let us = falling_silent("us", &silent, &gate);
    let eu = RawOrigin::answering(|_| {
        b"HTTP/1.1 409 X\r\nx-replay: role=primary\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let toml = format!(
        "[region]\nname = \"us\"\n[upstream.orders]\nregions.eu = [\"{}\"]\nregions.us = [\"{}\"]\nprimary = \"us\"\n\
         [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"orders\"\ncache = \"off\"\ntimeout = \"10s\"\n",
        eu.url(),
        us.url()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).workers(1).start();
    (0..150).for_each(|_| assert_eq!(get(&unlag, "/", "").text(), "us"));
    silent.store(true, Relaxed);
    let statuses = std::thread::scope(|scope| {
        let reads = [(); 4].map(|()| scope.spawn(|| get(&unlag, "/", "").status()));
        reads.map(|read| read.join().expect("a read"))
    });
    assert!(eu.request_count() > 0, "some were taken away");
    assert!(statuses.iter().all(|status| *status >= 500), "{statuses:?}");
    assert!(unlag.cpu_time() < std::time::Duration::from_secs(3), "{:?}: it goes round", unlag.cpu_time());
    gate.open();
}

#[test]
fn a_request_that_two_endpoints_of_a_region_refused_is_tried_in_another_before_it_is_given_up() {
    for balance in ["adaptive", "least-request", "round-robin"] {
        let (near, far) = ([(); 3].map(|()| RefusedPort::new()), RawOrigin::ok("far"));
        let toml = format!(
            "[region]\nname = \"eu\"\n[upstream.orders]\nregions.eu = [{}]\nregions.us = [{:?}]\nbalance = \"{balance}\"\n\
             [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"orders\"\n",
            near.each_ref().map(|port| format!("{:?}", port.url())).join(", "),
            far.url()
        );
        let unlag = Setup::of(UNLAG).toml(&toml).workers(1).start();
        assert_eq!(get(&unlag, "/", "").text(), "far", "{balance}");
    }
}
