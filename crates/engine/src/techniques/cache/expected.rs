//! Purges of this node that it has not heard of yet. Nobody knows where they stand among what is shared until they are in the log
//! of the shared tier, and that may be long after they were answered, while the tier is away: until then what is shared and meant
//! by one of them counts as purged.
//!
//! None is lost on its way. When the tier has no room for one, a purge of everything takes the place of all that wait; and what
//! has not reached a tier's log before another is used instead is told to that one.

use super::purge::{Purge, What};
use bytes::Bytes;
use std::collections::VecDeque;
use unlag_tier::{Announced, Tier};

/// Those that wait in the tier are fewer; so are those that are in the log and not read back within a round trip.
const EXPECTED_MAX: usize = 8_192;

/// Where purges are announced.
pub trait Log {
    /// Keeps one until it is there, if it can.
    fn announce(&self, message: Bytes) -> Announced;
    /// Keeps one in the place of all others; its ticket.
    fn announce_instead(&self, message: Bytes) -> u64;
}

impl Log for Tier {
    fn announce(&self, message: Bytes) -> Announced {
        Tier::announce(self, message)
    }

    fn announce_instead(&self, message: Bytes) -> u64 {
        Tier::announce_instead(self, message)
    }
}

#[derive(Debug)]
struct One {
    purge: Purge,
    /// By what the tier names it; none if it has not been told.
    ticket: Option<u64>,
    /// Its number, once it is in the log.
    seq: Option<u64>,
}

/// Purges on their way, in the order in which they were announced.
#[derive(Debug, Default)]
pub struct Expected {
    all: VecDeque<One>,
    /// The highest number that was heard.
    heard: u64,
}

impl Expected {
    /// Announces a purge, or one of everything if it has no room; without a log, it is told to the next one.
    pub fn announce(&mut self, purge: &Purge, log: Option<&dyn Log>) {
        let purge = purge.as_told();
        let announced = match log {
            _ if self.all.len() >= EXPECTED_MAX => Announced::Full,
            Some(log) => log.announce(purge.encode().into()),
            None => return self.all.push_back(One { purge, ticket: None, seq: None }),
        };
        match announced {
            Announced::Kept(ticket) => self.all.push_back(One { purge, ticket: Some(ticket), seq: None }),
            Announced::Waits => {}
            Announced::Full => {
                // It comes after all of them in the log, and must be no weaker than any.
                let soft = purge.soft && self.all.iter().all(|one| one.purge.soft);
                let purge = Purge { what: What::All, soft };
                let ticket = log.map(|log| log.announce_instead(purge.encode().into()));
                self.all.clear();
                self.all.push_back(One { purge, ticket, seq: None });
            }
        }
    }

    /// Announces what was not told to a log.
    pub fn announce_rest(&mut self, log: &dyn Log) {
        for _ in 0..self.all.len() {
            match self.all.pop_front() {
                Some(One { purge, ticket: None, .. }) => self.announce(&purge, Some(log)),
                other => self.all.extend(other),
            }
        }
    }

    /// Another log, whose numbers say nothing of those before: what has not been heard through those is yet to be told.
    pub fn change_log(&mut self) {
        self.heard = 0;
        for one in &mut self.all {
            (one.ticket, one.seq) = (None, None);
        }
    }

    /// There is nobody any more to be told.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// Those up to this ticket are in the log, under this number at most.
    pub fn is_in_log(&mut self, ticket: u64, seq: u64) {
        let up_to = |one: &&mut One| one.ticket.is_some_and(|own| own <= ticket);
        self.all.iter_mut().filter(up_to).for_each(|one| one.seq = one.seq.or(Some(seq)));
        self.heard(0);
    }

    /// All purges up to this number have been heard. Only its number tells one of ours from the same of another node.
    pub fn heard(&mut self, seq: u64) {
        self.heard = self.heard.max(seq);
        self.all.retain(|one| one.seq.is_none_or(|seq| seq > self.heard));
    }

    /// All that the log holds has been heard: what was in one and is not heard was lost with that, and so was all that was shared
    /// then.
    pub fn has_joined(&mut self) {
        self.all.retain(|one| one.seq.is_none());
    }

