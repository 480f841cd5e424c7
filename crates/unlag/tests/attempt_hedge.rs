//! A second copy of a request that is late: it goes to another endpoint, one answer is used, and the other is cancelled.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;
use unlag_testkit::h2::{H2Origin, Plan};
use unlag_testkit::log::field;
use unlag_testkit::origin::{Request, ok};
use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
/// What a usual answer takes: long enough that a busy machine does not make it many times longer.
const USUAL: Duration = Duration::from_millis(10);

/// Two origins of one service. The first request for `/slow` that comes to either waits for the gate; all others are answered at
/// once, or after the usual time.
fn origins(gate: &Gate) -> [RawOrigin; 2] {
    holding(1, gate)
}

/// The same, of so many origins, which hold so many requests.
fn holding<const N: usize>(held: usize, gate: &Gate) -> [RawOrigin; N] {
    let slow = Arc::new(AtomicUsize::new(0));
    [(); N].map(|()| {
        let (slow, gate) = (Arc::clone(&slow), gate.clone());
        RawOrigin::answering(move |request| match request.target().as_str() {
            "/slow" if slow.fetch_add(1, Relaxed) < held => {
                gate.pass();
                ok("the first")
            }
            "/slow" => ok("the copy"),
            _ => {
                pause(USUAL);
                ok("usual")
            }
        })
    })
}

fn hedged(origins: &[RawOrigin]) -> Unlag {
    let unlag = Setup::of(UNLAG)
        .to(origins.iter().map(RawOrigin::url))
        .route("hedge", "{}")
        .route("cache", "\"off\"")
        .start();
    learn(&unlag);
    unlag
}

/// So many usual requests that unlag knows how long one takes.
fn learn(unlag: &Unlag) {
    let mut caller = unlag.connect();
    (0..120).for_each(|_| assert_eq!(caller.get("/usual").text(), "usual"));
}

fn slow_requests<const N: usize>(origins: &[RawOrigin; N]) -> [usize; N] {
    std::array::from_fn(|at| {
        origins[at].requests().iter().filter(|request| request.target() == "/slow").count()
    })
}

fn attempt_of_slow(origin: &RawOrigin) -> Option<String> {
    origin.requests().iter().find(|request| request.target() == "/slow")?.header("x-attempt")
}

/// The line of the access log for `/slow`.
fn line(unlag: &Unlag) -> Value {
    let lines = || -> Vec<Value> {
        let all = unlag.log().objects();
        all.into_iter().filter(|line| field(line, "target") == Some("/slow")).collect()
    };
    wait_until("the request is recorded", || !lines().is_empty());
    lines().remove(0)
}

fn assert_phases_add_up(line: &Value) {
    let ns = |value: &Value| (value.as_f64().expect("a number") * 1_000.0).round() as u64;
    let fields = line.as_object().expect("an object");
    let phases = fields.iter().filter(|(name, _)| name.ends_with("_us") && *name != "total_us");
    assert_eq!(phases.map(|(_, value)| ns(value)).sum::<u64>(), ns(&line["total_us"]), "{line}");
}

#[test]
fn u35_a_late_request_is_copied_to_another_endpoint_whose_answer_is_used_and_the_first_is_cancelled() {
    let gate = Gate::new();
    let origins = origins(&gate);
    let unlag = hedged(&origins);
    assert_eq!(unlag.get("/slow").text(), "the copy");
    assert_eq!(slow_requests(&origins), [1, 1], "the copy went to the other endpoint");
    let line = line(&unlag);
    let (copy, first) = match field(&line, "endpoint").map(|endpoint| origins[0].url().ends_with(endpoint)) {
        Some(true) => (&origins[0], &origins[1]),
        _ => (&origins[1], &origins[0]),
    };
    assert_eq!(attempt_of_slow(copy).as_deref(), Some("2"));
    assert_eq!(attempt_of_slow(first), None);
    assert_eq!((line["attempts"].as_u64(), line["status"].as_u64()), (Some(2), Some(200)));
    let hedge = field(&line, "hedge").expect("it says what became of the copy");
    assert!(hedge.ends_with("_won"), "{hedge}");
    assert_phases_add_up(&line);
    // Its connection is closed: the origin sees it when it answers after all.
    gate.open();
    wait_until("the connection of the first is closed", || {
        (0..first.connections()).any(|number| first.is_closed(number))
    });
    let explained =
        unlag.admin(&format!("/api/v1/explain/{}", field(&line, "request_id").expect("an id"))).text();
    assert!(explained.contains("second copy"), "{explained}");
}

