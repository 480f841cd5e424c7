//! Allowances.

use super::super::rate::{Keyed, Rate, Whole};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::Duration;

const S: u64 = 1_000_000_000;

fn per_second(count: u32, burst: u32) -> Rate {
    Rate::new(count, Duration::from_secs(1), burst)
}

#[test]
fn a_burst_is_let_in_at_once_and_then_one_for_each_interval() {
    let (all, rate) = (Whole::default(), per_second(10, 5));
    let let_in = (0..20).filter(|_| all.take(rate, S).is_ok()).count();
    assert_eq!(let_in, 5);
    assert_eq!(all.take(rate, S), Err(S / 10), "the next one in a tenth of a second");
    assert_eq!(all.take(rate, S + S / 10), Ok(()));
    assert!(all.take(rate, S + S / 10).is_err());
    let later = (0..20).filter(|_| all.take(rate, 3600 * S).is_ok()).count();
    assert_eq!(later, 5, "what is not used is not saved up");
}

#[test]
fn cores_that_ask_at_the_same_time_get_no_more_together_than_one() {
    let (all, rate, let_in) = (Arc::new(Whole::default()), per_second(1, 100), Arc::new(AtomicU32::new(0)));
    let cores: Vec<_> = (0..4)
        .map(|_| {
            let (all, let_in) = (Arc::clone(&all), Arc::clone(&let_in));
            std::thread::spawn(move || {
                let mine = (0..1_000).filter(|_| all.take(rate, S).is_ok()).count();
                let_in.fetch_add(mine as u32, Relaxed);
            })
        })
        .collect();
    cores.into_iter().for_each(|core| core.join().unwrap());
    assert_eq!(let_in.load(Relaxed), 100);
}

#[test]
fn each_key_has_an_allowance_of_its_own() {
    let (keyed, rate) = (Keyed::with_sets(64), per_second(1, 2));
    for key in 1..100 {
        assert_eq!((0..5).filter(|_| keyed.take(rate, key, S).is_ok()).count(), 2, "{key}");
    }
}

#[test]
fn as_many_keys_as_the_table_has_places_have_an_allowance_each() {
    let (keyed, rate) = (Keyed::default(), per_second(1, 1));
    let all = 1..=65_536;
    assert!(all.clone().all(|key| keyed.take(rate, key, S).is_ok()));
    assert!(all.clone().all(|key| keyed.take(rate, key, S).is_err()));
    // Those who find every place of their set taken share one beside it, eight times as large.
    let others = (0..20).map(|number| 65_537 + 8_192 * number);
    assert_eq!(others.filter(|&key| keyed.take(rate, key, S).is_ok()).count(), 8);
    assert!(keyed.take(rate, 65_538, S).is_ok(), "another set has its own");
}

#[test]
fn a_route_that_nobody_has_asked_holds_nine_kilobytes_and_its_first_caller_adds_two() {
    let (keyed, rate) = (Keyed::default(), per_second(1, 2));
    let idle = keyed.bytes();
    assert!(idle < 9_000, "{idle}");
    assert!(keyed.take(rate, 7, S).is_ok());
    assert_eq!(keyed.bytes() - idle, 2_048);
    assert!(keyed.take(rate, 7, S).is_ok());
    assert_eq!(keyed.bytes() - idle, 2_048, "who is known adds nothing");
}

#[test]
fn a_flood_of_keys_holds_no_more_than_one_mebibyte_and_a_tenth() {
    let (keyed, rate) = (Keyed::default(), per_second(1, 2));
    (1..200_000).for_each(|key| _ = keyed.take(rate, key, S));
    let full = keyed.bytes();
    assert!((1_048_576..=1_153_433).contains(&full), "{full}");
}

#[test]
fn cores_that_ask_a_new_part_of_the_table_at_the_same_time_find_the_same_one() {
    for _ in 0..50 {
        let (keyed, rate) = (Arc::new(Keyed::with_sets(15)), per_second(1, 100));
        let start = Arc::new(Barrier::new(4));
        let cores: Vec<_> = (1..5u64)
            .map(|key| {
                let (keyed, start) = (Arc::clone(&keyed), Arc::clone(&start));
                std::thread::spawn(move || {
                    start.wait();
                    (0..200).filter(|_| keyed.take(rate, key, S).is_ok()).count()
                })
            })
            .collect();
        assert!(cores.into_iter().all(|core| core.join().unwrap() == 100));
        assert!(
            (1..5).all(|key| keyed.take(rate, key, S).is_err()),
            "none was charged in a part that was lost"
        );
    }
}

#[test]
fn no_flood_of_keys_gives_a_used_up_allowance_back() {
    let (keyed, rate) = (Keyed::with_sets(1), per_second(1, 2));
    let mine = 7;
    assert_eq!((0..5).filter(|_| keyed.take(rate, mine, S).is_ok()).count(), 2);
    assert!((100..10_000).any(|key| keyed.take(rate, key, S).is_err()));
    assert!(keyed.take(rate, mine, S).is_err());
    assert!(keyed.take(rate, mine, 2 * S).is_ok(), "time does");
}

#[test]
fn a_flood_of_keys_gets_no_more_through_than_a_table_twice_the_size_would_let() {
    let (keyed, rate) = (Keyed::with_sets(1), per_second(1, 2));
    let let_in = (1..10_000).filter(|&key| keyed.take(rate, key, S).is_ok()).count();
    assert!((8..=8 + 16).contains(&let_in), "{let_in}");
}

proptest! {
    #[test]
    fn nobody_gets_more_than_burst_and_rate_allow(
        count in 1u32..100, burst in 1u32..50, gaps_us in prop::collection::vec(0u64..100_000, 1..200),
    ) {
        let (keyed, rate) = (Keyed::with_sets(2), per_second(count, burst));
        let (mut now, mut let_in) = (S, 0u64);
        for gap in &gaps_us {
            now += gap * 1_000;
            let_in += u64::from(keyed.take(rate, 5, now).is_ok());
        }
        let most = u64::from(burst) + (now - S) / (S / u64::from(count)) + 1;
        prop_assert!(let_in <= most, "{let_in} of {most}");
    }

    #[test]
    fn who_comes_when_told_to_is_let_in(count in 1u32..1000, burst in 1u32..20) {
        let (keyed, rate) = (Keyed::with_sets(2), per_second(count, burst));
        let mut now = S;
        for _ in 0..100 {
            if let Err(early_ns) = keyed.take(rate, 5, now) {
                now += early_ns;
                prop_assert_eq!(keyed.take(rate, 5, now), Ok(()));
            }
        }
    }
}
