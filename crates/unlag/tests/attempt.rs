//! How often a request is sent, and for how long: retries on another endpoint within a budget, deadlines at every attempt, one
//! proxy on the way that retries.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use unlag_testkit::h2::Call;
use unlag_testkit::log::field;
use unlag_testkit::origin::ok;
use unlag_testkit::wait::pause;
use unlag_testkit::{RawOrigin, Request, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

fn answer_of(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\n{fields}\r\nsick").into_bytes()
}

/// An origin that answers every request so.
fn answers(status: u16, fields: &'static str) -> RawOrigin {
    RawOrigin::answering(move |_| answer_of(status, fields))
}

fn request(method: &str, fields: &str) -> String {
    format!("{method} /thing HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 2\r\n{fields}\r\nhi")
}

/// An origin that takes 20 ms for an answer.
fn slow() -> RawOrigin {
    RawOrigin::answering(|_| {
        pause(Duration::from_millis(20));
        ok("slow")
    })
}

/// So many usual requests that unlag knows how long one takes.
fn learn(unlag: &Unlag) {
    let mut caller = unlag.connect();
    (0..150).for_each(|_| assert_eq!(caller.send(request("PUT", "")).read_response("PUT").status(), 200));
}

/// A request on a connection of its own, and the status and text of its answer.
fn ask(unlag: &Unlag, method: &str, fields: &str) -> (u16, String) {
    let response = unlag.connect().send(request(method, fields)).read_response(method);
    (response.status(), response.text())
}

/// The names and values under which a request came.
fn attempts_of(origin: &RawOrigin) -> Vec<Option<String>> {
    origin.requests().iter().map(|request| request.header("x-attempt")).collect()
}

#[test]
fn an_answer_that_refuses_an_idempotent_request_is_followed_by_an_attempt_elsewhere() {
    for status in [502, 503, 504] {
        let (sick, well) = (answers(status, ""), RawOrigin::ok("well"));
        let unlag = Setup::of(UNLAG).to([sick.url(), well.url()]).start();
        for _ in 0..4 {
            assert_eq!(ask(&unlag, "PUT", ""), (200, "well".into()), "{status}");
        }
        assert!(sick.request_count() > 0, "{status}: it was asked first at least once");
        assert_eq!(attempts_of(&sick), vec![None; sick.request_count()]);
        let again = attempts_of(&well).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(
            again,
            vec!["2"; sick.request_count()],
            "{status}: the second attempt says that it is one"
        );
    }
}

#[test]
fn what_is_not_idempotent_is_sent_once_unless_the_caller_or_the_route_says_that_it_may_be_repeated() {
    let ask_once = |fields: &str, route: Option<(&str, &str)>| {
        let (sick, well) = (answers(503, ""), RawOrigin::ok("well"));
        let mut setup = Setup::of(UNLAG).to([sick.url(), well.url()]);
        if let Some((key, value)) = route {
            setup = setup.route(key, value);
        }
        let unlag = setup.start();
        let answers: Vec<u16> = (0..4).map(|_| ask(&unlag, "POST", fields).0).collect();
        assert!(sick.request_count() > 0);
        answers.iter().filter(|&&status| status == 503).count()
    };
    assert!(ask_once("", None) > 0, "the answer of a POST is passed on");
    assert_eq!(ask_once("Idempotency-Key: one\r\n", None), 0, "the caller marked it");
    assert_eq!(ask_once("", Some(("idempotent", "true"))), 0, "the route says so");
    assert!(ask_once("Idempotency-Key: one\r\n", Some(("retry", "\"off\""))) > 0, "switched off");
}

#[test]
fn an_answer_that_asks_not_to_be_followed_by_another_attempt_is_passed_on_as_it_is() {
    for fields in ["Retry-After: 30\r\n", "x-envoy-overloaded: true\r\n", "grpc-retry-pushback-ms: -1\r\n"] {
        let (sick, other) = (answers(503, fields), answers(503, fields));
        let unlag = Setup::of(UNLAG).to([sick.url(), other.url()]).start();
        assert_eq!(ask(&unlag, "PUT", ""), (503, "sick".into()), "{fields}");
        assert_eq!(sick.request_count() + other.request_count(), 1, "{fields}");
    }
}

#[test]
fn the_answer_of_the_last_attempt_is_passed_on_unchanged() {
    let origins = [answers(503, ""), answers(503, ""), answers(503, ""), answers(503, "")];
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).start();
    assert_eq!(ask(&unlag, "PUT", ""), (503, "sick".into()));
    let mut seen: Vec<String> = origins.iter().flat_map(attempts_of).map(Option::unwrap_or_default).collect();
    seen.sort();
    assert_eq!(seen, ["", "2", "3"], "two retries, each elsewhere");
    assert!(origins.iter().all(|origin| origin.request_count() <= 1));
    wait_until("it is recorded", || !unlag.log().objects().iter().all(|line| line.get("attempts").is_none()));
    let line = unlag.log().objects().into_iter().find(|line| line.get("attempts").is_some()).expect("a line");
    assert_eq!(line["attempts"], 3);
    assert_eq!(field(&line, "cause"), None, "the answer is the origin's");
}

