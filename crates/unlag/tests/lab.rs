//! The benches of caching, and the traffic that the binary which ships is built by, against the binary itself: a few callers, one
//! round, no other proxy.

use std::path::PathBuf;
use std::time::Duration;

use unlag_lab::load::{self, Arrivals, Options, Request};
use unlag_lab::peers::Cache;
use unlag_lab::peers::stampede::{self, Stampede, StampedeOptions};
use unlag_lab::peers::stored::{self, StoredOptions, Storing};
use unlag_lab::services::{Origin, Policy, Resource};
use unlag_lab::training::{self, TrainingOptions};
use unlag_testkit::Setup;
use unlag_testkit::process::Directory;
use unlag_testkit::tls::Authority;

#[test]
fn a_stampede_of_five_callers_is_answered_rightly_and_the_origin_is_counted() {
    let options = StampedeOptions {
        rounds: 1,
        caches: vec![Cache::Unlag],
        scenarios: vec![Stampede::Cold20, Stampede::NoStoreSecond, Stampede::WhileRevalidate],
        callers: 5,
        unlag: Some(PathBuf::from(env!("CARGO_BIN_EXE_unlag"))),
    };
    let report = stampede::run(&options, &mut |_| ()).expect("runs");
    assert_eq!(report.scenarios.len(), 3);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    for scenario in &report.scenarios {
        let [direct, unlag] = scenario.rows.as_slice() else {
            panic!("{}: {:?}", scenario.name, scenario.rows)
        };
        let asked = |row: &unlag_lab::peers::Row| row.figures["origin_requests"].median;
        let callers = 5.0;
        assert_eq!(asked(direct), callers, "{}: without a cache every caller asks the origin", scenario.name);
        assert!((1.0..=callers).contains(&asked(unlag)), "{}: {:?}", scenario.name, unlag);
        assert_eq!((direct.errors, unlag.errors), (0, 0), "{}", scenario.name);
        let is_judged = unlag.met.is_some() || scenario.dropped > 0;
        assert!(direct.met.is_none() && is_judged, "{}", scenario.name);
    }
    let while_revalidate = report.scenarios.iter().find(|s| s.name == "while-revalidate").expect("ran");
    assert_eq!(while_revalidate.rows[1].figures["origin_requests"].median, 1.0, "fetched again once, beside");
    let text = report.text();
    assert!(text.contains("goal: 1 origin request, <= 2 ms added"), "{text}");
    assert!(report.svg().contains("Callers at once for a cold cacheable key"));
}

#[test]
fn hits_do_not_reach_the_origin_and_what_fits_is_all_held() {
    let options = StoredOptions {
        rounds: 1,
        caches: vec![Cache::Unlag],
        scenarios: vec![Storing::Hit1k, Storing::MillionFits],
        length: Duration::from_millis(200),
        objects: 2_000,
        unlag: Some(PathBuf::from(env!("CARGO_BIN_EXE_unlag"))),
    };
    let report = stored::run(&options, &mut |_| ()).expect("runs");
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    let [hits, million] = report.scenarios.as_slice() else { panic!("{:?}", report.scenarios) };
    assert!(hits.rows[0].errors == 0 && hits.headline == "cpu_us", "{hits:?}");
    let held = million.rows[0].figures["held"].median;
    assert_eq!((held, million.rows[0].met), (2_000.0, Some(true)), "{million:?}");
}

#[test]
fn all_traffic_that_the_binary_which_ships_is_built_by_is_answered_well() {
    let directory = Directory::new();
    let authority = Authority::new();
    let certificate = authority.certificate(&["localhost"]);
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("can be written");
        path
    };
    let options = TrainingOptions {
        unlag: PathBuf::from(env!("CARGO_BIN_EXE_unlag")),
        // With the authority in it, which it is trusted by.
        certificate: write("certificate.pem", certificate.pem.clone() + &authority.pem()),
        key: write("key.pem", certificate.key_pem),
        length: Duration::from_millis(100),
    };
    let mut kinds = 0;
    training::run(&options, &mut |_| kinds += 1).expect("every kind is answered");
    assert_eq!(kinds, 18);
}

#[test]
fn a_service_that_becomes_slower_than_the_learned_time_out_is_believed_and_not_cut_off() {
    let origin = Origin::start().expect("an origin");
    let unlag = Setup::of(env!("CARGO_BIN_EXE_unlag"))
        .to([format!("http://{}", origin.address)])
        .route("coalesce", "\"off\"")
        .start();
    let takes = |ms: u64, requests: u64, arrivals: Arrivals| {
        let delay = Duration::from_millis(ms);
        let (route, policy, key) = ("of-one".into(), Policy::NoStore, "1".into());
        let request = Request::get(&Resource { route, policy, delay, bytes: 1, key }.path());
        let address = unlag.address().parse().expect("an address");
        let duration = Duration::from_secs(60);
        load::run_blocking(&Options { requests, arrivals, duration, ..Options::new(address, request) })
            .expect("runs")
    };
    let fast = takes(0, 50_000, Arrivals::Closed);
    assert_eq!(fast.errors(), 0);
    let routes: serde_json::Value =
        serde_json::from_str(&unlag.admin("/api/v1/routes").text()).expect("JSON");
    let learned = &routes["routes"][0]["attempts"]["learned_timeout"];
    assert_eq!(learned["in_force"], true, "{routes}");
    let slower_ms = 2 * learned["timeout_ms"].as_u64().expect("a time-out");
    let slow = takes(slower_ms, 200, Arrivals::Constant { rate: 50.0 });
    let errors = slow.errors();
    assert!((1..=80).contains(&errors), "{errors} of 200 cut by {slower_ms} ms / 2");
}
