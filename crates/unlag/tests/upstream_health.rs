//! Which endpoints are given requests: active checks, ejection after failures, weights.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use unlag_testkit::h2::{Call, H2Origin, Plan};
use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::tls::Authority;
use unlag_testkit::{Gate, RawOrigin, Request, Script, Setup, Unlag, namespace, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
const CHECK: &str = "{ path = \"/healthz\", interval = \"100ms\" }";

fn answer_of(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// An origin whose `/healthz` answers with the status in the cell, and everything else with `name`.
fn checked(name: &'static str, health: &Arc<AtomicU16>) -> RawOrigin {
    let health = Arc::clone(health);
    RawOrigin::answering(move |request| match request.target().as_str() {
        "/healthz" => answer_of(health.load(Ordering::Relaxed)),
        _ => ok(name),
    })
}

/// The same over HTTP/2 for [`H2Origin`].
fn checked_h2(health: &Arc<AtomicU16>) -> impl Fn(usize, &http::Request<()>) -> Plan + Send + Sync + 'static {
    let health = Arc::clone(health);
    move |_, request| match request.uri().path() {
        "/healthz" => {
            let (status, nothing) = (health.load(Ordering::Relaxed), String::new());
            Plan::Answer { status, fields: Vec::new(), body: nothing, trailers: Vec::new() }
        }
        _ => Plan::ok("over HTTP/2"),
    }
}

fn wait_for_state(unlag: &Unlag, url: &str, state: &str) {
    let address = url.split("//").nth(1).expect("an address");
    wait_until(&format!("{url} is {state}"), || {
        unlag.endpoint(address).is_some_and(|endpoint| endpoint["state"] == state)
    });
}

fn requests_but_checks(origin: &RawOrigin) -> usize {
    let is_check = |request: &&Request| request.target() == "/healthz";
    let requests = origin.requests();
    requests.len() - requests.iter().filter(is_check).count()
}

#[test]
fn an_endpoint_that_fails_its_check_takes_no_request_until_it_passes_again() {
    let (sick, well) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(204)));
    let (first, second) = (checked("first", &sick), checked("second", &well));
    let unlag = Setup::of(UNLAG).to([first.url(), second.url()]).upstream("health", CHECK).start();
    wait_until("both are checked", || first.request_count() > 0 && second.request_count() > 0);
    // A redirect is an answer, but not the one that was asked for.
    for status in [503, 302] {
        sick.store(status, Ordering::Relaxed);
        wait_for_state(&unlag, &first.url(), "unhealthy");
        let before = requests_but_checks(&first);
        (0..20).for_each(|_| assert_eq!(unlag.get("/").text(), "second"));
        assert_eq!(requests_but_checks(&first), before, "{status}");
        sick.store(200, Ordering::Relaxed);
        wait_for_state(&unlag, &first.url(), "healthy");
        let answers: Vec<String> = (0..20).map(|_| unlag.get("/").text()).collect();
        assert!(answers.iter().any(|text| text == "first"), "{answers:?}");
    }
}

#[test]
fn the_last_endpoint_takes_requests_even_when_its_check_fails() {
    let sick = Arc::new(AtomicU16::new(500));
    let only = checked("only", &sick);
    let unlag = Setup::of(UNLAG).to([only.url()]).upstream("health", CHECK).start();
    wait_for_state(&unlag, &only.url(), "unhealthy");
    assert_eq!(unlag.get("/").text(), "only");
}