#[test]
fn u35_over_http_2_the_stream_that_lost_is_reset_and_its_connection_stays() {
    let slow = Arc::new(AtomicUsize::new(0));
    let origins = [(); 2].map(|()| {
        let slow = Arc::clone(&slow);
        H2Origin::start(move |_, request| match request.uri().path() {
            "/slow" if slow.fetch_add(1, Relaxed) == 0 => Plan::Hang,
            "/slow" => Plan::ok("the copy"),
            _ => {
                pause(USUAL);
                Plan::ok("usual")
            }
        })
    });
    let unlag = Setup::of(UNLAG)
        .to(origins.iter().map(H2Origin::url))
        .upstream("protocol", "\"http2\"")
        .workers(1)
        .route("hedge", "{}")
        .route("cache", "\"off\"")
        .start();
    learn(&unlag);
    assert_eq!(unlag.get("/slow").text(), "the copy");
    let hung = |origin: &H2Origin| {
        let requests = origin.requests();
        requests.iter().position(|seen| {
            seen.head.uri().path() == "/slow" && !seen.head.headers().contains_key("x-attempt")
        })
    };
    let (first, number) = origins.iter().find_map(|origin| Some((origin, hung(origin)?))).expect("the first");
    first.wait_until_cancelled(number);
    let before = first.connections();
    learn(&unlag);
    assert_eq!(first.connections(), before, "the connection goes on");
}

#[test]
fn a_copy_that_is_caught_in_an_endpoint_that_is_silent_as_well_is_followed_by_another() {
    let gate = Gate::new();
    let origins = holding::<3>(2, &gate);
    let unlag = hedged(&origins);
    assert_eq!(unlag.get("/slow").text(), "the copy");
    assert_eq!(slow_requests(&origins), [1, 1, 1]);
    assert_eq!(line(&unlag)["attempts"], 3);
    gate.open();
}

#[test]
fn a_first_that_fails_while_its_copy_is_in_a_silent_endpoint_is_tried_elsewhere() {
    let (fails, stays) = (Gate::new(), Gate::new());
    let slow = Arc::new(AtomicUsize::new(0));
    let origins = [(); 3].map(|()| {
        let (slow, fails, stays) = (Arc::clone(&slow), fails.clone(), stays.clone());
        RawOrigin::answering(move |request| match request.target().as_str() {
            "/slow" => match slow.fetch_add(1, Relaxed) {
                0 => {
                    fails.pass();
                    b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n".to_vec()
                }
                1 => {
                    // The first fails once its copy is here, and this one gives no sign of life.
                    fails.open();
                    stays.pass();
                    ok("too late")
                }
                _ => ok("the third"),
            },
            _ => {
                pause(USUAL);
                ok("usual")
            }
        })
    });
    let unlag = hedged(&origins);
    assert_eq!(unlag.get("/slow").text(), "the third");
    stays.open();
}

