//! Who is next in line and who is refused.

use super::super::criticality;
use super::super::queue::{Line, Patience, Standing};
use super::super::shed::Rank;
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::Duration;
use unlag_config::{Criticality, Queue};
use unlag_record::Bound;

const MS: u64 = 1_000_000;
const NEVER: u64 = u64::MAX;

fn rank(class: Criticality) -> Rank {
    Rank::new(class, 5)
}

/// Somebody of the default class comes.
fn comes(line: &mut Line<u32>, who: u32, now: u64) -> Standing {
    arrives(line, Criticality::Default, who, now).expect("there is a place")
}

fn arrives(line: &mut Line<u32>, class: Criticality, who: u32, now: u64) -> Result<Standing, (u32, Bound)> {
    line.arrive(rank(class), NEVER, who, now, &mut Vec::new())
}

fn served(line: &mut Line<u32>, now: u64) -> Vec<u32> {
    std::iter::from_fn(|| line.next(now, &mut Vec::new(), |_| true)).collect()
}

#[test]
fn in_a_busy_moment_it_is_first_come_first_served() {
    let mut line = Line::default();
    for who in 0..5 {
        comes(&mut line, who, u64::from(who) * MS);
    }
    assert_eq!(served(&mut line, 90 * MS), [0, 1, 2, 3, 4]);
}

#[test]
fn once_somebody_has_stood_for_an_interval_the_newest_are_served_and_the_oldest_told_to_come_back() {
    let mut line = Line::default();
    for who in 0..10 {
        comes(&mut line, who, u64::from(who) * MS);
    }
    for who in 10..13 {
        comes(&mut line, who, 98 * MS);
    }
    let mut refused = Vec::new();
    assert_eq!(line.next(100 * MS, &mut refused, |_| true), Some(12));
    assert!(line.is_overloaded());
    assert_eq!(refused, (0..10).collect::<Vec<_>>());
    assert_eq!(served(&mut line, 101 * MS), [11, 10]);
    assert!(!line.is_overloaded(), "an empty line is the end of it");
}

