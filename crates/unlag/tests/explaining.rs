//! What `unlag explain` says of decisions: why this endpoint, why this region, why (not) twice, why refused; and what would be done
//! with a URL.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use unlag_testkit::origin::ok;
use unlag_testkit::ports::RefusedPort;
use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// What the command prints, on one line; none if it fails.
fn command(unlag: &Unlag, arguments: &[&str]) -> Option<String> {
    let admin = format!("http://{}", unlag.admin_address());
    let mut command = Command::new(UNLAG);
    command.arg("explain").args(arguments).args(["--admin", &admin]).stdin(Stdio::null());
    let output = command.current_dir(unlag.directory()).output().expect("run unlag");
    let text = String::from_utf8(output.stdout).expect("text");
    output.status.success().then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn asked(unlag: &Unlag, method: &str, path: &str, id: &str) -> u16 {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\nContent-Length: 0\r\n\r\n");
    unlag.connect().send(head).read_response(method).status()
}

/// What is said of a request once it is recorded.
fn explained(unlag: &Unlag, id: &str) -> String {
    wait_until("it is recorded", || command(unlag, &[id]).is_some());
    command(unlag, &[id]).expect("just seen")
}

fn address(origin: &RawOrigin) -> String {
    origin.url().split("//").nth(1).expect("an address").to_owned()
}

fn taking(time: Duration) -> RawOrigin {
    RawOrigin::answering(move |_| {
        pause(time);
        ok("done")
    })
}

/// One whose answers take a different time each, as work does: what makes all of them longer by the same time is distance.
fn working(unit: Duration) -> RawOrigin {
    let count = AtomicU32::new(0);
    RawOrigin::answering(move |_| {
        pause(unit * (1 + count.fetch_add(1, Relaxed) % 5));
        ok("done")
    })
}

#[test]
fn a_slow_replica_is_named_with_what_it_would_have_cost() {
    let (fast, slow) = (working(Duration::from_millis(1)), working(Duration::from_millis(12)));
    let unlag = Setup::of(UNLAG).to([fast.url(), slow.url()]).route("cache", "\"off\"").workers(1).start();
    let mut caller = unlag.connect();
    wait_until("the slow one is known to be slow", || {
        (0..20).for_each(|_| assert_eq!(caller.get("/").status(), 200));
        unlag.endpoint(&address(&slow)).is_some_and(|known| known["slower"].as_f64() > Some(3.0))
    });
    assert_eq!(asked(&unlag, "GET", "/", "quick"), 200);
    let text = explained(&unlag, "quick");
    let (fast, slow) = (address(&fast), address(&slow));
    assert!(text.contains(&format!("{fast} was asked of 2 endpoints: it cost ")), "{text}");
    assert!(text.contains(&format!("next best was {slow} at ")), "{text}");
    assert!(text.contains("times slower than its peers"), "{text}");
    assert!(text.contains("No second copy was sent: the route has no `hedge`"), "{text}");
    let ahead = command(&unlag, &["http://a/some/thing"]).expect("an answer");
    assert!(ahead.contains("balance = \"adaptive\", over 2 endpoints."), "{ahead}");
    assert!(ahead.contains(&format!("{slow}: 0 in flight, ")) && ahead.contains("times slower"), "{ahead}");
}

#[test]
fn an_ejected_replica_is_counted_among_those_left_out_and_what_it_failed_before_is_said() {
    let (well, gone) = (RawOrigin::ok("fine"), RefusedPort::new());
    let setup = Setup::of(UNLAG).to([well.url(), gone.url()]).upstream("balance", "\"round-robin\"");
    let unlag = setup.start();
    let gone = gone.url().split("//").nth(1).expect("an address").to_owned();
    let mut last = 0;
    wait_until("it is ejected", || {
        last += 1;
        assert_eq!(asked(&unlag, "GET", "/", &format!("before-{last}")), 200);
        unlag.endpoint(&gone).is_some_and(|known| known["state"] == "ejected")
    });
    let text = explained(&unlag, &format!("before-{last}"));
    let before = format!("The attempt before went to {gone} and failed: connect_refused.");
    assert!(text.contains(&before), "{text}");
    assert_eq!(asked(&unlag, "GET", "/", "after"), 200);
    let text = explained(&unlag, "after");
    assert!(text.contains("it was its turn among 2 endpoints"), "{text}");
    assert!(text.contains("Of the others, 1 was ejected after failures in a row."), "{text}");
    let ahead = command(&unlag, &["http://a/"]).expect("an answer");
    assert!(ahead.contains(&format!("{gone}: 0 in flight, ejected for ")), "{ahead}");
}

#[test]
fn a_refused_request_is_told_the_bounds_of_those_it_might_have_gone_to() {
    let gate = Gate::new();
    let (origin, drained) = (RawOrigin::always(Script::held(&gate, "done")), RawOrigin::ok("out"));
    let unlag = Setup::of(UNLAG)
        .to([origin.url(), drained.url()])
        .upstream("limit", "1")
        .upstream("queue", "\"off\"")
        .start();
    let out = format!("{{\"endpoint\": \"{}\"}}", address(&drained));
    let done = unlag.order("/api/v1/upstreams/origin/drain", &out);
    assert_eq!(done.status(), 200, "{}", done.text());
    let mut first = unlag.connect();
    first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    assert_eq!(asked(&unlag, "GET", "/other", "refused"), 503);
    let text = explained(&unlag, "refused");
    assert!(text.contains("takes 1 request at a time, 1 was in flight"), "{text}");
}

#[test]
fn a_refused_request_is_told_the_bound_what_was_used_of_it_and_when_to_come_again() {
    let gate = Gate::new();
    let origin = RawOrigin::always(Script::held(&gate, "done"));
    let unlag = Setup::of(UNLAG)
        .to([origin.url()])
        .upstream("limit", "1")
        .upstream("queue", "{ wait_max = \"50ms\", length_max = 7 }")
        .start();
    let mut first = unlag.connect();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    assert_eq!(asked(&unlag, "GET", "/other", "refused"), 503);
    let text = explained(&unlag, "refused");
    assert!(text.contains("takes 1 request at a time, 1 was in flight, "), "{text}");
    assert!(text.contains("(at most 7), and it had waited ") && text.contains("(at most 50.0 ms)"), "{text}");
    assert!(text.contains("Its caller was told to come again in "), "{text}");
    let ahead = command(&unlag, &["/"]).expect("an answer");
    assert!(
        ahead.contains("limit = \"1\": 1 request at a time for an endpoint; 0 wait now, at most 7"),
        "{ahead}"
    );
    gate.open();
    assert_eq!(first.read_response("GET").status(), 200);
}

#[test]
fn a_request_over_its_rate_is_told_so() {
    let origin = RawOrigin::ok("fine");
    let setup = Setup::of(UNLAG).to([origin.url()]).route("rate", "{ limit = \"1/h\", burst = 1 }");
    let unlag = setup.start();
    assert_eq!(asked(&unlag, "GET", "/", "first"), 200);
    assert_eq!(asked(&unlag, "GET", "/", "second"), 429);
    let text = explained(&unlag, "second");
    assert!(text.contains("allows (1 in 3600 s, 1 at once, by route). Its caller was told"), "{text}");
    let metrics = unlag.admin("/metrics").text();
    assert!(
        metrics.lines().any(|line| line.starts_with("unlag_rate_refused_total{") && line.ends_with(" 1")),
        "{metrics}"
    );
}

#[test]
fn a_second_copy_is_explained_by_who_was_late_and_where_it_went() {
    let (gate, is_slow) = (Gate::new(), Arc::new(AtomicBool::new(true)));
    let origins = [(); 2].map(|()| {
        let (gate, is_slow) = (gate.clone(), Arc::clone(&is_slow));
        RawOrigin::answering(move |request| {
            if request.target() == "/slow" && is_slow.swap(false, Relaxed) {
                gate.pass();
            }
            pause(Duration::from_millis(10));
            ok("done")
        })
    });
    let setup = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).route("hedge", "{}");
    let unlag = setup.route("cache", "\"off\"").start();
    let mut caller = unlag.connect();
    (0..120).for_each(|_| assert_eq!(caller.get("/usual").status(), 200));
    assert_eq!(asked(&unlag, "GET", "/slow", "slow"), 200);
    let text = explained(&unlag, "slow");
    let went = |copy: &RawOrigin, first: &RawOrigin| {
        let reason = text.split(&format!("A second copy went to {}, because ", address(copy))).nth(1);
        reason.is_some_and(|reason| {
            let is_stall = reason.starts_with(&format!("{} had given no sign of life for ", address(first)));
            (is_stall || reason.starts_with("it had been on its way for "))
                && reason.contains("; its answer came first.")
        })
    };
    assert!(went(&origins[0], &origins[1]) || went(&origins[1], &origins[0]), "{text}");
    gate.open();
    assert_eq!(asked(&unlag, "POST", "/usual", "post"), 200);
    let text = explained(&unlag, "post");
    assert!(text.contains("No second copy was sent: a POST is not sent twice at once"), "{text}");
}

