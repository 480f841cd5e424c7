//! Requests that pass one technique by, so that what it saves is measured.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use serde_json::Value;
use unlag_testkit::origin::ok;
use unlag_testkit::{RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// The techniques that each logged request was held out of, once there are so many lines.
fn held_out(unlag: &Unlag, lines: usize) -> Vec<String> {
    let logged = || -> Vec<Value> {
        unlag.log().objects().into_iter().filter(|line| line.get("target").is_some()).collect()
    };
    wait_until("every request is logged", || logged().len() >= lines);
    logged().iter().map(|line| line["held_out"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn nobody_is_held_out_unless_a_route_says_so() {
    let origin = RawOrigin::ok("x");
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    (0..40).for_each(|_| drop(unlag.get("/")));
    assert!(held_out(&unlag, 40).iter().all(String::is_empty));
}

#[test]
fn held_out_requests_take_turns_and_are_recorded_apart() {
    let origins = [(); 3].map(|()| RawOrigin::ok("x"));
    let unlag = Setup::of(UNLAG)
        .to(origins.iter().map(RawOrigin::url))
        .route("cache", "\"off\"")
        .route("holdout", "\"20%\"")
        .start();
    (0..300).for_each(|_| assert_eq!(unlag.get("/").text(), "x"));
    let held = held_out(&unlag, 300);
    let count = held.iter().filter(|held| held.split(',').any(|it| it == "balance")).count();
    assert!((25..=110).contains(&count), "{count} of 300, of which 60 are expected");
}

#[test]
fn a_cache_that_is_passed_by_costs_the_origin_one_request_in_a_hundred() {
    let origin = RawOrigin::answering(|request| match request.target().as_str() {
        "/stored" => {
            b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 6\r\n\r\nstored".to_vec()
        }
        _ => ok("passed"),
    });
    let unlag = Setup::of(UNLAG)
        .to([origin.url()])
        .route("cache", "{}")
        .route("holdout", "\"20%\"")
        .workers(1)
        .start();
    let mut caller = unlag.connect();
    assert_eq!(caller.get("/stored").text(), "stored");
    for number in 0..300 {
        drop(caller.get(&format!("/passed/{number}")));
        assert_eq!(caller.get("/stored").text(), "stored");
    }
    let held = held_out(&unlag, 601);
    let count = held.iter().filter(|held| held.split(',').any(|it| it == "cache")).count();
    let asked = origin.request_count();
    assert!(
        (1..=asked / 100).contains(&count),
        "{count} of {asked}: a fifth was asked for, a hundredth is allowed"
    );
    assert!(asked <= 301 + count, "{asked}");
}