#[test]
fn where_there_is_no_other_endpoint_an_answer_is_passed_on_at_once() {
    let only = answers(503, "");
    let unlag = Setup::of(UNLAG).to([only.url()]).start();
    assert_eq!(ask(&unlag, "PUT", ""), (503, "sick".into()));
    assert_eq!(only.request_count(), 1);
}

#[test]
fn u34_an_outage_is_not_multiplied_by_retries() {
    // Not all of the 60 s of the promise: what comes in a second is what comes in a minute, less the one second that a budget
    // begins with.
    let counted = Arc::new(AtomicUsize::new(0));
    let origins: Vec<RawOrigin> = (0..3)
        .map(|_| {
            let counted = Arc::clone(&counted);
            RawOrigin::answering(move |_| {
                // Three of five fail: none is left out, and nothing but the budget ends the attempts.
                let is_sick = counted.fetch_add(1, Relaxed).wrapping_mul(2_654_435_761) >> 7 & 0xff < 153;
                if is_sick { answer_of(503, "") } else { ok("well") }
            })
        })
        .collect();
    let mut setup = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url));
    for route in 0..4 {
        // Each has a budget of its own, and all have one in common.
        setup = setup.toml(&format!(
            "[[route]]\nname = \"{route}\"\nmatch = \"/{{path...}}\"\nheaders = {{ x-route = \"{route}\" }}\n\
             upstream = \"origin\"\n"
        ));
    }
    let unlag = setup.start();
    let mut caller = unlag.connect();
    let (started, mut asked, mut failed) = (std::time::Instant::now(), 0, 0);
    while asked < 600 || started.elapsed().as_millis() < 1_000 {
        let status =
            caller.send(request("PUT", &format!("x-route: {}\r\n", asked % 4))).read_response("PUT").status();
        failed += usize::from(status == 503);
        asked += 1;
    }
    let sent = counted.load(Relaxed);
    assert!(
        sent > asked && failed > asked / 10,
        "some were retried, and not all: {sent} for {asked}, {failed} failed"
    );
    assert!(sent as f64 <= 1.2 * asked as f64, "{sent} for {asked}");
}

/// Unlag in front of unlag: the second trusts the first.
fn chain(origins: &[&RawOrigin]) -> (Unlag, Unlag) {
    let behind = Setup::of(UNLAG)
        .to(origins.iter().map(|origin| origin.url()))
        .toml("[trust]\nproxies = [\"127.0.0.1\"]")
        .start();
    let front = Setup::of(UNLAG).to([format!("http://{}", behind.address())]).start();
    (front, behind)
}

#[test]
fn a_request_that_a_trusted_proxy_retries_is_not_retried_once_more() {
    let (one, other) = (answers(503, ""), answers(503, ""));
    let (_front, behind) = chain(&[&one, &other]);
    assert_eq!(ask(&behind, "PUT", "x-attempt: 2\r\n").0, 503);
    assert_eq!(one.request_count() + other.request_count(), 1);
    let number = attempts_of(&one).into_iter().chain(attempts_of(&other)).next().expect("one request");
    assert_eq!(number.as_deref(), Some("2"), "and whoever comes next sees the same");
    assert_eq!(ask(&behind, "PUT", "x-attempt: 1\r\n").0, 503);
    assert_eq!(one.request_count() + other.request_count(), 3, "a first attempt is retried");
}

#[test]
fn what_a_stranger_says_of_attempts_is_not_believed() {
    let (sick, well) = (answers(503, ""), RawOrigin::ok("well"));
    let unlag = Setup::of(UNLAG).to([sick.url(), well.url()]).start();
    for _ in 0..4 {
        assert_eq!(ask(&unlag, "PUT", "x-attempt: 2\r\n"), (200, "well".into()));
    }
}

fn number_of(request: &Request, name: &str) -> u64 {
    let value = request.header(name).unwrap_or_else(|| panic!("no {name} in {request:?}"));
    value.trim_end_matches('m').trim_end_matches('u').trim_end_matches('n').parse().expect("a number")
}

