//! Where requests to an upstream with several regions went against the cost of their endpoints, and why: counted for whoever
//! looks, over all plans.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a request left the nearest region, or was kept from where it would have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// Away from the nearest region, which was busy.
    Spilled,
    /// Not away from it, although it was busy: too many had left.
    KeptAtHome,
    /// To the primary, as it changes something.
    Write,
    /// To the primary, as its caller had just written.
    ReadAfterWrite,
    /// To the primary, once a replica had said that only that can answer.
    Replayed,
}

impl Went {
    /// All of them.
    pub const ALL: [Went; 5] =
        [Went::Spilled, Went::KeptAtHome, Went::Write, Went::ReadAfterWrite, Went::Replayed];
}

/// How many went so.
#[derive(Debug, Default)]
pub struct WentCounts([AtomicU64; Went::ALL.len()]);

impl WentCounts {
    /// One more.
    pub fn count(&self, went: Went) {
        if let Some(count) = self.0.get(went as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// So many.
    pub fn of(&self, went: Went) -> u64 {
        self.0.get(went as usize).map_or(0, |count| count.load(Relaxed))
    }
}
