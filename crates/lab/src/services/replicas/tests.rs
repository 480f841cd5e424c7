//! The replicas from outside, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::*;

fn spec(replicas: Vec<ReplicaSpec>) -> ReplicasSpec {
    let work = Work::LogNormal { mean_ms: 20.0, request_sigma: 0.0, copy_sigma: 0.0 };
    ReplicasSpec { seed: 1, work, workers: 2, drop_cancelled: true, reports_load: true, replicas }
}

fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
        .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .expect("writes");
    stream
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn ask(address: SocketAddr, request: &str) -> String {
    read(send(address, request))
}

fn report(replicas: &Replicas) -> ReplicasReport {
    let answer = ask(replicas.addresses.control, "GET /report");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("a report")
}

fn until(replicas: &Replicas, condition: impl Fn(&ReplicasReport) -> bool) -> ReplicasReport {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let report = report(replicas);
        if condition(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "not within 10 s: {report:?}");
    }
}

#[test]
fn a_replica_works_on_as_many_requests_as_it_has_workers_and_its_neighbour_has_its_own() {
    let replicas = Replicas::start(spec(vec![ReplicaSpec::default(); 2])).expect("starts");
    let [first, second] = replicas.addresses.replicas[..] else { panic!("two replicas") };
    let start = Instant::now();
    let busy: Vec<TcpStream> = (0..6).map(|id| send(first, &format!("GET /r/{id}"))).collect();
    assert!(ask(second, "GET /r/9").starts_with("HTTP/1.1 200 OK"));
    assert!(busy.into_iter().map(read).all(|answer| answer.contains("x-served-by: 0\r\n")));
    assert!(
        start.elapsed() >= Duration::from_millis(60),
        "six of 20 ms for two workers: {:?}",
        start.elapsed()
    );
    let report = report(&replicas);
    assert_eq!((report.requests, report.copies, report.executed_twice), (7, 7, 0));
    assert_eq!(report.replicas.iter().map(|counts| counts.finished).collect::<Vec<_>>(), [6, 1]);
    assert!(report.work_ms() >= 139.0, "{}", report.work_ms());
}

#[test]
fn what_its_caller_gives_up_leaves_the_queue_and_the_worker_and_is_counted() {
    let slow = Timed { fault: Wrong::Slow(500.0), when: When::Always };
    let replicas = Replicas::start(spec(vec![ReplicaSpec { faults: vec![slow], ..ReplicaSpec::default() }]));
    let replicas = replicas.expect("starts");
    let address = replicas.addresses.replicas[0];
    let begun: Vec<TcpStream> = (0..2).map(|id| send(address, &format!("POST /r/{id}"))).collect();
    until(&replicas, |report| report.replicas[0].begun == 2);
    let queued = send(address, "POST /r/2");
    until(&replicas, |report| report.copies == 3);
    drop(queued);
    until(&replicas, |report| report.replicas[0].cancelled_queued == 1);
    drop(begun);
    let report = until(&replicas, |report| report.replicas[0].cancelled_begun == 2);
    // Ten seconds each, had they been worked on to the end.
    assert_eq!((report.replicas[0].cancelled_queued, report.replicas[0].finished), (1, 0));
    assert!(report.work_ms() < 15_000.0);
}

#[test]
fn a_settled_report_knows_how_every_request_ended() {
    let slow = Timed { fault: Wrong::Slow(10.0), when: When::Always };
    let replicas = Replicas::start(spec(vec![ReplicaSpec { faults: vec![slow], ..ReplicaSpec::default() }]));
    let replicas = replicas.expect("starts");
    let held = send(replicas.addresses.replicas[0], "GET /r/1");
    let before = until(&replicas, |report| report.replicas[0].begun == 1);
    assert_eq!(before.replicas[0].finished, 0, "200 ms of work");
    assert_eq!(replicas.addresses.settled().expect("a report").replicas[0].finished, 1);
    assert!(read(held).starts_with("HTTP/1.1 200"));
}

#[test]
fn copies_are_counted_and_those_that_must_not_be_made_are_named() {
    let replicas = Replicas::start(spec(vec![ReplicaSpec::default(); 2])).expect("starts");
    let [first, second] = replicas.addresses.replicas[..] else { panic!("two replicas") };
    for (address, request) in [
        (first, "GET /r/1"),
        (second, "GET /r/1"),
        (first, "POST /r/2"),
        (second, "POST /r/2"),
        (first, "POST /r/3"),
        (first, "GET /healthz"),
    ] {
        assert!(ask(address, request).starts_with("HTTP/1.1 200"), "{request}");
    }
    let seen = report(&replicas);
    assert_eq!((seen.requests, seen.copies, seen.executed_twice, seen.unsafe_executed_twice), (3, 5, 2, 1));
    assert!((seen.extra() - 2.0 / 3.0).abs() < 1e-9 && (seen.share(0) - 0.6).abs() < 1e-9);
    ask(replicas.addresses.control, "POST /start");
    assert_eq!(report(&replicas).copies, 0);
}

