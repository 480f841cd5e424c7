//! What was gained where there was trouble, in words: the plain way beside unlag. Every number is from the run, and so is
//! every verdict: where nothing was gained, it says so.

use super::{Act, ActReport, TrialReport};
use crate::bench::duration;

/// Times this near to each other are the same: two runs of one thing differ as much.
const SAME_WITHIN: f64 = 1.2;

/// The same load twice.
struct Pair<'a> {
    plain: &'a ActReport,
    unlag: &'a ActReport,
    plain_trial: &'a TrialReport,
    unlag_trial: &'a TrialReport,
}

/// One sentence for each trouble of which both acts were measured.
pub(super) fn gains(acts: &[ActReport]) -> Vec<String> {
    let pair = |plain, unlag| {
        let find = |act| acts.iter().find(|report| report.act == act).filter(|report| report.latency_us.p50 > 0.0);
        let (plain, unlag) = (find(plain)?, find(unlag)?);
        Some(Pair { plain, unlag, plain_trial: plain.trial.as_ref()?, unlag_trial: unlag.trial.as_ref()? })
    };
    let said = [
        pair(Act::SlowPlain, Act::SlowUnlag).map(|pair| slow(&pair)),
        pair(Act::FreezingPlain, Act::FreezingUnlag).map(|pair| freezing(&pair)),
        pair(Act::FailingPlain, Act::FailingUnlag).map(|pair| failing(&pair)),
        pair(Act::FarPlain, Act::FarUnlag).map(|pair| far(&pair)),
        pair(Act::LostPlain, Act::LostUnlag).and_then(|pair| lost(&pair)),
    ];
    said.into_iter().flatten().collect()
}

fn us(value: f64) -> String {
    duration(value * 1e3)
}

/// What became of a time.
fn verdict(before: f64, with: f64) -> String {
    let ratio = before / with.max(1.0);
    if ratio >= SAME_WITHIN {
        format!("{ratio:.1} times less")
    } else if ratio > 1.0 / SAME_WITHIN {
        "nothing gained".into()
    } else {
        format!("{:.1} times MORE", 1.0 / ratio.max(1e-3))
    }
}

/// `p99 290 ms -> 45 ms (6.4 times less)`
fn change(name: &str, pair: &Pair<'_>, of: impl Fn(&ActReport) -> f64) -> String {
    let (before, with) = (of(pair.plain), of(pair.unlag));
    format!("{name} {} -> {} ({})", us(before), us(with), verdict(before, with))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn slow(pair: &Pair<'_>) -> String {
    format!(
        "A replica ten times slower than its two neighbours got {} of the requests in turn and {} from the adaptive balance: {}, {}.",
        percent(pair.plain_trial.troubled_share),
        percent(pair.unlag_trial.troubled_share),
        change("p50", pair, |act| act.latency_us.p50),
        change("p99", pair, |act| act.latency_us.p99)
    )
}

fn freezing(pair: &Pair<'_>) -> String {
    format!(
        "Where one of three replicas freezes for 300 ms every 1.3 s, hedging took {}, {}; over 100 ms took {} of {} requests before \
         and {} of {} with it. It cost {} more requests at the replicas; {} copies were cancelled.",
        change("p99", pair, |act| act.latency_us.p99),
        change("p99.9", pair, |act| act.latency_us.p999),
        pair.plain_trial.slow_answers,
        pair.plain.requests,
        pair.unlag_trial.slow_answers,
        pair.unlag.requests,
        percent(pair.unlag_trial.extra_share),
        pair.unlag_trial.cancelled
    )
}

fn failing(pair: &Pair<'_>) -> String {
    format!(
        "Where one of three replicas answers 500 at once, callers saw {} errors in {} requests with one attempt in turn, and {} in {} \
         with errors counted as load and retries{}; the retries were {} more requests at the replicas.",
        pair.plain.errors,
        pair.plain.requests,
        pair.unlag.errors,
        pair.unlag.requests,
        if pair.unlag.errors < pair.plain.errors { "" } else { ": nothing gained" },
        percent(pair.unlag_trial.extra_share)
    )
}

fn far(pair: &Pair<'_>) -> String {
    format!(
        "With as many replicas 30 ms away as near, least-request sent {} far and regions {}: {}, {}.",
        percent(pair.plain_trial.troubled_share),
        percent(pair.unlag_trial.troubled_share),
        change("p50", pair, |act| act.latency_us.p50),
        change("p99", pair, |act| act.latency_us.p99)
    )
}

fn lost(pair: &Pair<'_>) -> Option<String> {
    let (before, with) = (pair.plain_trial.loss.as_ref()?, pair.unlag_trial.loss.as_ref()?);
    let again = |after: Option<f64>| match after {
        Some(ms) if ms > 0.0 => format!("the last failed {} after the loss", us(ms * 1e3)),
        Some(_) => "none while it was lost".into(),
        None => "none succeeded until it was back".into(),
    };
    Some(format!(
        "The near region was lost for {}: {} of {} requests failed the plain way ({}), {} of {} with regions and retries ({}){}. Once \
         it was back, {} of the requests went near again with regions by the end of the act.",
        us(with.lost_ms * 1e3),
        pair.plain.errors,
        pair.plain.requests,
        again(before.again_after_ms),
        pair.unlag.errors,
        pair.unlag.requests,
        again(with.again_after_ms),
        if pair.unlag.errors < pair.plain.errors || pair.unlag.errors == 0 { "" } else { ": nothing gained" },
        percent(with.near_share_after)
    ))
}
