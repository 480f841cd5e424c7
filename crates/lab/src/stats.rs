//! Pure statistics of rounds: medians, quartiles, paired ratios, imbalance.

use serde::Serialize;

/// A median with its quartiles, over `n` values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quartiles {
    /// A quarter of the values lies below.
    pub q1: f64,
    /// Half of the values lies below.
    pub median: f64,
    /// Three quarters of the values lie below.
    pub q3: f64,
    /// How many values there were.
    pub n: usize,
}

/// The value at share `q` of the sorted values, interpolated linearly; `None` without values. NaN is left out.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let position = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let low = sorted.get(position.floor() as usize)?;
    let high = sorted.get(position.ceil() as usize)?;
    Some(low + (high - low) * position.fract())
}

/// The middle value; `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Median and quartiles; `None` without values.
pub fn quartiles(values: &[f64]) -> Option<Quartiles> {
    let at = |q| quantile(values, q);
    let n = values.iter().filter(|v| !v.is_nan()).count();
    Some(Quartiles { q1: at(0.25)?, median: at(0.5)?, q3: at(0.75)?, n })
}

/// The ratio of each round's value to the reference of the same round. Rounds that lack one of the two, or
/// whose reference is not positive, give nothing: a ratio is never taken across rounds.
pub fn paired_ratios(values: &[Option<f64>], reference: &[Option<f64>]) -> Vec<f64> {
    let pairs = values.iter().zip(reference);
    pairs.filter_map(|(v, r)| Some((*v)? / (*r).filter(|r| *r > 0.0)?)).collect()
}

/// How unevenly work is spread: the largest share over the mean share. 1 is even, `n` is all on one.
pub fn imbalance(work: &[f64]) -> Option<f64> {
    let sum: f64 = work.iter().sum();
    let largest = work.iter().copied().reduce(f64::max)?;
    (sum > 0.0).then(|| largest * work.len() as f64 / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_known_values() {
        type Row<'a> = (&'a [f64], (f64, f64, f64));
        let table: [Row<'_>; 5] = [
            (&[5.0], (5.0, 5.0, 5.0)),
            (&[1.0, 3.0], (1.5, 2.0, 2.5)),
            (&[3.0, 1.0, 2.0], (1.5, 2.0, 2.5)),
            (&[4.0, 1.0, 3.0, 2.0, 5.0], (2.0, 3.0, 4.0)),
            (&[f64::NAN, 2.0, 4.0], (2.5, 3.0, 3.5)),
        ];
        for (values, (q1, median, q3)) in table {
            let got = quartiles(values).expect("there are values");
            assert_eq!((got.q1, got.median, got.q3), (q1, median, q3), "of {values:?}");
        }
        assert_eq!(quartiles(&[]), None);
        assert_eq!(median(&[f64::NAN]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_only() {
        let got = paired_ratios(
            &[Some(2.0), None, Some(9.0), Some(5.0), Some(1.0)],
            &[Some(4.0), Some(1.0), Some(3.0), None, Some(0.0)],
        );
        assert_eq!(got, [0.5, 3.0]);
    }

    #[test]
    fn the_median_ratio_is_not_the_ratio_of_medians() {
        let ratios =
            paired_ratios(&[Some(10.0), Some(40.0), Some(90.0)], &[Some(20.0), Some(50.0), Some(60.0)]);
        assert_eq!(median(&ratios), Some(0.8));
    }

    #[test]
    fn imbalance_is_one_when_even_and_n_when_all_on_one() {
        assert_eq!(imbalance(&[5.0, 5.0]), Some(1.0));
        assert_eq!(imbalance(&[8.0, 0.0]), Some(2.0));
        assert_eq!(imbalance(&[6.0, 2.0]), Some(1.5));
        assert_eq!(imbalance(&[0.0, 0.0]), None);
        assert_eq!(imbalance(&[]), None);
    }
}
