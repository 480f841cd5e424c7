//! The limit of one endpoint, by itself.

use super::super::criticality;
use super::super::limit::{Gradient, Learned};
use crate::http::Fields;
use unlag_config::Criticality;

const MS: u64 = 1_000_000;

/// Feeds windows of equal samples; what the last one taught.
fn windows(
    gradient: &mut Gradient,
    count: u32,
    latency_ns: u64,
    in_flight: u32,
    knee: u32,
    now: &mut u64,
) -> Learned {
    let mut last = None;
    for _ in 0..count * 100 {
        *now += MS;
        last = gradient.sample(latency_ns, in_flight, knee, *now).or(last);
    }
    last.expect("a window has ended")
}

#[test]
fn a_service_that_does_not_get_slower_is_never_in_the_way_of_its_limit() {
    let (mut gradient, mut now) = (Gradient::default(), 0);
    for in_flight in [1, 2, 50, 400, 3, 100] {
        let learned = windows(&mut gradient, 20, 5 * MS, in_flight, 0, &mut now);
        assert!(learned.limit > in_flight, "{learned:?} with {in_flight}");
    }
}

#[test]
fn a_service_that_gets_slower_with_load_is_limited_near_where_that_begins() {
    let (mut gradient, mut now) = (Gradient::default(), 0);
    windows(&mut gradient, 50, 5 * MS, 2, 4, &mut now);
    // Ten workers: what is more waits.
    let mut in_flight = 40;
    for _ in 0..100 {
        let latency = 5 * MS * u64::from(in_flight.max(10)) / 10;
        let learned = windows(&mut gradient, 1, latency, in_flight, 4, &mut now);
        in_flight = learned.limit.min(200);
    }
    assert!((10..=25).contains(&in_flight), "{in_flight}");
}

#[test]
fn a_limit_is_never_below_what_the_endpoint_works_on_at_a_time() {
    let (mut gradient, mut now) = (Gradient::default(), 0);
    windows(&mut gradient, 50, 5 * MS, 2, 16, &mut now);
    let learned = windows(&mut gradient, 200, 5_000 * MS, 40, 16, &mut now);
    assert_eq!(learned.limit, 16);
    let learned = windows(&mut gradient, 200, 5_000 * MS, 40, 0, &mut now);
    assert!(learned.limit >= 4, "{learned:?}");
}

#[test]
fn the_fastest_tenth_of_answers_is_known() {
    let (mut gradient, mut now, mut last) = (Gradient::default(), 0, None);
    for sample in 0..50_000u64 {
        now += MS;
        last = gradient.sample((1 + sample * 7919 % 100) * MS, 1, 0, now).or(last);
    }
    let p10_ms = last.unwrap().p10_ns / MS;
    assert!((5..=20).contains(&p10_ms), "{p10_ms}");
}

#[test]
fn a_class_is_what_a_trusted_peer_says_else_the_routes_else_what_the_caller_itself_gives_up() {
    let of = |said: &[&str], route: Criticality, priority: Option<&str>| {
        let mut fields = Fields::default();
        said.iter().for_each(|value| fields.push(b"x-criticality", value.as_bytes()));
        priority.iter().for_each(|value| fields.push(b"priority", value.as_bytes()));
        criticality::settle(&mut fields, route);
        criticality::of(&fields)
    };
    assert_eq!(of(&["critical_plus"], Criticality::Sheddable, Some("u=7")), Criticality::CriticalPlus);
    assert_eq!(of(&["Critical-Plus"], Criticality::Default, None), Criticality::CriticalPlus);
    assert_eq!(of(&[], Criticality::Critical, Some("u=7")), Criticality::Critical);
    assert_eq!(of(&["loud"], Criticality::Sheddable, None), Criticality::Sheddable);
    assert_eq!(
        of(&["critical", "sheddable"], Criticality::Default, None),
        Criticality::Default,
        "said twice is not said"
    );
    for (priority, class) in [
        ("u=0", Criticality::Default),
        ("i", Criticality::Default),
        ("u=4, i", Criticality::Default),
        ("u=5", Criticality::Sheddable),
        ("i, u=7", Criticality::Sheddable),
        ("u=99", Criticality::Default),
        ("u=7, u=1", Criticality::Default),
    ] {
        assert_eq!(of(&[], Criticality::Default, Some(priority)), class, "{priority}");
    }
}
