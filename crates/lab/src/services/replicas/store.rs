//! Versions of keys, as the primary takes them and followers show them later.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Versions of one key that are remembered; older ones are shown by nobody.
const VERSIONS_MAX: usize = 64;
/// Keys that are kept; the requests of a run name fewer.
const KEYS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Store(RefCell<HashMap<u64, VecDeque<(Instant, u64)>>>);

impl Store {
    /// Gives a key its next version, from 1.
    pub(super) fn write(&self, key: u64, now: Instant) -> u64 {
        let mut keys = self.0.borrow_mut();
        if keys.len() >= KEYS_MAX && !keys.contains_key(&key) {
            return 0;
        }
        let versions = keys.entry(key).or_default();
        let version = versions.back().map_or(0, |(_, version)| *version) + 1;
        if versions.len() == VERSIONS_MAX {
            versions.pop_front();
        }
        versions.push_back((now, version));
        version
    }

    /// The version of a key at a time; 0 before the first.
    pub(super) fn read(&self, key: u64, at: Instant) -> u64 {
        let keys = self.0.borrow();
        let versions = keys.get(&key).map(|versions| versions.iter().rev());
        versions.into_iter().flatten().find(|(taken, _)| *taken <= at).map_or(0, |(_, version)| *version)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_follower_shows_what_was_written_a_while_ago() {
        let (store, start) = (Store::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((store.write(1, at(0)), store.write(1, at(500)), store.write(2, at(600))), (1, 2, 1));
        assert_eq!([store.read(1, at(499)), store.read(1, at(500)), store.read(2, at(599))], [1, 2, 0]);
    }
}