#[test]
fn a_frozen_replica_answers_nothing_until_it_moves_again_and_its_neighbour_does() {
    let freeze = Timed { fault: Wrong::Freeze, when: When::Between { from_ms: 0, until_ms: 300 } };
    let frozen = ReplicaSpec { faults: vec![freeze], ..ReplicaSpec::default() };
    let replicas = Replicas::start(spec(vec![frozen, ReplicaSpec::default()])).expect("starts");
    let [first, second] = replicas.addresses.replicas[..] else { panic!("two replicas") };
    let start = Instant::now();
    ask(replicas.addresses.control, "POST /start");
    let waiting = send(first, "GET /healthz");
    assert!(ask(second, "GET /healthz").starts_with("HTTP/1.1 200"));
    assert!(start.elapsed() < Duration::from_millis(250), "the neighbour stood still: {:?}", start.elapsed());
    assert!(read(waiting).starts_with("HTTP/1.1 200"));
    assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
}

#[test]
fn faults_answer_at_once_and_resets_reset() {
    let with =
        |fault| ReplicaSpec { faults: vec![Timed { fault, when: When::Always }], ..ReplicaSpec::default() };
    let busy = Wrong::Answer { status: 429, share: 1.0, retry_after: Some(2) };
    let replicas = Replicas::start(spec(vec![with(busy), with(Wrong::Reset)])).expect("starts");
    let [first, second] = replicas.addresses.replicas[..] else { panic!("two replicas") };
    let answer = ask(first, "GET /r/1");
    assert!(
        answer.starts_with("HTTP/1.1 429 Too Many Requests") && answer.contains("retry-after: 2\r\n"),
        "{answer}"
    );
    assert_eq!(ask(second, "GET /r/1"), "");
    assert_eq!(report(&replicas).replicas.iter().map(|counts| counts.turned_away).sum::<u64>(), 2);
}

#[test]
fn a_relay_delays_both_ways_and_a_black_hole_gives_nothing_back() {
    let far = RelaySpec { one_way_ms: 40.0, outages: Vec::new() };
    let hole = (Outage::BlackHole, When::Between { from_ms: 0, until_ms: 60_000 });
    let lost = RelaySpec { one_way_ms: 0.0, outages: vec![hole] };
    let cut = (Outage::Close, When::Between { from_ms: 0, until_ms: 60_000 });
    let refused = RelaySpec { one_way_ms: 0.0, outages: vec![cut] };
    let relayed = |relay| ReplicaSpec { relay: Some(relay), ..ReplicaSpec::default() };
    let specs = [far, lost, refused].map(relayed);
    let replicas = Replicas::start(spec(specs.into())).expect("starts");
    let [far, lost, refused] = replicas.addresses.replicas[..] else { panic!("three replicas") };
    let start = Instant::now();
    assert!(ask(far, "GET /healthz").starts_with("HTTP/1.1 200"));
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
    let before = send(refused, "GET /r/1");
    until(&replicas, |report| report.copies == 1);
    ask(replicas.addresses.control, "POST /start");
    assert_eq!(read(before), "", "an open connection is cut");
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(refused).is_ok() {
        assert!(Instant::now() < deadline, "it is still accepted");
    }
    let swallowed = send(lost, "GET /healthz");
    swallowed.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let error = (&swallowed).read(&mut [0; 1]).expect_err("nothing comes");
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_follower_sends_writes_to_the_primary_and_shows_them_later() {
    let primary = ReplicaSpec { role: Role::Primary, ..ReplicaSpec::default() };
    let follower = ReplicaSpec { role: Role::Follower, lag_ms: 60_000, ..ReplicaSpec::default() };
    let replicas = Replicas::start(spec(vec![primary, follower])).expect("starts");
    let [primary, follower] = replicas.addresses.replicas[..] else { panic!("two replicas") };
    assert!(ask(primary, "POST /kv/4/1").contains("x-version: 1\r\n"));
    assert!(ask(primary, "GET /kv/4/2").contains("x-version: 1\r\n"));
    assert!(ask(follower, "GET /kv/4/3").contains("x-version: 0\r\n"));
    let refused = ask(follower, "POST /kv/4/4");
    assert!(
        refused.starts_with("HTTP/1.1 409") && refused.contains("x-replay: role=primary\r\n"),
        "{refused}"
    );
}

#[test]
fn a_silent_replica_takes_requests_and_says_nothing_and_all_are_counted_by_their_time() {
    let when = When::Between { from_ms: 0, until_ms: 60_000 };
    let silent = ReplicaSpec { faults: vec![Timed { fault: Wrong::Silent, when }], ..ReplicaSpec::default() };
    let replicas = Replicas::start(spec(vec![silent, ReplicaSpec::default()])).expect("starts");
    let [silent, well] = replicas.addresses.replicas[..] else { panic!("two replicas") };
    assert!(ask(silent, "GET /r/1").starts_with("HTTP/1.1 200"), "before its time");
    ask(replicas.addresses.control, "POST /start");
    let waiting = send(silent, "GET /r/2");
    assert!(ask(well, "GET /r/3").starts_with("HTTP/1.1 200"));
    waiting.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let error = (&waiting).read(&mut [0; 1]).expect_err("nothing comes");
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
    let report = report(&replicas);
    let seconds = |from, until| Duration::from_secs(from)..Duration::from_secs(until);
    let arrived = [0..1, 1..2, 0..2, 2..9].map(|which| report.arrivals(which, seconds(0, 60)));
    assert_eq!((arrived, report.arrivals(0..2, seconds(60, 99))), ([1, 1, 2, 0], 0));
}
