//! The benches of caching against the binary itself: a few callers, one round, no other proxy.

use std::path::PathBuf;
use std::time::Duration;

use unlag_lab::peers::Cache;
use unlag_lab::peers::stampede::{self, Stampede, StampedeOptions};
use unlag_lab::peers::stored::{self, StoredOptions, Storing};

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
