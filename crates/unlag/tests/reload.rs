//! A config that does not validate changes nothing, a reload drops no request: rows L4 to L8.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::stream::Stream;
use unlag_testkit::tls::Authority;
use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawClient, RawOrigin, ReadError, Script, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// A config whose version shows twice: once in what the origin sees, once in what the caller gets.
fn version(origin: &RawOrigin, version: usize) -> Setup {
    let set = format!("{{ set = {{ x-version = \"{version}\" }} }}");
    Setup::of(UNLAG).to([origin.url()]).route("request_headers", &set).route("response_headers", &set)
}

fn echo_version() -> RawOrigin {
    RawOrigin::answering(|request| ok(&request.header("x-version").unwrap_or_default()))
}

fn current(unlag: &Unlag) -> String {
    unlag.get("/").text()
}

#[test]
fn l4_a_hundred_reloads_under_load_fail_no_request_and_mix_no_versions() {
    let origin = echo_version();
    let unlag = version(&origin, 0).toml("[monitor]\naccess_log = \"off\"").start();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (address, stop, answered) = (unlag.address().to_owned(), stop.clone(), answered.clone());
            std::thread::spawn(move || ask_for_versions(&address, &stop, &answered))
        })
        .collect();
    for number in 1..=100 {
        unlag.write_config(&version(&origin, number).toml("[monitor]\naccess_log = \"off\""));
        unlag.signal("HUP");
        wait_until(&format!("version {number} is in force"), || current(&unlag) == number.to_string());
    }
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<String> =
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect();
    eprintln!("{} requests over 100 reloads", answered.load(Ordering::Relaxed));
    assert_eq!(failures, Vec::<String>::new());
    assert!(answered.load(Ordering::Relaxed) > 1000);
    assert!(origin.connections() < 60, "pools survive reloads: {} connections", origin.connections());
}

/// Puts a config in force and waits until it is.
fn reload(unlag: &Unlag, setup: &Setup) {
    let before = unlag.log().with_message("reloaded").len();
    unlag.write_config(setup);
    unlag.signal("HUP");
    wait_until("it is reloaded", || unlag.log().with_message("reloaded").len() > before);
}

#[test]
fn l4_an_endpoint_that_was_ejected_stays_so_over_a_reload() {
    let (good, bad) = (RawOrigin::ok("fine"), RawOrigin::always(Script::new().request()));
    let setup = |version: &str| {
        let set = format!("{{ set = {{ x-version = \"{version}\" }} }}");
        let setup = Setup::of(UNLAG).to([good.url(), bad.url()]).workers(1);
        setup.upstream("balance", "\"round-robin\"").route("response_headers", &set)
    };
    let unlag = setup("1").start();
    let ejected = || unlag.admin("/api/v1/upstreams").text().contains("\"state\":\"ejected\"");
    wait_until("the broken endpoint is ejected", || {
        unlag.get("/");
        ejected()
    });
    let asked = bad.connections();
    reload(&unlag, &setup("2"));
    let response = unlag.get("/");
    assert_eq!(response.header("x-version"), Some("2"));
    assert!(ejected(), "{}", unlag.admin("/api/v1/upstreams").text());
    assert_eq!(bad.connections(), asked, "nobody was sent there again");
}

#[test]
fn l4_what_was_learned_of_endpoints_is_known_over_a_reload() {
    let working = |unit_ms: u64| {
        let count = AtomicUsize::new(0);
        RawOrigin::answering(move |_| {
            pause(Duration::from_millis(unit_ms * (1 + count.fetch_add(1, Ordering::Relaxed) as u64 % 4)));
            ok("done")
        })
    };
    let (fast, slow) = (working(1), working(10));
    let setup = |version: usize| {
        let set = format!("{{ set = {{ x-version = \"{version}\" }} }}");
        let setup = Setup::of(UNLAG).to([fast.url(), slow.url()]).workers(1);
        setup.route("cache", "\"off\"").route("response_headers", &set)
    };
    let unlag = setup(1).start();
    let slower = || unlag.endpoint(&slow.address()).and_then(|known| known["slower"].as_f64());
    let mut caller = unlag.connect();
    wait_until("the slow one is known to be slow", || {
        (0..20).for_each(|_| assert_eq!(caller.get("/").status(), 200));
        slower() > Some(3.0)
    });
    let learned = || {
        let all: Value = serde_json::from_str(&unlag.admin("/api/v1/upstreams").text()).expect("JSON");
        all["upstreams"][0]["learned"].clone()
    };
    let before = learned();
    assert!(before["unit_ms"].as_f64() > Some(0.5), "{before}");
    let asked = slow.request_count();
    reload(&unlag, &setup(2));
    assert_eq!((learned(), slower() > Some(3.0)), (before, true));
    (0..20).for_each(|_| assert_eq!(caller.get("/").header("x-version"), Some("2")));
    assert!(slow.request_count() <= asked + 1, "it is not found out anew");
}