#[test]
fn a_crowd_that_came_at_once_and_is_followed_by_nobody_is_served_however_long_it_takes() {
    let mut line = Line::default();
    for who in 0..5 {
        comes(&mut line, who, 0);
    }
    let mut refused = Vec::new();
    for at in 1..=5 {
        assert!(line.next(at * 90 * MS, &mut refused, |_| true).is_some());
    }
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn nobody_is_refused_because_less_critical_ones_keep_coming() {
    let mut line = Line::default();
    for who in 0..4 {
        arrives(&mut line, Criticality::Critical, who, 0).unwrap();
    }
    let mut refused = Vec::new();
    for (at, default) in [(101, 10), (112, 11), (123, 12), (134, 13)] {
        comes(&mut line, default, at * MS);
        assert!(line.next(at * MS, &mut refused, |_| true).is_some_and(|who| who < 4));
    }
    assert!(refused.iter().all(|who| *who >= 10), "{refused:?}");
}

#[test]
fn too_much_of_a_lower_class_refuses_nobody_of_a_higher_that_is_served_as_fast_as_it_comes() {
    let mut line = Line::default();
    let mut refused = Vec::new();
    (100..110).for_each(|who| _ = comes(&mut line, who, 0));
    for (who, at) in [(0, 101), (1, 103), (2, 112), (3, 121)] {
        arrives(&mut line, Criticality::Critical, who, at * MS).unwrap();
        comes(&mut line, 110 + who, at * MS);
    }
    let order = [122, 132, 142, 152].map(|at| line.next(at * MS, &mut refused, |_| true));
    assert!(line.is_overloaded());
    assert_eq!(order, [0, 1, 2, 3].map(Some), "in the order in which they came");
    assert!(!refused.is_empty() && refused.iter().all(|who| *who >= 100), "{refused:?}");
}

#[test]
fn a_higher_class_is_served_before_a_lower() {
    let mut line = Line::default();
    for (who, class) in criticality::ALL.into_iter().enumerate() {
        arrives(&mut line, class, who as u32, 0).unwrap();
    }
    assert_eq!(served(&mut line, MS), [3, 2, 1, 0]);
}

#[test]
fn a_full_line_gives_a_place_to_a_higher_class_and_to_nobody_else() {
    let mut line = Line::default();
    line.set_patience(Patience { length_max: 3, ..Patience::default() });
    for who in 0..3 {
        comes(&mut line, who, 0);
    }
    assert_eq!(arrives(&mut line, Criticality::Default, 3, MS), Err((3, Bound::Length)));
    assert_eq!(arrives(&mut line, Criticality::Sheddable, 4, MS), Err((4, Bound::Length)));
    let mut refused = Vec::new();
    assert!(line.arrive(rank(Criticality::Critical), NEVER, 5, MS, &mut refused).is_ok());
    assert_eq!((refused, line.len()), (vec![0], 3));
}

#[test]
fn who_is_doomed_does_not_come_in_and_is_not_served() {
    let mut line = Line::default();
    let mut refused = Vec::new();
    assert_eq!(line.arrive(rank(Criticality::Critical), MS, 1, MS, &mut refused), Err((1, Bound::Wait)));
    let mut none: Line<u32> = Line::default();
    none.set_patience(Patience { length_max: 0, ..Patience::default() });
    assert_eq!(none.arrive(rank(Criticality::Critical), MS, 1, MS, &mut refused), Err((1, Bound::Length)));
    assert!(line.arrive(rank(Criticality::Critical), 10 * MS, 2, MS, &mut refused).is_ok());
    comes(&mut line, 3, MS);
    assert_eq!(line.next(10 * MS, &mut refused, |_| true), Some(3));
    assert_eq!(refused, [2]);
}

#[test]
fn who_has_waited_long_enough_and_leaves_by_itself_counts_as_refused_where_whole_callers_are() {
    let mut line = Line::default();
    let mut now = 0;
    let mut is_refused_at_the_door = false;
    for who in 0..200 {
        now += 100 * MS;
        let arrived =
            line.arrive(Rank::new(Criticality::Default, 0), now + 50 * MS, who, now, &mut Vec::new());
        match arrived {
            Ok(standing) => assert_eq!(line.leave(standing, now + 50 * MS), Some(who)),
            Err(_) => is_refused_at_the_door = true,
        }
        // Room comes free although nobody waits any more.
        assert_eq!(line.next(now + 60 * MS, &mut Vec::new(), |_| true), None);
    }
    assert!(is_refused_at_the_door);
}

#[test]
fn who_goes_away_is_gone() {
    let mut line = Line::default();
    let standing: Vec<Standing> = (0..4).map(|who| comes(&mut line, who, 0)).collect();
    assert_eq!(line.leave(standing[1], 0), Some(1));
    assert_eq!(line.leave(standing[1], 0), None);
    assert_eq!(served(&mut line, MS), [0, 2, 3]);
}

#[test]
fn in_front_of_a_slow_service_a_line_is_more_patient() {
    let queue = Queue { wait_max: Duration::from_secs(1), length_max: 10 };
    let of_fast = Patience::of(MS, &queue);
    assert_eq!((of_fast.target_ns, of_fast.interval_ns), (5 * MS, 100 * MS));
    let of_slow = Patience::of(20 * MS, &queue);
    assert_eq!((of_slow.target_ns, of_slow.interval_ns), (20 * MS, 400 * MS));
    let of_slowest = Patience::of(10_000 * MS, &queue);
    assert!(of_slowest.interval_ns <= 500 * MS, "but nobody waits for longer than the bound");
}

#[test]
fn overload_refuses_the_same_callers_again_and_sheddable_ones_first() {
    let mut line: Line<(Criticality, u8)> = Line::default();
    let (mut refused_at_door, mut now) = (HashSet::new(), 0);
    // Twice as many come as are served, of 64 callers in two classes.
    for round in 0..4_000u32 {
        now += MS / 2;
        let class = if round % 4 == 0 { Criticality::Sheddable } else { Criticality::Default };
        let who = (class, (round / 4 % 64) as u8);
        let mut out = Vec::new();
        if line.arrive(Rank::new(class, who.1), NEVER, who, now, &mut out).is_err() && round > 3_000 {
            refused_at_door.insert(who);
        }
        if round % 2 == 0 {
            line.next(now, &mut out, |_| true);
        }
    }
    let sheddable = refused_at_door.iter().filter(|who| who.0 == Criticality::Sheddable).count();
    let others: Vec<u8> =
        refused_at_door.iter().filter(|who| who.0 == Criticality::Default).map(|who| who.1).collect();
    assert_eq!(sheddable, 64, "all that may be shed are");
    assert!((10..50).contains(&others.len()), "a part of the others, whole callers: {}", others.len());
    let highest = others.iter().max().copied().unwrap_or_default();
    assert!(usize::from(highest) < others.len() + 4, "from the bottom up: {others:?}");
}

#[test]
fn one_caller_with_too_much_of_a_lower_class_shuts_the_door_to_nobody_of_a_higher() {
    let mut line: Line<Criticality> = Line::default();
    let (mut refused, mut now) = (Vec::new(), 0);
    // Twice as many come as are served, a fifth of them critical, all from one address.
    for round in 0..20_000u32 {
        now += MS / 2;
        let class = if round % 5 == 0 { Criticality::Critical } else { Criticality::Default };
        let at_door = line.arrive(Rank::new(class, 7), NEVER, class, now, &mut refused);
        refused.extend(at_door.err().map(|(who, _)| who));
        if round % 2 == 0 {
            line.next(now, &mut refused, |_| true);
        }
    }
    let critical = refused.iter().filter(|class| **class == Criticality::Critical).count();
    assert!(critical <= 4, "{critical} of 4,000, before the line knew");
    assert!(refused.len() > 9_000, "half of what came");
}

/// What happens to a line.
#[derive(Clone, Copy, Debug)]
enum Step {
    Come(u8, u64),
    Serve,
    ServeOdd,
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        3 => (0u8..4, 1u64..2_000).prop_map(|(class, patience_ms)| Step::Come(class, patience_ms * MS)),
        2 => Just(Step::Serve),
        1 => Just(Step::ServeOdd),
        1 => (0usize..100).prop_map(Step::Leave),
    ];
    prop::collection::vec((0u64..20, step), 1..300)
}

