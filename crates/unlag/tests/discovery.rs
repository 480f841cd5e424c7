//! Endpoints that are looked up by name, at a name server that changes its mind, lies or is away: row U38.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use unlag_testkit::dns::{NameServer, Record, Zone};
use unlag_testkit::h2::{H2Origin, Plan};
use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::tls::Authority;
use unlag_testkit::{Gate, RawClient, RawOrigin, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
const NAME: &str = "shop.test";
const SERVICE: &str = "_http._tcp.shop.test";

fn at(name: &'static str, last: u8) -> Record {
    Record::Address(name, IpAddr::from([127, 0, 0, last]))
}

/// Addresses of the name for a second.
fn addresses(last: &[u8]) -> Zone {
    Zone::Records(last.iter().map(|&last| at(NAME, last)).collect(), 1)
}

fn port_of(origin: &RawOrigin) -> u16 {
    origin.address().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// Origins on one port of 127.0.0.1, 127.0.0.2, …; each says its number.
fn origins<const N: usize>() -> ([RawOrigin; N], u16) {
    let mut port = 0;
    let origins = std::array::from_fn(|number| {
        let last = number as u8 + 1;
        let origin = RawOrigin::scripted_at(([127, 0, 0, last], port).into(), move |_| {
            Script::new().answer(move |_| ok(&last.to_string()))
        });
        port = port_of(&origin);
        origin
    });
    (origins, port)
}

/// An unlag that looks up its endpoints as `discover` says, with these further keys of the upstream.
fn discovering(server: &NameServer, discover: &str, keys: &str) -> Setup {
    let upstream = format!(
        "[upstream.origin]\ndiscover = {discover:?}\nresolver = \"{}\"\nslow_start = \"off\"\n{keys}\n\n\
         [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"origin\"",
        server.address()
    );
    Setup::of(UNLAG).toml(&upstream).workers(1)
}

fn wait_for_endpoints(unlag: &Unlag, count: usize) {
    wait_until(&format!("{count} endpoints"), || unlag.endpoints().len() == count);
}

fn answers(unlag: &Unlag) -> BTreeSet<String> {
    (0..10).map(|_| unlag.get("/").text()).collect()
}

fn numbers(numbers: &[u8]) -> BTreeSet<String> {
    numbers.iter().map(u8::to_string).collect()
}

#[test]
fn every_address_of_a_name_is_an_endpoint_that_is_called_by_the_name() {
    let ([first, second], port) = origins();
    let server = NameServer::start(addresses(&[1, 2]));
    let unlag = discovering(&server, &format!("dns://{NAME}:{port}"), "host = \"upstream\"").start();
    assert_eq!(answers(&unlag), numbers(&[1, 2]), "from the first request on");
    for request in [first.requests(), second.requests()].concat() {
        assert_eq!(request.header("host"), Some(format!("{NAME}:{port}")));
    }
    assert!(unlag.endpoint(&format!("127.0.0.2:{port}")).is_some(), "{:?}", unlag.endpoints());
}

#[test]
fn endpoints_come_and_go_with_their_addresses_and_those_that_stay_keep_what_is_known_of_them() {
    let ([first, second], port) = origins();
    let server = NameServer::start(addresses(&[1]));
    let unlag = discovering(&server, &format!("dns://{NAME}:{port}"), "").start();
    assert_eq!(answers(&unlag), numbers(&[1]));
    server.set(addresses(&[2, 1]));
    wait_for_endpoints(&unlag, 2);
    let kept = unlag.endpoint(&first.address()).expect("the first");
    assert_eq!((&kept["successes"], &kept["connections_open"]), (&10.into(), &1.into()), "{kept}");
    wait_until("both answer", || answers(&unlag) == numbers(&[1, 2]));
    assert_eq!(first.connections(), 1);
    server.set(addresses(&[2]));
    wait_for_endpoints(&unlag, 1);
    assert_eq!(answers(&unlag), numbers(&[2]));
    first.wait_until_closed(0);
    assert_eq!(second.connections(), 1);
}

#[test]
fn an_endpoint_that_leaves_finishes_what_is_in_flight() {
    let gate = Gate::new();
    let (slow, held) = (gate.clone(), Script::new().request());
    let first = RawOrigin::scripted(move |_| held.clone().wait(&slow).send(ok("late")));
    let port = port_of(&first);
    let server = NameServer::start(addresses(&[1]));
    let unlag = discovering(&server, &format!("dns://{NAME}:{port}"), "").start();
    let mut client = unlag.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    first.wait_for_requests(1);
    server.set(addresses(&[2]));
    wait_until("the other address", || unlag.endpoint(&format!("127.0.0.2:{port}")).is_some());
    wait_for_endpoints(&unlag, 1);
    gate.open();
    assert_eq!(client.read_response("GET").text(), "late");
}

#[test]
fn a_reload_goes_on_with_what_was_found_also_while_the_name_server_is_away() {
    let ([first, second], port) = origins();
    let server = NameServer::start(addresses(&[1, 2]));
    let setup = discovering(&server, &format!("dns://{NAME}:{port}"), "");
    let unlag = setup.start();
    wait_until("both answer", || answers(&unlag) == numbers(&[1, 2]));
    server.set(Zone::Failure);
    let before = unlag.endpoint(&first.address()).expect("the first");
    unlag.write_config(&setup.limit("routes", "77"));
    unlag.signal("HUP");
    unlag.wait_for_log("reloaded");
    let after = unlag.endpoint(&first.address()).expect("the first");
    assert_eq!(after["successes"], before["successes"]);
    assert_eq!(answers(&unlag), numbers(&[1, 2]));
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

#[test]
fn u38_endpoints_stay_when_their_name_is_gone_empty_or_failing_or_the_name_server_silent() {
    let ([_origin], port) = origins();
    let server = NameServer::start(addresses(&[1]));
    let unlag = discovering(&server, &format!("dns://{NAME}:{port}"), "").start();
    for zone in [Zone::NoSuchName, Zone::Empty, Zone::Failure, Zone::Silence] {
        let said = unlag.log().with_message("cannot resolve").len();
        server.set(zone.clone());
        wait_until("it is said", || unlag.log().with_message("cannot resolve").len() > said);
        let asked = server.questions();
        if !matches!(zone, Zone::Silence) {
            wait_until("another question", || server.questions() > asked);
        }
        let started = Instant::now();
        assert_eq!(answers(&unlag), numbers(&[1]), "{zone:?}");
        assert!(started.elapsed() < Duration::from_secs(2), "requests wait for no name server: {zone:?}");
        assert_eq!(unlag.log().with_message("cannot resolve").len(), said + 1, "said once: {zone:?}");
        let again = unlag.log().with_message("resolves again").len();
        server.set(addresses(&[1]));
        wait_until("it resolves again", || unlag.log().with_message("resolves again").len() > again);
    }
}

#[test]
fn u38_a_name_that_does_not_resolve_keeps_nobody_from_starting_and_is_said_until_it_does() {
    let ([_origin], port) = origins();
    for zone in [Zone::NoSuchName, Zone::Silence] {
        let server = NameServer::start(zone);
        let started = Instant::now();
        let unlag = discovering(&server, &format!("dns://{NAME}:{port}"), "").start();
        assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
        let response = unlag.get("/");
        assert_eq!(response.status(), 503, "{}", response.text());
        assert!(response.text().contains("has not resolved yet"), "{}", response.text());
        assert_eq!(unlag.wait_for_cause(), "undiscovered");
        server.set(addresses(&[1]));
        wait_until("it answers", || unlag.get("/").text() == "1");
    }
}

#[test]
fn u38_a_time_to_live_of_nothing_is_asked_for_once_a_second() {
    let ([_origin], port) = origins();
    let server = NameServer::start(Zone::Records(vec![at(NAME, 1)], 0));
    let unlag = discovering(&server, &format!("dns://{NAME}:{port}"), "").start();
    let (started, before) = (Instant::now(), server.questions());
    wait_until("three more questions", || server.questions() >= before + 3);
    assert!(started.elapsed() >= Duration::from_millis(1_500), "took {:?}", started.elapsed());
    assert_eq!(answers(&unlag), numbers(&[1]));
}

#[test]
fn u38_of_more_addresses_than_there_may_be_endpoints_the_first_are_taken() {
    let many = (0..1_100u32).map(|n| Record::Address(NAME, IpAddr::V4((0x7f01_0000 + n).into())));
    let server = NameServer::start(Zone::Records(many.collect(), 60));
    let unlag = discovering(&server, &format!("dns://{NAME}:9"), "").start();
    unlag.wait_for_log("there are more endpoints than 1000");
    assert_eq!(unlag.endpoints().len(), 1_000);
}

#[test]
fn u38_the_names_of_listed_endpoints_are_looked_up_at_the_resolver_as_well() {
    let ([_first, _second], port) = origins();
    let server = NameServer::start(Zone::Records(vec![at("a.test", 1), at("b", 2)], 1));
    let urls = [format!("http://a.test:{port}"), format!("http://b:{port}")];
    let resolver = format!("[\"{}\"]", server.address());
    let unlag = Setup::of(UNLAG).to(urls).upstream("resolver", &resolver).workers(1).start();
    assert_eq!(answers(&unlag), numbers(&[1, 2]));
    server.set(Zone::Records(vec![at("a.test", 2), at("b", 2)], 1));
    wait_until("the new address", || answers(&unlag) == numbers(&[2]));
}

/// An unlag whose one endpoint is called by its name.
fn listed(server: &NameServer, port: u16) -> Setup {
    let resolver = format!("[\"{}\"]", server.address());
    Setup::of(UNLAG).to([format!("http://{NAME}:{port}")]).upstream("resolver", &resolver).workers(1)
}

/// A caller who never pauses while the name moves to the second address, until it is asked there and nowhere else.
fn moved(unlag: &Unlag, server: &NameServer) -> RawClient {
    let mut busy = unlag.connect();
    assert_eq!(busy.get("/").text(), "1");
    server.set(addresses(&[2]));
    wait_until("the new address", || busy.get("/").text() == "2");
    assert!((0..20).all(|_| busy.get("/").text() == "2"), "and no other from then on");
    busy
}

#[test]
fn u38_a_busy_connection_to_an_address_that_its_name_no_longer_has_is_let_go_of_between_two_requests() {
    let gate = Gate::new();
    let (late, port) = (gate.clone(), Arc::new(AtomicU16::new(0)));
    let [first, second] = [1, 2].map(|last| {
        let late = late.clone();
        let at = ([127, 0, 0, last], port.load(Relaxed)).into();
        let origin = RawOrigin::scripted_at(at, move |_| {
            let late = late.clone();
            Script::new().answer(move |request| {
                if request.target() == "/late" {
                    late.pass();
                }
                ok(&last.to_string())
            })
        });
        port.store(port_of(&origin), Relaxed);
        origin
    });
    let server = NameServer::start(addresses(&[1]));
    let unlag = listed(&server, port.load(Relaxed)).start();
    let mut waiting = unlag.connect();
    waiting.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    first.wait_for_requests(1);
    let mut busy = moved(&unlag, &server);
    assert_eq!(second.connections(), 1);
    assert!(!first.is_closed(0), "a request waits on it");
    gate.open();
    assert_eq!(waiting.read_response("GET").text(), "1", "what was under way has ended as usual");
    assert!((0..20).all(|_| busy.get("/").text() == "2"), "nor is its connection used again");
    first.wait_until_closed(0);
    first.wait_until_closed(1);
}

#[test]
fn u38_over_http_2_the_same_connection_keeps_its_streams_and_gets_no_further_ones() {
    let plan = |last: &'static str| {
        move |_, request: &http::Request<()>| match request.uri().path() {
            "/late" => Plan::Hang,
            _ => Plan::ok(last),
        }
    };
    let first = H2Origin::start(plan("1"));
    let port = first.address().port();
    let _second = H2Origin::start_at(([127, 0, 0, 2], port).into(), plan("2"));
    let server = NameServer::start(addresses(&[1]));
    let unlag = listed(&server, port).upstream("protocol", "\"http2\"").start();
    let mut waiting = unlag.connect();
    waiting.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    first.wait_for_requests(1);
    moved(&unlag, &server);
    assert!(!first.requests()[0].cancelled, "what was under way goes on");
    assert_eq!(first.connections(), 1);
    drop(waiting);
    first.wait_until_cancelled(0);
}

#[test]
fn places_of_a_service_are_asked_at_their_ports_by_their_weights() {
    let (first, second) = (RawOrigin::ok("heavy"), RawOrigin::ok("light"));
    let zone = |heavy: u16, light: u16| {
        let places = vec![
            Record::Place(SERVICE, 1, heavy, port_of(&first), "a.shop.test"),
            Record::Place(SERVICE, 1, light, port_of(&second), "a.shop.test"),
            Record::Place(SERVICE, 2, 1, 9, "spare.test"),
            at("a.shop.test", 1),
            at("spare.test", 1),
        ];
        Zone::Records(places, 1)
    };
    let server = NameServer::start(zone(30_000, 10_000));
    let unlag = discovering(&server, &format!("srv://{SERVICE}"), "balance = \"round-robin\"").start();
    assert_eq!(unlag.endpoints().len(), 2, "{:?}", unlag.endpoints());
    let shares = || {
        let before = (first.request_count(), second.request_count());
        (0..40).for_each(|_| assert_eq!(unlag.get("/").status(), 200));
        (first.request_count() - before.0, second.request_count() - before.1)
    };
    let (heavy, light) = shares();
    assert!((28..=32).contains(&heavy), "{heavy} to {light}");
    // A weight is no other endpoint: its connection and its figures stay.
    server.set(zone(10_000, 30_000));
    wait_until("the weights are turned", || matches!(shares(), (8..=12, _)));
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

#[test]
fn places_of_the_next_priority_stand_in_until_the_first_resolves() {
    let (first, spare) = (RawOrigin::ok("first"), RawOrigin::ok("spare"));
    let mut records = vec![
        Record::Place(SERVICE, 1, 0, port_of(&first), "first.test"),
        Record::Place(SERVICE, 9, 0, port_of(&spare), "spare.test"),
        at("spare.test", 1),
    ];
    let server = NameServer::start(Zone::Records(records.clone(), 1));
    let unlag = discovering(&server, &format!("srv://{SERVICE}"), "").start();
    assert_eq!(unlag.get("/").text(), "spare");
    records.push(at("first.test", 1));
    server.set(Zone::Records(records, 1));
    wait_until("the first answers", || unlag.get("/").text() == "first");
}

#[test]
fn over_tls_the_certificate_must_be_that_of_the_name_and_of_a_service_that_of_its_domain() {
    let (directory, authority) = (Directory::new(), Authority::new());
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("the authority");
    let tls = format!("tls = {{ ca = \"{}/ca.pem\" }}", directory.path().display());
    for (names, trusted) in [(["shop.test"], true), (["127.0.0.1"], false), (["a.shop.test"], false)] {
        let certificate = authority.certificate(&names).server_config();
        let origin = RawOrigin::scripted_tls(certificate, |_| Script::new().answer(|_| ok("over TLS")));
        let port = port_of(&origin);
        let place = Record::Place(SERVICE, 0, 0, port, "a.shop.test");
        let server = NameServer::start(Zone::Records(vec![at(NAME, 1), at("a.shop.test", 1), place], 60));
        for discover in [format!("dns+https://{NAME}:{port}"), format!("srv+https://{SERVICE}")] {
            let unlag = discovering(&server, &discover, &tls).start();
            let response = unlag.get("/");
            match trusted {
                true => assert_eq!(response.text(), "over TLS", "{discover}, {names:?}"),
                false => assert_eq!(response.status(), 502, "{discover}, {names:?}"),
            }
        }
    }
}
