//! How routes, durations and requests look in JSON. Names have their unit last; a duration in microseconds may
//! have decimals, so that the phases of a request add up to its total.

use crate::explain::{Baseline, Reason, Setting, culprit, explain, reasons as why_all, sentence};
use crate::history::{Totals, Window};
use serde_json::{Value, json};
use std::time::Duration;
use unlag_record::{Candidate, Choice, Histogram, Phase, Recent, Refusal, Snapshot, Technique};

/// Below this, a rate would be noise.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

/// The usual quantiles, the mean and the count of durations.
pub(crate) fn durations(histogram: &Histogram) -> Value {
    json!({
        "count": histogram.count(),
        "mean_us": us(histogram.mean_ns()),
        "p50_us": us(histogram.quantile(0.5)),
        "p90_us": us(histogram.quantile(0.9)),
        "p99_us": us(histogram.quantile(0.99)),
        "p999_us": us(histogram.quantile(0.999)),
    })
}

/// The requests of a span of time.
pub(crate) fn span(totals: &Totals, length: Duration) -> Value {
    let count = totals.durations.count();
    let rate = (length >= SHORTEST_WINDOW).then(|| count as f64 / length.as_secs_f64());
    json!({
        "length_s": length.as_secs_f64(),
        "requests": count,
        "rate_per_s": rate,
        "client_errors": totals.client_errors,
        "server_errors": totals.server_errors,
        "cancelled": totals.cancelled,
        "durations": durations(&totals.durations),
    })
}

/// The last minute, or null if nothing is known of it.
pub(crate) fn last_minute(window: Option<&Window>) -> Value {
    window.map_or(Value::Null, |window| span(&window.totals, window.length))
}

/// What each phase of a route takes: its share of all the time, and its durations where it was entered.
pub(crate) fn phases(snapshot: &Snapshot) -> Value {
    let total: u64 = snapshot.phases.iter().map(|series| series.histogram.sum_ns()).sum();
    let phases = snapshot.phases.iter().map(|series| {
        json!({
            "phase": series.phase.name(),
            "share": series.histogram.sum_ns() as f64 / total.max(1) as f64,
            "sum_us": us(series.histogram.sum_ns()),
            "durations": durations(&series.histogram),
        })
    });
    phases.collect()
}

/// What requests took that a technique acted on, and those that passed it by; of routes that hold requests out.
pub(crate) fn trials(snapshot: &Snapshot) -> Value {
    let side = |technique, held_out| {
        let series = snapshot.trials.iter().find(|it| (it.technique, it.held_out) == (technique, held_out));
        series.map(|series| durations(&series.histogram))
    };
    let tried = Technique::ALL.into_iter().filter_map(|technique| {
        let (applied, held_out) = (side(technique, false), side(technique, true));
        (applied.is_some() || held_out.is_some())
            .then(|| json!({ "technique": technique.name(), "applied": applied, "held_out": held_out }))
    });
    tried.collect()
}

/// A request with its waterfall.
pub(crate) fn request(recent: &Recent) -> Value {
    let total = recent.timeline.total_ns();
    let phases = Phase::ALL.into_iter().filter_map(|phase| {
        let start = recent.timeline.first_ns(phase)?;
        let spent = recent.timeline.spent_ns(phase);
        let share = spent as f64 / total.max(1) as f64;
        Some(json!({ "phase": phase.name(), "start_us": us(start), "spent_us": us(spent), "share": share }))
    });
    json!({
        "id": recent.id.to_string(),
        "request_id": recent.request_id,
        "route": recent.route,
        "upstream": recent.upstream,
        "endpoint": recent.endpoint,
        "status": recent.status,
        "outcome": recent.outcome.name(),
        "cause": recent.cause,
        "cache": recent.cache.map(|cache| cache.name()),
        "hedge": recent.hedge.map(|hedge| hedge.name()),
        "held_out": recent.held_out,
        "why": why(recent),
        "method": recent.method,
        "target": recent.target,
        "target_cut": recent.target_cut,
        "protocol": recent.protocol.name(),
        "caller": recent.caller.map(|caller| caller.to_string()),
        "bytes_in": recent.bytes_in,
        "bytes_out": recent.bytes_out,
        "attempts": recent.attempts,
        "reused": recent.reused,
        "started_unix_ms": recent.started_unix_ms,
        "total_us": us(total),
        "phases": phases.collect::<Vec<_>>(),
    })
}

