//! What a scenario is about beside latency: pure functions of what became of the requests and of what the replicas saw.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::caller::Outcome;
use super::plan::Kind;
use super::sample::{at_share, micros};
use super::scenario::Variant;
use super::trials::Estimate;
use crate::services::{ReplicasReport, ReplicasSpec, STRETCH};

/// Facts by name.
pub(super) type Facts = BTreeMap<&'static str, f64>;

/// Share of the requests in a region that is the nearest again.
const AT_HOME: f64 = 0.9;
/// After this a region that is back has been found, and taken into use.
const SETTLED: Duration = Duration::from_secs(10);
/// How long those that come back together would do so.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// What a scenario is about, beside latency.
pub(super) fn facts(variant: &Variant, outcomes: &[Outcome], replicas: &ReplicasReport) -> Facts {
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
    if replicas.with_deadline > 0 || outcomes.iter().any(|outcome| outcome.call.kind.has_deadline()) {
        facts.insert("with_deadline", replicas.with_deadline as f64 / replicas.copies.max(1) as f64);
        facts.insert("deadline_too_late", replicas.deadline_too_late as f64 / replicas.copies.max(1) as f64);
        facts.insert("worked_after_deadline_ms", replicas.worked_after_deadline_ms);
    }
    if let Some((from, until)) = variant.outage {
        let found = if variant.near < variant.replicas.replicas.len() {
            region_outage(variant, from..until, outcomes, replicas)
        } else {
            service_outage(variant, from..until, outcomes, replicas)
        };
        facts.extend(found);
    }
    if let [_, spike, _] = variant.load.phases[..] {
        overload(&mut facts, variant, spike.requests as f64 / spike.rate, outcomes);
    }
    facts
}

/// A region dies, and comes back.
fn region_outage(
    variant: &Variant,
    lost: Range<Duration>,
    outcomes: &[Outcome],
    replicas: &ReplicasReport,
) -> Facts {
    let count = |which: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|o| which(o)).count() as f64;
    let reads = outcomes.iter().filter(|outcome| !outcome.call.kind.is_unsafe());
    let end = last_due(outcomes);
    let p99_ms = |due: Range<Duration>| {
        let mut took: Vec<u32> = outcomes
            .iter()
            .filter(|outcome| due.contains(&outcome.call.at))
            .map(|outcome| micros(outcome.latency))
            .collect();
        took.sort_unstable();
        at_share(&took, 0.99).unwrap_or(f64::NAN) / 1e3
    };
    let near_and_far = |from: Duration| {
        let of = |which| replicas.arrivals(which, from..from + STRETCH);
        (of(0..variant.near), of(variant.near..variant.replicas.replicas.len()))
    };
    Facts::from([
        ("recovery_s", recovery(reads, lost.start, lost.end, 0.999).as_secs_f64()),
        ("failed_idempotent", count(&|outcome| !outcome.call.kind.is_unsafe() && !outcome.end.is_ok())),
        ("failed_writes", count(&|outcome| outcome.call.kind.is_unsafe() && !outcome.end.is_ok())),
        ("home_again_s", home_again(lost.end, end, near_and_far).as_secs_f64()),
        ("p99_before_ms", p99_ms(Duration::ZERO..lost.start)),
        ("p99_after_ms", p99_ms(lost.end + SETTLED..end)),
    ])
}

/// How long after `from` the last stretch before `until` ends in which too few requests went to where they belong.
fn home_again(from: Duration, until: Duration, near_and_far: impl Fn(Duration) -> (u64, u64)) -> Duration {
    let stretches = (until.saturating_sub(from).as_millis() / STRETCH.as_millis()) as u32;
    let is_away = |n: &u32| {
        let (near, far) = near_and_far(from + STRETCH * *n);
        (near as f64) < AT_HOME * (near + far) as f64
    };
    (0..stretches).rev().find(is_away).map_or(Duration::ZERO, |n| STRETCH * (n + 1))
}

/// All replicas fail for a while: what is sent to them meanwhile, and when they are back.
fn service_outage(
    variant: &Variant,
    failing: Range<Duration>,
    outcomes: &[Outcome],
    replicas: &ReplicasReport,
) -> Facts {
    let meanwhile = || outcomes.iter().filter(|outcome| failing.contains(&outcome.call.at));
    let asked: u32 = meanwhile().map(|outcome| outcome.attempts).sum();
    let all = 0..variant.replicas.replicas.len();
    let sent = replicas.arrivals(all.clone(), failing.clone());
    let ok = meanwhile().filter(|outcome| outcome.end.is_ok()).count();
    let mut failed: Vec<u32> = meanwhile()
        .filter(|outcome| !outcome.end.is_ok())
        .map(|outcome| micros(outcome.latency) / outcome.attempts.max(1))
        .collect();
    failed.sort_unstable();
    let rate = variant.load.phases.first().map_or(1.0, |phase| phase.rate);
    let peak = (0..AFTERWARDS.as_millis() / STRETCH.as_millis())
        .map(|n| failing.end + STRETCH * n as u32)
        .map(|from| replicas.arrivals(all.clone(), from..from + STRETCH))
        .max();
    Facts::from([
        ("sent_to_asked", sent as f64 / f64::from(asked.max(1))),
        ("ok_meanwhile", ok as f64 / meanwhile().count().max(1) as f64),
        ("failed_attempt_p50_ms", at_share(&failed, 0.5).unwrap_or(0.0) / 1e3),
        ("recovery_s", recovery(outcomes.iter(), failing.end, last_due(outcomes), 0.95).as_secs_f64()),
        ("peak_afterwards", peak.unwrap_or(0) as f64 / (rate * STRETCH.as_secs_f64())),
    ])
}

fn last_due(outcomes: &[Outcome]) -> Duration {
    outcomes.iter().map(|outcome| outcome.call.at).max().unwrap_or_default()
}

fn overload(facts: &mut Facts, variant: &Variant, spike_s: f64, outcomes: &[Outcome]) {
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
    use super::super::caller::End;
    use super::super::plan::Call;
    use super::*;

    fn outcome(at_ms: u64, ok: bool) -> Outcome {
        let at = Duration::from_millis(at_ms);
        let call = Call { at, id: at_ms, kind: Kind::Get, critical: false, direct: false, phase: 0 };
        let end = if ok { End::Status(200) } else { End::Status(503) };
        Outcome { call, end, latency: Duration::ZERO, attempts: 1, late: Duration::ZERO, stale: false }
    }

    #[test]
    fn a_region_is_home_again_after_the_last_stretch_that_went_elsewhere() {
        let second = Duration::from_secs(1);
        let of = |near: &[u64]| {
            let near_and_far = |from: Duration| {
                let stretch = ((from - 5 * second).as_millis() / STRETCH.as_millis()) as usize;
                (near[stretch], 100 - near[stretch])
            };
            home_again(5 * second, 6 * second, near_and_far).as_millis()
        };
        assert_eq!([of(&[90; 4]), of(&[0, 0, 89, 90]), of(&[0; 4])], [0, 750, 1_000]);
        assert_eq!(of(&[100, 89, 100, 100]), 500, "it has to stay");
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
}