proptest! {
    #[test]
    fn nobody_is_lost_or_served_twice_and_the_line_has_a_bound(steps in steps()) {
        let mut line: Line<u32> = Line::default();
        line.set_patience(Patience { length_max: 20, ..Patience::default() });
        let (mut inside, mut standing): (HashSet<u32>, Vec<Standing>) = Default::default();
        let (mut now, mut came) = (0, 0);
        for (gap_ms, step) in steps {
            now += gap_ms * MS;
            let mut refused = Vec::new();
            match step {
                Step::Come(class, patience) => {
                    came += 1;
                    let rank = Rank::new(criticality::ALL[usize::from(class)], (came % 64) as u8);
                    match line.arrive(rank, now + patience, came, now, &mut refused) {
                        Ok(at) => {
                            inside.insert(came);
                            standing.push(at);
                        }
                        Err((who, _)) => prop_assert_eq!(who, came),
                    }
                }
                Step::Serve => {
                    let had_some = !line.is_empty();
                    match line.next(now, &mut refused, |_| true) {
                        Some(who) => prop_assert!(inside.remove(&who)),
                        None => prop_assert!(!had_some || !refused.is_empty()),
                    }
                }
                Step::ServeOdd => {
                    match line.next(now, &mut refused, |who| who % 2 == 1) {
                        Some(who) => prop_assert!(who % 2 == 1 && inside.remove(&who)),
                        None => prop_assert!(inside.iter().all(|who| who % 2 == 0 || refused.contains(who))),
                    }
                }
                Step::Leave(at) if !standing.is_empty() => {
                    if let Some(who) = line.leave(standing[at % standing.len()], now) {
                        prop_assert!(inside.remove(&who));
                    }
                }
                Step::Leave(_) => {}
            }
            for who in refused {
                prop_assert!(inside.remove(&who), "refused and not inside: {}", who);
            }
            prop_assert_eq!(inside.len(), line.len());
            prop_assert!(line.len() <= 20);
        }
        let mut refused = Vec::new();
        while let Some(who) = line.next(now, &mut refused, |_| true) {
            prop_assert!(inside.remove(&who));
        }
        refused.into_iter().for_each(|who| assert!(inside.remove(&who)));
        prop_assert!(inside.is_empty());
    }
}
