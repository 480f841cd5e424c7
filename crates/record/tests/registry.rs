//! What a registry promises to those who read it.

mod sample;

use sample::{NOW_MS, record, timeline};
use std::thread;
use unlag_record::{
    Bounds, Histogram, OTHER, Order, Outcome, Phase, RecentQuery, Record, Registry, RequestId, RouteId,
};

const MS: u64 = 1_000_000;

#[test]
fn causes_are_counted_over_all_cores_and_those_past_the_bound_together() {
    let registry = Registry::new(Bounds::default(), None);
    let (one, other) = (registry.recorder(), registry.recorder());
    let timeline = timeline(&[(Phase::Wait, 1)]);
    let of = |cause| Record { cause: Some(cause), ..record(registry.route("r"), &timeline) };
    one.record(&of("no_route"));
    one.record(&of("no_route"));
    other.record(&of("no_route"));
    other.record(&of("loop"));
    assert_eq!(registry.causes().into_iter().collect::<Vec<_>>(), [("loop", 1), ("no_route", 3)]);
    for n in 0..200 {
        one.record(&of(Box::leak(format!("cause-{n}").into_boxed_str())));
    }
    let causes = registry.causes();
    assert_eq!(causes.len(), 65, "the bound of one core, and what only the other had");
    assert_eq!(causes.values().sum::<u64>(), 204);
    assert_eq!(causes["other"], 138);
}

#[test]
fn two_recorders_on_two_threads_merge_into_what_one_would_have_counted() {
    let registry = Registry::new(Bounds::default(), None);
    let route = registry.route("shop");
    let endpoint = registry.endpoint("catalog", "10.0.0.1:80");
    let workers = [0u64, 1].map(|worker| {
        let recorder = registry.recorder();
        thread::spawn(move || {
            for step in 0..5_000 {
                let wait = (step * 2 + worker + 1) * 1_000;
                let timeline = timeline(&[(Phase::Send, 2_000), (Phase::Wait, wait)]);
                recorder.record(&Record { endpoint: Some(endpoint), ..record(route, &timeline) });
            }
        })
    });
    workers.into_iter().for_each(|worker| worker.join().unwrap());

    let (mut total, mut wait) = (Histogram::new(), Histogram::new());
    for step in 0..10_000 {
        wait.record((step + 1) * 1_000);
        total.record((step + 1) * 1_000 + 2_000);
    }
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.requests.len(), 1);
    assert_eq!(&*snapshot.requests[0].route, "shop");
    assert_eq!(snapshot.requests[0].histogram, total);
    let phase = snapshot.phases.iter().find(|series| series.phase == Phase::Wait).unwrap();
    assert_eq!(phase.histogram, wait);
    assert_eq!(snapshot.endpoints.len(), 1);
    assert_eq!(&*snapshot.endpoints[0].upstream, "catalog");
    assert_eq!(snapshot.endpoints[0].histogram, total);
}

#[test]
fn phase_sums_add_up_to_the_sum_of_the_totals() {
    let registry = Registry::new(Bounds::default(), None);
    let (route, recorder) = (registry.route("shop"), registry.recorder());
    for step in 1..500 {
        let timeline =
            timeline(&[(Phase::Queue, step * 777), (Phase::Wait, step * 12_345), (Phase::Overhead, 1)]);
        recorder.record(&record(route, &timeline));
    }
    let snapshot = registry.snapshot_of_route("shop");
    assert!(registry.snapshot_of_route("nowhere").requests.is_empty());
    let phases: u64 = snapshot.phases.iter().map(|series| series.histogram.sum_ns()).sum();
    assert_eq!(phases, snapshot.requests[0].histogram.sum_ns());
}

#[test]
fn series_past_the_bound_are_counted_under_other() {
    let registry = Registry::new(Bounds { series: 3, ..Bounds::default() }, None);
    let recorder = registry.recorder();
    let timeline = timeline(&[(Phase::Wait, MS)]);
    for name in ["a", "b", "c"] {
        recorder.record(&record(registry.route(name), &timeline));
    }
    let snapshot = registry.snapshot();
    let routes = |name: &str| snapshot.requests.iter().filter(|series| *series.route == *name).count();
    assert_eq!((routes("a"), routes("b"), routes("c"), routes(OTHER)), (1, 0, 0, 1));
    let counted: u64 = snapshot.requests.iter().map(|series| series.histogram.count()).sum();
    assert_eq!(counted, 3, "nothing is lost");
    let named = snapshot.requests.iter().map(|series| &series.route);
    let named = named.chain(snapshot.phases.iter().map(|series| &series.route));
    assert_eq!(named.filter(|route| ***route != *OTHER).count(), 3, "a: total, receive, upstream_ttfb");
}

