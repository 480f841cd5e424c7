//! What the replicas saw and did, so that second copies are measured where they arrive and not believed.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Requests that are remembered by their id; more are counted, but not told apart.
const IDS_MAX: usize = 2_000_000;

/// Arrivals are counted in stretches of this.
pub const STRETCH: Duration = Duration::from_millis(250);
/// An hour of stretches; what arrives later is counted, but not when.
const STRETCHES_MAX: usize = 4 * 3_600;

/// What happened since the clock was started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicasReport {
    /// Each replica, in order.
    pub replicas: Vec<ReplicaCounts>,
    /// Different requests that arrived anywhere.
    pub requests: u64,
    /// Copies of them: all that arrived.
    pub copies: u64,
    /// Requests that were begun more than once.
    pub executed_twice: u64,
    /// Those of them that must not be.
    pub unsafe_executed_twice: u64,
    /// Requests that said how much time is left.
    pub with_deadline: u64,
    /// Those of them that said more than was left.
    pub deadline_too_late: u64,
    /// Largest time that one of them was worked on after its time was over, in milliseconds.
    pub worked_after_deadline_ms: f64,
}

/// One replica.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaCounts {
    /// Requests that arrived.
    pub seen: u64,
    /// The same by the [`STRETCH`] in which they did.
    pub arrivals: Vec<u32>,
    /// Requests that got a worker.
    pub begun: u64,
    /// Requests that were worked on to the end.
    pub finished: u64,
    /// Requests whose caller went while they were queued.
    pub cancelled_queued: u64,
    /// Requests whose caller went while they were worked on.
    pub cancelled_begun: u64,
    /// Requests that met a fault at once, or a full queue.
    pub turned_away: u64,
    /// Time of its workers, in milliseconds.
    pub work_ms: f64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) replicas: Vec<ReplicaCounts>,
    ids: HashMap<u64, OfId>,
    copies: u64,
    with_deadline: u64,
    deadline_too_late: u64,
    worked_after_deadline: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfId {
    begun: u32,
    is_unsafe: bool,
}

impl Counts {
    pub(super) fn new(replicas: usize) -> Self {
        Self { replicas: vec![ReplicaCounts::default(); replicas], ..Self::default() }
    }

    pub(super) fn of(&mut self, replica: usize, change: impl FnOnce(&mut ReplicaCounts)) {
        if let Some(counts) = self.replicas.get_mut(replica) {
            change(counts);
        }
    }

    /// A request came, so long after the clock was started.
    pub(super) fn arrived(&mut self, replica: usize, at: Option<Duration>, id: u64, is_unsafe: bool) {
        self.copies += 1;
        self.of(replica, |counts| {
            counts.seen += 1;
            let stretch = at.map_or(STRETCHES_MAX, |at| (at.as_millis() / STRETCH.as_millis()) as usize);
            if stretch < STRETCHES_MAX {
                counts.arrivals.resize(counts.arrivals.len().max(stretch + 1), 0);
                counts.arrivals.get_mut(stretch).into_iter().for_each(|count| *count += 1);
            }
        });
        if self.ids.len() < IDS_MAX || self.ids.contains_key(&id) {
            self.ids.entry(id).or_default().is_unsafe |= is_unsafe;
        }
    }

    pub(super) fn begun(&mut self, replica: usize, id: u64) {
        self.of(replica, |counts| counts.begun += 1);
        if let Some(of_id) = self.ids.get_mut(&id) {
            of_id.begun += 1;
        }
    }

    pub(super) fn said_deadline(&mut self, too_late: bool) {
        self.with_deadline += 1;
        self.deadline_too_late += u64::from(too_late);
    }

    pub(super) fn worked_after_deadline(&mut self, by: Duration) {
        self.worked_after_deadline = self.worked_after_deadline.max(by);
    }

    /// Whether a replica still holds a request.
    pub(super) fn is_busy(&self) -> bool {
        let ended =
            |of: &ReplicaCounts| of.finished + of.cancelled_begun + of.cancelled_queued + of.turned_away;
        self.replicas.iter().any(|replica| ended(replica) < replica.seen)
    }

    pub(super) fn report(&self) -> ReplicasReport {
        let twice = || self.ids.values().filter(|of_id| of_id.begun > 1);
        ReplicasReport {
            replicas: self.replicas.clone(),
            requests: self.ids.len() as u64,
            copies: self.copies,
            executed_twice: twice().count() as u64,
            unsafe_executed_twice: twice().filter(|of_id| of_id.is_unsafe).count() as u64,
            with_deadline: self.with_deadline,
            deadline_too_late: self.deadline_too_late,
            worked_after_deadline_ms: self.worked_after_deadline.as_secs_f64() * 1e3,
        }
    }
}

impl ReplicasReport {
    /// Share of all copies that a replica saw, 0 to 1.
    pub fn share(&self, replica: usize) -> f64 {
        let seen = self.replicas.get(replica).map_or(0, |counts| counts.seen);
        if self.copies == 0 { 0.0 } else { seen as f64 / self.copies as f64 }
    }

    /// Copies beyond the first of each request, as a share of the requests.
    pub fn extra(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.copies as f64 / self.requests as f64 - 1.0 }
    }

    /// Copies that some of the replicas saw between two moments of the clock, as far as whole stretches of it say.
    pub fn arrivals(&self, replicas: Range<usize>, between: Range<Duration>) -> u64 {
        let stretch = |at: Duration| (at.as_millis() / STRETCH.as_millis()) as usize;
        let (from, until) = (stretch(between.start), stretch(between.end));
        let of = |counts: &ReplicaCounts| -> u64 {
            let counts = counts.arrivals.iter().skip(from).take(until.saturating_sub(from));
            counts.map(|count| u64::from(*count)).sum()
        };
        self.replicas.get(replicas).unwrap_or_default().iter().map(of).sum()
    }

    /// Time of all workers, in milliseconds.
    pub fn work_ms(&self) -> f64 {
        self.replicas.iter().map(|counts| counts.work_ms).sum()
    }
}
