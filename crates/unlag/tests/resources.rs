//! Running out of things: rows R1, R5, R6, R7 and R10.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use unlag_testkit::h2::frame::ACK;
use unlag_testkit::h2::{Frame, RawH2, kind};
use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::wait::pause;
use unlag_testkit::{Gate, RawClient, RawOrigin, Script, Setup, Unlag, namespace, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// Leaves the child some 20 of its 128 descriptors, fewer than the connections that it believes it may have.
const FEW_DESCRIPTORS: &str = "ulimit -n 128; exec bash -c \
    'for n in $(seq 20 99); do eval \"exec $n</dev/null\"; done; exec \"$@\"' bash \"$@\"";

/// A number from `/metrics`, over all labels.
fn metric(unlag: &Unlag, name: &str) -> u64 {
    let page = unlag.admin("/metrics").text();
    let of_name =
        page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn r1_running_out_of_file_descriptors_neither_spins_nor_kills_and_passes_by_itself() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).wrapped_in(FEW_DESCRIPTORS).start();
    assert_eq!(unlag.get("/").text(), "fine");
    let mut crowd: Vec<RawClient> =
        (0..200).filter_map(|_| RawClient::try_connect(unlag.address()).ok()).collect();
    crowd.iter_mut().for_each(|client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    });
    let told = crowd.iter_mut().filter_map(|client| client.try_read_response("GET").ok());
    let told = told.filter(|response| response.status() == 503).count();
    assert!(told > 0, "nobody was told that there is no room");
    let (began, used) = (Instant::now(), unlag.cpu_time());
    pause(Duration::from_secs(1));
    let share = (unlag.cpu_time() - used).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.1, "{:.0} % CPU while there is nothing to do", share * 100.0);
    drop(crowd);
    wait_until("callers are served again", || {
        let client = RawClient::try_connect(unlag.address())
            .map(|client| client.with_deadline(Duration::from_secs(2)));
        let Ok(mut client) = client else { return false };
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_read_response("GET").is_ok_and(|response| response.text() == "fine")
    });
    assert!(metric(&unlag, "unlag_connections_refused_total") > 0);
    unlag.wait_for_log("no file descriptor or memory is left for another connection");
}

#[test]
fn r1_silent_callers_never_push_the_connections_over_their_bound() {
    let (origin, finish) = (RawOrigin::ok("fine"), Arc::new(AtomicBool::new(false)));
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("connections", "8").start();
    let (address, done) = (unlag.address().to_owned(), finish.clone());
    let burst = std::thread::spawn(move || {
        let crowd: Vec<_> = (0..200).map(|_| RawClient::try_connect(&address)).collect();
        done.store(true, Ordering::Relaxed);
        crowd
    });
    let mut most = 0;
    while !finish.load(Ordering::Relaxed) {
        most = most.max(metric(&unlag, "unlag_worker_connections"));
    }
    let crowd = burst.join().expect("the burst");
    wait_until("the bound is reached", || {
        most = most.max(metric(&unlag, "unlag_worker_connections"));
        most >= 8
    });
    assert_eq!(most, 8);
    wait_until("whoever asks is served", || unlag.get("/").text() == "fine");
    drop(crowd);
}

#[test]
fn r1_an_idle_http_2_caller_that_answers_no_ping_makes_room_at_once() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).limit("connections", "1").start();
    let silent = RawH2::connect(unlag.address(), &[]);
    // Whoever has its settings acknowledged is idle from then on.
    let acknowledged = |frame: &Frame| frame.kind == kind::SETTINGS && frame.flags & ACK != 0;
    wait_until("the connection is open", || silent.frames().iter().any(acknowledged));
    assert_eq!(unlag.get("/").text(), "fine");
    wait_until("the silent caller's connection has ended", || silent.is_ended());
    assert_eq!(silent.count(kind::GOAWAY), 1, "it was told");
}

#[test]
fn r1_a_caller_that_has_begun_its_next_request_is_not_idle() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(1).limit("connections", "2").start();
    let (mut begun, mut idle) = (unlag.connect(), unlag.connect());
    begun.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nG");
    assert_eq!(begun.read_response("GET").text(), "fine");
    wait_until("it waits for the rest", || metric(&unlag, "unlag_worker_streams") == 0);
    assert_eq!(idle.get("/").text(), "fine");
    wait_until("it is idle", || metric(&unlag, "unlag_worker_streams") == 0);
    assert_eq!(unlag.get("/").text(), "fine");
    idle.expect_closed();
    begun.send("ET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(begun.read_response("GET").text(), "fine");
}