#[test]
fn routes_and_endpoints_past_the_bound_count_as_other_and_a_request_still_says_which_endpoint_it_was() {
    let registry = Registry::new(Bounds { routes: 1, endpoints: 1, ..Bounds::default() }, None);
    assert_ne!(registry.route("a"), RouteId::OTHER);
    assert_eq!(registry.route("b"), RouteId::OTHER);
    registry.endpoint("u", "1");
    let (recorder, timeline) = (registry.recorder(), timeline(&[(Phase::Wait, MS)]));
    let endpoint = Some(registry.endpoint("u", "2"));
    recorder.record(&Record { endpoint, ..record(registry.route("b"), &timeline) });
    let snapshot = registry.snapshot();
    assert_eq!(&*snapshot.requests[0].route, OTHER);
    assert_eq!(&*snapshot.endpoints[0].endpoint, OTHER);
    let recent = registry.recent(&RecentQuery::default());
    assert_eq!(recent[0].endpoint.as_deref(), Some("2"));
}

#[test]
fn the_memory_of_a_core_stays_within_its_bound() {
    let bytes_per_core = 200_000;
    let registry = Registry::new(Bounds { bytes_per_core, recent: 0, ..Bounds::default() }, None);
    let (recorder, timeline) = (registry.recorder(), timeline(&[(Phase::Wait, MS)]));
    for number in 0..200 {
        recorder.record(&record(registry.route(&format!("route {number}")), &timeline));
    }
    assert!(registry.allocated_bytes() <= bytes_per_core, "{} bytes", registry.allocated_bytes());
    assert!(registry.allocated_bytes() > bytes_per_core / 2);
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.requests.iter().map(|series| series.histogram.count()).sum::<u64>(), 200);
    assert!(snapshot.requests.iter().any(|series| *series.route == *OTHER));
}

#[test]
fn the_ring_keeps_the_last_requests_and_slow_ones_outlive_it() {
    let registry = Registry::new(Bounds { recent: 16, slow_per_route: 2, ..Bounds::default() }, None);
    let (route, recorder) = (registry.route("shop"), registry.recorder());
    let (fast, slow, slower) = (
        timeline(&[(Phase::Wait, MS)]),
        timeline(&[(Phase::Wait, 900 * MS)]),
        timeline(&[(Phase::Wait, 950 * MS)]),
    );
    let numbered = |id, timeline| Record { id: RequestId(id), ..record(route, timeline) };
    recorder.record(&numbered(1, &slow));
    recorder.record(&numbered(2, &slower));
    for id in 100..400 {
        recorder.record(&Record { started_unix_ms: NOW_MS + 63 * id as u64, ..numbered(id, &fast) });
    }
    let newest = registry.recent(&RecentQuery { limit: 3, ..RecentQuery::default() });
    assert_eq!(newest.iter().map(|recent| recent.id.0).collect::<Vec<_>>(), [399, 398, 397]);
    let all = registry.recent(&RecentQuery { order: Order::Slowest, ..RecentQuery::default() });
    assert_eq!(all.len(), 18, "16 of the ring and 2 slow ones, each once");
    assert_eq!(all.iter().take(2).map(|recent| recent.id.0).collect::<Vec<_>>(), [2, 1]);
    let kept = registry.find(&RequestId(2).to_string()).unwrap();
    assert_eq!(kept.timeline.spent_ns(Phase::Wait), 950 * MS);
    assert!(registry.find(&RequestId(100).to_string()).is_none());
}

#[test]
fn a_busy_second_is_kept_in_part_and_what_failed_in_it_all() {
    let registry = Registry::new(Bounds { recent: 64, slow_per_route: 0, ..Bounds::default() }, None);
    let (route, recorder) = (registry.route("shop"), registry.recorder());
    let fast = timeline(&[(Phase::Wait, MS)]);
    for id in 0..576 {
        let outcome = if id == 333 { Outcome::ServerError } else { Outcome::Ok };
        recorder.record(&Record { id: RequestId(id), outcome, ..record(route, &fast) });
    }
    let ids: Vec<u128> = registry.recent(&RecentQuery::default()).iter().map(|recent| recent.id.0).collect();
    assert!(ids.contains(&333) && ids.contains(&560) && !ids.contains(&575), "{ids:?}");
    assert_eq!(ids.iter().filter(|&&id| id < 64).count(), 64 - 1 - 512 / 16, "the rest has overwritten them");
}

