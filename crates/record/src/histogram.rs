//! Latencies in log-linear buckets: 16 an octave from about a microsecond to more than an hour, so that any
//! quantile is within 1/32 of the truth and two histograms merge by adding. One plain form with every question
//! one may ask, and one form that a single thread writes while others read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values are counted in units of 2^6 = 64 ns: below 1,024 ns the buckets are 64 ns wide, above they are a
/// sixteenth of their octave.
const UNIT_BITS: u32 = 6;
/// log2 of the buckets per octave.
const OCTAVE_BITS: u32 = 4;
/// Values of 2^42 ns (73 minutes) and more share the last bucket.
const MAX_BITS: u32 = 42;
/// How many buckets there are: one linear run and one run for each octave.
pub(crate) const BUCKETS: usize = ((MAX_BITS - UNIT_BITS - OCTAVE_BITS + 1) as usize) << OCTAVE_BITS;

/// The bucket of a value.
#[inline]
const fn index_of(ns: u64) -> usize {
    let value = ns >> UNIT_BITS;
    if value < 1 << OCTAVE_BITS {
        return value as usize;
    }
    let exponent = value.ilog2();
    if exponent >= MAX_BITS - UNIT_BITS {
        return BUCKETS - 1;
    }
    let octave = exponent - OCTAVE_BITS;
    ((octave as usize) << OCTAVE_BITS) + (value >> octave) as usize
}

/// The smallest value of a bucket; for `BUCKETS` itself, the end of the last one.
const fn lower_ns(index: usize) -> u64 {
    let run = 1 << OCTAVE_BITS;
    if index < run {
        return (index as u64) << UNIT_BITS;
    }
    let octave = (index >> OCTAVE_BITS) - 1;
    let value = (index & (run - 1)) + run;
    ((value as u64) << octave) << UNIT_BITS
}

/// A histogram of durations in nanoseconds that one thread owns.
///
/// Quantiles are within 1/32 of the true value between 1 µs and 73 minutes, within 32 ns below; above that, all
/// values count as 73 minutes.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    sum_ns: u64,
}

/// What [`Registry::snapshot`](crate::Registry::snapshot) hands out: a plain histogram, detached from its writer.
pub type HistogramSnapshot = Histogram;

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into_boxed_slice(), sum_ns: 0 }
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(index_of(ns)) {
            *count += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Adds everything that `other` counted, as if it had been recorded here.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// What was counted since `earlier`, a former state of the same histogram.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let counts = self.counts.iter().zip(&earlier.counts);
        Histogram {
            counts: counts.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|&count| count == 0)
    }

    /// The exact sum of all durations.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The exact mean, 0 when empty.
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count()).unwrap_or(0)
    }

    /// The value that a share `quantile` (0 to 1) of the durations does not exceed: the middle of the bucket that
    /// holds it. 0 when empty.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let count = self.count();
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (index, bucket) in self.counts.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return u64::midpoint(lower_ns(index), lower_ns(index + 1));
            }
        }
        0
    }

    /// The buckets that hold something, smallest first: exclusive upper bound in nanoseconds and count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(index, count)| (lower_ns(index + 1), *count))
    }

    /// How many durations are at most `bound_ns`. A bucket that the bound cuts counts by the share below it, so
    /// the answer grows with the bound and never shrinks over time.
    pub fn cumulative_at(&self, bound_ns: u64) -> u64 {
        let mut total = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            let (lower, upper) = (lower_ns(index), lower_ns(index + 1));
            if upper <= bound_ns {
                total += count;
            } else {
                let below = u128::from(bound_ns.saturating_sub(lower)) * u128::from(count);
                return total + u64::try_from(below / u128::from(upper - lower)).unwrap_or(count);
            }
        }
        total
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quantiles = [self.quantile(0.5), self.quantile(0.99)];
        write!(
            f,
            "Histogram {{ count: {}, p50_ns: {}, p99_ns: {} }}",
            self.count(),
            quantiles[0],
            quantiles[1]
        )
    }
}

