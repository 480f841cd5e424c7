//! A histogram of latencies with 64 buckets an octave: a quantile is off by less than 1 %.

/// Bits of a value kept below its leading one: 64 buckets an octave.
const PRECISION_BITS: u32 = 6;
const PER_OCTAVE: u64 = 1 << PRECISION_BITS;
/// Highest recordable value: 2^42 ns, 73 minutes. Larger ones count in the last bucket.
const MAX_BITS: u32 = 42;
const BUCKETS: usize = ((MAX_BITS - PRECISION_BITS + 1) as usize) << PRECISION_BITS;

/// Counts of values in nanoseconds. Plain memory, one writer; 19 KiB once something was recorded.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    max: u64,
    min: u64,
}

fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << MAX_BITS) - 1);
    if value < PER_OCTAVE {
        return value as usize;
    }
    let exponent = 63 - value.leading_zeros();
    let shift = exponent - PRECISION_BITS;
    let mantissa = (value >> shift) - PER_OCTAVE;
    (u64::from(shift + 1) * PER_OCTAVE + mantissa) as usize
}

/// Lowest value of the bucket and the lowest of the one after it.
fn bounds_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < PER_OCTAVE {
        return (bucket, bucket + 1);
    }
    let shift = bucket / PER_OCTAVE - 1;
    let low = (PER_OCTAVE + bucket % PER_OCTAVE) << shift;
    (low, low + (1 << shift))
}

impl Histogram {
    /// An empty histogram; memory comes with the first value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one value, in nanoseconds.
    pub fn record(&mut self, value_ns: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
            self.min = u64::MAX;
        }
        if let Some(slot) = self.counts.get_mut(bucket_of(value_ns)) {
            *slot += 1;
        }
        self.count += 1;
        self.sum += u128::from(value_ns);
        self.max = self.max.max(value_ns);
        self.min = self.min.min(value_ns);
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.counts.is_empty() {
            *self = other.clone();
            return;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.min = self.min.min(other.min);
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value recorded, exact; 0 when empty.
    pub fn max_ns(&self) -> u64 {
        self.max
    }

    /// The smallest value recorded, exact; 0 when empty.
    pub fn min_ns(&self) -> u64 {
        self.min
    }

    /// Arithmetic mean in nanoseconds, exact; 0 when empty.
    pub fn mean_ns(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed, in nanoseconds; 0 when empty.
    /// It is the middle of a bucket, kept within the exact smallest and largest values.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count);
        if rank == self.count {
            return self.max;
        }
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let (low, high) = bounds_of(bucket);
                return (low + (high - 1 - low) / 2).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// How many values lie in `low_ns..high_ns`, to the precision of a bucket; `u64::MAX` is beyond all.
    pub fn count_between(&self, low_ns: u64, high_ns: u64) -> u64 {
        let low = bucket_of(low_ns);
        let high = if high_ns == u64::MAX { BUCKETS } else { bucket_of(high_ns) };
        self.counts.iter().take(high).skip(low).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn every_value_lies_within_the_bounds_of_its_bucket() {
        let mut random = Random::new(3);
        for _ in 0..100_000 {
            let value = random.next_u64() >> (64 - MAX_BITS + random.below(36) as u32);
            let (low, high) = bounds_of(bucket_of(value));
            assert!((low..high).contains(&value), "{value} is not in {low}..{high}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_off_by_less_than_one_percent() {
        for seed in 0..5 {
            let mut random = Random::new(seed);
            let mut histogram = Histogram::new();
            let mut exact: Vec<u64> =
                (0..50_000).map(|_| (random.log_normal(5.0, 1.2) * 1e6) as u64).collect();
            exact.iter().for_each(|v| histogram.record(*v));
            exact.sort_unstable();
            for q in [0.01, 0.5, 0.9, 0.99, 0.999, 0.9999] {
                let want = exact[(q * 50_000_f64).ceil() as usize - 1] as f64;
                let got = histogram.quantile_ns(q) as f64;
                assert!((got / want - 1.0).abs() < 0.01, "seed {seed}, q {q}: {got} against {want}");
            }
        }
    }

    #[test]
    fn merging_equals_recording_into_one() {
        let (mut a, mut b, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for v in [1, 70, 5_000, 1_000_000] {
            a.record(v);
            both.record(v);
        }
        for v in [3, 9_000_000, u64::MAX] {
            b.record(v);
            both.record(v);
        }
        a.merge(&b);
        let mut empty = Histogram::new();
        empty.merge(&a);
        for h in [&a, &empty] {
            assert_eq!((h.count(), h.max_ns(), h.min_ns()), (7, u64::MAX, 1));
            assert_eq!(h.quantile_ns(0.5), both.quantile_ns(0.5));
        }
        assert_eq!((both.count_between(0, 2_000_000), both.count_between(0, u64::MAX)), (5, 7));
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let h = Histogram::new();
        assert_eq!((h.quantile_ns(0.99), h.max_ns(), h.count_between(0, 100)), (0, 0, 0));
    }
}