#[test]
fn a_request_in_a_frozen_endpoint_whose_copy_fails_gets_another_while_the_others_answer() {
    let (gate, slow) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let origins = [(); 3].map(|()| {
        let (slow, gate, is_frozen) = (Arc::clone(&slow), gate.clone(), AtomicBool::new(false));
        RawOrigin::answering(move |request| {
            let number = if request.target() == "/slow" { slow.fetch_add(1, Relaxed) } else { usize::MAX };
            if number == 0 {
                is_frozen.store(true, Relaxed);
            }
            if is_frozen.load(Relaxed) {
                gate.pass();
            }
            match number {
                0 => ok("too late"),
                1 => b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n".to_vec(),
                usize::MAX => {
                    pause(USUAL);
                    ok("usual")
                }
                _ => ok("the third"),
            }
        })
    });
    let unlag = hedged(&origins);
    // Until it is known how long an endpoint is silent at most; with so many callers, hardly ever for long.
    load(&unlag, 12, 100, "/usual");
    std::thread::scope(|scope| {
        let others = scope.spawn(|| load(&unlag, 12, 150, "/usual"));
        assert_eq!(unlag.get("/slow").text(), "the third");
        assert!(!others.is_finished(), "not before the endpoints fell silent");
    });
    gate.open();
}

#[test]
fn an_endpoint_that_does_not_answer_in_the_time_of_its_route_is_known_for_it() {
    let gate = Gate::new();
    let origins = [RawOrigin::always(Script::held(&gate, "late")), RawOrigin::ok("well")];
    let unlag = Setup::of(UNLAG)
        .to(origins.iter().map(RawOrigin::url))
        .upstream("balance", "\"round-robin\"")
        .route("timeout", "\"100ms\"")
        .route("cache", "\"off\"")
        .start();
    let late = (0..20).filter(|_| unlag.get("/").status() == 504).count();
    assert_eq!(late, 5, "so many in a row, and it is left out");
    assert_eq!(unlag.endpoint(&origins[0].address()).expect("it is known")["state"], "ejected");
    gate.open();
}

#[test]
fn what_is_left_with_a_silent_endpoint_to_show_when_it_moves_is_cancelled_once_that_is_settled() {
    let gate = Gate::new();
    let origins = origins(&gate);
    let unlag = hedged(&origins);
    assert_eq!(unlag.get("/slow").text(), "the copy");
    let is_first = |request: &Request| request.target() == "/slow" && request.header("x-attempt").is_none();
    let has_first = |origin: &&RawOrigin| origin.requests().iter().any(is_first);
    let silent = origins.iter().find(has_first).expect("one has the first").address();
    let of = |key: &str| unlag.endpoint(&silent).expect("it is known")[key].clone();
    wait_until("nothing is left behind", || of("suspect") == false && of("in_flight") == 0);
    gate.open();
}

#[test]
fn u35_what_is_not_safe_or_not_at_hand_is_never_sent_twice_at_once() {
    let gate = Gate::new();
    let origins = origins(&gate);
    let unlag = hedged(&origins);
    let post = "POST /slow HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 2\r\n\r\nhi";
    let mut caller = unlag.connect();
    caller.send(post);
    wait_until("it has come", || slow_requests(&origins).iter().sum::<usize>() == 1);
    // Many times as long as a copy would take to be due.
    pause(USUAL * 20);
    assert_eq!(slow_requests(&origins).iter().sum::<usize>(), 1, "a second one came");
    gate.open();
    assert_eq!(caller.read_response("POST").text(), "the first");
    assert_eq!(field(&line(&unlag), "hedge"), None);
}

#[test]
fn a_route_that_does_not_say_so_sends_nothing_twice() {
    let gate = Gate::new();
    let origins = origins(&gate);
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).route("cache", "\"off\"").start();
    learn(&unlag);
    let mut caller = unlag.connect();
    caller.send("GET /slow HTTP/1.1\r\nHost: unlag.test\r\n\r\n");
    wait_until("it has come", || slow_requests(&origins).iter().sum::<usize>() == 1);
    pause(USUAL * 20);
    assert_eq!(slow_requests(&origins).iter().sum::<usize>(), 1);
    gate.open();
    assert_eq!(caller.read_response("GET").text(), "the first");
    assert!(!unlag.admin("/metrics").text().contains("unlag_attempt_hedges"), "there are none to count");
}