#[test]
fn r1_when_no_connection_is_idle_a_new_caller_is_told_to_come_back() {
    let hold = Gate::new();
    let origin = RawOrigin::always(Script::held(&hold, "fine"));
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("connections", "2").start();
    let mut busy = [unlag.connect(), unlag.connect()];
    busy.iter_mut().for_each(|caller| {
        caller.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    });
    origin.wait_for_requests(2);
    let refused = unlag.get("/");
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.closes());
    assert_eq!(metric(&unlag, "unlag_connections_refused_total"), 1);
    unlag.wait_for_log("connections were turned away at a bound");
    assert_eq!(metric(&unlag, "unlag_worker_streams"), 2, "requests under way, whatever the protocol");
    hold.open();
    for caller in &mut busy {
        assert_eq!(caller.read_response("GET").text(), "fine");
    }
    // A connection is idle a moment after its caller has the answer.
    wait_until("nothing is under way", || metric(&unlag, "unlag_worker_streams") == 0);
    wait_until("whoever comes back is served", || unlag.get("/").text() == "fine");
}

#[test]
fn r6_a_log_that_nobody_reads_blocks_no_request() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    unlag.log().set_paused(true);
    let mut client = unlag.connect();
    let long = "a".repeat(1_000);
    // More lines than the log keeps waiting, and than the pipe takes.
    let (mut slowest, requests) = (Duration::ZERO, 6_000);
    for n in 0..requests {
        let began = Instant::now();
        assert_eq!(client.get(&format!("/{n}/{long}")).text(), "fine");
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "a request waited {slowest:?} for the log");
    wait_until("lines are dropped and counted", || {
        metric(&unlag, "unlag_access_log_lines_dropped_total") > 0
    });
    unlag.log().set_paused(false);
    assert_eq!(client.get("/after").text(), "fine");
}

#[test]
fn r7_twenty_thousand_paths_and_hosts_do_not_become_labels() {
    let origin = RawOrigin::ok("fine");
    let setup = Setup::of(UNLAG).to([origin.url()]).toml("[monitor]\naccess_log = \"off\"");
    let unlag = setup.start();
    let mut client = unlag.connect();
    let ask = |client: &mut RawClient, from: usize, to: usize| {
        for n in from..to {
            client.send(format!(
                "GET /marked-path-{n} HTTP/1.1\r\nHost: marked-host-{n}.example\r\nX-Tenant: {n}\r\n\r\n"
            ));
            assert_eq!(client.read_response("GET").status(), 200);
        }
    };
    ask(&mut client, 0, 2_000);
    let (lines, memory) = (unlag.admin("/metrics").text().lines().count(), unlag.resident_kib());
    ask(&mut client, 2_000, 22_000);
    let metrics = unlag.admin("/metrics").text();
    assert!(!metrics.contains("marked-"), "what a caller names is no label");
    assert!(metrics.lines().count() < lines + 100, "{} lines after {lines}", metrics.lines().count());
    assert!(unlag.resident_kib() < memory + 4 * 1024, "{} KiB after {memory}", unlag.resident_kib());
}

#[test]
fn r7_routes_past_the_bound_on_series_are_counted_together() {
    let routes: Vec<String> = (0..20)
        .map(|n| format!("[[route]]\nmatch = \"/{n}\"\nname = \"route-{n}\"\nrespond = {{ status = 204 }}\n"))
        .collect();
    let unlag = Setup::of(UNLAG).limit("label_series", "6").toml(&routes.join("\n")).start();
    let mut client = unlag.connect();
    for n in 0..20 {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.read_response("GET").status(), 204);
    }
    let count = "unlag_request_duration_seconds_count";
    wait_until("all are counted", || metric(&unlag, count) == 20);
    let page = unlag.admin("/metrics").text();
    let series: Vec<&str> = page.lines().filter(|line| line.starts_with(count)).collect();
    let together =
        series.iter().find(|line| line.contains("route=\"other\"")).expect("a series for the rest");
    let together: u64 = together.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(together >= 14 && series.len() <= 7, "{series:#?}");
}

