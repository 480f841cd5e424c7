//! What one arm did in one round: pure functions of what became of the requests and of what the replicas saw.

use std::collections::BTreeMap;
use std::time::Duration;

use super::caller::{End, Outcome};
use super::plan::Kind;
use super::scenario::Variant;
use super::trials::Estimate;
use crate::services::{ReplicasReport, ReplicasSpec};

/// Success is looked at in stretches of this.
const STRETCH: Duration = Duration::from_millis(250);

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
    pub(super) facts: BTreeMap<&'static str, f64>,
}

impl Sample {
    pub(super) fn new(variant: &Variant, outcomes: &[Outcome], replicas: ReplicasReport) -> Self {
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

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// The value that a share of the sorted values does not exceed; `None` without values.
pub(super) fn at_share(sorted_us: &[u32], share: f64) -> Option<f64> {
    let rank = (share * sorted_us.len() as f64).ceil() as usize;
    sorted_us.get(rank.clamp(1, sorted_us.len().max(1)) - 1).map(|value| f64::from(*value))
}

fn facts(variant: &Variant, outcomes: &[Outcome], replicas: &ReplicasReport) -> BTreeMap<&'static str, f64> {
    let mut facts = BTreeMap::new();
    if variant.arms.iter().any(|arm| arm.holdout.is_some()) {
        let took: Vec<u32> = outcomes.iter().map(|outcome| micros(outcome.latency)).collect();
        let Estimate { ms, error_ms } = Estimate::of(&took);
        facts.extend([("mean_ms", ms), ("mean_error_ms", error_ms)]);
    }
    let count = |which: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|o| which(o)).count() as f64;
    facts.insert("executed_twice", replicas.executed_twice as f64);
    facts.insert("unsafe_executed_twice", replicas.unsafe_executed_twice as f64);
    if outcomes.iter().any(|outcome| matches!(outcome.call.kind, Kind::Read(_))) {
        facts.insert("stale_own_reads", count(&|outcome| outcome.stale));
        facts
            .insert("failed_writes", count(&|outcome| outcome.call.kind.is_unsafe() && !outcome.end.is_ok()));
    }
    if replicas.with_deadline > 0 || outcomes.iter().any(|outcome| outcome.call.kind == Kind::Deadline) {
        facts.insert("with_deadline", replicas.with_deadline as f64 / replicas.copies.max(1) as f64);
        facts.insert("deadline_too_late", replicas.deadline_too_late as f64 / replicas.copies.max(1) as f64);
        facts.insert("worked_after_deadline_ms", replicas.worked_after_deadline_ms);
    }
    if let Some((from, until)) = variant.outage {
        let reads = outcomes.iter().filter(|outcome| !outcome.call.kind.is_unsafe());
        let recovery = recovery(reads, from, until, 0.999);
        facts.insert("recovery_s", recovery.as_secs_f64());
        facts.insert(
            "failed_idempotent",
            count(&|outcome| !outcome.call.kind.is_unsafe() && !outcome.end.is_ok()),
        );
        facts
            .insert("failed_writes", count(&|outcome| outcome.call.kind.is_unsafe() && !outcome.end.is_ok()));
    }
    if let [_, spike, _] = variant.load.phases[..] {
        overload(&mut facts, variant, spike.requests as f64 / spike.rate, outcomes);
    }
    facts
}

fn overload(facts: &mut BTreeMap<&'static str, f64>, variant: &Variant, spike_s: f64, outcomes: &[Outcome]) {
    let ReplicasSpec { workers, work, replicas, .. } = &variant.replicas;
    let capacity = (workers * replicas.len()) as f64 * 1e3 / work.mean_ms();
    let in_spike = || outcomes.iter().filter(|outcome| outcome.call.phase == 1);
    let share = |of: &[bool]| of.iter().filter(|ok| **ok).count() as f64 / of.len().max(1) as f64;
    let ok = in_spike().filter(|outcome| outcome.end.is_ok()).count() as f64;
    let critical: Vec<bool> =
        in_spike().filter(|outcome| outcome.call.critical).map(|outcome| outcome.end.is_ok()).collect();
    facts.insert("goodput", ok / (spike_s * capacity));
    facts.insert("critical_ok", share(&critical));
    let attempts: u32 = in_spike().map(|outcome| outcome.attempts).sum();
    facts.insert("attempts", f64::from(attempts) / in_spike().count().max(1) as f64);
    let mut accepted: Vec<u32> =
        in_spike().filter(|outcome| outcome.end.is_ok()).map(|outcome| micros(outcome.latency)).collect();
    accepted.sort_unstable();
    facts.insert("accepted_p50_ms", at_share(&accepted, 0.5).unwrap_or(f64::NAN) / 1e3);
    let after = outcomes.iter().filter(|outcome| outcome.call.phase == 2).map(|outcome| outcome.call.at);
    if let Some((from, until)) = after.clone().min().zip(after.max()) {
        facts.insert("recovery_s", recovery(outcomes.iter(), from, until, 0.95).as_secs_f64());
    }
}

/// How long after `from` the last stretch before `until` ends in which fewer than a share of the requests did well.
fn recovery<'a>(
    outcomes: impl Iterator<Item = &'a Outcome>,
    from: Duration,
    until: Duration,
    share: f64,
) -> Duration {
    let mut stretches: BTreeMap<u128, (u32, u32)> = BTreeMap::new();
    for outcome in outcomes.filter(|outcome| (from..until).contains(&outcome.call.at)) {
        let stretch = (outcome.call.at - from).as_micros() / STRETCH.as_micros();
        let (all, ok) = stretches.entry(stretch).or_default();
        *all += 1;
        *ok += u32::from(outcome.end.is_ok());
    }
    let bad = stretches.iter().rfind(|(_, (all, ok))| f64::from(*ok) < share * f64::from(*all));
    bad.map_or(Duration::ZERO, |(stretch, _)| STRETCH * (u32::try_from(*stretch).unwrap_or(u32::MAX - 1) + 1))
}

#[cfg(test)]
mod tests {
    use super::super::plan::Call;
    use super::*;

    fn outcome(at_ms: u64, ok: bool) -> Outcome {
        let at = Duration::from_millis(at_ms);
        let call = Call { at, id: at_ms, kind: Kind::Get, critical: false, phase: 0 };
        let end = if ok { End::Status(200) } else { End::Status(503) };
        Outcome { call, end, latency: Duration::ZERO, attempts: 1, late: Duration::ZERO, stale: false }
    }

    #[test]
    fn recovery_is_the_end_of_the_last_stretch_that_failed_too_many() {
        let of = |failed: &[u64], share| {
            let outcomes: Vec<Outcome> =
                (0..10_000).step_by(10).map(|at| outcome(at, !failed.contains(&at))).collect();
            recovery(outcomes.iter(), Duration::from_secs(1), Duration::from_secs(9), share).as_millis()
        };
        assert_eq!(of(&[], 0.999), 0);
        assert_eq!(of(&[500, 9_500], 0.999), 0, "neither before nor after");
        assert_eq!(of(&[1_000], 0.999), 250);
        assert_eq!(of(&[1_000, 3_240], 0.999), 2_250);
        assert_eq!(of(&[3_240], 0.95), 0, "one of 25 is borne");
        assert_eq!(of(&[3_230, 3_240], 0.95), 2_250);
    }

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
