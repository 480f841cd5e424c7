//! How long one reader of shared content may hold up others.

/// In all, more than it has let them go on meanwhile.
const PATIENCE_NS: u64 = 10_000_000_000;

/// What is left of it.
#[derive(Debug, Default)]
pub(super) struct Patience {
    held_up_ns: u64,
    /// Since when things are as they are.
    since_ns: u64,
}

impl Patience {
    /// From now on there is no room for more. As long as there was, it came back.
    pub(super) fn begins(&mut self, now: u64) {
        self.held_up_ns = self.held_up_ns.saturating_sub(now.saturating_sub(self.since_ns));
        self.since_ns = now;
    }

    /// Until now there was no room, and somebody waited for more all the while, or nobody did.
    pub(super) fn is_at_its_end(&mut self, now: u64, is_anybody_held_up: bool) -> bool {
        if is_anybody_held_up {
            self.held_up_ns += now.saturating_sub(self.since_ns);
        }
        self.since_ns = now;
        let is_at_its_end = self.held_up_ns >= PATIENCE_NS;
        if is_at_its_end {
            self.held_up_ns = 0;
        }
        is_at_its_end
    }
}

#[cfg(test)]
mod tests {
    use super::Patience;

    /// How long it lasts with a reader that takes something after so long, and then lets the others go on for so long.
    fn lasts_s(held_up_s: u64, goes_on_s: u64, is_anybody_held_up: bool) -> Option<u64> {
        let (mut patience, mut now) = (Patience::default(), 7);
        let began = now;
        while now < 3_600 {
            patience.begins(now * 1_000_000_000);
            for _ in 0..held_up_s {
                now += 1;
                if patience.is_at_its_end(now * 1_000_000_000, is_anybody_held_up) {
                    return Some(now - began);
                }
            }
            now += goes_on_s;
        }
        None
    }

    #[test]
    fn it_ends_with_whoever_holds_up_others_longer_than_it_lets_them_go_on() {
        assert_eq!(lasts_s(60, 0, true), Some(10), "takes nothing");
        assert_eq!(lasts_s(9, 0, true), Some(10), "takes a piece now and then");
        assert_eq!(lasts_s(2, 1, true), Some(26), "a third of what comes");
        assert_eq!(lasts_s(1, 2, true), None, "a hiccup");
        assert_eq!(lasts_s(60, 0, false), None, "nobody waits");
    }
}