/// The same buckets for one writing thread and any number of readers: a load and a store instead of a locked
/// addition, which is why there must be one writer only.
pub(crate) struct SingleWriter {
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl SingleWriter {
    /// What one of these takes in memory.
    pub(crate) const BYTES: usize = BUCKETS * size_of::<u64>() + size_of::<SingleWriter>();

    pub(crate) fn new() -> Self {
        SingleWriter { counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum_ns: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn record(&self, ns: u64) {
        if let Some(count) = self.counts.get(index_of(ns)) {
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
        self.sum_ns.store(self.sum_ns.load(Relaxed).saturating_add(ns), Relaxed);
    }

    pub(crate) fn add_to(&self, into: &mut Histogram) {
        for (total, count) in into.counts.iter_mut().zip(&self.counts) {
            *total += count.load(Relaxed);
        }
        into.sum_ns = into.sum_ns.saturating_add(self.sum_ns.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_duration() -> impl Strategy<Value = u64> {
        (0u32..MAX_BITS, any::<u64>()).prop_map(|(bits, noise)| (1 << bits) + noise % (1 << bits))
    }

    fn filled(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|&ns| histogram.record(ns));
        histogram
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_thirty_second_of_the_true_one(
            mut values in prop::collection::vec(any_duration(), 1..300),
            quantile in 0.0f64..=1.0,
        ) {
            let found = filled(&values).quantile(quantile);
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).max(1);
            let truth = values[rank - 1];
            prop_assert!(found.abs_diff(truth) <= (truth / 32).max(32), "found {found}, true {truth}");
        }

        #[test]
        fn merging_equals_recording_everything_in_one(
            left in prop::collection::vec(any::<u64>().prop_map(|ns| ns >> 8), 0..100),
            right in prop::collection::vec(any_duration(), 0..100),
        ) {
            let mut merged = filled(&left);
            merged.merge(&filled(&right));
            let all = filled(&[left.clone(), right.clone()].concat());
            prop_assert_eq!(&merged, &all);
            prop_assert_eq!(merged.since(&filled(&left)), filled(&right));
        }

        #[test]
        fn cumulative_counts_grow_with_the_bound_and_reach_the_count(
            values in prop::collection::vec(any_duration(), 1..200),
            mut bounds in prop::collection::vec(any_duration(), 1..20),
        ) {
            let histogram = filled(&values);
            bounds.sort_unstable();
            let counts: Vec<u64> = bounds.iter().map(|&bound| histogram.cumulative_at(bound)).collect();
            prop_assert!(counts.is_sorted());
            for (bound, count) in bounds.iter().zip(counts) {
                let sure = values.iter().filter(|&&ns| ns + ns / 16 + 64 < *bound).count() as u64;
                let possible = values.iter().filter(|&&ns| ns <= bound + bound / 16 + 64).count() as u64;
                prop_assert!((sure..=possible).contains(&count), "{count} not in {sure}..={possible}");
            }
            prop_assert_eq!(histogram.cumulative_at(u64::MAX), values.len() as u64);
        }

        #[test]
        fn the_concurrent_form_counts_what_the_plain_one_counts(values in prop::collection::vec(any_duration(), 0..100)) {
            let concurrent = SingleWriter::new();
            values.iter().for_each(|&ns| concurrent.record(ns));
            let mut copy = Histogram::new();
            concurrent.add_to(&mut copy);
            prop_assert_eq!(copy, filled(&values));
        }
    }

    #[test]
    fn buckets_touch_without_gap_or_overlap() {
        for index in 0..BUCKETS {
            assert_eq!(index_of(lower_ns(index)), index);
            assert_eq!(index_of(lower_ns(index + 1) - 1), index);
        }
        assert_eq!(lower_ns(BUCKETS), 1 << MAX_BITS);
    }

    #[test]
    fn what_is_longer_than_the_range_stays_in_the_last_bucket() {
        let histogram = filled(&[1 << MAX_BITS, u64::MAX]);
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(1 << MAX_BITS, 2)]);
        assert_eq!(histogram.sum_ns(), u64::MAX);
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let empty = Histogram::new();
        assert_eq!(
            (empty.quantile(0.5), empty.count(), empty.mean_ns(), empty.cumulative_at(5)),
            (0, 0, 0, 0)
        );
        assert!(empty.is_empty());
    }
}
