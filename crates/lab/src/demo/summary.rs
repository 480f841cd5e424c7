//! What an operator learns from the acts, in words. Every number is from the run.

use super::{Act, ActReport};
use crate::bench::duration;

/// One sentence for each thing worth knowing; none without answers.
pub(super) fn lessons(acts: &[ActReport]) -> Vec<String> {
    let find = |act| acts.iter().find(|report: &&ActReport| report.act == act);
    let Some(healthy) = find(Act::Healthy).filter(|report| report.latency_us.p50 > 0.0) else {
        return vec!["The proxy answered nothing, so there is nothing to learn: look at its log.".into()];
    };
    let mut lessons = vec![typical(healthy)];
    lessons.extend(phases(healthy));
    lessons.extend(slowest_service(healthy));
    lessons.extend(find(Act::SlowReplica).map(|slow| slow_replica(healthy, slow)));
    lessons.extend(find(Act::FailingReplica).map(failing_replica));
    lessons.extend(find(Act::Recovered).map(|recovered| after(healthy, recovered)));
    let pair = |before, after| find(before).zip(find(after));
    lessons.extend(
        pair(Act::ProductsPassed, Act::ProductsCached).map(|(before, with)| {
            format!("Caching product pages for 10 s {}", what_caching_did(before, with))
        }),
    );
    lessons.extend(pair(Act::AssetsPassed, Act::AssetsEdge).map(|(before, with)| {
        format!(
            "Keeping assets at the edge, fetched again beside requests, {}",
            what_caching_did(before, with)
        )
    }));
    lessons
}

fn us(value: f64) -> String {
    duration(value * 1e3)
}

fn typical(healthy: &ActReport) -> String {
    let latency = &healthy.latency_us;
    format!(
        "When all is well, half of the requests take up to {}, and one in a hundred takes over {}.",
        us(latency.p50),
        us(latency.p99)
    )
}

fn phases(healthy: &ActReport) -> Option<String> {
    let largest = healthy.phases.first()?;
    let overhead = healthy.phases.iter().find(|phase| phase.name == "overhead");
    let own = overhead
        .map(|own| format!(" The proxy itself took {:.1} % (median {}).", own.share * 100.0, us(own.p50_us)));
    Some(format!(
        "{:.0} % of that time went into {}.{}",
        largest.share * 100.0,
        largest.name,
        own.unwrap_or_default()
    ))
}

fn slowest_service(healthy: &ActReport) -> Option<String> {
    let p99 = |service: &&super::ServiceReport| service.latency_us.p99;
    let slowest = healthy.services.iter().max_by(|a, b| p99(a).total_cmp(&p99(b)))?;
    Some(format!(
        "The slowest service is {} with a p99 of {}: a faster one there helps the tail most.",
        slowest.name,
        us(slowest.latency_us.p99)
    ))
}

fn slow_replica(healthy: &ActReport, slow: &ActReport) -> String {
    let catalog = |report: &ActReport| {
        report
            .services
            .iter()
            .find(|s| s.name == "catalog")
            .map_or(report.latency_us.p99, |s| s.latency_us.p99)
    };
    let (before, with) = (catalog(healthy), catalog(slow));
    let ratio = if before > 0.0 { with / before } else { 0.0 };
    let verdict = if ratio <= 1.5 {
        "callers hardly noticed"
    } else if ratio <= 4.0 {
        "callers noticed, though most requests went round it"
    } else {
        "callers felt it: the slow replica still got its share"
    };
    format!(
        "With one of three catalog replicas ten times slower, the p99 of catalog went from {} to {} ({ratio:.1} x): {verdict}.",
        us(before),
        us(with)
    )
}

fn failing_replica(failing: &ActReport) -> String {
    let requests = failing.requests.max(1) as f64;
    let share = failing.errors as f64 / requests * 100.0;
    let catalog = failing.services.iter().find(|s| s.name == "catalog").map_or(0, |s| s.requests);
    let equal = catalog as f64 / 3.0 / requests * 100.0;
    format!(
        "With one of three catalog replicas answering 500, {} of {} requests failed ({share:.2} %); an equal spread would have failed {equal:.0} %.",
        failing.errors, failing.requests
    )
}

fn what_caching_did(before: &ActReport, with: &ActReport) -> String {
    let share = |report: &ActReport| report.shop_requests as f64 / report.requests.max(1) as f64;
    let saved = (share(before) - share(with)) * with.requests as f64;
    format!(
        "took their p50 from {} to {} and their p99 from {} to {}; of {} requests {} reached the shop: {:.0} saved.",
        us(before.latency_us.p50),
        us(with.latency_us.p50),
        us(before.latency_us.p99),
        us(with.latency_us.p99),
        with.requests,
        with.shop_requests,
        saved.max(0.0)
    )
}

fn after(healthy: &ActReport, recovered: &ActReport) -> String {
    let ratio = recovered.latency_us.p99 / healthy.latency_us.p99.max(1.0);
    let state = if ratio <= 1.25 && recovered.errors == 0 {
        "Recovery is complete"
    } else {
        "Recovery is not complete"
    };
    format!(
        "{state}: the p99 is {} again ({ratio:.1} x healthy), with {} errors.",
        us(recovered.latency_us.p99),
        recovered.errors
    )
}
