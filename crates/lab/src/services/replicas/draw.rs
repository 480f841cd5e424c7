//! Service times from hashes: the same request takes the same time on the same replica whoever sends it there.

use std::time::Duration;

use super::spec::Work;
use crate::random::Random;

/// A service takes this at most, whatever is drawn.
const SERVICE_MS_MAX: f64 = 60_000.0;

/// One copy of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopyOf {
    pub(super) id: u64,
    pub(super) replica: usize,
    /// How many copies of it the replica has seen before.
    pub(super) attempt: u32,
}

/// How long a copy of a request is worked on by a healthy replica.
pub(super) fn service_time(seed: u64, work: Work, copy: CopyOf) -> Duration {
    let mut of_request = Random::new(mix(seed, copy.id));
    let own = (copy.replica as u64) << 32 | u64::from(copy.attempt);
    let mut of_copy = Random::new(mix(mix(seed ^ 0x636f_7079, copy.id), own));
    let ms = match work {
        Work::LogNormal { mean_ms, request_sigma, copy_sigma } => {
            let median = mean_ms / (0.5 * (request_sigma.powi(2) + copy_sigma.powi(2))).exp();
            of_request.log_normal(median, request_sigma) * of_copy.log_normal(1.0, copy_sigma)
        }
        Work::Bimodal { low_ms, high_ms, high_share } => {
            if of_request.unit() < high_share {
                high_ms
            } else {
                low_ms
            }
        }
    };
    Duration::try_from_secs_f64(ms.min(SERVICE_MS_MAX) / 1e3).unwrap_or(Duration::ZERO)
}

/// A number from 0 to 1 that belongs to a copy: decides whether a fault of a share of requests hits it.
pub(super) fn lot(seed: u64, copy: CopyOf) -> f64 {
    let own = (copy.replica as u64) << 32 | u64::from(copy.attempt);
    Random::new(mix(mix(seed ^ 0x006c_6f74, copy.id), own)).unit()
}

fn mix(seed: u64, value: u64) -> u64 {
    Random::new(seed ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(id: u64, replica: usize, attempt: u32) -> CopyOf {
        CopyOf { id, replica, attempt }
    }

    fn ms(work: Work, copy: CopyOf) -> f64 {
        service_time(7, work, copy).as_secs_f64() * 1e3
    }

    #[test]
    fn the_same_copy_always_takes_the_same_time_and_another_copy_another() {
        let first = ms(Work::USUAL, copy(5, 1, 0));
        assert_eq!(first, ms(Work::USUAL, copy(5, 1, 0)));
        for other in [copy(6, 1, 0), copy(5, 2, 0), copy(5, 1, 1)] {
            assert_ne!(first, ms(Work::USUAL, other), "{other:?}");
        }
    }

    #[test]
    fn the_mean_is_20_ms_and_two_copies_share_half_of_their_spread() {
        let n = 100_000;
        let pairs: Vec<(f64, f64)> = (0..n)
            .map(|id| (ms(Work::USUAL, copy(id, 0, 0)).ln(), ms(Work::USUAL, copy(id, 1, 0)).ln()))
            .collect();
        let mean_ms = pairs.iter().map(|(a, _)| a.exp()).sum::<f64>() / n as f64;
        assert!((mean_ms - 20.0).abs() < 0.3, "{mean_ms}");
        let mean = pairs.iter().map(|(a, b)| a + b).sum::<f64>() / (2 * n) as f64;
        let shared = pairs.iter().map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / n as f64;
        let whole = pairs.iter().map(|(a, _)| (a - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((shared / whole - 0.5).abs() < 0.02, "correlation {}", shared / whole);
        assert!((whole - 0.5).abs() < 0.02, "variance {whole}");
    }

    #[test]
    fn a_tenth_of_the_bimodal_requests_is_dear_for_every_copy() {
        let dear = (0..20_000).filter(|id| ms(Work::BIMODAL, copy(*id, 0, 0)) > 100.0).count();
        assert!((1_850..2_150).contains(&dear), "{dear}");
        for id in 0..100 {
            assert_eq!(ms(Work::BIMODAL, copy(id, 0, 0)), ms(Work::BIMODAL, copy(id, 3, 2)));
        }
    }

    #[test]
    fn lots_are_even() {
        let hit = (0..20_000).filter(|id| lot(7, copy(*id, 0, 0)) < 0.5).count();
        assert!((9_800..10_200).contains(&hit), "{hit}");
    }
}
