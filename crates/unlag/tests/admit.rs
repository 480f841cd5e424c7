//! What an upstream is spared: limits and the line in front of them, rates, and upstreams that nobody can reach.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use unlag_testkit::origin::ok;
use unlag_testkit::ports::RefusedPort;
use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawClient, RawOrigin, Request, Response, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
/// The tests' own address is a proxy whose word counts.
const TRUST: &str = "[trust]\nproxies = [\"127.0.0.1\"]";

/// One request on a connection of its own, which waits for its answer elsewhere. Of those under way no two are alike in these tests:
/// they would wait for one another, and not for admission.
fn asks(unlag: &Unlag, target: &str, fields: &str) -> thread::JoinHandle<Response> {
    let mut client = unlag.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    thread::spawn(move || client.read_response("GET"))
}

fn waiting(unlag: &Unlag) -> u64 {
    let all: serde_json::Value =
        serde_json::from_str(&unlag.admin("/api/v1/upstreams").text()).expect("JSON");
    all["upstreams"][0]["admission"]["waiting"].as_u64().expect("a number")
}

/// An origin that takes a while, and what the most was that were inside at once.
struct Service {
    origin: RawOrigin,
    most: Arc<AtomicUsize>,
}

fn service(takes: Duration) -> Service {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let origin = RawOrigin::answering(move |request| {
        if request.target() == "/sick" {
            return b"HTTP/1.1 503 Sick\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        pause(takes);
        inside.fetch_sub(1, Ordering::SeqCst);
        ok("done")
    });
    Service { origin, most }
}

#[test]
fn no_more_are_in_flight_than_the_limit_and_the_rest_waits_its_turn() {
    let service = service(Duration::from_millis(5));
    let unlag = Setup::of(UNLAG)
        .to([service.origin.url()])
        .upstream("limit", "2")
        .upstream("queue", "{ wait_max = \"30s\" }")
        .start();
    let all: Vec<_> = (0..60).map(|one| asks(&unlag, &format!("/{one}"), "")).collect();
    let answers: Vec<Response> = all.into_iter().map(|one| one.join().expect("an answer")).collect();
    assert!(answers.iter().all(|answer| answer.status() == 200), "a crowd that came at once is no overload");
    let most = service.most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "two, and one more for each of two cores: {most}");
}

#[test]
fn the_more_critical_are_answered_first_and_nobody_else_may_say_so() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (gates, seen) = (Arc::new(Mutex::new(Gate::new())), Arc::clone(&order));
    let held = Arc::clone(&gates);
    let origin = RawOrigin::answering(move |request: &Request| {
        if request.target() == "/first" {
            let gate = held.lock().expect("no panic").clone();
            gate.pass();
        }
        seen.lock().expect("no panic").push((request.target(), request.header("x-criticality")));
        ok("done")
    });
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("limit", "1").workers(1);
    let setup = setup
        .upstream("queue", "{ wait_max = \"30s\" }")
        .toml("[[route]]\nmatch = \"/batch/{path...}\"\nupstream = \"origin\"\ncriticality = \"sheddable\"");
    for (trusted, expected) in [
        (true, ["/plus", "/urgent", "/plain", "/batch/1"]),
        (false, ["/plain", "/plus", "/urgent", "/batch/1"]),
    ] {
        let gate = Gate::new();
        *gates.lock().expect("no panic") = gate.clone();
        order.lock().expect("no panic").clear();
        let setup = if trusted { setup.clone().toml(TRUST) } else { setup.clone() };
        let unlag = setup.start();
        let mut all = vec![asks(&unlag, "/first", "")];
        wait_until("the first is at the origin", || {
            unlag.endpoints().iter().any(|endpoint| endpoint["in_flight"] == 1)
        });
        for (count, (target, fields)) in [
            ("/batch/1", ""),
            ("/plain", ""),
            ("/plus", "x-criticality: critical_plus\r\n"),
            ("/urgent", "x-criticality: critical\r\n"),
        ]
        .into_iter()
        .enumerate()
        {
            all.push(asks(&unlag, target, fields));
            wait_until("it waits", || waiting(&unlag) == count as u64 + 1);
        }
        gate.open();
        for one in all {
            assert_eq!(one.join().expect("an answer").status(), 200);
        }
        let order = order.lock().expect("no panic");
        let targets: Vec<&str> = order[1..].iter().map(|(target, _)| target.as_str()).collect();
        assert_eq!(targets, expected, "trusted: {trusted}");
        let said: HashMap<&str, Option<&str>> =
            order.iter().map(|(target, said)| (target.as_str(), said.as_deref())).collect();
        assert_eq!(said["/batch/1"], Some("sheddable"), "the route's word goes on");
        assert_eq!(
            said["/plus"],
            trusted.then_some("critical_plus"),
            "a trusted peer's as well, and no other's"
        );
        assert_eq!(said["/plain"], None);
    }
}