#[test]
fn a_name_with_two_addresses_is_checked_at_the_one_that_answers() {
    let directory = Directory::new();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 twice\n127.0.0.1 twice\n").expect("a host file");
    let Some(shell) = namespace::with_hosts("health of a name with two addresses", &hosts) else { return };
    let health = Arc::new(AtomicU16::new(200));
    let origin = checked("by name", &health);
    let url = origin.url().replace("127.0.0.1", "twice");
    let unlag = Setup::of(UNLAG).to([url.clone()]).upstream("health", CHECK).wrapped_in(&shell).start();
    assert_eq!(unlag.get("/").text(), "by name");
    wait_until("it is checked again and again", || origin.request_count() > 4);
    wait_for_state(&unlag, &url, "healthy");
    health.store(503, Ordering::Relaxed);
    wait_for_state(&unlag, &url, "unhealthy");
    let log = unlag.log().lines().join("\n");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn an_endpoint_that_speaks_only_http_2_over_tls_is_checked_over_it() {
    let (directory, authority) = (Directory::new(), Authority::new());
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("the authority");
    let health = Arc::new(AtomicU16::new(200));
    let tls = authority.certificate(&["localhost"]).server_config_for(&["h2"]);
    let origin = H2Origin::over_tls(tls, checked_h2(&health));
    let ca = format!("{{ ca = \"{}/ca.pem\" }}", directory.path().display());
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("tls", &ca).upstream("health", CHECK);
    let unlag = setup.start();
    origin.wait_for_requests(2);
    wait_for_state(&unlag, &origin.url(), "healthy");
    assert_eq!(unlag.get("/").text(), "over HTTP/2");
    health.store(500, Ordering::Relaxed);
    wait_for_state(&unlag, &origin.url(), "unhealthy");
}

#[test]
fn an_endpoint_that_speaks_http_2_in_clear_is_asked_and_not_only_connected_to() {
    let health = Arc::new(AtomicU16::new(503));
    let origin = H2Origin::start(checked_h2(&health));
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"");
    let unlag = setup.upstream("health", CHECK).start();
    wait_for_state(&unlag, &origin.url(), "unhealthy");
    health.store(200, Ordering::Relaxed);
    wait_for_state(&unlag, &origin.url(), "healthy");
    let check = origin.requests().into_iter().find(|seen| seen.head.uri().path() == "/healthz");
    assert_eq!(check.expect("a check").head.method(), "GET");
}

#[test]
fn five_failures_in_a_row_eject_an_endpoint_and_a_passing_check_does_not_bring_it_back() {
    let health = Arc::new(AtomicU16::new(200));
    let broken = {
        let health = Arc::clone(&health);
        RawOrigin::answering(move |request| match request.target().as_str() {
            "/healthz" => answer_of(health.load(Ordering::Relaxed)),
            _ => answer_of(503),
        })
    };
    let fine = checked("fine", &health);
    let unlag = Setup::of(UNLAG)
        .to([broken.url(), fine.url()])
        .upstream("health", CHECK)
        .upstream("balance", "\"round-robin\"")
        .start();
    wait_until("it is ejected", || {
        unlag.get("/");
        unlag.endpoint(&broken.address()).is_some_and(|endpoint| endpoint["state"] == "ejected")
    });
    let (checks, asked) = (broken.request_count(), requests_but_checks(&broken));
    assert_eq!(asked, 5, "failures in a row");
    wait_until("checks pass meanwhile", || broken.request_count() > checks + 3);
    (0..20).for_each(|_| assert_eq!(unlag.get("/").text(), "fine"));
    assert_eq!(requests_but_checks(&broken), asked);
    let seen = unlag.endpoint(&broken.address()).expect("the endpoint");
    assert_eq!((&seen["failures"], &seen["ejections"]), (&5.into(), &1.into()), "{seen}");
}

#[test]
fn an_ejected_endpoint_is_left_out_and_the_others_answer_everything() {
    let broken = RawOrigin::answering(|_| answer_of(502));
    let fine = RawOrigin::ok("fine");
    let unlag =
        Setup::of(UNLAG).to([broken.url(), fine.url()]).upstream("balance", "\"round-robin\"").start();
    wait_until("it is ejected", || {
        unlag.get("/");
        unlag.endpoint(&broken.address()).is_some_and(|endpoint| endpoint["state"] == "ejected")
    });
    let asked = broken.request_count();
    (0..30).for_each(|_| assert_eq!(unlag.get("/").text(), "fine"));
    assert_eq!((asked, broken.request_count()), (5, 5));
}

