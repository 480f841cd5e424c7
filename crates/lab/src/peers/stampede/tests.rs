//! What rounds come to.

use super::*;
use crate::load::Fault;

fn call(ms: u64, fault: Option<Fault>) -> Call {
    let latency = Duration::from_millis(ms);
    Call { first_byte: latency / 2, latency, fault }
}

fn contestant(name: &'static str, samples: Vec<Sample>) -> Contestant {
    Contestant { name, process: None, samples, hit_p99_us: None, hit_steal: 0.0 }
}

#[test]
fn a_sample_counts_whole_right_answers_and_everything_else_as_a_fault() {
    let calls = [call(20, None), call(30, None), call(10, Some(Fault::WrongContent))];
    let sample = sample(&calls, 3, 0.5);
    assert_eq!((sample.served, sample.faults, sample.origin_requests), (2, 1, 3));
    assert_eq!((sample.p50_us, sample.max_us, sample.first_byte_us), (20_000.0, 30_000.0, 10_000.0));
}

#[test]
fn what_a_cache_adds_is_told_within_a_round() {
    let direct: Vec<Sample> = [20, 40].map(|ms| sample(&[call(ms, None)], 50, 1.0)).into();
    let own = contestant("x", [21, 42].map(|ms| sample(&[call(ms, None)], 1, 1.0)).into());
    let row = row(Stampede::Cold20, &own, &direct);
    assert_eq!(row.figures["origin_requests"].median, 1.0);
    assert_eq!(row.figures["p50_us"].median, 31_500.0);
    assert_eq!(row.met, None, "the direct way has no goal");
}

#[test]
fn times_from_which_the_hypervisor_took_a_part_are_dropped_and_counts_are_not() {
    let stolen =
        |ms, requests, faults| Sample { faults, steal: 0.07, ..sample(&[call(ms, None)], requests, 1.0) };
    let whole = |ms, requests| sample(&[call(ms, None)], requests, 1.0);
    let direct = contestant(DIRECT, vec![whole(20, 50), stolen(90, 50, 0), whole(20, 50)]);
    let own = contestant("x", vec![whole(21, 1), whole(22, 1), stolen(70, 4, 1)]);
    let report = report(Stampede::Cold20, &[direct, own]);
    assert_eq!((report.dropped, report.steal_max), (2, 0.07));
    let own = &report.rows[1];
    assert_eq!((own.figures["p50_us"].n, own.figures["p50_us"].median), (2, 21_500.0));
    assert_eq!((own.figures["origin_requests"].n, own.errors), (3, 1));
}

#[test]
fn every_scenario_asks_for_something_new_in_each_round_and_for_each_cache() {
    for scenario in Stampede::ALL {
        let paths = [(1, "unlag"), (2, "unlag"), (1, "nginx")]
            .map(|(round, asker)| scenario.resource(round, asker).path());
        assert!(paths[0] != paths[1] && paths[0] != paths[2] && paths[1] != paths[2], "{paths:?}");
        assert_eq!(scenario.name().parse::<Stampede>().expect("its own name"), scenario);
    }
    assert_ne!(Stampede::NoStoreFirst.route(1), Stampede::NoStoreFirst.route(2));
    assert_eq!(Stampede::Cold20.route(1), Stampede::Cold20.route(2));
}