#[test]
fn l4_a_reload_does_not_fill_the_budget_of_retries_again() {
    // Every other connection is cut, so that neither endpoint fails often enough in a row to be ejected.
    let flaky = || {
        RawOrigin::scripted(|number| match number % 2 {
            0 => Script::new().request(),
            _ => Script::new().request().send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        })
    };
    let (one, other) = (flaky(), flaky());
    let setup = |version: usize| {
        let set = format!("{{ set = {{ x-version = \"{version}\" }} }}");
        Setup::of(UNLAG).to([one.url(), other.url()]).workers(1).route("request_headers", &set)
    };
    let unlag = setup(0).start();
    let (began, mut requests) = (Instant::now(), 0);
    for version in 1..=12 {
        for _ in 0..8 {
            assert!([204, 502].contains(&unlag.get("/").status()));
            requests += 1;
        }
        reload(&unlag, &setup(version));
    }
    let retries = one.requests().len() + other.requests().len() - requests;
    // Three to begin with, a tenth of the requests, and three a second.
    let allowed = 3.0 + requests as f64 / 10.0 + 3.0 * began.elapsed().as_secs_f64();
    assert!(retries >= 3 && retries as f64 <= allowed, "{retries} retries, {allowed} allowed");
}

fn ask_for_versions(address: &str, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let (mut failures, mut client) = (Vec::new(), RawClient::connect(address));
    while !stop.load(Ordering::Relaxed) {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_read_response("GET") {
            Ok(response) if response.status() != 200 => {
                failures.push(format!("status {}", response.status()))
            }
            Ok(response) => {
                if response.header("x-version") != Some(response.text().as_str()) {
                    failures.push(format!("{:?} beside {:?}", response.header("x-version"), response.text()));
                }
                answered.fetch_add(1, Ordering::Relaxed);
                if response.closes() {
                    client = RawClient::connect(address);
                }
            }
            Err(error) => {
                failures.push(error.to_string());
                client = RawClient::connect(address);
            }
        }
    }
    failures
}

#[test]
fn a_changed_file_is_noticed_without_a_signal() {
    let origin = echo_version();
    let unlag = version(&origin, 1).start();
    assert_eq!(current(&unlag), "1");
    unlag.write_config(&version(&origin, 2));
    wait_until("the new version is in force", || current(&unlag) == "2");
    unlag.wait_for_log("reloaded");
}

#[test]
fn l5_a_config_that_does_not_validate_changes_nothing() {
    let origin = echo_version();
    let unlag = version(&origin, 1).start();
    let good = version(&origin, 2).config_text(unlag.directory());
    std::fs::write(unlag.directory().join("garbage.pem"), "no certificate at all").expect("a file");
    let garbage = "tls = { certificate = \"garbage.pem\", key = \"garbage.pem\" }\n";
    let broken = [
        ("a syntax error", good.clone() + "\n[[route\n"),
        ("an unknown key", good.clone() + "\n[limitz]\nhead = \"1KiB\"\n"),
        ("an unknown upstream", good.replace("upstream = \"origin\"", "upstream = \"orign\"")),
        ("a bad duration", good.clone() + "\n[limits]\nidle_timeout = \"soon\"\n"),
        (
            "a missing certificate",
            good.clone()
                + "\n[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"no.pem\", key = \"no.key\" }\n",
        ),
        ("a certificate that is none", good.clone() + "\n[[listen]]\naddress = \"127.0.0.1:0\"\n" + garbage),
    ];
    for (number, (what, text)) in broken.iter().enumerate() {
        unlag.write_config_text(text);
        unlag.signal("HUP");
        wait_until(&format!("{what} is refused"), || {
            unlag.log().with_message("reload refused").len() > number
        });
        assert_eq!(current(&unlag), "1", "{what}");
        let shown = unlag.admin("/api/v1/config").text();
        assert!(shown.contains("\"last_error\":\""), "{what} is not shown: {shown}");
        let counted = unlag.admin("/metrics").text();
        let counted = counted.lines().find_map(|line| line.strip_prefix("unlag_reloads_refused_total "));
        assert!(counted.and_then(|n| n.parse::<usize>().ok()) > Some(number), "{what}: {counted:?}");
        assert_eq!(check(&unlag), Some(78), "{what}");
    }
    let refused = unlag.log().with_message("reload refused");
    assert!(refused.iter().all(|line| line["level"] == "ERROR"), "{refused:?}");
    unlag.write_config_text(&good);
    unlag.signal("HUP");
    wait_until("the repaired config is in force", || current(&unlag) == "2");
    assert!(unlag.admin("/api/v1/config").text().contains("\"last_error\":null"));
}

