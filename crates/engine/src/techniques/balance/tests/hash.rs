//! Where a request belongs by its hash.

use super::fleet;
use crate::error::Error;
use crate::fleet::ranking::Ask;
use crate::fleet::{Endpoint, InFlight};
use crate::http::{Fields, RequestHead, Version};
use crate::plan::tests::weighing;
use crate::techniques::balance::hash::{SLACK, key, pick, share_max};
use http::Method;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use unlag_config::HashKey;

/// Keys as different as URLs hash to.
fn ask<'a>(now: u64) -> Ask<'a> {
    Ask { now, ..Ask::default() }
}

fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|n| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()))
}

fn picked(fleet: &[Arc<Endpoint>], key: u64) -> u32 {
    pick(fleet, key, &ask(1)).expect("somebody").endpoint.index
}

fn counted(fleet: &[Arc<Endpoint>], count: u64) -> HashMap<u32, u64> {
    let mut counts = HashMap::new();
    keys(count).for_each(|key| *counts.entry(picked(fleet, key)).or_default() += 1);
    counts
}

#[test]
fn keys_are_spread_evenly_within_a_tenth() {
    for size in [2, 3, 5, 16, 32] {
        let fleet = fleet(size);
        let mean = 6_000;
        let counts = counted(&fleet, mean * u64::from(size));
        for endpoint in &fleet {
            let count = counts.get(&endpoint.index).copied().unwrap_or(0);
            assert!(count.abs_diff(mean) < mean / 10, "{size}: {counts:?}");
        }
    }
}

#[test]
fn an_endpoint_gets_as_many_keys_as_it_has_weight() {
    let fleet = [weighing(0, 3), weighing(1, 1), weighing(2, 2)];
    let counts = counted(&fleet, 30_000);
    for (index, expected) in [(0, 15_000u64), (1, 5_000), (2, 10_000)] {
        assert!(counts[&index].abs_diff(expected) < expected / 10, "{counts:?}");
    }
}

/// Written down, because nodes of two versions must agree as well.
#[test]
fn the_same_key_belongs_to_the_same_endpoint_on_every_node_and_after_every_start() {
    let fleet = fleet(5);
    let first: Vec<u32> = keys(16).map(|key| picked(&fleet, key)).collect();
    assert_eq!(first, FIRST_SIXTEEN);
    let mut turned = fleet.clone();
    turned.rotate_left(2);
    let of_other_order: Vec<u32> = keys(16).map(|key| picked(&turned, key)).collect();
    assert_eq!(of_other_order, FIRST_SIXTEEN, "the order in the file means nothing");
}

const FIRST_SIXTEEN: [u32; 16] = [0, 4, 1, 0, 2, 2, 3, 0, 0, 2, 0, 4, 4, 2, 0, 0];