#[test]
fn a_full_line_refuses_with_a_time_to_come_again_and_blames_no_endpoint() {
    let gate = Gate::new();
    let origin = RawOrigin::always(Script::held(&gate, "done"));
    let unlag = Setup::of(UNLAG)
        .to([origin.url()])
        .upstream("limit", "1")
        .upstream("queue", "{ wait_max = \"30s\", length_max = 1 }")
        .start();
    let first = asks(&unlag, "/", "");
    origin.wait_for_requests(1);
    let second = asks(&unlag, "/second", "");
    wait_until("one waits", || waiting(&unlag) == 1);
    let refused = unlag.get("/third");
    assert_eq!(refused.status(), 503);
    let after: u64 = refused.header("retry-after").expect("a time").parse().expect("whole seconds");
    assert!((1..=3).contains(&after), "{after}");
    assert_eq!(refused.header("x-envoy-overloaded"), Some("true"));
    assert!(refused.text().contains("more to do than it can"), "{}", refused.text());
    assert_eq!(unlag.wait_for_cause(), "overloaded");
    gate.open();
    assert_eq!(first.join().expect("an answer").status(), 200);
    assert_eq!(second.join().expect("an answer").status(), 200);
    let endpoint = &unlag.endpoints()[0];
    assert_eq!((&endpoint["failures"], &endpoint["state"]), (&0.into(), &"healthy".into()));
    assert_eq!(origin.request_count(), 2);
}

