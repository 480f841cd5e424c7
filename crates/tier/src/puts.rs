//! What waits to be written to one server, or removed from it. Nobody waits for a write, so the queue is where pressure shows: it
//! is bounded in bytes, the newest word on a key replaces an older one that still waits, and what waits longest is dropped first.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::name::Name;

/// What an entry costs besides its key and value: queue, map and the entry itself. It bounds how many empty values wait.
const ENTRY_BYTES: usize = 256;

/// A write that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) epoch: u64,
    pub(crate) key: Bytes,
    /// None when what stands under the key is to be removed.
    pub(crate) value: Option<Bytes>,
    /// When the value is of no use any more.
    pub(crate) until: Instant,
}

impl Put {
    fn cost(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + ENTRY_BYTES
    }

    /// What is left of its life.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }
}

#[derive(Debug)]
pub(crate) struct Puts {
    order: VecDeque<Name>,
    waiting: HashMap<Name, Put>,
    bytes: usize,
    bytes_max: usize,
}

impl Puts {
    pub(crate) fn new(bytes_max: usize) -> Puts {
        Puts { order: VecDeque::new(), waiting: HashMap::new(), bytes: 0, bytes_max }
    }

    /// Changes how much room there is, from the next push on.
    pub(crate) fn set_room(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a write; returns how many were dropped for want of room.
    pub(crate) fn push(&mut self, name: Name, put: Put) -> u64 {
        let cost = put.cost();
        if cost > self.bytes_max {
            return 1;
        }
        self.bytes += cost;
        match self.waiting.insert(name, put) {
            Some(older) => self.bytes -= older.cost(),
            None => self.order.push_back(name),
        }
        let mut dropped = 0;
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            dropped += 1;
            if let Some(put) = self.waiting.remove(&oldest) {
                self.bytes -= put.cost();
            }
        }
        dropped
    }

    /// Takes removals back that were not done, unless there is a newer word on their keys: what they were to take out would be
    /// found again. Returns how many were dropped for want of room.
    pub(crate) fn take_back(&mut self, removals: Vec<(Name, Put)>) -> u64 {
        let removals = removals.into_iter().filter(|(name, _)| !self.waiting.contains_key(name));
        let removals: Vec<(Name, Put)> = removals.collect();
        removals.into_iter().map(|(name, put)| self.push(name, put)).sum()
    }

    /// Takes the next few, in the order they came: at most so many, and no more once they have so many bytes.
    pub(crate) fn take(&mut self, count: usize, bytes: usize) -> Vec<(Name, Put)> {
        let (mut taken, mut size) = (Vec::new(), 0);
        while taken.len() < count
            && size < bytes
            && let Some(name) = self.order.pop_front()
        {
            if let Some(put) = self.waiting.remove(&name) {
                self.bytes -= put.cost();
                size += put.cost();
                taken.push((name, put));
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &str) -> Put {
        let until = Instant::now() + Duration::from_secs(60);
        Put {
            epoch: 1,
            key: Bytes::from_static(b"k"),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            until,
        }
    }

    fn name(key: &[u8]) -> Name {
        Name::of("t", 1, key)
    }

    fn values(puts: &mut Puts) -> Vec<String> {
        let taken = puts.take(100, usize::MAX);
        let value = |put: &Put| {
            put.value.as_ref().map_or("removed".into(), |value| String::from_utf8_lossy(value).into_owned())
        };
        taken.iter().map(|(_, put)| value(put)).collect()
    }

    #[test]
    fn the_newest_value_of_a_key_is_the_one_that_is_written() {
        let mut puts = Puts::new(10_000);
        for (key, value) in [(b"a", "1"), (b"b", "2"), (b"a", "333")] {
            assert_eq!(puts.push(name(key), put(value)), 0);
        }
        assert_eq!(values(&mut puts), ["333", "2"]);
        assert_eq!(puts.bytes(), 0);
    }

    #[test]
    fn a_removal_that_failed_is_done_later_unless_there_is_a_newer_word_on_its_key() {
        let mut puts = Puts::new(10_000);
        let removal = || Put { value: None, ..put("") };
        for key in [b"a", b"b", b"c"] {
            puts.push(name(key), put("old"));
            puts.push(name(key), removal());
        }
        let taken = puts.take(100, usize::MAX);
        puts.push(name(b"b"), put("new"));
        assert_eq!(puts.take_back(taken), 0);
        assert_eq!(values(&mut puts), ["new", "removed", "removed"]);
        assert_eq!(puts.bytes(), 0);
    }

    #[test]
    fn without_room_the_oldest_are_dropped_and_counted() {
        let mut puts = Puts::new(3 * (ENTRY_BYTES + 2));
        for (key, dropped) in [(b"a", 0), (b"b", 0), (b"c", 0), (b"d", 1)] {
            assert_eq!(puts.push(name(key), put("x")), dropped);
        }
        assert_eq!(puts.push(name(b"e"), put(&"x".repeat(10_000))), 1, "larger than all room");
        assert_eq!(values(&mut puts).len(), 3);
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_bytes() {
        let mut puts = Puts::new(1 << 20);
        for key in 0..10u8 {
            puts.push(name(&[key]), put(&"x".repeat(1000)));
        }
        assert_eq!(puts.take(4, usize::MAX).len(), 4);
        assert_eq!(puts.take(4, 1500).len(), 2);
        assert_eq!(puts.take(100, usize::MAX).len(), 4);
    }
}