#[test]
fn an_endpoint_that_is_out_of_service_is_skipped_and_gets_the_same_keys_back() {
    let fleet = fleet(4);
    let before: Vec<u32> = keys(4_000).map(|key| picked(&fleet, key)).collect();
    let takes: [fn(&Endpoint, bool); 2] = [
        |endpoint, out| endpoint.set_healthy(!out, 0),
        |endpoint, out| (0..if out { 5 } else { 0 }).for_each(|_| endpoint.failed("connect_refused", 1, 1)),
    ];
    for take in takes {
        take(&fleet[2], true);
        let mut heirs = HashMap::new();
        for (key, owner) in keys(4_000).zip(&before) {
            let now = picked(&fleet, key);
            assert!(now == *owner || *owner == 2, "{key} moved from {owner} to {now}");
            if *owner == 2 {
                *heirs.entry(now).or_insert(0u32) += 1;
            }
        }
        assert!(heirs.len() == 3 && heirs.values().all(|count| (250..420).contains(count)), "{heirs:?}");
        take(&fleet[2], false);
    }
    // The ejection has ended.
    let after: Vec<u32> = keys(4_000)
        .map(|key| pick(&fleet, key, &ask(10_000_000_000)).map_or(9, |it| it.endpoint.index))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_request_that_its_endpoint_failed_goes_to_the_next_in_line_for_its_key() {
    let fleet = fleet(3);
    for key in keys(100) {
        let owner = picked(&fleet, key);
        let next = pick(&fleet, key, &Ask { failed: &[(owner, Error::ConnectRefused)], ..ask(1) })
            .expect("another")
            .endpoint
            .index;
        let without: Vec<_> = fleet.iter().filter(|it| it.index != owner).cloned().collect();
        assert_eq!(next, picked(&without, key));
    }
}

#[test]
fn one_hot_key_does_not_sink_its_endpoint() {
    let fleet = fleet(3);
    let in_flight: Vec<InFlight> =
        (0..300).map(|_| pick(&fleet, 7, &ask(1)).expect("somebody").endpoint.begin(1)).collect();
    let loads: Vec<u32> = fleet.iter().map(|endpoint| endpoint.in_flight()).collect();
    assert!(loads.iter().all(|load| (30..=133).contains(load)), "{loads:?}");
    drop(in_flight);
    let _few: Vec<InFlight> =
        (0..SLACK).map(|_| pick(&fleet, 7, &ask(1)).expect("somebody").endpoint.begin(1)).collect();
    let owner = picked(&fleet, 7);
    assert!(u64::from(fleet[owner as usize].in_flight()) == SLACK, "a few requests stay together");
}

#[test]
fn nobody_is_picked_from_nobody() {
    assert!(pick(&[], 1, &ask(0)).is_none());
}

fn head(path: &str, query: Option<&str>, list: &[(&str, &str)]) -> RequestHead {
    let mut fields = Fields::default();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    let (path, query) = (fields.store(path.as_bytes()), query.map(|query| fields.store(query.as_bytes())));
    let authority = fields.store(b"shop.example");
    RequestHead { method: Method::GET, path, query, authority, version: Version::Http11, fields }
}

#[test]
fn a_key_is_the_path_with_its_query_or_a_header_or_a_cookie_and_nothing_else() {
    let path = |path, query| key(&head(path, query, &[("x-user", "a")]), &HashKey::Path);
    assert_eq!(path("/a", None), key(&head("/a", None, &[]), &HashKey::Path));
    let all =
        [path("/a", None), path("/a", Some("")), path("/a", Some("b")), path("/ab", None), path("/", None)];
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!((distinct.len(), all.contains(&None)), (all.len(), false));

    let user = HashKey::Header("x-user".into());
    let of = |value| key(&head("/a", None, &[("X-User", value)]), &user);
    assert!(of("a").is_some() && of("a") != of("b"));
    assert_eq!((of(""), key(&head("/a", None, &[]), &user)), (None, None));
    assert!(key(&head("/a", None, &[]), &HashKey::Header("host".into())).is_some());

    let session = HashKey::Cookie("s".into());
    let of = |lines: &[&str]| {
        key(&head("/a", None, &lines.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>()), &session)
    };
    assert!(of(&["s=1"]).is_some() && of(&["s=1"]) != of(&["s=2"]));
    assert_eq!(of(&["s=1"]), of(&["as=2; s=1; t=s=3"]));
    assert_eq!(of(&["s=1"]), of(&["x=2", "s=1"]), "HTTP/2 sends each on a line of its own");
    for without in [&["S=1"][..], &["ss=1"], &["s"], &["s="], &[";=;"], &[]] {
        assert_eq!(of(without), None, "{without:?}");
    }
}

proptest! {
    #[test]
    fn when_an_endpoint_goes_only_its_keys_move(
        weights in prop::collection::vec(1u32..20, 2..33),
        gone in any::<prop::sample::Index>(),
        keys in prop::collection::vec(any::<u64>(), 1..50),
    ) {
        let fleet: Vec<_> = (0..).zip(&weights).map(|(index, weight)| weighing(index, *weight)).collect();
        let gone = gone.index(fleet.len());
        let mut left = fleet.clone();
        left.remove(gone);
        for key in keys {
            let owner = picked(&fleet, key);
            prop_assert!(owner as usize == gone || picked(&left, key) == owner);
        }
    }

    #[test]
    fn nobody_has_more_than_his_bounded_share_in_flight(
        weights in prop::collection::vec(1u32..20, 1..12),
        hot in 1u64..6,
        steps in prop::collection::vec((any::<u64>(), any::<bool>()), 1..400),
    ) {
        let fleet: Vec<_> = (0..).zip(&weights).map(|(index, weight)| weighing(index, *weight)).collect();
        let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut in_flight: Vec<InFlight> = Vec::new();
        for (number, ends) in steps {
            if ends && !in_flight.is_empty() {
                in_flight.swap_remove(number as usize % in_flight.len());
                continue;
            }
            let chosen = pick(&fleet, number % hot, &ask(1)).expect("somebody").endpoint;
            in_flight.push(chosen.begin(1));
            let most = share_max(u64::from(chosen.weight()), all, in_flight.len() as u64) + SLACK;
            prop_assert!(u64::from(chosen.in_flight()) <= most, "{} of {most}", chosen.in_flight());
        }
    }
}
