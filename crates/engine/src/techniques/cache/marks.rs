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

impl Marks {
    /// Marks that hold for so long.
    pub fn new(hold_s: u64) -> Marks {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Marks { places, hold_s, are_used: AtomicBool::new(false) }
    }

    /// Marks a key, by its hash, at this second.
    pub fn set(&self, hash: u64, now_s: u64) {
        if let Some(place) = self.place(hash) {
            place.store(tag(hash) | (now_s + self.hold_s) & ((1 << TIME_BITS) - 1), Relaxed);
            self.are_used.store(true, Relaxed);
        }
    }

    /// Forgets a key.
    pub fn clear(&self, hash: u64) {
        let is_its_own = |mark: u64| mark & !((1 << TIME_BITS) - 1) == tag(hash);
        if let Some(place) = self.place(hash).filter(|place| is_its_own(place.load(Relaxed))) {
            place.store(0, Relaxed);
        }
    }

    /// Whether any was ever set.
    pub fn are_used(&self) -> bool {
        self.are_used.load(Relaxed)
    }

    /// Whether it is marked.
    pub fn has(&self, hash: u64, now_s: u64) -> bool {
        let mark = self.place(hash).map_or(0, |place| place.load(Relaxed));
        let until = mark & ((1 << TIME_BITS) - 1);
        mark & !((1 << TIME_BITS) - 1) == tag(hash) && now_s < until
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
        marks.set(7 << 40, 1_000);
        assert!(marks.has(7 << 40, 1_119) && !marks.has(7 << 40, 1_120));
        assert!(!marks.has(8 << 40, 1_001), "another key in the same place");
    }
}
