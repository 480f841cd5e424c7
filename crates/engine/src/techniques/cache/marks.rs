//! Keys that something is remembered of for a while, because it was found out the hard way: that nobody should wait for their
//! answers, or share them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A table of fixed size: two keys that meet in one place forget each other.
pub struct Marks {
    places: Box<[AtomicU64]>,
    hold_s: u64,
    are_used: AtomicBool,
}

/// Places: 128 KiB in all.
const PLACES: usize = 16 * 1024;
/// How long nobody waits for a key, as Varnish has it.
pub(super) const PASS_S: u64 = 120;
/// Low bits that hold the second at which a mark ends.
const TIME_BITS: u32 = 32;
const SECOND: u64 = 1_000_000_000;

impl Marks {
    /// Marks that hold for so long.
    pub fn new(hold_s: u64) -> Marks {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Marks { places, hold_s, are_used: AtomicBool::new(false) }
    }

    /// Marks a key, by its hash.
    pub fn set(&self, hash: u64, now: u64) {
        if let Some(place) = self.place(hash) {
            place.store(tag(hash) | (now / SECOND + self.hold_s) & ((1 << TIME_BITS) - 1), Relaxed);
            self.are_used.store(true, Relaxed);
        }
    }

    /// Forgets a key. It is hashed only if any was ever marked, as in most processes none is.
    pub fn clear(&self, hash: impl FnOnce() -> u64) {
        if !self.are_used.load(Relaxed) {
            return;
        }
        let hash = hash();
        let is_its_own = |mark: u64| mark & !((1 << TIME_BITS) - 1) == tag(hash);
        if let Some(place) = self.place(hash).filter(|place| is_its_own(place.load(Relaxed))) {
            place.store(0, Relaxed);
        }
    }

    /// Whether it is marked. It is hashed only then, too.
    pub fn has(&self, hash: impl FnOnce() -> u64, now: u64) -> bool {
        if !self.are_used.load(Relaxed) {
            return false;
        }
        let hash = hash();
        let mark = self.place(hash).map_or(0, |place| place.load(Relaxed));
        let until = mark & ((1 << TIME_BITS) - 1);
        mark & !((1 << TIME_BITS) - 1) == tag(hash) && now / SECOND < until
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.places.get(hash as usize % PLACES)
    }
}

fn tag(hash: u64) -> u64 {
    hash >> TIME_BITS << TIME_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_marked_for_two_minutes() {
        let marks = Marks::new(PASS_S);
        let has = |key: u64, now_s: u64| marks.has(|| key << 40, now_s * SECOND);
        assert!(!marks.has(|| panic!("hashed for nothing"), 0));
        marks.set(7 << 40, 1_000 * SECOND);
        assert!(has(7, 1_119) && !has(7, 1_120));
        assert!(!has(8, 1_001), "another key in the same place");
        marks.clear(|| 8 << 40);
        assert!(has(7, 1_001));
        marks.clear(|| 7 << 40);
        assert!(!has(7, 1_001));
    }
}
