//! How long answers take: a mean that follows, and a tail out of buckets that forget.

use std::time::Duration;

/// Buckets that grow by a quarter of an octave from 16 µs: up to a second in 64.
const BUCKETS: usize = 64;

/// Answers after which all counts are halved, so that the tail is that of the last few thousand.
const HALVE_AT: u32 = 4096;

/// A figure per server, written by whoever gets an answer.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    mean_us: f64,
    buckets: [u32; BUCKETS],
    total: u32,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { mean_us: 0.0, buckets: [0; BUCKETS], total: 0 }
    }
}

impl Latency {
    /// Takes one answer in.
    pub(crate) fn record(&mut self, taken: Duration) {
        let micros = taken.as_secs_f64() * 1e6;
        self.mean_us = if self.total == 0 { micros } else { self.mean_us + (micros - self.mean_us) / 16.0 };
        if let Some(count) = self.buckets.get_mut(bucket(micros)) {
            *count += 1;
            self.total += 1;
        }
        if self.total >= HALVE_AT {
            for count in &mut self.buckets {
                *count /= 2;
            }
            self.total = self.buckets.iter().sum();
        }
    }

    /// The mean, the last sixteen answers weighing most.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.mean_us / 1e6)
    }

    /// What 95 of 100 answers stay below; nothing before the first.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let mut above = self.total.checked_mul(5)? / 100;
        for (at, count) in self.buckets.iter().enumerate().rev() {
            if *count > above {
                return Some(Duration::from_secs_f64(upper(at) / 1e6));
            }
            above -= count;
        }
        None
    }
}

fn bucket(micros: f64) -> usize {
    let quarter_octaves = (micros / 16.0).max(1.0).log2() * 4.0;
    (quarter_octaves as usize).min(BUCKETS - 1)
}

fn upper(bucket: usize) -> f64 {
    16.0 * ((bucket + 1) as f64 / 4.0).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_known_to_a_quarter_octave_and_follows_a_change() {
        let mut latency = Latency::default();
        assert_eq!(latency.p95(), None);
        for round in 0..2000 {
            latency.record(Duration::from_micros(if round % 10 == 0 { 2000 } else { 100 }));
        }
        let p95 = latency.p95().unwrap().as_micros();
        assert!((2000..2400).contains(&p95), "{p95}");
        for _ in 0..40_000 {
            latency.record(Duration::from_micros(100));
        }
        assert!(latency.p95().unwrap() < Duration::from_micros(130), "{:?}", latency.p95());
        assert!(latency.mean() < Duration::from_micros(101));
    }
}
