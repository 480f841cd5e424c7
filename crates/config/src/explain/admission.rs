//! What is let in, and who waits.

use super::line;
use crate::model::{Action, Config, Criticality, Rate, Route, Upstream};
use crate::value::duration_text;

/// What `queue`, `rate` and `criticality` come to, where something is said of them or a limit makes requests wait.
pub(super) fn admission(config: &Config, out: &mut String) {
    for upstream in config.upstreams.iter().filter(|upstream| upstream.limit.is_enforced()) {
        line(out, &format!("queue of {}: {}", upstream.name, waiting(upstream)));
    }
    for route in config.routes.iter().filter(|route| matches!(route.action, Action::Proxy(_))) {
        for text in own(route) {
            line(out, &text);
        }
    }
}

fn waiting(upstream: &Upstream) -> String {
    match &upstream.queue {
        Some(queue) => format!(
            "at most {} requests wait, at most {}; the critical go first, and the newest once waiting lasts",
            queue.length_max,
            duration_text(queue.wait_max)
        ),
        None => "off; what is above the limit is refused at once".to_owned(),
    }
}

/// What one route says of itself.
fn own(route: &Route) -> Vec<String> {
    let rate = route.rate.as_ref().map(|rate| format!("rate of {}: {}", route.name, taken(rate)));
    let criticality = match route.criticality {
        Criticality::Default => None,
        Criticality::Sheddable => Some("sheddable; its requests are refused first"),
        Criticality::Critical => Some("critical; others are refused before its requests"),
        Criticality::CriticalPlus => Some("critical-plus; its requests are refused last"),
    };
    let criticality = criticality.map(|text| format!("criticality of {}: {text}", route.name));
    [rate, criticality].into_iter().flatten().collect()
}

fn taken(rate: &Rate) -> String {
    let unit = duration_text(rate.per);
    format!("{} in {unit}, {} at once, by {}; more are refused with 429", rate.requests, rate.burst, rate.by)
}