#[test]
fn a_region_is_explained_by_its_distance_and_by_what_the_request_does() {
    let (near, far) = (taking(Duration::from_millis(1)), taking(Duration::from_millis(1)));
    let toml = format!(
        "[region]\nname = \"eu\"\n[upstream.shop]\nprimary = \"us\"\n\
         regions = {{ eu = [{:?}], us = [{:?}] }}\nspill = {{ cost = {{ us = \"100ms\" }} }}\n\
         [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"shop\"\ncache = \"off\"",
        near.url(),
        far.url()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    let mut number = 0;
    wait_until("a read is said to be in the nearest region", || {
        number += 1;
        let id = format!("read-{number}");
        assert_eq!(asked(&unlag, "GET", "/", &id), 200);
        explained(&unlag, &id).contains("eu was the nearest region that was well.")
    });
    assert_eq!(asked(&unlag, "POST", "/", "write"), 200);
    let text = explained(&unlag, "write");
    assert!(text.contains("It had to go to us, the primary region: a POST may change something."), "{text}");
    assert!(text.contains("1 is in another region"), "{text}");
    let ahead = command(&unlag, &["http://a/", "--method", "POST"]).expect("an answer");
    assert!(ahead.contains("It goes to us, the primary region"), "{ahead}");
    let regions: Value = serde_json::from_str(&unlag.admin("/api/v1/regions").text()).expect("JSON");
    let [eu, us] = [&regions["regions"][0], &regions["regions"][1]];
    assert_eq!((&eu["name"], &eu["own"], &eu["home_of"][0]), (&"eu".into(), &true.into(), &"shop".into()));
    assert_eq!((&us["name"], &us["primary_of"][0]), (&"us".into(), &"shop".into()));
    assert_eq!((&us["healthy"], &us["requests"]), (&1.into(), &1.into()));
}

#[test]
fn a_request_that_leaves_a_busy_region_or_is_kept_there_is_told_by_how_much() {
    for (most, how, words) in [
        ("100%", "spilled", "It left eu, the nearest region, for us, because eu was busy: the best there, "),
        ("0%", "kept_at_home", "It stayed in eu, the nearest region, although "),
    ] {
        let gate = Gate::new();
        let origins = [(); 2].map(|()| RawOrigin::always(Script::held(&gate, "done")));
        let toml = format!(
            "[region]\nname = \"eu\"\n[upstream.shop]\nregions = {{ eu = [{:?}], us = [{:?}] }}\n\
             spill = {{ max = {most:?}, cost = {{ us = \"10ms\" }} }}\n\
             [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"shop\"\ncache = \"off\"",
            origins[0].url(),
            origins[1].url()
        );
        let unlag = Setup::of(UNLAG).toml(&toml).start();
        let mut held: Vec<_> = (0..60).map(|_| unlag.connect()).collect();
        for (number, caller) in held.iter_mut().enumerate() {
            caller.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\nX-Request-Id: held-{number}\r\n\r\n"));
            wait_until("it is at an origin", || {
                origins.iter().map(RawOrigin::request_count).sum::<usize>() > number
            });
        }
        gate.open();
        held.iter_mut().for_each(|caller| assert_eq!(caller.read_response("GET").status(), 200));
        let chosen = || {
            let all: Value =
                serde_json::from_str(&unlag.admin("/api/v1/requests?limit=100").text()).expect("JSON");
            let all = all["requests"].as_array().expect("requests").clone();
            all.into_iter().find(|request| request["why"]["choice"]["how"] == how)
        };
        wait_until(how, || chosen().is_some());
        let id = chosen().expect("just seen")["request_id"].as_str().expect("an id").to_owned();
        let text = explained(&unlag, &id);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_url_that_no_route_takes_is_said_to_be_one() {
    let origin = RawOrigin::ok("fine");
    let toml = format!(
        "[upstream.o]\nendpoints = [{:?}]\n[[route]]\nmatch = \"GET /only\"\nupstream = \"o\"\n",
        origin.url()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    let ahead = |arguments: &[&str]| command(&unlag, arguments).expect("an answer");
    assert!(ahead(&["http://a/none"]).contains("No route matches http://a/none: it is answered 404."));
    assert!(
        ahead(&["/only", "--method", "PUT"]).contains("/only is answered 405 to PUT: its routes take GET")
    );
    assert!(ahead(&["/only"]).contains("takes route GET /only to upstream o."));
    assert_eq!(command(&unlag, &["http://a b/"]), None);
}
