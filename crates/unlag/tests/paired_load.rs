//! Paired mode: a node in front of a service says in its answers how much is in flight to it, and balancers that share the service
//! see each other's load.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use unlag_testkit::h2::Call;
use unlag_testkit::origin::ok;
use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawClient, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
const PAIRED: &str = "address = \"127.0.0.1:0\"\nreport_load = true";

/// An origin that holds what asks for something in `/held` until the gate opens, on connections of their own.
fn holding(gate: &Gate) -> RawOrigin {
    let gate = gate.clone();
    RawOrigin::scripted(move |_| {
        let gate = gate.clone();
        Script::new().answer(move |request| {
            match request.target().as_str() {
                held if held.starts_with("/held/") => _ = gate.pass(),
                // What is known of load is worth as much as an answer takes.
                "/" => pause(Duration::from_millis(20)),
                _ => {}
            }
            ok("done")
        })
    })
}

fn paired(origin: &RawOrigin) -> Setup {
    Setup::of(UNLAG).to([origin.url()]).listen(PAIRED)
}

/// Requests of `unlag` that the origin holds.
fn hold(unlag: &Unlag, origin: &RawOrigin, count: usize) -> Vec<RawClient> {
    let before = origin.request_count();
    let mut clients: Vec<RawClient> = (0..count).map(|_| unlag.connect()).collect();
    // No two are alike: those would wait for one another, and not be in flight.
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /held/{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    origin.wait_for_requests(before + count);
    clients
}

#[test]
fn every_answer_says_what_is_in_flight_to_the_service_over_all_cores() {
    let gate = Gate::new();
    let origin = holding(&gate);
    let unlag = paired(&origin)
        .toml("[[route]]\nmatch = \"/fixed\"\nrespond = { status = 200, body = \"fixed\" }")
        .start();
    let said = |target: &str| unlag.get(target).header("x-lb-rif").map(str::to_owned);
    assert_eq!(said("/").as_deref(), Some("1"), "itself");
    let held = hold(&unlag, &origin, 5);
    assert_eq!(said("/").as_deref(), Some("6"));
    let over_h2 = Call::send_all(unlag.address(), &[Call::get("/")]).remove(0);
    assert_eq!(over_h2.header("x-lb-rif"), Some("6"));
    // No service stands behind: what counts is this process.
    assert_eq!(said("/fixed").as_deref(), Some("6"));
    gate.open();
    held.into_iter().for_each(|mut client| _ = client.read_response("GET"));
    wait_until("they are over", || said("/").as_deref() == Some("1"));
}

#[test]
fn whether_it_is_said_can_be_changed_under_an_open_connection() {
    let origin = RawOrigin::ok("done");
    let unlag = Setup::of(UNLAG).to([origin.url()]).listen("address = \"127.0.0.1:0\"").start();
    let mut client = unlag.connect();
    assert_eq!(client.get("/").header("x-lb-rif"), None);
    unlag.write_config_text(&unlag.setup().config_text(unlag.directory()).replace(
        "address = \"127.0.0.1:0\"\n\n[admin]",
        "address = \"127.0.0.1:0\"\nreport_load = true\n\n[admin]",
    ));
    unlag.signal("HUP");
    unlag.wait_for_log("reloaded");
    assert_eq!(client.get("/").header("x-lb-rif"), Some("1"));
}

#[test]
fn what_an_endpoint_says_of_itself_is_not_passed_on() {
    let says = |lines: &'static str| {
        RawOrigin::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 4\r\n\r\ndone").into_bytes()
        })
    };
    for lines in
        ["X-LB-RIF: 77\r\n", "x-lb-rif: nonsense\r\n", "Endpoint-Load-Metrics: TEXT named_metrics.rif=77\r\n"]
    {
        let origin = says(lines);
        let silent = Setup::of(UNLAG).to([origin.url()]).start();
        let answer = silent.get("/");
        assert_eq!(answer.text(), "done");
        assert_eq!((answer.header("x-lb-rif"), answer.header("endpoint-load-metrics")), (None, None));
        let answer = paired(&origin).start().get("/");
        assert_eq!(answer.header("x-lb-rif"), Some("1"), "its own: {lines}");
    }
}

/// How many of 60 requests of a balancer go to the second of two services with a node in front of each, while the first has six
/// of somebody else's in flight.
fn to_the_second(node: fn(&RawOrigin) -> Setup) -> usize {
    let gate = Gate::new();
    let origins = [holding(&gate), holding(&gate)];
    let nodes = [node(&origins[0]).start(), node(&origins[1]).start()];
    let urls = nodes.each_ref().map(|node| format!("http://{}", node.address()));
    let other = Setup::of(UNLAG).to(&urls[..1]).start();
    let balancer = Setup::of(UNLAG).to(&urls).start();
    let held = hold(&other, &origins[0], 6);
    for _ in 0..60 {
        assert_eq!(balancer.get("/").text(), "done");
    }
    gate.open();
    held.into_iter().for_each(|mut client| _ = client.read_response("GET"));
    origins[1].request_count()
}

#[test]
fn balancers_that_share_services_see_each_others_load() {
    let unseen = to_the_second(|origin| Setup::of(UNLAG).to([origin.url()]));
    assert!((20..=40).contains(&unseen), "who says nothing is taken for idle: {unseen} of 60");
    let seen = to_the_second(paired);
    assert!(seen >= 50, "{seen} of 60");
}
