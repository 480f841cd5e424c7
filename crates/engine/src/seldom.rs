//! Log lines that many callers can cause at once: of each kind one in a while, with how many it stands for.

use crate::clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The distance between two lines of a kind: near enough to see what is going on, far enough that a flood of connections is no
/// flood of lines.
const DISTANCE_NS: u64 = 1_000_000_000;

/// The kinds of line of the data plane.
#[derive(Debug, Default)]
pub struct Lines {
    /// Connections turned away at a bound.
    pub refused: Seldom,
    /// Descriptors or memory that are missing.
    pub exhausted: Seldom,
    /// TLS handshakes that failed.
    pub handshakes: Seldom,
    /// HTTP/2 connections closed for flooding.
    pub floods: Seldom,
}

/// One kind of line.
#[derive(Debug, Default)]
pub struct Seldom {
    next_ns: AtomicU64,
    kept_back: AtomicU64,
}

impl Seldom {
    /// None of them so far.
    pub const fn new() -> Seldom {
        Seldom { next_ns: AtomicU64::new(0), kept_back: AtomicU64::new(0) }
    }

    /// How many times it has happened since the last line, if it is time for another.
    pub fn due(&self) -> Option<u64> {
        self.due_at(clock::now())
    }

    fn due_at(&self, now: u64) -> Option<u64> {
        let next = self.next_ns.load(Relaxed);
        let taken =
            now >= next && self.next_ns.compare_exchange(next, now + DISTANCE_NS, Relaxed, Relaxed).is_ok();
        if taken {
            return Some(self.kept_back.swap(0, Relaxed) + 1);
        }
        self.kept_back.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_in_a_second_one_is_told_and_the_next_says_how_many_there_were() {
        let line = Seldom::default();
        assert_eq!(line.due_at(5), Some(1));
        for n in 0..1_000 {
            assert_eq!(line.due_at(6 + n), None);
        }
        assert_eq!(line.due_at(5 + DISTANCE_NS), Some(1_001));
    }
}
