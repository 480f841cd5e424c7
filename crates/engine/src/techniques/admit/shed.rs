//! Whom an overloaded upstream refuses at the door: the least critical first, and of one class always the same callers.
//!
//! The line alone refuses whoever is unlucky, so that of forty requests of a page each caller loses some and nobody has a whole
//! page. DAGOR (WeChat, 2018): callers are sorted into shares of their class, and a floor moves up through the shares while
//! requests queue for too long, and down again slowly while they do not. It goes up into a class only for those of that class and
//! above: once all of the lower are refused, what is still left of them in the line is no reason to refuse others.

use super::criticality;
use unlag_config::Criticality;

/// Shares of one class: each is a hundredth and a half of its callers.
pub const SHARES: u8 = 64;
const RANKS: usize = SHARES as usize * criticality::ALL.len();
/// The most critical class is never refused here.
const FLOOR_MAX: u16 = SHARES as u16 * Criticality::CriticalPlus as u16;
/// Mean queueing time that means overload, as DAGOR found it for services of a few milliseconds; scaled with the line's target.
const QUEUEING_TARGETS: u64 = 4;
/// What is let in is cut by a twentieth of what came, for every window of overload, and let back by a hundredth.
const LESS: f64 = 0.05;
const MORE: f64 = 0.01;

/// A request's place in the order of refusals: by class, then by its caller's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u16);

impl Rank {
    /// Of this class, and of this share of its callers.
    pub fn new(class: Criticality, share: u8) -> Rank {
        Rank(class as u16 * u16::from(SHARES) + u16::from(share % SHARES))
    }

    /// Its class.
    pub fn class(self) -> Criticality {
        let class = usize::from(self.0 / u16::from(SHARES));
        criticality::ALL.get(class).copied().unwrap_or_default()
    }
}

/// The floor, and what moves it.
#[derive(Debug)]
pub struct Shed {
    floor: u16,
    /// Who came in this window, by rank.
    came: [u32; RANKS],
    began_ns: u64,
    /// What became of those who left the line in this window, by class.
    ends: [Ends; criticality::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    queued_ns: u64,
    left: u64,
    refused: bool,
}

impl Default for Shed {
    fn default() -> Shed {
        Shed { floor: 0, came: [0; RANKS], began_ns: 0, ends: Default::default() }
    }
}

impl Shed {
    /// Whether a request that has to wait may. Everybody who comes is counted.
    pub fn admits(&mut self, rank: Rank) -> bool {
        if let Some(came) = self.came.get_mut(usize::from(rank.0)) {
            *came = came.saturating_add(1);
        }
        rank.0 >= self.floor
    }

    /// One of a class has left the line after so long, answered or `refused`.
    pub fn left(&mut self, class: Criticality, queued_ns: u64, refused: bool) {
        let Some(ends) = self.ends.get_mut(class as usize) else { return };
        ends.queued_ns = ends.queued_ns.saturating_add(queued_ns);
        ends.left += 1;
        ends.refused |= refused;
    }

    /// Moves the floor once an interval has passed.
    pub fn turn(&mut self, target_ns: u64, interval_ns: u64, now: u64) {
        if now.saturating_sub(self.began_ns) < interval_ns {
            return;
        }
        // Those of a class that the floor cuts, and of all above.
        let cut = usize::from(self.floor / u16::from(SHARES));
        let let_in = self.ends.get(cut..).unwrap_or_default();
        let (left, queued_ns) = let_in.iter().fold((0, 0u64), |(left, queued_ns), ends| {
            (left + ends.left, queued_ns.saturating_add(ends.queued_ns))
        });
        let is_hot =
            let_in.iter().any(|ends| ends.refused) || queued_ns > left * target_ns * QUEUEING_TARGETS;
        let came: u64 = self.came.iter().map(|&came| u64::from(came)).sum();
        let share = (came as f64 * if is_hot { LESS } else { MORE }).ceil() as u64;
        match is_hot {
            true => self.raise(share),
            false => self.lower(share),
        }
        (self.began_ns, self.ends, self.came) = (now, Default::default(), [0; RANKS]);
    }

    /// Up past as many ranks as brought `count` requests, and not beyond their class.
    fn raise(&mut self, count: u64) {
        let class = self.floor / u16::from(SHARES);
        let max = ((class + 1) * u16::from(SHARES)).min(FLOOR_MAX);
        let mut cut = 0;
        while cut < count && self.floor < max {
            cut += self.came_at(self.floor);
            self.floor += 1;
        }
    }

    /// Down past as many; past all of them when nobody came.
    fn lower(&mut self, count: u64) {
        let mut back = 0;
        while self.floor > 0 && back <= count {
            self.floor -= 1;
            back += self.came_at(self.floor);
        }
    }

    fn came_at(&self, rank: u16) -> u64 {
        self.came.get(usize::from(rank)).copied().unwrap_or_default().into()
    }
}