#[test]
fn the_first_good_answer_wins_and_a_bad_one_waits_for_the_other() {
    let slow = Arc::new(AtomicUsize::new(0));
    let gate = Gate::new();
    let origins = [(); 2].map(|()| {
        let (slow, gate) = (Arc::clone(&slow), gate.clone());
        RawOrigin::answering(move |request| match request.target().as_str() {
            "/slow" if slow.fetch_add(1, Relaxed) == 0 => {
                gate.pass();
                ok("the first")
            }
            "/slow" => {
                gate.open();
                b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n".to_vec()
            }
            _ => {
                pause(USUAL);
                ok("usual")
            }
        })
    });
    let unlag = hedged(&origins);
    assert_eq!(unlag.get("/slow").text(), "the first");
    assert_eq!(slow_requests(&origins), [1, 1]);
    let line = line(&unlag);
    let hedge = field(&line, "hedge").expect("it says what became of the copy");
    assert!(hedge.ends_with("_lost"), "{hedge}");
    assert_phases_add_up(&line);
}

/// An origin that can be frozen: whatever comes then is answered when it thaws. One request in twenty is heavy.
fn freezing(frozen: &Arc<AtomicBool>, thaw: &Gate) -> RawOrigin {
    let (frozen, thaw) = (Arc::clone(frozen), thaw.clone());
    RawOrigin::answering(move |request| {
        if frozen.load(Relaxed) {
            thaw.pass();
        }
        pause(if request.target() == "/heavy" { USUAL * 15 } else { USUAL / 2 });
        ok("usual")
    })
}

/// Callers that ask one request after the other, so many each; how long the slowest took.
fn load(unlag: &Unlag, callers: usize, requests: usize, target: &str) -> Duration {
    std::thread::scope(|scope| {
        let asking = (0..callers).map(|_| {
            scope.spawn(|| {
                let mut caller = unlag.connect();
                let asked = (0..requests).map(|_| {
                    let started = Instant::now();
                    assert_eq!(caller.get(target).text(), "usual");
                    started.elapsed()
                });
                asked.max().unwrap_or_default()
            })
        });
        let asking: Vec<_> = asking.collect();
        asking.into_iter().map(|caller| caller.join().expect("a caller")).max().unwrap_or_default()
    })
}

#[test]
fn requests_inside_an_endpoint_that_freezes_are_answered_elsewhere_long_before_it_thaws() {
    let (frozen, thaw) = (Arc::new(AtomicBool::new(false)), Gate::new());
    let never = Arc::new(AtomicBool::new(false));
    let origins = [freezing(&frozen, &thaw), freezing(&never, &thaw), freezing(&never, &thaw)];
    let unlag = Setup::of(UNLAG)
        .to(origins.iter().map(RawOrigin::url))
        .route("hedge", "{}")
        .route("cache", "\"off\"")
        .start();
    // Heavy requests lift what is late far above what is usual: only silence can tell that one is frozen.
    std::thread::scope(|scope| {
        scope.spawn(|| load(&unlag, 2, 10, "/heavy"));
        load(&unlag, 4, 150, "/usual");
    });
    frozen.store(true, Relaxed);
    let before = origins[0].request_count();
    // It may have been asked less than its peers of late: then it is asked again within seconds.
    let (mut slowest, mut inside) = (Duration::ZERO, 0);
    for _ in 0..20 {
        slowest = slowest.max(load(&unlag, 4, 100, "/usual"));
        inside = origins[0].request_count() - before;
        if inside > 0 {
            break;
        }
    }
    assert!(inside > 0, "some were caught by the freeze");
    assert!(slowest < Duration::from_secs(2), "the slowest took {slowest:?}, and the endpoint never thawed");
    assert!(inside < 60, "{inside} of 400 were sent to an endpoint that is known not to move");
    let hedges: Vec<String> =
        unlag.log().objects().iter().filter_map(|line| field(line, "hedge").map(str::to_owned)).collect();
    assert!(hedges.iter().any(|hedge| hedge == "stall_won"), "{hedges:?}");
    thaw.open();
    let metrics = unlag.admin("/metrics").text();
    assert!(metrics.contains("unlag_attempt_hedges_total{"), "{metrics}");
}

