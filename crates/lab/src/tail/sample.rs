//! What one arm did in one round: pure functions of what became of the requests and of what the replicas saw.

use std::collections::BTreeMap;
use std::time::Duration;

use super::caller::{End, Outcome};
use super::facts::{Facts, facts};
use super::scenario::Variant;
use crate::services::ReplicasReport;

#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Share of the machine that the hypervisor took meanwhile.
    pub(super) steal: f64,
    /// Share of the machine that programs took which have no part in this.
    pub(super) foreign: f64,
    /// Share of their core that callers and replicas used.
    pub(super) load_core: f64,
    pub(super) offered: u64,
    /// How requests ended that did not end well.
    pub(super) errors: BTreeMap<String, u64>,
    /// Of what was answered well or timed out, sorted, in microseconds. A refusal is an error, not a fast answer.
    pub(super) latencies_us: Vec<u32>,
    /// 99 % of the requests were sent no later than this after they were due: the error of the clock's start.
    pub(super) late_p99_us: f64,
    /// CPU time of the proxies for one request.
    pub(super) cpu_us: f64,
    pub(super) replicas: ReplicasReport,
    /// What the scenario is about, beside latency.
    pub(super) facts: Facts,
}

impl Sample {
    pub(super) fn new(variant: &Variant, outcomes: &[Outcome], replicas: ReplicasReport) -> Self {
        // What goes to the replicas past the proxy is load, and no more.
        let proxied: Vec<Outcome> = outcomes.iter().filter(|outcome| !outcome.call.direct).copied().collect();
        let outcomes = proxied.as_slice();
        let mut errors = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| !outcome.end.is_ok()) {
            *errors.entry(outcome.end.name()).or_default() += 1;
        }
        let timed = outcomes.iter().filter(|outcome| outcome.end.is_ok() || outcome.end == End::Timeout);
        let mut latencies_us: Vec<u32> = timed.map(|outcome| micros(outcome.latency)).collect();
        latencies_us.sort_unstable();
        let mut late_us: Vec<u32> = outcomes.iter().map(|outcome| micros(outcome.late)).collect();
        late_us.sort_unstable();
        Self {
            offered: outcomes.len() as u64,
            errors,
            latencies_us,
            late_p99_us: at_share(&late_us, 0.99).unwrap_or(0.0),
            facts: facts(variant, outcomes, &replicas),
            replicas,
            ..Self::default()
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Share of the requests that reached one of these replicas.
    pub(super) fn share(&self, replicas: &[usize]) -> f64 {
        replicas.iter().map(|replica| self.replicas.share(*replica)).sum()
    }
}

pub(super) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// The value that a share of the sorted values does not exceed; `None` without values.
pub(super) fn at_share(sorted_us: &[u32], share: f64) -> Option<f64> {
    let rank = (share * sorted_us.len() as f64).ceil() as usize;
    sorted_us.get(rank.clamp(1, sorted_us.len().max(1)) - 1).map(|value| f64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_at_a_share_is_the_one_that_so_many_do_not_exceed() {
        let values: Vec<u32> = (1..=1_000).collect();
        assert_eq!(
            [0.5, 0.99, 0.999, 1.0].map(|q| at_share(&values, q)),
            [500.0, 990.0, 999.0, 1_000.0].map(Some)
        );
        assert_eq!(at_share(&[], 0.5), None);
    }
}
