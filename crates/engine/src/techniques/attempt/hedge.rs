//! Whether a second copy of a request is worth sending, and when that is looked at.
//!
//! A copy is sent for one of two reasons. *Stall*: the endpoint that has the request gives no sign of life for longer than it
//! ever does, so it is frozen, and every request inside it is late; this sees a pause of a garbage collector within milliseconds.
//! *Quantile*: the request takes longer than nearly all of its route. The second is the textbook's, and harms where the slowest
//! requests are simply the largest: so it waits on a rung of a ladder that its own success moves.
//!
//! Idea: "The Tail at Scale" (Dean, Barroso 2013); a budget in work instead of requests, half of it kept for stalls, is ours.

use crate::fleet::STALL_GAPS;
use unlag_record::Trigger;

/// The youngest request that is looked at while the route's own times are unknown, and the shortest time between two looks.
const LOOK_NS: u64 = 1_000_000;
/// Looks at a request that a copy was due for and could not be sent: each waits twice as long, so that a route whose answers take
/// an hour is not looked at for an hour.
const LOOKS_DOUBLE_MAX: u32 = 10;
/// But no longer than this, or a usual answer if that is longer: what was missing may be there a moment later.
const LOOK_MAX_NS: u64 = 100_000_000;

/// What is known of a request under way, of its route, and of the endpoint that has it. Moments and times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// When it was sent.
    pub sent_ns: u64,
    /// What half of the route's answers take; none while that is unknown.
    pub p50_ns: Option<u64>,
    /// What nearly all of them take, by the rung in use; none if copies are not sent for that.
    pub rung_ns: Option<u64>,
    /// When the endpoint last gave a sign of life; none while it is not known who has the request.
    pub progress_ns: Option<u64>,
    /// The longest usual silence of an endpoint.
    pub gap_ns: u64,
    /// How far away the endpoint is.
    pub distance_ns: u64,
}

impl Sight {
    /// When it stalls, if nothing is heard of the endpoint until then.
    fn stalls_at(&self) -> u64 {
        let (Some(progress), Some(p50)) = (self.progress_ns, self.p50_ns) else { return u64::MAX };
        let patience = unusual_ns(self.gap_ns, self.distance_ns);
        progress.saturating_add(patience).max(self.sent_ns.saturating_add(p50.max(LOOK_NS)))
    }

    /// When it takes longer than nearly all.
    fn is_late_at(&self) -> u64 {
        self.rung_ns.map_or(u64::MAX, |rung| self.sent_ns.saturating_add(rung.max(LOOK_NS)))
    }

    /// When it is to be looked at next.
    pub fn due_ns(&self) -> u64 {
        self.stalls_at().min(self.is_late_at())
    }

    /// Why a copy is due at `now`, if it is.
    pub fn trigger(&self, now: u64) -> Option<Trigger> {
        if now >= self.stalls_at() {
            return Some(Trigger::Stall);
        }
        (now >= self.is_late_at()).then_some(Trigger::Quantile)
    }
}

/// The silence that an endpoint so far away never keeps while it works, if `gap_ns` is the longest usual one.
pub fn unusual_ns(gap_ns: u64, distance_ns: u64) -> u64 {
    (gap_ns as f64 * f64::from(STALL_GAPS)) as u64 + distance_ns
}

/// When a request is looked at again for which a copy was due and could not be sent, after so many looks.
pub fn again_ns(looks: u32, p50_ns: Option<u64>) -> u64 {
    let first_ns = p50_ns.unwrap_or(LOOK_NS).max(LOOK_NS);
    (first_ns << looks.min(LOOKS_DOUBLE_MAX)).min(first_ns.max(LOOK_MAX_NS))
}

/// Whether an endpoint may be given a copy: one that answers well, and for a request that is only late one that has slack. What is
/// inside a frozen endpoint is no further load: it would have been at the others already, had that been known.
pub fn may_have(trigger: Trigger, in_flight: u32, failing: f32, knee: f32) -> bool {
    let has_slack = (in_flight as f32) < (knee / 2.0).max(0.5);
    (has_slack || trigger == Trigger::Stall) && failing < FAILING_MAX
}

/// An endpoint of which more answers fail is no alternative.
const FAILING_MAX: f32 = 0.1;

/// Copies after which the rung is looked at.
const COPIES_BETWEEN: u32 = 50;
/// The weight of one copy in the share that won.
const COPY_WEIGHT: f32 = 0.02;
/// A lower share says that the requests were slow by nature: wait longer. A higher one that more could be won.
const WINS_MIN: f32 = 0.25;
const WINS_MAX: f32 = 0.40;
/// How long copies for this reason are given up when the last rung won too little: then it is tried once more.
const OFF_NS: u64 = 60_000_000_000;

/// The rung that the quantile trigger waits on, moved by how many copies win.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    rung: u8,
    rungs: u8,
    wins: f32,
    copies: u32,
    off_until_ns: u64,
}

impl Ladder {
    /// Of so many rungs, on this one.
    pub fn new(rung: u8, rungs: u8) -> Ladder {
        Ladder { rung, rungs, wins: (WINS_MIN + WINS_MAX) / 2.0, copies: 0, off_until_ns: 0 }
    }

    /// The rung.
    pub fn rung(&self) -> u8 {
        self.rung
    }

    /// Until when copies are not sent for this reason.
    pub fn off_until_ns(&self) -> u64 {
        self.off_until_ns
    }

    /// The share of copies that won, of late.
    pub fn wins(&self) -> f32 {
        self.wins
    }

    /// A copy that was sent for this reason has won or lost.
    pub fn note(&mut self, won: bool, now: u64) {
        self.wins += COPY_WEIGHT * (f32::from(u8::from(won)) - self.wins);
        self.copies += 1;
        if self.copies < COPIES_BETWEEN {
            return;
        }
        self.copies = 0;
        if self.wins > WINS_MAX {
            self.rung = self.rung.saturating_sub(1);
        } else if self.wins < WINS_MIN {
            match self.rung + 1 < self.rungs {
                true => self.rung += 1,
                false => {
                    self.off_until_ns = now + OFF_NS;
                    self.wins = (WINS_MIN + WINS_MAX) / 2.0;
                }
            }
        }
    }
}
