//! The demo shop: honest service times, a capacity of its own for every replica, faults that show.

#![expect(clippy::expect_used, reason = "a test may fail")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use unlag_lab::load::{Arrivals, Failure, Options, Report, Request, run_blocking};
use unlag_lab::services::{Fault, Shop};

fn ask(address: SocketAddr, path: &str, connections: usize, requests: u64) -> Report {
    let mut options = Options::new(address, Request::get(path));
    (options.connections, options.requests) = (connections, requests);
    (options.duration, options.timeout) = (Duration::from_secs(20), Duration::from_secs(5));
    run_blocking(&options).expect("runs")
}

fn median_ms(report: &Report) -> f64 {
    report.all.latency.quantile_ns(0.5) as f64 / 1e6
}

#[test]
fn every_service_and_replica_answers_the_mix() {
    let shop = Shop::start().expect("opens");
    assert_eq!(shop.addresses("catalog").len(), 3);
    assert_eq!(shop.services.len(), 5);
    assert!(shop.addresses("nothing").is_empty());
    for service in &shop.services {
        let mine = format!("/{}", service.name);
        let mix: Vec<Request> = Shop::mix().into_iter().filter(|r| r.path.starts_with(&mine)).collect();
        assert!(!mix.is_empty(), "{} is in the mix", service.name);
        for replica in &service.replicas {
            let mut options = Options::new(*replica, Request::get("/"));
            (options.mix, options.requests, options.connections) = (mix.clone(), 8, 2);
            let report = run_blocking(&options).expect("runs");
            assert_eq!((report.all.ok, report.errors()), (8, 0), "{}", service.name);
        }
    }
}

#[test]
fn service_times_are_log_normal_around_their_median() {
    let shop = Shop::start_seeded(3).expect("opens");
    let report = ask(shop.addresses("users")[0], "/users/1", 2, 400);
    let latency = &report.all.latency;
    let median = median_ms(&report);
    assert!((3.4..6.0).contains(&median), "seed 3: {median} ms, not about 4");
    // Of a log-normal with sigma 0.4 a sixth lies above median x 1.49, and a sixth below median / 1.49.
    let (upper, lower) = (latency.quantile_ns(0.841) as f64 / 1e6, latency.quantile_ns(0.159) as f64 / 1e6);
    assert!((1.25..1.9).contains(&(upper / median)), "seed 3: {upper} over {median}");
    assert!((1.2..1.8).contains(&(median / lower)), "seed 3: {median} over {lower}");
}

#[test]
fn a_replica_has_four_workers_and_the_rest_waits_in_line() {
    let shop = Shop::start().expect("opens");
    let start = Instant::now();
    let alone = ask(shop.addresses("users")[0], "/users/1", 4, 200);
    let crowded = ask(shop.addresses("users")[0], "/users/1", 16, 400);
    assert!(start.elapsed() < Duration::from_secs(15));
    let ratio = median_ms(&crowded) / median_ms(&alone);
    assert!((2.8..5.5).contains(&ratio), "16 callers of 4 workers wait 4 times as long, not {ratio:.2}");
    assert!(crowded.achieved_rate() < 4.0 / 0.004, "capacity is bounded: {}", crowded.achieved_rate());
}

#[test]
fn a_slow_replica_is_slow_alone() {
    let shop = Shop::start().expect("opens");
    shop.faults.set("catalog", 1, Fault::slow(10.0)).expect("exists");
    let [first, second, _] = shop.addresses("catalog") else { panic!("three replicas") };
    let (well, slow) = (ask(*first, "/catalog/1", 2, 60), ask(*second, "/catalog/1", 4, 60));
    let ratio = median_ms(&slow) / median_ms(&well);
    assert!((6.0..14.0).contains(&ratio), "{ratio:.2} times slower, not about 10");
    shop.faults.clear();
    assert!(median_ms(&ask(*second, "/catalog/1", 2, 60)) < 20.0);
}

#[test]
fn a_failing_replica_answers_its_share_with_500_at_once() {
    let shop = Shop::start().expect("opens");
    shop.faults.set("orders", 0, Fault::failing(1.0)).expect("exists");
    let all = ask(shop.addresses("orders")[0], "/orders", 2, 50);
    assert_eq!(all.statuses.get(&500), Some(&50));
    assert!(median_ms(&all) < 10.0, "a failure takes no service time: {} ms", median_ms(&all));
    shop.faults.set("users", 0, Fault::failing(0.3)).expect("exists");
    let some = ask(shop.addresses("users")[0], "/users/1", 4, 400);
    let failed = some.statuses.get(&500).copied().unwrap_or(0);
    assert!((85..155).contains(&failed), "30 % of 400 are 120, not {failed}");
    assert!(shop.faults.set("users", 9, Fault::default()).is_err());
}

#[test]
fn a_frozen_replica_finishes_nothing_until_it_thaws() {
    let shop = Shop::start().expect("opens");
    shop.faults.set("cart", 0, Fault::frozen()).expect("exists");
    let mut options = Options::new(shop.addresses("cart")[0], Request::get("/cart/1"));
    options.arrivals = Arrivals::Constant { rate: 50.0 };
    (options.duration, options.timeout) = (Duration::from_millis(100), Duration::from_millis(200));
    let report = run_blocking(&options).expect("runs");
    assert_eq!(report.failures.get(&Failure::Timeout), Some(&5), "{:?}", report.summary());
    shop.faults.clear();
    assert_eq!(ask(shop.addresses("cart")[0], "/cart/1", 2, 20).all.ok, 20);
}
