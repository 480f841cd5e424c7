//! The tree finds the ties that comparing every pair finds, and finds them fast.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

type Owned = (Pattern, Vec<(String, String)>);

fn candidates(owned: &[Owned]) -> Vec<Candidate<'_>> {
    owned.iter().map(|(pattern, headers)| Candidate { pattern, headers }).collect()
}

fn owned(text: &str) -> Owned {
    (text.parse().unwrap(), Vec::new())
}

#[test]
fn routes_that_cross_tie_and_routes_that_nest_do_not() {
    let crossing = [owned("/a/{x}"), owned("/{y}/b")];
    assert_eq!(ties(&candidates(&crossing)), [(0, 1)]);
    let nesting = [owned("/{all...}"), owned("/a/{x}"), owned("/a/b"), owned("/a/{x...}"), owned("GET /a/b")];
    assert_eq!(ties(&candidates(&nesting)), []);
}

#[test]
fn conditions_that_contradict_each_other_keep_routes_apart() {
    let with = |value: &str| {
        let conditions = vec![("x-beta".to_owned(), value.to_owned())];
        ("/a".parse::<Pattern>().unwrap(), conditions)
    };
    assert_eq!(ties(&candidates(&[with("1"), with("2")])), []);
    assert_eq!(ties(&candidates(&[with("1"), with("2"), with("1")])), [(0, 2)]);
}

#[test]
fn ten_thousand_routes_are_compared_in_no_time() {
    let routes: Vec<Owned> = (0..10_000)
        .map(|n| {
            owned(&format!("GET /api/v1/{}/{{id}}/part{n}", if n % 2 == 0 { "orders" } else { "items" }))
        })
        .collect();
    let start = Instant::now();
    assert_eq!(ties(&candidates(&routes)), []);
    // Comparing every pair takes 50 million comparisons, far longer than this even without optimization.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

fn small_route() -> impl Strategy<Value = Owned> {
    let segment = prop_oneof![Just("/a"), Just("/b"), Just("/{}")];
    let method = prop_oneof![Just(""), Just("GET "), Just("HEAD ")];
    let header = prop_oneof![Just(None), Just(Some("1")), Just(Some("2"))];
    (proptest::collection::vec(segment, 1..4), any::<bool>(), method, header).prop_map(
        |(segments, open, method, header)| {
            let mut text = method.to_owned();
            for (index, segment) in segments.iter().enumerate() {
                text.push_str(&segment.replace("{}", &format!("{{p{index}}}")));
            }
            if open {
                text.push_str("/{rest...}");
            }
            let headers = header.map(|value| ("x".to_owned(), value.to_owned())).into_iter().collect();
            (text.parse().unwrap(), headers)
        },
    )
}

proptest! {
    #[test]
    fn the_tree_agrees_with_comparing_every_pair(routes in proptest::collection::vec(small_route(), 0..12)) {
        let candidates = candidates(&routes);
        let tied = |one: &Candidate<'_>, two: &Candidate<'_>| {
            let equal = one.pattern.specificity(one.headers.len()) == two.pattern.specificity(two.headers.len());
            equal && one.pattern.overlaps(two.pattern) && compatible(one.headers, two.headers)
        };
        let mut expected = Vec::new();
        for (later, two) in candidates.iter().enumerate() {
            if candidates.iter().take(later).any(|one| tied(one, two)) {
                expected.push(later);
            }
        }
        let found = ties(&candidates);
        prop_assert_eq!(found.iter().map(|(_, later)| *later).collect::<Vec<_>>(), expected);
        for (earlier, later) in found {
            prop_assert!(earlier < later && tied(&candidates[earlier], &candidates[later]));
        }
    }
}