    /// Whether one of them means an object.
    pub fn any(&self, means: impl Fn(&Purge) -> bool) -> bool {
        self.all.iter().any(|one| means(&one.purge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A log with room for so many.
    struct Room(usize, RefCell<Vec<Purge>>);

    impl Room {
        fn of(places: usize) -> Room {
            Room(places, RefCell::default())
        }
    }

    impl Log for Room {
        fn announce(&self, message: Bytes) -> Announced {
            let (told, mut all) = (Purge::decode(&message).unwrap(), self.1.borrow_mut());
            if all.contains(&told) {
                return Announced::Waits;
            }
            if all.len() >= self.0 {
                return Announced::Full;
            }
            all.push(told);
            Announced::Kept(all.len() as u64)
        }

        fn announce_instead(&self, message: Bytes) -> u64 {
            self.1.replace(vec![Purge::decode(&message).unwrap()]);
            1_000
        }
    }

    fn tag(name: u64, soft: bool) -> Purge {
        Purge { what: What::Tag(name.to_string().into_bytes()), soft }
    }

    fn all(soft: bool) -> Purge {
        Purge { what: What::All, soft }
    }

    fn left(expected: &Expected) -> Vec<Purge> {
        expected.all.iter().map(|one| one.purge.clone()).collect()
    }

    #[test]
    fn a_purge_is_expected_until_it_is_heard_under_its_own_number() {
        let (mut expected, log) = (Expected::default(), Room::of(9));
        (1..=3).for_each(|name| expected.announce(&tag(name, false), Some(&log)));
        expected.announce(&tag(3, false), Some(&log));
        expected.heard(10);
        assert_eq!(
            left(&expected).len(),
            3,
            "the same of another node is not ours, and what waits is expected once"
        );
        expected.is_in_log(1, 11);
        expected.heard(11);
        assert_eq!(left(&expected), [tag(2, false), tag(3, false)]);
        expected.heard(12);
        expected.is_in_log(2, 12);
        assert_eq!(left(&expected), [tag(3, false)], "also when it is heard before its number is told");
    }

    #[test]
    fn when_there_is_no_room_one_of_everything_is_expected_that_is_as_hard_as_the_hardest() {
        let (mut expected, log) = (Expected::default(), Room::of(3));
        (0..4).for_each(|name| expected.announce(&tag(name, true), Some(&log)));
        assert_eq!((left(&expected), log.1.borrow().clone()), (vec![all(true)], vec![all(true)]));
        expected.announce(&tag(4, false), Some(&log));
        (5..8).for_each(|name| expected.announce(&tag(name, true), Some(&log)));
        assert_eq!(left(&expected)[0], all(false), "again, and one of them was hard");
        (8..11).for_each(|name| expected.announce(&tag(name, true), Some(&log)));
        assert_eq!(left(&expected)[0], all(false), "and what stands for a hard one is hard");
        let last = left(&expected).len() as u64;
        expected.is_in_log(999, 20);
        expected.heard(20);
        expected.is_in_log(1_000 + last, 21);
        expected.heard(21);
        assert_eq!(left(&expected), [], "it is used again as soon as that is heard");
    }

    #[test]
    fn what_was_lost_with_a_log_is_expected_no_more_and_what_still_waits_is() {
        let (mut expected, log) = (Expected::default(), Room::of(9));
        (1..=2).for_each(|name| expected.announce(&tag(name, false), Some(&log)));
        expected.is_in_log(1, 5);
        expected.has_joined();
        assert_eq!(left(&expected), [tag(2, false)]);
    }

    #[test]
    fn what_has_not_reached_one_log_is_told_to_the_next() {
        let (mut expected, before, after) = (Expected::default(), Room::of(9), Room::of(9));
        (1..=2).for_each(|name| expected.announce(&tag(name, false), Some(&before)));
        expected.is_in_log(1, u64::MAX);
        expected.change_log();
        expected.announce(&tag(3, false), None);
        expected.announce(&tag(4, false), Some(&after));
        expected.announce_rest(&after);
        assert_eq!(*after.1.borrow(), [tag(4, false), tag(1, false), tag(2, false), tag(3, false)]);
        expected.is_in_log(4, 7);
        expected.heard(7);
        assert_eq!(left(&expected), [], "by the numbers of that one");
    }

    #[test]
    fn without_a_log_no_more_are_kept_than_one_may_expect() {
        let mut expected = Expected::default();
        (0..=EXPECTED_MAX as u64).for_each(|name| expected.announce(&tag(name, true), None));
        assert_eq!(left(&expected), [all(true)]);
    }
}
