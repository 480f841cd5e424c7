//! What a route has learned of its attempts, over all cores and across reloads: how long it takes, which rung copies wait on, what
//! may still be spent.

use super::hedge::Ladder;
use super::purse::{Copies, Floor, Lost, Paid, Retries};
use crate::clock;
use crate::tempo::{RUNG_OF_98, RUNGS, Tempo, TempoStatus};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use unlag_record::{Fate, Hedge, Trigger};

/// One in so many requests that seem doomed is sent all the same: a route that has become faster must be seen to be.
const DOOMED_TRIED_ONE_IN: u64 = 16;

/// Why a copy is due and not sent.
pub const NOT_SENT: [Hedge; 6] = [
    Hedge { trigger: Trigger::Stall, fate: Fate::NoBudget },
    Hedge { trigger: Trigger::Stall, fate: Fate::NoAlternative },
    Hedge { trigger: Trigger::Stall, fate: Fate::Overload },
    Hedge { trigger: Trigger::Quantile, fate: Fate::NoBudget },
    Hedge { trigger: Trigger::Quantile, fate: Fate::NoAlternative },
    Hedge { trigger: Trigger::Quantile, fate: Fate::Overload },
];

/// What is learned of one route.
#[derive(Debug)]
pub struct Learned {
    /// How long it takes.
    pub tempo: Tempo,
    spending: Mutex<Spending>,
    rung: AtomicU8,
    /// Until when copies are not sent because requests are late.
    off_until_ns: AtomicU64,
    counts: Counts,
}

#[derive(Debug)]
struct Spending {
    ladder: Ladder,
    copies: Copies,
    retries: Retries,
}

#[derive(Debug, Default)]
struct Counts {
    stall_won: AtomicU64,
    stall_lost: AtomicU64,
    quantile_won: AtomicU64,
    quantile_lost: AtomicU64,
    /// By [`NOT_SENT`].
    not_sent: [AtomicU64; NOT_SENT.len()],
    replayed: AtomicU64,
    retries: AtomicU64,
    retries_refused: AtomicU64,
    doomed: AtomicU64,
    timed_out: AtomicU64,
}