/// The exit code of `unlag check` for the config file as it is now; what is not there counts as wrong.
fn check(unlag: &Unlag) -> Option<i32> {
    let mut command = std::process::Command::new(UNLAG);
    command.args(["check", "--strict", "-c", "unlag.toml"]).current_dir(unlag.directory());
    command.output().expect("run unlag").status.code()
}

#[test]
fn l5_an_error_is_forgotten_when_the_file_is_again_what_is_in_force() {
    let origin = echo_version();
    let unlag = version(&origin, 1).start();
    let path = unlag.directory().join("unlag.toml");
    let good = std::fs::read_to_string(&path).expect("the config");
    let shows_error = || !unlag.admin("/api/v1/config").text().contains("\"last_error\":null");
    unlag.write_config_text(&format!("{good}\n[[route\n"));
    wait_until("the error is shown", shows_error);
    unlag.write_config_text(&good);
    wait_until("it is gone", || !shows_error());
    assert_eq!(current(&unlag), "1");
}

#[test]
fn l5_a_listener_whose_port_is_taken_changes_nothing() {
    let origin = echo_version();
    let unlag = version(&origin, 1).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let more = format!("[[listen]]\naddress = \"{}\"\n", taken.local_addr().expect("bound"));
    unlag.write_config(&version(&origin, 2).toml(&more));
    unlag.signal("HUP");
    unlag.wait_for_log("reload refused");
    assert_eq!(current(&unlag), "1");
}

#[test]
fn l6_a_request_in_flight_finishes_on_the_route_that_a_reload_removes() {
    let finish = Gate::new();
    let origin = RawOrigin::always(Script::new().request().wait(&finish).send(ok("old plan")).silence());
    // Longer than this test lasts: it is the reload that closes the connection.
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("upstream_idle_timeout", "\"60s\"").start();
    let mut client = unlag.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    let only = "[[route]]\nmatch = \"/only\"\nrespond = { status = 200, body = \"new plan\" }\n";
    let without = Setup::of(UNLAG).limit("upstream_idle_timeout", "\"60s\"");
    unlag.write_config(&without.toml(only));
    unlag.signal("HUP");
    // Asking before would be a request under the old plan, which waits as well.
    unlag.wait_for_log("reloaded");
    assert_eq!(unlag.get("/only").text(), "new plan");
    assert_eq!(unlag.get("/slow").status(), 404);
    finish.open();
    assert_eq!(client.read_response("GET").text(), "old plan");
    origin.wait_until_closed(0);
}

#[test]
fn l6_connections_to_an_endpoint_that_a_reload_removes_are_closed_and_the_others_kept() {
    let (kept, removed) = (RawOrigin::ok("kept"), RawOrigin::ok("removed"));
    let setup =
        |urls: Vec<String>| Setup::of(UNLAG).to(urls).workers(1).limit("upstream_idle_timeout", "\"60s\"");
    let unlag = setup(vec![kept.url(), removed.url()]).start();
    wait_until("both have been asked", || {
        unlag.get("/");
        kept.connections() > 0 && removed.connections() > 0
    });
    reload(&unlag, &setup(vec![kept.url()]));
    removed.wait_until_closed(0);
    for _ in 0..10 {
        assert_eq!(unlag.get("/").text(), "kept");
    }
    assert_eq!((kept.connections(), removed.connections()), (1, 1));
}

#[test]
fn l7_a_half_written_file_changes_nothing_until_it_is_whole() {
    let origin = echo_version();
    let unlag = version(&origin, 1).start();
    let path = unlag.directory().join("unlag.toml");
    let whole = version(&origin, 2).config_text(unlag.directory());
    for end in [0, whole.len() / 4, whole.len() / 2, whole.len() - whole.len() / 8] {
        let before = unlag.log().with_message("reload refused").len();
        std::fs::write(&path, &whole[..end]).expect("half a config");
        unlag.signal("HUP");
        wait_until(&format!("{end} bytes are refused"), || {
            unlag.log().with_message("reload refused").len() > before
        });
        assert_eq!(current(&unlag), "1", "after {end} bytes");
    }
    std::fs::write(&path, &whole).expect("the config");
    unlag.signal("HUP");
    wait_until("the whole file is in force", || current(&unlag) == "2");
}