#[test]
fn slow_requests_are_forgotten_after_two_generations() {
    let registry = Registry::new(Bounds { recent: 1, slow_per_route: 2, ..Bounds::default() }, None);
    let (route, recorder) = (registry.route("shop"), registry.recorder());
    let (slow, fast) = (timeline(&[(Phase::Wait, 900 * MS)]), timeline(&[(Phase::Wait, MS)]));
    let at = |id, minutes: u64, timeline| Record {
        id: RequestId(id),
        started_unix_ms: NOW_MS + minutes * 60_000,
        ..record(route, timeline)
    };
    let ids = || {
        let all = registry.recent(&RecentQuery { order: Order::Slowest, ..RecentQuery::default() });
        all.iter().map(|recent| recent.id.0).collect::<Vec<_>>()
    };
    recorder.record(&at(1, 0, &slow));
    recorder.record(&at(2, 2, &fast));
    assert_eq!(ids(), [1, 2]);
    recorder.record(&at(3, 4, &fast));
    assert_eq!(ids(), [3, 2], "of the same duration; 1 is gone");
}

#[test]
fn a_request_is_found_by_either_of_its_ids_and_carries_what_was_recorded() {
    let registry = Registry::new(Bounds::default(), None);
    let (route, recorder) = (registry.route("shop"), registry.recorder());
    let timeline = timeline(&[(Phase::Connect, MS), (Phase::Wait, 3 * MS)]);
    let endpoint = Some(registry.endpoint("catalog", "10.0.0.1:80"));
    let long = vec![b'a'; 10_000];
    recorder.record(&Record {
        id: RequestId(77),
        request_id: b"order-5",
        endpoint,
        status: 504,
        outcome: Outcome::ServerError,
        cause: Some("response_timeout"),
        target: &long,
        ..record(route, &timeline)
    });
    let found = registry.find("order-5").unwrap();
    assert_eq!(found.id, registry.find(&RequestId(77).to_string()).unwrap().id);
    assert_eq!((found.route.as_str(), found.upstream.as_deref()), ("shop", Some("catalog")));
    assert_eq!((found.status, found.cause), (504, Some("response_timeout")));
    assert_eq!((found.target.len(), found.target_cut), (256, true));
    assert_eq!(found.timeline.total_ns(), timeline.total_ns());
    assert!(registry.find("order").is_none());
}

#[test]
fn recent_requests_can_be_asked_for_by_route_and_by_slowness() {
    let registry = Registry::new(Bounds::default(), None);
    let recorder = registry.recorder();
    for (name, ms) in [("a", 1), ("a", 50), ("b", 80)] {
        let timeline = timeline(&[(Phase::Wait, ms * MS)]);
        recorder.record(&record(registry.route(name), &timeline));
    }
    let count = |query: RecentQuery| registry.recent(&query).len();
    assert_eq!(count(RecentQuery { slow_ns: 50 * MS, ..RecentQuery::default() }), 2);
    assert_eq!(count(RecentQuery { route: Some("a".into()), ..RecentQuery::default() }), 2);
    let both = RecentQuery { route: Some("a".into()), slow_ns: 50 * MS, ..RecentQuery::default() };
    assert_eq!(count(both), 1);
}

#[test]
fn the_place_of_a_dropped_recorder_is_used_again_with_all_that_it_counted() {
    let registry = Registry::new(Bounds::default(), None);
    let (route, timeline) = (registry.route("shop"), timeline(&[(Phase::Wait, MS)]));
    registry.recorder().record(&record(route, &timeline));
    let before = registry.allocated_bytes();
    for _ in 0..100 {
        registry.recorder().record(&record(route, &timeline));
    }
    assert_eq!(registry.allocated_bytes(), before);
    assert_eq!(registry.snapshot().requests[0].histogram.count(), 101);
}

#[test]
fn readers_and_writers_at_once_lose_no_count() {
    let registry = Registry::new(Bounds::default(), None);
    let (route, recorder) = (registry.route("shop"), registry.recorder());
    let writer = thread::spawn(move || {
        let timeline = timeline(&[(Phase::Wait, MS)]);
        (0..50_000).for_each(|_| recorder.record(&record(route, &timeline)));
    });
    let mut last = 0;
    while !writer.is_finished() {
        let now = registry.snapshot().requests.first().map_or(0, |series| series.histogram.count());
        assert!(now >= last, "a counter went back from {last} to {now}");
        last = now;
        assert!(registry.recent(&RecentQuery::default()).len() <= 100);
    }
    writer.join().unwrap();
    assert_eq!(registry.snapshot().requests[0].histogram.count(), 50_000);
}
