//! What a run measured.

use crate::histogram::Histogram;

/// Share of the requests that only warm the world up.
const WARM_UP: usize = 10;

/// The figures of one run, or of several put together.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Latency of good and timed-out requests.
    pub latency: Histogram,
    /// Requests answered with a failure.
    pub failed: u64,
    /// Requests not answered in time.
    pub timed_out: u64,
    /// Attempts sent to each replica.
    pub sent_to: Vec<u64>,
    /// Attempts beyond the first of a request.
    pub extra: u64,
    /// Simulated time, ns.
    pub lasted: u64,
}

impl Outcome {
    pub(crate) fn new(replicas: usize) -> Self {
        Self {
            latency: Histogram::new(),
            failed: 0,
            timed_out: 0,
            sent_to: vec![0; replicas],
            extra: 0,
            lasted: 0,
        }
    }

    pub(crate) fn is_measured(&self, request: usize, total: usize) -> bool {
        request >= total / WARM_UP
    }

    pub(crate) fn sent(&mut self, replica: usize, again: bool) {
        self.sent_to[replica] += 1;
        self.extra += u64::from(again);
    }

    pub(crate) fn answered(&mut self, latency: u64, good: bool) {
        if good {
            self.latency.record(latency);
        } else {
            self.failed += 1;
        }
    }

    pub(crate) fn timed_out(&mut self, deadline: u64) {
        self.timed_out += 1;
        self.latency.record(deadline);
    }

    /// Adds another run of the same scenario.
    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.extra += other.extra;
        self.lasted += other.lasted;
        for (mine, theirs) in self.sent_to.iter_mut().zip(&other.sent_to) {
            *mine += theirs;
        }
    }

    /// A quantile of latency, ms.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        self.latency.quantile_ns(q) as f64 / 1e6
    }

    /// Mean latency, ms.
    pub fn mean_ms(&self) -> f64 {
        self.latency.mean_ns() / 1e6
    }

    /// Share of the measured requests that failed at once or timed out.
    pub fn failed_share(&self) -> f64 {
        let all = self.latency.count() + self.failed;
        (self.failed + self.timed_out) as f64 / (all as f64).max(1.0)
    }

    /// Share of the attempts that `of` selects by replica.
    pub fn sent_share(&self, of: impl Fn(usize) -> bool) -> f64 {
        let all: u64 = self.sent_to.iter().sum();
        let some: u64 = self.sent_to.iter().enumerate().filter(|(i, _)| of(*i)).map(|(_, n)| n).sum();
        some as f64 / (all as f64).max(1.0)
    }

    /// Attempts beyond the first, for each request.
    pub fn extra_share(&self) -> f64 {
        let all: u64 = self.sent_to.iter().sum();
        self.extra as f64 / ((all - self.extra) as f64).max(1.0)
    }
}
