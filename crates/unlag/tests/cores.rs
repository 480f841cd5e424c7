//! Work is spread over the cores, however few connections bring it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::h2::RawH2;
use unlag_testkit::{RawClient, RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// Open connections of callers, by worker.
fn connections(unlag: &Unlag) -> Vec<u64> {
    let metrics = unlag.admin("/metrics").text();
    let lines = metrics.lines().filter(|line| line.starts_with("unlag_worker_connections{"));
    lines
        .map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number"))
        .collect()
}

#[test]
fn four_callers_with_long_lived_http2_connections_keep_two_cores_busy() {
    let origin = RawOrigin::ok("fine");
    // Where the kernel puts them is chance: what counts is that no core is left with nearly all.
    for _ in 0..5 {
        let unlag = Setup::of(UNLAG).to([origin.url()]).workers(2).start();
        let mut callers: Vec<RawH2> = (0..4).map(|_| RawH2::connect(unlag.address(), &[])).collect();
        for caller in &mut callers {
            caller.get(1, "/");
            assert_eq!(caller.wait_for_status(1), 200);
        }
        let spread = connections(&unlag);
        assert_eq!(spread.iter().sum::<u64>(), 4, "{spread:?}");
        assert!(spread.iter().all(|&count| count >= 1), "{spread:?}");
    }
}

#[test]
fn many_connections_are_spread_within_a_quarter_of_the_mean() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).workers(2).start();
    let callers: Vec<RawClient> = (0..64).map(|_| unlag.connect()).collect();
    wait_until("all are accepted", || connections(&unlag).iter().sum::<u64>() == 64);
    let spread = connections(&unlag);
    assert!(spread.iter().all(|&count| count <= 32 * 5 / 4 + 1), "{spread:?}");
    drop(callers);
}