#[test]
fn an_endpoint_whose_calls_of_grpc_fail_in_their_trailers_gets_few_of_them() {
    let answering = |status: Option<&'static str>| {
        H2Origin::start(move |_, _| Plan::Answer {
            status: 200,
            fields: vec![("content-type", "application/grpc".into())],
            body: "\0\0\0\0\0".into(),
            trailers: status.map(|status| ("grpc-status", status.into())).into_iter().collect(),
        })
    };
    // What ends without a status has failed as well.
    for status in [Some("13"), None] {
        let (failing, well) = (answering(status), answering(Some("0")));
        let unlag =
            Setup::of(UNLAG).to([failing.url(), well.url()]).upstream("protocol", "\"http2\"").start();
        let calls = [(); 10].map(|()| Call::grpc("/shop.Catalog/Get"));
        for _ in 0..10 {
            Call::send_all(unlag.address(), &calls);
        }
        assert_eq!(failing.requests().len() + well.requests().len(), 100);
        assert!(failing.requests().len() < 20, "{} of 100", failing.requests().len());
        let seen = unlag.endpoint(&failing.address().to_string()).expect("it is known");
        assert!(seen["failing"].as_f64() > Some(0.05), "{seen}");
    }
}

/// The first endpoint has three times the weight of the second.
fn three_to_one(origins: &[RawOrigin; 2]) -> Unlag {
    let list = format!(
        "[upstream.weighted]\nendpoints = [{{ url = \"{}\", weight = 3 }}, \"{}\"]\n\
         [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"weighted\"",
        origins[0].url(),
        origins[1].url()
    );
    Setup::of(UNLAG).toml(&list).workers(1).start()
}

#[test]
fn an_endpoint_of_three_times_the_weight_has_three_times_the_requests() {
    let answered = Gate::new();
    let origins = [(); 2].map(|()| RawOrigin::always(Script::new().request().wait(&answered).send(ok("x"))));
    let unlag = three_to_one(&origins);
    let count = || origins.each_ref().map(RawOrigin::request_count);
    // Weight counts where requests are under way together; each one is chosen after the one before it has been sent.
    let mut clients: Vec<_> = (1..=40)
        .map(|number| {
            let mut client = unlag.connect();
            // Each for something else: requests for the same share one.
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
            wait_until("it is sent", || count().iter().sum::<usize>() == number);
            client
        })
        .collect();
    assert_eq!(count(), [30, 10]);
    answered.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.read_response("GET").status(), 200));
}

#[test]
fn weight_counts_as_well_when_requests_come_one_after_the_other() {
    let origins = ["heavy", "light"].map(RawOrigin::ok);
    let unlag = three_to_one(&origins);
    let mut client = unlag.connect();
    (0..40).for_each(|_| assert_eq!(client.get("/").status(), 200));
    assert_eq!(origins.each_ref().map(RawOrigin::request_count), [30, 10]);
}

#[test]
fn an_endpoint_that_a_reload_leaves_unchecked_is_healthy_whatever_the_last_check_says() {
    let (asked, reloaded) = (Gate::new(), Gate::new());
    let (asking, waiting) = (asked.clone(), reloaded.clone());
    let origin = RawOrigin::scripted(move |number| match number {
        0 => Script::new().head().send(answer_of(503)).close(),
        _ => Script::new().head().open(&asking).wait(&waiting).send(answer_of(503)).silence(),
    });
    let check = "{ path = \"/healthz\", interval = \"2s\", timeout = \"2s\" }";
    let unlag = Setup::of(UNLAG).to([origin.url()]).upstream("health", check).start();
    wait_for_state(&unlag, &origin.url(), "unhealthy");
    assert!(asked.pass(), "it is checked again");
    unlag.write_config(&Setup::of(UNLAG).to([origin.url()]));
    unlag.signal("HUP");
    unlag.wait_for_log("reloaded");
    reloaded.open();
    origin.wait_until_closed(1);
    wait_for_state(&unlag, &origin.url(), "healthy");
}