#[test]
fn a_deadline_goes_through_a_chain_in_its_own_dialect_and_is_shorter_at_every_attempt() {
    let slow_refusal = RawOrigin::always(Script::new().answer(|_| {
        pause(Duration::from_millis(60));
        answer_of(503, "")
    }));
    let other = RawOrigin::always(Script::new().answer(|_| {
        pause(Duration::from_millis(60));
        answer_of(503, "")
    }));
    let (front, _behind) = chain(&[&slow_refusal, &other]);
    for (name, value, scale) in [
        ("x-request-timeout-ms", "5000", 1),
        ("x-envoy-expected-rq-timeout-ms", "5000", 1),
        ("grpc-timeout", "5S", 1_000),
    ] {
        assert_eq!(ask(&front, "PUT", &format!("{name}: {value}\r\n")).0, 503);
        let requests = [&slow_refusal, &other].map(RawOrigin::requests);
        let said = requests.iter().flatten().filter(|request| request.header(name).is_some());
        let mut left: Vec<u64> = said.map(|request| number_of(request, name)).collect();
        left.sort_unstable();
        assert!(left.len() >= 2, "{name}: {left:?}");
        assert!(left.iter().all(|&left| left < 5_000 * scale), "{name}: {left:?}");
        assert!(
            left[left.len() - 1] - left[0] >= 55 * scale,
            "{name}: the first attempt took 60 ms: {left:?}"
        );
    }
}

#[test]
fn a_moment_that_a_trusted_peer_names_ends_a_request_and_that_of_a_stranger_does_not() {
    let silent = RawOrigin::always(Script::new().request().silence());
    let trusting = Setup::of(UNLAG).to([silent.url()]).toml("[trust]\nproxies = [\"127.0.0.1\"]").start();
    assert_eq!(ask(&trusting, "PUT", "x-request-deadline: 1000\r\n").0, 504, "it passed in 1970");
    let well = RawOrigin::answering(|request| {
        ok(&request.header("x-request-deadline").unwrap_or_else(|| "none".into()))
    });
    let unlag = Setup::of(UNLAG).to([well.url()]).start();
    assert_eq!(ask(&unlag, "PUT", "x-request-deadline: 1000\r\n"), (200, "none".into()));
}

#[test]
fn a_request_that_has_no_time_left_for_an_answer_is_not_sent() {
    let slow = slow();
    let unlag = Setup::of(UNLAG).to([slow.url()]).start();
    learn(&unlag);
    let before = slow.request_count();
    let statuses: Vec<u16> = (0..32).map(|_| ask(&unlag, "PUT", "x-request-timeout-ms: 5\r\n").0).collect();
    assert!(statuses.iter().all(|&status| status == 504), "{statuses:?}");
    let sent = slow.request_count() - before;
    assert!(sent <= 3, "one in sixteen is tried: {sent} of 32");
    assert_eq!(ask(&unlag, "PUT", "x-request-timeout-ms: 2000\r\n").0, 200);
    // What was tried ended by its deadline: of the other 30, each line comes when it comes.
    let doomed = || unlag.log().objects().iter().filter(|line| line["cause"] == "doomed").count();
    wait_until("the log says why of each", || doomed() + sent == 32);
}

/// What a route has learned of its attempts.
fn learned(unlag: &Unlag) -> serde_json::Value {
    let routes: serde_json::Value =
        serde_json::from_str(&unlag.admin("/api/v1/routes").text()).expect("JSON");
    routes["routes"][0]["attempts"].clone()
}

#[test]
fn a_caller_who_sends_slowly_does_not_make_its_route_look_slow() {
    let origin = RawOrigin::ok("well");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    learn(&unlag);
    for _ in 0..3 {
        let mut slow = unlag.connect();
        slow.send("POST /thing HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 2\r\n\r\nh");
        pause(Duration::from_secs(1));
        assert_eq!(slow.send("i").read_response("POST").status(), 200);
    }
    let learned = learned(&unlag);
    assert_eq!(learned["answers"], 153, "{learned}");
    assert!(learned["p99_us"].as_f64().expect("a time") < 900_000.0, "{learned}");
}

#[test]
fn requests_of_http_2_teach_how_long_their_route_takes_although_their_content_comes_after_their_head() {
    let slow = slow();
    let unlag = Setup::of(UNLAG).to([slow.url()]).start();
    for _ in 0..150 {
        assert_eq!(Call::post("/thing", b"hi").send(unlag.address()).status, 200);
    }
    assert!(learned(&unlag)["p50_us"].as_f64().expect("a time") > 15_000.0, "{}", learned(&unlag));
    let hurried = || Call::post("/thing", b"hi").field("x-request-timeout-ms", "5").send(unlag.address());
    let doomed = (0..16).filter(|_| hurried().status == 504).count();
    assert_eq!(doomed, 16);
    wait_until("the log says why", || {
        unlag.log().objects().iter().filter(|line| line["cause"] == "doomed").count() >= 14
    });
}

#[test]
fn deadlines_that_pass_while_content_is_still_coming_say_nothing_of_their_route() {
    let slow = slow();
    let unlag = Setup::of(UNLAG).to([slow.url()]).start();
    let head =
        "POST /thing HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 2\r\nx-request-timeout-ms: 300\r\n\r\nh";
    for _ in 0..3 {
        assert_eq!(unlag.connect().send(head).read_response("POST").status(), 504);
    }
    assert_eq!(ask(&unlag, "PUT", "").0, 200);
    let learned = learned(&unlag);
    assert!((15_000.0..250_000.0).contains(&learned["p50_us"].as_f64().expect("a time")), "{learned}");
}