#[test]
fn r10_timers_are_sane_when_the_monotonic_clock_starts_far_away() {
    if !namespace::allowed("R10, a clock far away", &["-U", "-r", "-T", "--monotonic", "8640000", "--fork"]) {
        return;
    }
    let origin = RawOrigin::scripted(|number| match number {
        0 => Script::new().request().silence(),
        _ => Script::new().answer(|_| ok("fine")),
    });
    let shell = "exec unshare -U -r -T --monotonic 8640000 --fork --kill-child=KILL \"$@\"";
    let setup = Setup::of(UNLAG).to([origin.url()]).wrapped_in(shell);
    let unlag = setup.limit("response_head_timeout", "\"300ms\"").start();
    let began = Instant::now();
    assert_eq!(unlag.get("/").status(), 504);
    assert!(
        (Duration::from_millis(250)..Duration::from_secs(3)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(unlag.get("/").text(), "fine");
}

/// Two unlags in a network of their own, which has four ports: one for the second's admin listener, so three to call from.
/// The first calls the second. They share a process namespace too: when the first ends, so does the second.
fn pair_with_three_ports(origin: &RawOrigin, directory: &Directory) -> Unlag {
    let inner = directory.path().join("inner");
    std::fs::create_dir(&inner).expect("a directory");
    let keys = "address = \"127.0.0.1:30000\"";
    let text = Setup::of(UNLAG).listen(keys).to([origin.url()]).config_text(&inner);
    std::fs::write(inner.join("unlag.toml"), text).expect("the inner config");
    let shell = format!(
        "exec unshare -U -r -n -p --fork --kill-child=KILL sh -c '\
         {{ ip link set lo up || ifconfig lo up; }} && echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range || exit 9; \
         \"$0\" run -c {}/unlag.toml --workers 1 2>{}/log & exec \"$@\"' \"$1\" \"$@\"",
        inner.display(),
        inner.display()
    );
    let outer = format!("address = \"unix:{}\"", directory.path().join("outer.sock").display());
    let admin = format!("unix:{}", directory.path().join("admin.sock").display());
    let setup = Setup::of(UNLAG).listen(&outer).admin(&admin).to(["http://127.0.0.1:30000"]).workers(1);
    let first = setup.wrapped_in(&shell).start();
    // Asked before the second listens, the first would answer 502 and never call again.
    let log = inner.join("log");
    wait_until("the second is ready", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"message\":\"ready\""))
    });
    first
}

#[test]
fn r5_no_port_left_to_call_from_is_503_and_no_blame_on_the_endpoint() {
    if !namespace::allowed("R5, no port left", &["-U", "-r", "-n", "sh", "-c", "ip link set lo up", "--"]) {
        return;
    }
    let (directory, hold) = (Directory::new(), Gate::new());
    let script = Script::held(&hold, "fine");
    let origin = RawOrigin::scripted_unix(directory.path().join("origin.sock"), move |_| script.clone());
    let unlag = pair_with_three_ports(&origin, &directory);
    let outer = format!("unix:{}", directory.path().join("outer.sock").display());
    let ask = |client: &mut RawClient| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    };
    let mut holders: [RawClient; 3] = std::array::from_fn(|_| RawClient::connect(&outer));
    holders.iter_mut().for_each(ask);
    origin.wait_for_requests(3);
    assert_eq!(RawClient::connect(&outer).get("/").status(), 503, "no port is left");
    wait_until("its cause is counted", || metric(&unlag, "unlag_errors_total{cause=\"no_local_port\"}") == 1);
    let upstreams = unlag.admin("/api/v1/upstreams").text();
    assert!(upstreams.contains("\"failures\":0,"), "{upstreams}");
    hold.open();
    for client in &mut holders {
        assert_eq!(client.read_response("GET").text(), "fine");
    }
    assert_eq!(RawClient::connect(&outer).get("/").text(), "fine", "the endpoint was not ejected");
}

#[test]
fn one_address_gets_no_more_connections_than_its_share() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("connections_per_peer", "2").start();
    let mut first = unlag.connect();
    let mut second = unlag.connect();
    assert_eq!(first.get("/").text(), "fine");
    assert_eq!(second.get("/").text(), "fine");
    assert_eq!(unlag.get("/").status(), 503, "a third is told why");
    drop(first);
    wait_until("the place is free again", || {
        unlag.connect().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").try_read_response("GET").is_ok()
    });
    assert_eq!(second.get("/").text(), "fine");
}

#[test]
fn an_endpoint_keeps_no_more_idle_connections_than_the_bound() {
    let hold = Gate::new();
    let origin = RawOrigin::always(Script::held(&hold, "fine"));
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("pool_idle_per_endpoint", "1").start();
    let mut callers: Vec<RawClient> = (0..3).map(|_| unlag.connect()).collect();
    for caller in &mut callers {
        caller.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    origin.wait_for_requests(3);
    hold.open();
    for caller in &mut callers {
        assert_eq!(caller.read_response("GET").text(), "fine");
    }
    wait_until("all but one are closed", || {
        let status = unlag.admin("/api/v1/upstreams").text();
        status.contains("\"connections_open\":1,") && status.contains("\"connections_idle\":1,")
    });
}

#[test]
fn an_idle_connection_is_closed_at_its_timeout() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).limit("upstream_idle_timeout", "\"200ms\"").start();
    assert_eq!(unlag.get("/").text(), "fine");
    origin.wait_until_closed(0);
    assert_eq!(unlag.get("/").text(), "fine", "the next request opens another");
    assert_eq!(origin.connections(), 2);
}
