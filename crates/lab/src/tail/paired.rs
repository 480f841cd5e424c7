//! Ratios of pairs, and how sure they are: the bootstrap's interval of their median.

use serde::Serialize;

use crate::random::Random;
use crate::stats::median;

const RESAMPLES: usize = 2_000;

/// A ratio over rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub median: f64,
    /// The 95 % interval begins here.
    pub low: f64,
    /// And ends here.
    pub high: f64,
    /// Rounds.
    pub n: usize,
}

/// The median of the ratios with its 95 % interval; `None` without ratios.
pub(super) fn ratio(ratios: &[f64], seed: u64) -> Option<Ratio> {
    let middle = median(ratios)?;
    let mut random = Random::new(seed);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn: Vec<f64> = (0..ratios.len())
                .filter_map(|_| ratios.get(random.below(ratios.len() as u64) as usize).copied())
                .collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |share: f64| medians.get((share * (medians.len() - 1) as f64).round() as usize).copied();
    Some(Ratio { median: middle, low: at(0.025)?, high: at(0.975)?, n: ratios.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_truth_in_about_95_of_100_runs() {
        let mut random = Random::new(9);
        let mut held = 0;
        for run in 0..60 {
            let ratios: Vec<f64> = (0..25).map(|_| random.log_normal(1.03, 0.1)).collect();
            let found = ratio(&ratios, run).expect("there are ratios");
            assert!(found.low <= found.median && found.median <= found.high);
            held += usize::from(found.low <= 1.03 && 1.03 <= found.high);
        }
        assert!((52..=59).contains(&held), "{held} of 60");
    }

    #[test]
    fn nothing_comes_of_nothing_and_one_round_is_sure_of_itself_only() {
        assert_eq!(ratio(&[], 1), None);
        assert_eq!(ratio(&[1.5], 1), Some(Ratio { median: 1.5, low: 1.5, high: 1.5, n: 1 }));
    }
}
