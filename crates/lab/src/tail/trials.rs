//! What the hold-outs of an arm say that a technique saves, and how sure that is: beside what two arms say, one with the technique
//! and one without.

use std::collections::BTreeMap;

/// Half of the 95 % interval of a mean, in standard errors.
const SURE: f64 = 1.96;
/// The metric that has both sides.
const METRIC: &str = "unlag_trial_duration_seconds";

/// Requests that a technique acted on, or that passed it by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Side {
    count: f64,
    mean_ms: f64,
    variance: f64,
}

/// A mean, or a difference of two, and half of its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) ms: f64,
    pub(super) error_ms: f64,
}

impl Estimate {
    /// Of sorted latencies.
    pub(super) fn of(latencies_us: &[u32]) -> Self {
        let count = latencies_us.len().max(1) as f64;
        let ms = |us: u32| f64::from(us) / 1e3;
        let mean = latencies_us.iter().map(|us| ms(*us)).sum::<f64>() / count;
        let variance = latencies_us.iter().map(|us| (ms(*us) - mean).powi(2)).sum::<f64>() / count;
        Self { ms: mean, error_ms: SURE * (variance / count).sqrt() }
    }

    /// As a row of the table has it.
    pub(super) fn from_facts(facts: &BTreeMap<String, f64>, ms: &str, error_ms: &str) -> Option<Self> {
        let fact = |name: &str| facts.get(name).copied();
        Some(Self { ms: fact(ms)?, error_ms: fact(error_ms)? })
    }

    /// How much less `other` is.
    pub(super) fn minus(self, other: Self) -> Self {
        Self { ms: self.ms - other.ms, error_ms: self.error_ms.hypot(other.error_ms) }
    }

    /// Whether the two may be the same.
    pub(super) fn agrees_with(self, other: Self) -> bool {
        let apart = self.minus(other);
        apart.ms.abs() <= apart.error_ms
    }
}

/// What a technique saves by what `/metrics` says of those that were held out of it; `None` where nobody was.
pub(super) fn saved(metrics: &str, technique: &str) -> Option<Estimate> {
    let of = |held_out| {
        let side = side(metrics, technique, held_out);
        (side.count > 0.0)
            .then(|| Estimate { ms: side.mean_ms, error_ms: SURE * (side.variance / side.count).sqrt() })
    };
    Some(of("true")?.minus(of("false")?))
}

/// Puts the buckets of one side together; what is inside a bucket counts as its middle for the variance.
fn side(metrics: &str, technique: &str, held_out: &str) -> Side {
    let (mut buckets, mut count, mut sum_s): (BTreeMap<u64, f64>, f64, f64) = Default::default();
    for line in metrics.lines() {
        let Some((series, value)) = line.strip_prefix(METRIC).and_then(|rest| rest.rsplit_once(' ')) else {
            continue;
        };
        let has = |label: &str, value: &str| series.contains(&format!("{label}=\"{value}\""));
        let Ok(value) = value.parse::<f64>() else { continue };
        if !has("technique", technique) || !has("held_out", held_out) {
            continue;
        }
        match series.split('{').next() {
            Some("_count") => count += value,
            Some("_sum") => sum_s += value,
            Some("_bucket") => {
                let bound =
                    series.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse::<f64>().ok());
                if let Some(bound_s) = bound.filter(|bound| bound.is_finite()) {
                    *buckets.entry((bound_s * 1e9) as u64).or_default() += value;
                }
            }
            _ => {}
        }
    }
    let mean_ms = sum_s * 1e3 / count.max(1.0);
    let (mut below, mut lower_ms, mut squares) = (0.0, 0.0, 0.0);
    for (bound_ns, cumulative) in buckets {
        let upper_ms = bound_ns as f64 / 1e6;
        squares += (cumulative - below) * ((lower_ms + upper_ms) / 2.0 - mean_ms).powi(2);
        (below, lower_ms) = (cumulative, upper_ms);
    }
    squares += (count - below).max(0.0) * (lower_ms - mean_ms).powi(2);
    Side { count, mean_ms, variance: squares / count.max(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use unlag_engine::holdout::draws;
    use unlag_record::{RequestId, Technique};

    #[test]
    fn both_sides_are_read_from_the_metrics() {
        let metrics = "\
# TYPE unlag_trial_duration_seconds histogram
unlag_trial_duration_seconds_bucket{route=\"all\",technique=\"hedge\",held_out=\"true\",le=\"0.01\"} 50
unlag_trial_duration_seconds_bucket{route=\"all\",technique=\"hedge\",held_out=\"true\",le=\"0.03\"} 100
unlag_trial_duration_seconds_bucket{route=\"all\",technique=\"hedge\",held_out=\"true\",le=\"+Inf\"} 100
unlag_trial_duration_seconds_sum{route=\"all\",technique=\"hedge\",held_out=\"true\"} 1.25
unlag_trial_duration_seconds_count{route=\"all\",technique=\"hedge\",held_out=\"true\"} 100
unlag_trial_duration_seconds_sum{route=\"all\",technique=\"hedge\",held_out=\"false\"} 19
unlag_trial_duration_seconds_count{route=\"all\",technique=\"hedge\",held_out=\"false\"} 1900
unlag_trial_duration_seconds_sum{route=\"all\",technique=\"cache\",held_out=\"true\"} 700
unlag_trial_duration_seconds_count{route=\"all\",technique=\"cache\",held_out=\"true\"} 7
";
        assert_eq!(side(metrics, "hedge", "true"), Side { count: 100.0, mean_ms: 12.5, variance: 56.25 });
        let saved = saved(metrics, "hedge").expect("somebody was held out");
        assert!((saved.ms - 2.5).abs() < 1e-9, "{saved:?}");
        assert_eq!(super::saved(metrics, "balance"), None);
    }

    /// Latencies with a long tail, of which a technique takes the longest away, or nothing.
    fn latencies(random: &mut Random, saves: bool) -> (f64, f64) {
        let with = random.log_normal(16.0, 0.7);
        let without = if saves && random.unit() < 0.02 { with + 400.0 } else { with };
        (with, without)
    }

    #[test]
    fn what_hold_outs_say_holds_the_truth_in_about_95_of_100_replays_and_no_gain_is_none() {
        for (saves, requests) in [(true, 40_000_u64), (false, 20_000)] {
            let (mut held_truth, mut said_gain) = (0, 0);
            for key in 0..200 {
                let mut random = Random::new(3);
                let (mut sides, mut truth) = ([Vec::new(), Vec::new()], 0.0);
                for id in 0..requests {
                    let (with, without) = latencies(&mut random, saves);
                    truth += (without - with) / requests as f64;
                    let is_held = draws(key, RequestId(u128::from(id)), Technique::Hedge, 0.05);
                    let took = if is_held { without } else { with };
                    sides[usize::from(is_held)].push((took * 1e3) as u32);
                }
                let said = Estimate::of(&sides[1]).minus(Estimate::of(&sides[0]));
                held_truth += u32::from(said.agrees_with(Estimate { ms: truth, error_ms: 0.0 }));
                said_gain += u32::from(said.ms > said.error_ms);
            }
            assert!((182..=198).contains(&held_truth), "{held_truth} of 200 where saves is {saves}");
            assert!(
                if saves { said_gain > 195 } else { said_gain <= 10 },
                "{said_gain} of 200 say that it saves"
            );
        }
    }
}