/// What was decided, in sentences.
pub(crate) fn reasons(reasons: &[Reason]) -> Value {
    reasons.iter().map(|reason| json!({ "about": reason.about, "text": reason.text })).collect()
}

/// The figures on which it was decided what became of a request; null where nothing was.
fn why(recent: &Recent) -> Value {
    let why = &recent.why;
    json!({
        "choice": why.choice.as_ref().map(choice),
        "before": why.before.as_ref().map(|it| json!({ "endpoint": it.endpoint, "cause": it.cause })),
        "placed": why.placed.map(|placed| placed.name()),
        "late": why.late.as_ref().map(|it| json!({
            "first": it.first, "copy": it.copy, "after_ms": it.after_ms, "usual_ms": it.usual_ms,
        })),
        "refusal": why.refusal.map(refusal),
        "retry_after_s": why.retry_after_s,
    })
}

fn choice(choice: &Choice<String, String>) -> Value {
    let left_out = choice.left_out.each().map(|(against, count)| (against.name().to_owned(), json!(count)));
    json!({
        "how": choice.how.name(),
        "despite": choice.despite.map(|against| against.name()),
        "endpoints": choice.endpoints,
        "compared": choice.compared,
        "chosen": candidate(&choice.chosen),
        "other": choice.other.as_ref().map(candidate),
        "left_out": left_out.collect::<serde_json::Map<String, Value>>(),
        "region": choice.region,
        "home": choice.home,
    })
}

fn candidate(of: &Candidate<String>) -> Value {
    json!({
        "endpoint": of.endpoint,
        "cost_ms": of.cost.total_ms(),
        "distance_ms": of.cost.distance_ms,
        "work_ms": of.cost.work_ms,
        "failure_ms": of.cost.failure_ms,
        "silence_ms": of.cost.silence_ms,
        "in_flight": of.in_flight,
        "failing": of.failing,
        "slower": of.slower,
    })
}

fn refusal(refusal: Refusal) -> Value {
    match refusal {
        Refusal::Overloaded { bound, limit, in_flight, waiting, waiting_max, wait_max_ms } => json!({
            "bound": bound.word(), "limit": limit, "in_flight": in_flight, "waiting": waiting, "waiting_max": waiting_max,
            "wait_max_ms": wait_max_ms,
        }),
        Refusal::Doomed { left_ms, takes_ms } => json!({ "left_ms": left_ms, "takes_ms": takes_ms }),
    }
}

/// A request explained: text for people, and what the text was made of.
pub(crate) fn explanation(recent: &Recent, baseline: &Baseline, setting: &Setting<'_>) -> Value {
    let reasons = why_all(recent, setting);
    let usual: serde_json::Map<String, Value> = Phase::ALL
        .into_iter()
        .zip(baseline.phases_ns)
        .filter(|(phase, ns)| *ns > 0 || recent.timeline.first_ns(*phase).is_some())
        .map(|(phase, ns)| (phase.name().to_owned(), json!(us(ns))))
        .collect();
    let culprit = culprit(recent, baseline)
        .map(|(phase, excess)| json!({ "phase": phase.name(), "excess_us": us(excess) }));
    json!({
        "text": explain(recent, baseline, &reasons),
        "json": {
            "sentence": sentence(recent, baseline),
            "request": request(recent),
            "baseline": {
                "requests": baseline.requests,
                "median_us": us(baseline.median_ns),
                "phase_medians_us": usual,
            },
            "culprit": culprit,
            "reasons": self::reasons(&reasons),
        },
    })
}