#[test]
fn without_second_copies_what_is_inside_an_endpoint_that_answers_nobody_is_tried_elsewhere_before_its_time_is_up()
 {
    let (frozen, thaw) = (Arc::new(AtomicBool::new(false)), Gate::new());
    let never = Arc::new(AtomicBool::new(false));
    let origins = [freezing(&frozen, &thaw), freezing(&never, &thaw)];
    let unlag = Setup::of(UNLAG)
        .to(origins.iter().map(RawOrigin::url))
        .upstream("balance", "\"round-robin\"")
        .route("timeout", "\"4s\"")
        .route("cache", "\"off\"")
        .start();
    load(&unlag, 4, 100, "/usual");
    frozen.store(true, Relaxed);
    let before = origins[0].request_count();
    let slowest = load(&unlag, 8, 20, "/usual");
    let inside = origins[0].request_count() - before;
    assert!((2..30).contains(&inside), "{inside} were sent there: some, and no more once it was known");
    assert!(
        slowest > Duration::from_millis(900),
        "{slowest:?}: no pause of a collector is taken for a failure"
    );
    assert!(slowest < Duration::from_secs(3), "{slowest:?} of four seconds");
    let endpoint = unlag.endpoint(&origins[0].address()).expect("it is known");
    assert_eq!(endpoint["last_error"], "silent", "{endpoint}");
    thaw.open();
}

#[test]
fn a_write_stays_in_an_endpoint_that_answers_nobody_and_a_read_that_nobody_waits_beside() {
    let (gate, slow) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let origins = [(); 2].map(|()| {
        let (gate, slow) = (gate.clone(), Arc::clone(&slow));
        RawOrigin::answering(move |request| {
            if request.target() == "/slow" {
                slow.fetch_add(1, Relaxed);
                gate.pass();
            }
            ok("usual")
        })
    });
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).route("timeout", "\"1s\"").start();
    learn(&unlag);
    let ask = |method: &str| {
        unlag
            .connect()
            .send(format!("{method} /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"))
            .read_response(method)
            .status()
    };
    assert_eq!((ask("GET"), slow.load(Relaxed)), (504, 1), "it may be slow by nature");
    let writes = std::thread::scope(|scope| {
        let writes = [(); 6].map(|()| scope.spawn(|| ask("POST")));
        writes.map(|write| write.join().expect("a write"))
    });
    assert_eq!((writes, slow.load(Relaxed)), ([504; 6], 7), "each was sent once");
    gate.open();
}

#[test]
fn however_many_leave_an_endpoint_that_pauses_it_has_failed_once_and_is_not_ejected() {
    let (frozen, thaw) = (Arc::new(AtomicBool::new(false)), Gate::new());
    let never = Arc::new(AtomicBool::new(false));
    let origins = [freezing(&frozen, &thaw), freezing(&never, &thaw)];
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).route("cache", "\"off\"").start();
    load(&unlag, 4, 100, "/usual");
    frozen.store(true, Relaxed);
    let before = origins[0].request_count();
    load(&unlag, 24, 1, "/usual");
    let inside = origins[0].request_count() - before;
    assert!(inside >= 6, "{inside} were inside");
    let endpoint = unlag.endpoint(&origins[0].address()).expect("it is known");
    assert_eq!((&endpoint["failures"], &endpoint["ejections"]), (&1.into(), &0.into()), "{endpoint}");
    thaw.open();
}
