//! What the cache has done for a route, counted: by whom, why not, and what it saved. Each core counts for itself; whoever reads
//! adds up.

use super::learned::Learned;
use super::storable::Refusal;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

/// Why a request went to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of `Miss::word` are the documentation")]
pub enum Miss {
    #[default]
    UriMiss,
    VaryMiss,
    Stale,
    Request,
    Method,
    Partial,
}

impl Miss {
    /// Every reason.
    pub const ALL: [Miss; 6] =
        [Miss::UriMiss, Miss::VaryMiss, Miss::Stale, Miss::Request, Miss::Method, Miss::Partial];

    /// As in `Cache-Status`.
    pub const fn word(self) -> &'static str {
        match self {
            Miss::UriMiss => "uri-miss",
            Miss::VaryMiss => "vary-miss",
            Miss::Stale => "stale",
            Miss::Request => "request",
            Miss::Method => "method",
            Miss::Partial => "partial",
        }
    }
}

/// The counts of one core, or a sum of them.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "each count is named like what it counts, and documented in `Sums`")]
pub struct Counts {
    pub hits: AtomicU64,
    pub stale: AtomicU64,
    pub collapsed: AtomicU64,
    pub revalidated: AtomicU64,
    pub stored: AtomicU64,
    pub hit_bytes: AtomicU64,
    pub saved_ns: AtomicU64,
    pub misses: [AtomicU64; Miss::ALL.len()],
    pub refused: [AtomicU64; Refusal::ALL.len()],
}

/// What was counted for a route since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests that were answered from what was stored without asking anybody.
    pub hits: u64,
    /// Of these, those that got something stale.
    pub stale: u64,
    /// Requests that were answered by the fetch of another.
    pub collapsed: u64,
    /// Questions to which the origin said that nothing has changed.
    pub revalidated: u64,
    /// Answers that were stored.
    pub stored: u64,
    /// Content of hits.
    pub hit_bytes: u64,
    /// What the fetches of what was hit had taken, to the head of the answer.
    pub saved_ns: u64,
    /// Requests that went to the origin, by reason.
    pub misses: [u64; Miss::ALL.len()],
    /// Answers that were not stored, by reason.
    pub refused: [u64; Refusal::ALL.len()],
}

/// One writer for each count: it need not be a step that no other could come between.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Relaxed) + more, Relaxed);
}

impl Counts {
    /// An answer from what is stored: its content, what its fetch had taken, and whether it was stale.
    pub fn hit(&self, bytes: u64, fetch_ns: u64, is_stale: bool) {
        add(&self.hits, 1);
        add(&self.stale, u64::from(is_stale));
        add(&self.hit_bytes, bytes);
        add(&self.saved_ns, fetch_ns);
    }

    /// A request that goes to the origin.
    pub fn miss(&self, reason: Miss) {
        if let Some(count) = self.misses.get(reason as usize) {
            add(count, 1);
        }
    }

    /// An answer that is not stored.
    pub fn refuse(&self, reason: Refusal) {
        if let Some(count) = self.refused.get(reason as usize) {
            add(count, 1);
        }
    }

    /// One more of something.
    pub fn one(count: &AtomicU64) {
        add(count, 1);
    }

    fn add_to(&self, sums: &mut Sums) {
        let of = |count: &AtomicU64| count.load(Relaxed);
        sums.hits += of(&self.hits);
        sums.stale += of(&self.stale);
        sums.collapsed += of(&self.collapsed);
        sums.revalidated += of(&self.revalidated);
        sums.stored += of(&self.stored);
        sums.hit_bytes += of(&self.hit_bytes);
        sums.saved_ns += of(&self.saved_ns);
        sums.misses.iter_mut().zip(&self.misses).for_each(|(sum, count)| *sum += of(count));
        sums.refused.iter_mut().zip(&self.refused).for_each(|(sum, count)| *sum += of(count));
    }
}

/// The counts of all cores, and the sum of those that are no longer counted in.
#[derive(Debug, Default)]
pub struct Ledger {
    open: Vec<Arc<Counts>>,
    closed: Sums,
}

impl Learned {
    /// Counts for one more writer.
    pub fn counts(&self) -> Arc<Counts> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let Ledger { open, closed } = &mut *ledger;
        // A plan that is no longer in force has let go of its own.
        open.retain(|counts| {
            let is_open = Arc::strong_count(counts) > 1;
            if !is_open {
                counts.add_to(closed);
            }
            is_open
        });
        let counts = Arc::new(Counts::default());
        open.push(Arc::clone(&counts));
        counts
    }

    /// What was counted so far.
    pub fn sums(&self) -> Sums {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = ledger.closed.clone();
        ledger.open.iter().for_each(|counts| counts.add_to(&mut sums));
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_writers_are_added_up_and_outlive_them() {
        let learned = Learned::new(1);
        let (one, other) = (learned.counts(), learned.counts());
        one.hit(100, 5, false);
        other.hit(10, 7, true);
        other.miss(Miss::Stale);
        drop(one);
        let third = learned.counts();
        third.refuse(Refusal::SetCookie);
        let sums = learned.sums();
        assert_eq!((sums.hits, sums.stale, sums.hit_bytes, sums.saved_ns), (2, 1, 110, 12));
        assert_eq!(sums.misses, [0, 0, 1, 0, 0, 0]);
        assert_eq!(sums.refused.iter().sum::<u64>(), 1);
        assert_eq!(learned.ledger.lock().unwrap().open.len(), 2, "what is closed is not kept");
    }
}
