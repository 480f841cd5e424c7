//! Which requests of a route are worth a look at all. Most routes of services never answer anything that could be stored, and a
//! look that is never worth it should cost them nothing: of such a route one request in a while is looked at, and one that asks
//! for what was asked for a moment ago. A person who tries it is slower than that, and is always looked after.

use std::cell::Cell;

/// How often a route is looked at that has not been worth it so far.
const EVERY_NS: u64 = 10_000_000;
/// Before the first look.
const NEVER: u64 = u64::MAX;
/// What was asked for within so long is asked for again: there may be many who want it.
const MOMENT_NS: u64 = 100_000_000;
/// So many of the last things asked for are known.
const KNOWN: usize = 64;

/// What one core has seen of a route.
#[derive(Debug)]
pub struct Glance {
    was_worth: Cell<bool>,
    last_ns: Cell<u64>,
    /// What was asked for last, by its hash, and when.
    known: Box<[Cell<(u64, u64)>]>,
}

impl Glance {
    /// Of a route that is to be looked at in any case, or not.
    pub fn new(always: bool) -> Glance {
        let known = (0..KNOWN).map(|_| Cell::default()).collect();
        Glance { was_worth: Cell::new(always), last_ns: Cell::new(NEVER), known }
    }

    /// Whether the request that came at `now` is looked at. `asked` stands for what it asks for, if that matters.
    pub fn is_due(&self, now: u64, asked: impl FnOnce() -> Option<u64>) -> bool {
        if self.was_worth.get() {
            return true;
        }
        let last = self.last_ns.get();
        let is_asked_again = || asked().is_some_and(|hash| self.is_asked_again(now, hash));
        let is_due = last == NEVER || now.saturating_sub(last) >= EVERY_NS || is_asked_again();
        if is_due {
            self.last_ns.set(now);
        }
        is_due
    }

    fn is_asked_again(&self, now: u64, hash: u64) -> bool {
        let Some(place) = self.known.get(hash as usize % KNOWN) else { return false };
        let (known, at) = place.replace((hash, now));
        known == hash && now.saturating_sub(at) < MOMENT_NS
    }

    /// Something was found or stored: from now on every request is looked at.
    pub fn found(&self, something: bool) {
        self.was_worth.set(self.was_worth.get() || something);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_again_at_once_is_looked_at() {
        let glance = Glance::new(false);
        let due = |us: u64, hash| glance.is_due(us * 1_000, || Some(hash));
        assert!(due(0, 1) && !due(1, 2) && !due(2, 3));
        assert!(due(3, 2) && due(4, 3) && !due(5, 4));
        assert!(!due(6, 4 + KNOWN as u64), "another in the same place");
        assert!(!glance.is_due(7_000, || None) && !glance.is_due(8_000, || None), "what does not matter");
    }

    #[test]
    fn a_route_is_looked_at_now_and_then_until_it_was_worth_it_once_and_always_after_that() {
        let glance = Glance::new(false);
        let looks =
            |from: u64| (from..from + 100).filter(|ms| glance.is_due(ms * 1_000_000, || Some(*ms))).count();
        assert_eq!(looks(0), 10);
        glance.found(false);
        assert_eq!(looks(100), 10);
        glance.found(true);
        glance.found(false);
        assert_eq!(looks(200), 100);
        assert!((0..9).all(|now| Glance::new(true).is_due(now, || Some(7))));
    }
}