#[test]
fn l8_new_handshakes_use_a_rotated_certificate_and_old_sessions_live() {
    rotate(|unlag| unlag.signal("HUP"));
}

#[test]
fn l8_a_renewed_certificate_is_noticed_without_a_signal() {
    rotate(|_| {});
}

fn rotate(tell: impl FnOnce(&Unlag)) {
    let (directory, authority, origin) = (Directory::new(), Authority::new(), RawOrigin::ok("fine"));
    let (first, second) = (authority.certificate(&["localhost"]), authority.certificate(&["localhost"]));
    first.write(directory.path(), "site");
    let path = directory.path().join("site");
    let keys = format!(
        "address = \"127.0.0.1:0\"\ntls = {{ certificate = \"{0}.pem\", key = \"{0}.key\" }}",
        path.display()
    );
    let unlag = Setup::of(UNLAG).listen(&keys).to([origin.url()]).start();
    let shown = |client: &mut RawClient| -> Vec<u8> {
        let Stream::TlsClient(tls) = client.stream() else { panic!("not TLS") };
        tls.conn.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let connect = || RawClient::tls(unlag.address(), authority.client_config(&["http/1.1"]), "localhost");
    let get = |client: &mut RawClient| {
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").read_response("GET")
    };
    let mut old = connect();
    assert_eq!(get(&mut old).text(), "fine");
    assert_eq!(shown(&mut old), first.der());
    second.write(directory.path(), "site");
    tell(&unlag);
    wait_until("a new handshake shows the new certificate", || {
        let mut client = connect();
        get(&mut client).status() == 200 && shown(&mut client) == second.der()
    });
    match old.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").try_read_response("GET") {
        Ok(response) => assert_eq!(response.text(), "fine"),
        Err(ReadError::Closed) => panic!("the old session was closed"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_listener_that_a_reload_removes_stops_and_a_new_one_starts() {
    let directory = Directory::new();
    let keys = |name: &str| format!("address = \"unix:{}\"", directory.path().join(name).display());
    let at = |name: &str| RawClient::try_connect(&format!("unix:{}", directory.path().join(name).display()));
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).listen(&keys("a.sock")).to([origin.url()]).start();
    assert_eq!(at("a.sock").expect("the first listener").get("/").text(), "fine");
    unlag.write_config(&Setup::of(UNLAG).listen(&keys("b.sock")).to([origin.url()]));
    unlag.signal("HUP");
    wait_until("the new listener answers", || {
        at("b.sock").is_ok_and(|mut client| client.get("/").status() == 200)
    });
    wait_until("the old listener is gone", || at("a.sock").is_err());
}

#[test]
fn a_tcp_listener_that_a_reload_removes_resets_no_connection_that_was_opened() {
    let origin = RawOrigin::ok("fine");
    let (first, second) = ("address = \"127.0.0.1:0\"", "address = \"127.0.0.2:0\"");
    let unlag = Setup::of(UNLAG).listen(first).listen(second).to([origin.url()]).start();
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let (address, answered) = (unlag.addresses()[1].clone(), answered.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while let Ok(mut client) = RawClient::try_connect(&address) {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                    match client.try_read_response("GET") {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            })
        })
        .collect();
    wait_until("many have been answered", || answered.load(Ordering::Relaxed) > 200);
    reload(&unlag, &Setup::of(UNLAG).listen(first).to([origin.url()]));
    let failures = callers.into_iter().flat_map(|caller| caller.join().expect("a caller"));
    assert_eq!(failures.collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(unlag.get("/").text(), "fine", "the other listener stays");
}

#[test]
fn a_reload_that_cannot_open_a_new_listener_changes_nothing() {
    let directory = Directory::new();
    let keys = |name: &str| format!("address = \"unix:{}\"", directory.path().join(name).display());
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).listen(&keys("a.sock")).to([origin.url()]).start();
    unlag.write_config(&Setup::of(UNLAG).listen(&keys("no/such/directory.sock")).to([origin.url()]));
    unlag.signal("HUP");
    unlag.wait_for_log("reload refused");
    let address = format!("unix:{}", directory.path().join("a.sock").display());
    assert_eq!(RawClient::connect(&address).get("/").text(), "fine");
}