impl Learned {
    /// Nothing is known yet.
    pub fn new(now: u64) -> Learned {
        let ladder = Ladder::new(RUNG_OF_98, RUNGS as u8);
        let spending = Spending { ladder, copies: Copies::new(now), retries: Retries::new(now) };
        Learned {
            tempo: Tempo::default(),
            spending: Mutex::new(spending),
            rung: AtomicU8::new(RUNG_OF_98),
            off_until_ns: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    fn spending(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request may take before a copy is due for that; none while copies are not sent for it.
    pub fn rung_ns(&self, now: u64) -> Option<u64> {
        if now < self.off_until_ns.load(Relaxed) {
            return None;
        }
        self.tempo.rung_ns(self.rung.load(Relaxed))
    }

    /// Pays for a copy, if there is enough.
    pub fn pay(&self, trigger: Trigger, share: f64, unit_ns: u64, age_ns: u64, now: u64) -> Option<Paid> {
        let (_, work_ns) = self.tempo.inflow();
        let mut spending = self.spending();
        spending.copies.pay(trigger, share, work_ns, unit_ns, age_ns, now)
    }

    /// One of the two has lost.
    pub fn settle(&self, paid: Paid, lost: Lost, now: u64) {
        let won = matches!(lost, Lost::First(_));
        let mut spending = self.spending();
        spending.copies.settle(paid, lost);
        if paid.trigger == Trigger::Quantile {
            spending.ladder.note(won, now);
            self.rung.store(spending.ladder.rung(), Relaxed);
            self.off_until_ns.store(spending.ladder.off_until_ns(), Relaxed);
        }
    }

    /// Takes a retry out of the budget, if there is one: of what the route has earned, else of what its upstream grants.
    pub fn take_retry(&self, share: f64, floor: &Mutex<Floor>) -> bool {
        let (successes, _) = self.tempo.inflow();
        let now = clock::now();
        let is_earned = self.spending().retries.take(share, successes, now);
        let taken = is_earned || floor.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        let count = if taken { &self.counts.retries } else { &self.counts.retries_refused };
        count.fetch_add(1, Relaxed);
        taken
    }

    /// Whether so little time is left that nine answers of ten would come too late.
    pub fn is_too_late(&self, remaining_ns: u64) -> bool {
        self.tempo.p10_ns().is_some_and(|p10_ns| remaining_ns < p10_ns)
    }

    /// Whether a request with so little time left is refused.
    pub fn is_doomed(&self, remaining_ns: u64) -> bool {
        let is_over = remaining_ns == 0;
        is_over
            || self.is_too_late(remaining_ns)
                && !self.counts.doomed.fetch_add(1, Relaxed).is_multiple_of(DOOMED_TRIED_ONE_IN)
    }

    /// A second copy was considered, and this became of it.
    pub fn count(&self, hedge: Hedge) {
        let counts = &self.counts;
        let count = match (hedge.trigger, hedge.fate) {
            (Trigger::Stall, Fate::Won) => &counts.stall_won,
            (Trigger::Stall, Fate::Lost) => &counts.stall_lost,
            (Trigger::Quantile, Fate::Won) => &counts.quantile_won,
            (Trigger::Quantile, Fate::Lost) => &counts.quantile_lost,
            _ => {
                match NOT_SENT.iter().position(|known| *known == hedge).and_then(|at| counts.not_sent.get(at))
                {
                    Some(count) => count,
                    None => return,
                }
            }
        };
        count.fetch_add(1, Relaxed);
    }

    /// An answer was replayed to a key.
    pub fn count_replayed(&self) {
        self.counts.replayed.fetch_add(1, Relaxed);
    }

    /// A request was given up because the learned time-out had passed.
    pub fn count_timed_out(&self) {
        self.counts.timed_out.fetch_add(1, Relaxed);
    }

    /// What the console shows.
    pub fn status(&self, route: &str) -> AttemptStatus {
        let counts = &self.counts;
        let get = |count: &AtomicU64| count.load(Relaxed);
        AttemptStatus {
            route: route.to_owned(),
            tempo: self.tempo.status(),
            hedge_after_ns: self.rung_ns(clock::now()),
            wins: self.spending().ladder.wins(),
            stall_won: get(&counts.stall_won),
            stall_lost: get(&counts.stall_lost),
            quantile_won: get(&counts.quantile_won),
            quantile_lost: get(&counts.quantile_lost),
            not_sent: NOT_SENT.into_iter().zip(counts.not_sent.each_ref().map(get)).collect(),
            replayed: get(&counts.replayed),
            retries: get(&counts.retries),
            retries_refused: get(&counts.retries_refused),
            doomed: get(&counts.doomed),
            timed_out: get(&counts.timed_out),
        }
    }
}

/// What the console shows of the attempts of a route.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are named after what they count")]
pub struct AttemptStatus {
    pub route: String,
    pub tempo: TempoStatus,
    /// What a request may take before a copy is due for that.
    pub hedge_after_ns: Option<u64>,
    /// The share of these copies that won, of late.
    pub wins: f32,
    pub stall_won: u64,
    pub stall_lost: u64,
    pub quantile_won: u64,
    pub quantile_lost: u64,
    /// Copies that were due and not sent, by why.
    pub not_sent: Vec<(Hedge, u64)>,
    pub replayed: u64,
    pub retries: u64,
    pub retries_refused: u64,
    pub doomed: u64,
    pub timed_out: u64,
}

/// What all routes have learned, by name: it outlives plans, so a reload in the middle of an outage fills no purse.
#[derive(Debug, Default)]
pub struct Routes(Mutex<HashMap<String, Arc<Learned>>>);

impl Routes {
    /// What is known of a route.
    pub fn of(&self, name: &str) -> Arc<Learned> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(learned) = known.get(name) {
            return Arc::clone(learned);
        }
        // Of a plan that no core serves any more: there are never more than two plans' routes.
        known.retain(|_, learned| Arc::strong_count(learned) > 1);
        Arc::clone(known.entry(name.to_owned()).or_insert_with(|| Arc::new(Learned::new(clock::now()))))
    }

    /// What the console shows, by name.
    pub fn status(&self) -> Vec<AttemptStatus> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<AttemptStatus> = known.iter().map(|(name, learned)| learned.status(name)).collect();
        all.sort_by(|a, b| a.route.cmp(&b.route));
        all
    }
}
