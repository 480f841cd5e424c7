//! Which requests of a route are worth a look at all. Most routes of services never answer anything that could be stored, and a
//! look that is never worth it should cost them nothing: of such a route one request in a while is looked at. A person who tries
//! it is slower than that, and is always looked after.

use std::cell::Cell;

/// How often a route is looked at that has not been worth it so far.
const EVERY_NS: u64 = 10_000_000;
/// Before the first look.
const NEVER: u64 = u64::MAX;

/// What one core has seen of a route.
#[derive(Clone, Debug)]
pub struct Glance {
    was_worth: Cell<bool>,
    last_ns: Cell<u64>,
}

impl Glance {
    /// Of a route that is to be looked at in any case, or not.
    pub fn new(always: bool) -> Glance {
        Glance { was_worth: Cell::new(always), last_ns: Cell::new(NEVER) }
    }

    /// Whether the request that came at `now` is looked at.
    pub fn is_due(&self, now: u64) -> bool {
        let last = self.last_ns.get();
        let is_due = self.was_worth.get() || last == NEVER || now.saturating_sub(last) >= EVERY_NS;
        if is_due {
            self.last_ns.set(now);
        }
        is_due
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
    fn a_route_is_looked_at_now_and_then_until_it_was_worth_it_once_and_always_after_that() {
        let glance = Glance::new(false);
        let looks = |from: u64| (from..from + 100).filter(|ms| glance.is_due(ms * 1_000_000)).count();
        assert_eq!(looks(0), 10);
        glance.found(false);
        assert_eq!(looks(100), 10);
        glance.found(true);
        glance.found(false);
        assert_eq!(looks(200), 100);
        assert!((0..9).all(|now| Glance::new(true).is_due(now)));
    }
}