#[test]
fn a_primary_with_too_much_to_do_refuses_writes_and_no_read_that_a_replica_can_answer() {
    let gate = Gate::new();
    let primary = RawOrigin::always(Script::held(&gate, "written"));
    let replica = RawOrigin::ok("read");
    let toml = format!(
        "[region]\nname = \"eu\"\n[upstream.orders]\nregions.eu = [\"{}\"]\nregions.us = [\"{}\"]\n\
         primary = \"us\"\nlimit = 1\nqueue = {{ wait_max = \"30s\", length_max = 1 }}\n\
         [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"orders\"\ncache = \"off\"\n",
        replica.url(),
        primary.url()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    let write = || {
        let mut client = unlag.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        thread::spawn(move || client.read_response("POST").status())
    };
    let first = write();
    primary.wait_for_requests(1);
    let second = write();
    wait_until("one waits", || waiting(&unlag) == 1);
    assert_eq!(write().join().expect("an answer"), 503, "their line is full");
    (0..5).for_each(|_| assert_eq!(unlag.get("/").text(), "read"));
    gate.open();
    assert_eq!((first.join().expect("an answer"), second.join().expect("an answer")), (200, 200));
}

#[test]
fn without_a_queue_what_is_over_the_limit_is_refused_at_once() {
    let gate = Gate::new();
    let origin = RawOrigin::always(Script::held(&gate, "done"));
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("limit", "1").upstream("queue", "\"off\"");
    let unlag = setup.start();
    let first = asks(&unlag, "/", "");
    origin.wait_for_requests(1);
    assert_eq!(unlag.get("/second").status(), 503);
    gate.open();
    assert_eq!(first.join().expect("an answer").status(), 200);
}

#[test]
fn who_waits_in_vain_is_told_within_the_longest_wait() {
    let gate = Gate::new();
    let origin = RawOrigin::always(Script::held(&gate, "done"));
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("limit", "1");
    let unlag = setup.upstream("queue", "{ wait_max = \"50ms\" }").start();
    let first = asks(&unlag, "/", "");
    origin.wait_for_requests(1);
    assert_eq!(unlag.get("/second").status(), 503, "and not after half a minute");
    gate.open();
    assert_eq!(first.join().expect("an answer").status(), 200);
    assert_eq!(origin.request_count(), 1, "nobody was asked for it");
}

#[test]
fn callers_that_leave_while_they_wait_leave_nothing_behind() {
    let gate = Gate::new();
    let origin = RawOrigin::always(Script::held(&gate, "done"));
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("limit", "1");
    let unlag = setup.upstream("queue", "{ wait_max = \"30s\" }").start();
    let first = asks(&unlag, "/first", "");
    origin.wait_for_requests(1);
    let mut gone: Vec<RawClient> = (0..20).map(|_| unlag.connect()).collect();
    for (number, client) in gone.iter_mut().enumerate() {
        client.send(format!("GET /gone/{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    wait_until("they wait", || waiting(&unlag) == 20);
    let last = asks(&unlag, "/last", "");
    wait_until("one more waits", || waiting(&unlag) == 21);
    gone.into_iter().for_each(RawClient::reset);
    wait_until("they have left the line", || waiting(&unlag) == 1);
    gate.open();
    assert_eq!(first.join().expect("an answer").status(), 200);
    assert_eq!(last.join().expect("an answer").status(), 200, "the place was not lost with them");
    assert!(origin.requests().iter().all(|request| !request.target().starts_with("/gone")));
    wait_until("nothing is in flight", || unlag.endpoints()[0]["in_flight"] == 0);
}

#[test]
fn a_second_endpoint_takes_what_the_first_has_no_room_for() {
    let gate = Gate::new();
    let held = RawOrigin::always(Script::held(&gate, "held"));
    let free = RawOrigin::ok("free");
    let unlag = Setup::of(UNLAG).to([held.url(), free.url()]).upstream("limit", "1").start();
    let mut all = Vec::new();
    while held.request_count() == 0 {
        all.push(asks(&unlag, &format!("/{}", all.len()), ""));
        wait_until("it is answered, or is held", || {
            all.last().is_some_and(|it| it.is_finished()) || held.request_count() == 1
        });
    }
    for number in 0..20 {
        assert_eq!(unlag.get(&format!("/free/{number}")).text(), "free");
    }
    gate.open();
    assert!(all.into_iter().all(|one| one.join().expect("an answer").status() == 200));
}

#[test]
fn a_limit_holds_where_no_endpoint_is_well_and_one_of_them_is_drained() {
    let service = [(); 2].map(|()| service(Duration::from_millis(20)));
    let addresses = [0, 1].map(|at: usize| service[at].origin.address());
    let unlag = Setup::of(UNLAG)
        .to(service.iter().map(|service| service.origin.url()))
        .upstream("limit", "2")
        .upstream("health", "{ path = \"/sick\", interval = \"100ms\" }")
        .upstream("queue", "{ wait_max = \"30s\" }")
        .start();
    wait_until("neither passes its check", || {
        unlag.endpoints().iter().all(|one| one["state"] == "unhealthy")
    });
    assert_eq!(turn(&unlag, "drain", &format!("{{\"endpoint\": \"{}\"}}", addresses[0])), 200);
    let all: Vec<_> = (0..40).map(|one| asks(&unlag, &format!("/{one}"), "")).collect();
    assert!(all.into_iter().all(|one| one.join().expect("an answer").status() == 200));
    let most = service[1].most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "two, and one more for each of two cores: {most}");
}

#[test]
fn u33_an_upstream_that_nobody_can_reach_is_given_up_and_looked_at_by_one_at_a_time() {
    let (is_down, gate) = (Arc::new(AtomicBool::new(true)), Gate::new());
    let (down, held) = (Arc::clone(&is_down), gate.clone());
    let origin = RawOrigin::scripted(move |_| match down.load(Ordering::SeqCst) {
        true => Script::new().head().reset(),
        false => Script::held(&held, "back"),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    // No two are alike: what is alike may be answered by one request.
    let number = AtomicUsize::new(0);
    let get = || unlag.get(&format!("/one/{}", number.fetch_add(1, Ordering::Relaxed)));
    let is_given_up =
        |answer: &Response| answer.text().contains("no endpoint of the upstream can be reached");
    wait_until("it is given up", || is_given_up(&get()));
    let refused = get();
    assert_eq!(refused.status(), 503);
    assert!(refused.header("retry-after").expect("a time").parse::<u64>().expect("whole seconds") >= 1);
    let asked = origin.connections();
    let refused = (0..100).filter(|_| is_given_up(&get())).count();
    let looked = origin.connections() - asked;
    assert!(refused + looked >= 100 && looked <= 8, "{refused} refused, {looked} looked");
    is_down.store(false, Ordering::SeqCst);
    let before = origin.connections();
    let mut all = Vec::new();
    wait_until("one looks", || {
        all.push(asks(&unlag, &format!("/{}", all.len()), ""));
        origin.connections() > before
    });
    (0..50).for_each(|_| assert!(is_given_up(&get()), "while one looks, nobody else does"));
    assert_eq!(origin.connections(), before + 1);
    gate.open();
    wait_until("one answer ends it", || get().text() == "back");
    (0..50).for_each(|_| assert_eq!(get().text(), "back"));
    let answered = all.into_iter().map(|one| one.join().expect("an answer")).filter(|it| it.text() == "back");
    assert_eq!(answered.count(), 1);
}

#[test]
fn an_upstream_that_answers_badly_is_reached_and_not_given_up() {
    let origin = RawOrigin::answering(|_| b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy".to_vec());
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for _ in 0..30 {
        assert_eq!(unlag.get("/").text(), "busy");
    }
}

#[test]
fn a_rate_holds_over_all_cores() {
    let origin = RawOrigin::ok("done");
    let setup = Setup::of(UNLAG).to([origin.url()]).workers(2);
    let unlag = setup.route("rate", "{ limit = \"1/h\", burst = 10 }").start();
    let statuses: Vec<u16> = (0..40).map(|_| unlag.get("/").status()).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 10);
    let refused = unlag.get("/");
    assert_eq!(refused.status(), 429);
    let after: u64 = refused.header("retry-after").expect("a time").parse().expect("whole seconds");
    assert!((3_000..=3_600).contains(&after), "{after}");
    assert_eq!(unlag.wait_for_cause(), "rate");
    assert_eq!(origin.request_count(), 10);
}

#[test]
fn a_rate_by_client_counts_each_address_that_a_trusted_peer_says() {
    let origin = RawOrigin::ok("done");
    let setup = Setup::of(UNLAG).to([origin.url()]).toml(TRUST);
    let unlag = setup.route("rate", "{ limit = \"1/h\", burst = 2, by = \"client\" }").start();
    let asks_for = |whom: &str| {
        let fields = format!("X-Forwarded-For: {whom}\r\n");
        asks(&unlag, "/", &fields).join().expect("an answer").status()
    };
    for whom in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        let statuses: Vec<u16> = (0..4).map(|_| asks_for(whom)).collect();
        assert_eq!(statuses, [200, 200, 429, 429], "{whom}");
    }
    assert_eq!(
        asks_for("198.51.100.7, 192.0.2.1"),
        429,
        "what an untrusted one claims to forward for is his"
    );
    assert_eq!(asks_for("2001:db8::2"), 429, "a caller has all addresses of his network");
}

#[test]
fn a_rate_by_header_counts_each_value() {
    let origin = RawOrigin::ok("done");
    let unlag = Setup::of(UNLAG)
        .to([origin.url()])
        .route("rate", "{ limit = \"1/h\", burst = 2, by = \"header:x-key\" }")
        .start();
    for fields in ["X-Key: a\r\n", "X-Key: b\r\n", ""] {
        let statuses: Vec<u16> =
            (0..3).map(|_| asks(&unlag, "/", fields).join().expect("an answer").status()).collect();
        assert_eq!(statuses, [200, 200, 429], "{fields:?}");
    }
}

#[test]
fn a_reload_gives_no_allowance_back_unless_the_rate_is_another() {
    let origin = RawOrigin::ok("done");
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("rate", "{ limit = \"1/h\", burst = 2 }").start();
    (0..2).for_each(|_| assert_eq!(unlag.get("/").status(), 200));
    unlag.write_config(&unlag.setup().route("server_timing", "true"));
    unlag.signal("HUP");
    unlag.wait_for_log("reloaded");
    assert_eq!(unlag.get("/").status(), 429);
}

/// Turns a switch; the status.
fn turn(unlag: &Unlag, switch: &str, body: &str) -> u16 {
    turned(unlag, switch, body).status()
}

/// The same, with all of the answer.
fn turned(unlag: &Unlag, switch: &str, body: &str) -> Response {
    unlag.order(&format!("/api/v1/upstreams/origin/{switch}"), body)
}

/// A proxy in front of both by turns, and its callers so far, of which one is held by the first.
fn with_one_held(held: &RawOrigin, other: &RawOrigin) -> (Unlag, Vec<thread::JoinHandle<Response>>) {
    let unlag = Setup::of(UNLAG).to([held.url(), other.url()]).upstream("balance", "\"round-robin\"").start();
    let mut all = Vec::new();
    wait_until("one is at the first", || {
        all.push(asks(&unlag, &format!("/{}", all.len()), ""));
        held.request_count() > 0
    });
    (unlag, all)
}

#[test]
fn who_takes_the_last_endpoint_out_is_told_what_that_means_and_how_much_is_under_way() {
    let gate = Gate::new();
    let (held, other) = (RawOrigin::always(Script::held(&gate, "held")), RawOrigin::ok("other"));
    let (unlag, all) = with_one_held(&held, &other);
    let answer = |switch: &str, body: &str| -> serde_json::Value {
        serde_json::from_str(&turned(&unlag, switch, body).text()).expect("JSON")
    };
    let first = answer("drain", &format!("{{\"endpoint\": \"{}\"}}", held.address()));
    assert_eq!((first["asked"].as_u64(), first["endpoints"].as_u64()), (Some(1), Some(2)), "{first}");
    assert_eq!(first["out"][0]["endpoint"], held.address().to_string(), "{first}");
    assert!(first["out"][0]["in_flight"].as_u64() > Some(0) && first["warning"].is_null(), "{first}");
    let last = answer("pin", &format!("{{\"endpoints\": [\"{}\"]}}", held.address()));
    assert_eq!(last["asked"].as_u64(), Some(0), "{last}");
    assert!(last["warning"].as_str().is_some_and(|text| text.contains("answered 503")), "{last}");
    unlag.wait_for_log("nobody is asked any more");
    let ahead = unlag.admin("/api/v1/explain?url=http://a/").text();
    assert!(ahead.contains("it is 503"), "{ahead}");
    assert_eq!(unlag.get("/").status(), 503);
    assert_eq!(answer("unpin", "")["asked"].as_u64(), Some(1));
    gate.open();
    all.into_iter().for_each(|one| drop(one.join()));
}

#[test]
fn a_switch_without_the_token_is_refused_with_where_the_token_is() {
    let origin = RawOrigin::ok("done");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let address = unlag.admin_address();
    let head = format!(
        "POST /api/v1/upstreams/origin/unpin HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
    );
    let refused = RawClient::connect(address).send(head).read_response("POST");
    assert_eq!(refused.status(), 401);
    assert!(refused.text().contains("the file admin.token in `state.directory`"), "{}", refused.text());
}

#[test]
fn a_drained_endpoint_finishes_what_it_has_and_gets_nothing_more_over_reloads_until_it_is_put_back() {
    let gate = Gate::new();
    let (held, other) = (RawOrigin::always(Script::held(&gate, "held")), RawOrigin::ok("other"));
    let (unlag, all) = with_one_held(&held, &other);
    wait_until("all that were sent are where they belong", || {
        held.request_count() + other.request_count() == all.len()
    });
    let before = held.request_count();
    let endpoint = format!("{{\"endpoint\": \"{}\"}}", held.address());
    assert_eq!(turn(&unlag, "drain", &endpoint), 200);
    assert_eq!(unlag.endpoint(&held.address()).expect("it")["state"], "drained");
    (0..20).for_each(|number| assert_eq!(unlag.get(&format!("/drained/{number}")).text(), "other"));
    unlag.write_config(&unlag.setup().route("server_timing", "true"));
    unlag.signal("HUP");
    unlag.wait_for_log("reloaded");
    (0..20).for_each(|number| assert_eq!(unlag.get(&format!("/reloaded/{number}")).text(), "other"));
    assert_eq!(held.request_count(), before);
    gate.open();
    assert!(all.into_iter().all(|one| one.join().expect("an answer").status() == 200), "nothing was cut off");
    assert_eq!(turn(&unlag, "undrain", &endpoint), 200);
    let back = (0..20).filter(|number| unlag.get(&format!("/back/{number}")).text() == "held").count();
    assert!(back > 0);
    assert_eq!(turn(&unlag, "drain", "{\"endpoint\": \"192.0.2.1:1\"}"), 404);
}

#[test]
fn an_upstream_that_is_drained_answers_503_and_says_why() {
    let origin = RawOrigin::ok("done");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    assert_eq!(turn(&unlag, "drain", "{\"all\": true}"), 200);
    let refused = unlag.get("/");
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("taken out by an operator"), "{}", refused.text());
    assert_eq!((unlag.wait_for_cause().as_str(), origin.request_count()), ("drained", 0));
    assert_eq!(turn(&unlag, "undrain", "{\"all\": true}"), 200);
    assert_eq!(unlag.get("/").text(), "done");
}

#[test]
fn an_upstream_that_nobody_can_reach_and_is_then_drained_says_that_it_is_drained() {
    let nobody = RefusedPort::new();
    let unlag = Setup::of(UNLAG).to([nobody.url()]).start();
    wait_until("it is given up", || unlag.get("/").text().contains("can be reached; come again later"));
    assert_eq!(turn(&unlag, "drain", "{\"all\": true}"), 200);
    let refused = unlag.get("/").text();
    assert!(refused.contains("taken out by an operator"), "{refused}");
}

#[test]
fn what_is_drained_stays_so_when_a_reload_makes_its_endpoints_anew() {
    let origin = RawOrigin::ok("done");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    assert_eq!(turn(&unlag, "drain", "{\"all\": true}"), 200);
    unlag.write_config(&unlag.setup().upstream("protocol", "\"http1\""));
    unlag.signal("HUP");
    unlag.wait_for_log("reloaded");
    assert_eq!(unlag.get("/").status(), 503);
    assert_eq!(turn(&unlag, "undrain", "{\"all\": true}"), 200);
    assert_eq!(unlag.get("/").text(), "done");
}

#[test]
fn a_pinned_upstream_asks_only_those_it_is_pinned_to() {
    let (first, second) = (RawOrigin::ok("first"), RawOrigin::ok("second"));
    let unlag = Setup::of(UNLAG).to([first.url(), second.url()]).start();
    assert_eq!(turn(&unlag, "pin", &format!("{{\"endpoints\": [\"{}\"]}}", second.address())), 200);
    (0..20).for_each(|number| assert_eq!(unlag.get(&format!("/{number}")).text(), "second"));
    assert_eq!(turn(&unlag, "pin", "{\"region\": \"nowhere\"}"), 404);
    (0..5).for_each(|number| assert_eq!(unlag.get(&format!("/still/{number}")).text(), "second"));
    assert_eq!(turn(&unlag, "unpin", ""), 200);
    wait_until("the first is asked again", || {
        let number = first.request_count() + second.request_count();
        unlag.get(&format!("/all/{number}")).text() == "first"
    });
}

/// Many times what can be done is asked for, by callers who try three times at once and wait for 250 ms each time.
#[test]
fn in_a_storm_of_retries_the_service_stays_busy_with_what_is_waited_for_and_critical_requests_come_through() {
    const CALLERS: usize = 48;
    let work = Arc::new(Mutex::new(()));
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    // One at a time, whoever asks: what is sent beyond that waits inside, in no order.
    let origin = RawOrigin::answering(move |_| {
        let _one = work.lock().expect("no panic");
        pause(Duration::from_millis(10));
        counted.fetch_add(1, Ordering::SeqCst);
        ok("done")
    });
    let unlag = Setup::of(UNLAG)
        .to([origin.url()])
        .upstream("limit", "2")
        .route("retry", "\"off\"")
        .toml(TRUST)
        .start();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (address, critical) = (unlag.address().to_owned(), caller % 8 == 0);
            let class = if critical { "x-criticality: critical\r\n" } else { "" };
            thread::spawn(move || {
                let (mut good, mut bad) = (0, 0);
                for number in 0..12 {
                    if critical {
                        // Alone, critical requests are less than half of what can be done.
                        pause(Duration::from_millis(100));
                    }
                    let answered = (0..3).any(|attempt| {
                        let head =
                            format!("GET /{caller}/{number}/{attempt} HTTP/1.1\r\nHost: a\r\n{class}\r\n");
                        let patience = Duration::from_millis(250);
                        let mut client = RawClient::connect(&address).with_deadline(patience);
                        let answer = client.try_send(head.as_bytes()).ok();
                        let answer = answer.and_then(|()| client.try_read_response("GET").ok());
                        answer.is_some_and(|answer| answer.status() == 200)
                    });
                    *if answered { &mut good } else { &mut bad } += 1;
                }
                (critical, good, bad)
            })
        })
        .collect();
    let (mut all, mut critical) = ((0, 0), (0, 0));
    for (is_critical, good, bad) in callers.into_iter().map(|caller| caller.join().expect("no panic")) {
        let of = if is_critical { &mut critical } else { &mut all };
        (of.0, of.1) = (of.0 + good, of.1 + bad);
    }
    assert_eq!(critical.1, 0, "of {} critical requests", critical.0);
    let (good, did) = (all.0 + critical.0, done.load(Ordering::SeqCst));
    assert!(good * 4 >= did * 3, "{did} were worked on, and for {good} of them somebody still waited");
    wait_until("nothing is left behind", || waiting(&unlag) == 0 && unlag.endpoints()[0]["in_flight"] == 0);
}
