//! What was learned of endpoints, upstreams and routes, and what of it counts now.

use super::{Page, pairs};
use crate::plane::{EndpointLearned, RouteStatus, UpstreamLearned, UpstreamRegions, UpstreamStatus};
use std::collections::BTreeMap;
use unlag_record::{OTHER, Registry, RouteId};

pub(super) fn render(
    page: &mut Page,
    upstreams: &[UpstreamStatus],
    routes: &[RouteStatus],
    registry: &Registry,
) {
    endpoints(page, upstreams);
    together(page, upstreams);
    regions(page, upstreams);
    of_routes(page, routes, registry);
}

fn endpoints(page: &mut Page, upstreams: &[UpstreamStatus]) {
    type Read = fn(&EndpointLearned) -> f64;
    let families: [(&str, &str, Read); 4] = [
        ("unlag_endpoint_failing", "Share of its last answers that were failures.", |it| it.failing),
        ("unlag_endpoint_slower", "How many times slower than its peers, where that is certain.", |it| {
            it.slower
        }),
        ("unlag_endpoint_distance_seconds", "How much farther away than the nearest it is.", |it| {
            it.distance_ms / 1e3
        }),
        ("unlag_endpoint_suspect", "1 while it gives no sign of life.", |it| f64::from(u8::from(it.suspect))),
    ];
    for (name, help, read) in families {
        page.family(name, "gauge", help);
        for (upstream, endpoint) in pairs(upstreams) {
            let labels = [("upstream", upstream), ("endpoint", endpoint.address.as_str())];
            page.sample(name, &labels, read(&endpoint.learned));
        }
    }
}

fn together(page: &mut Page, upstreams: &[UpstreamStatus]) {
    type Read = fn(&UpstreamLearned) -> f64;
    let families: [(&str, &str, Read); 4] = [
        ("unlag_upstream_unit_seconds", "What an answer takes where nobody is in the way.", |it| {
            it.unit_ms / 1e3
        }),
        ("unlag_upstream_knee", "Requests at once to an endpoint beyond which each takes longer.", |it| {
            it.knee
        }),
        ("unlag_upstream_silence_seconds", "The longest usual silence of an endpoint that works.", |it| {
            it.silence_usual_ms / 1e3
        }),
        (
            "unlag_upstream_leaving",
            "Share of requests that left the nearest region because it was busy.",
            |it| it.leaving,
        ),
    ];
    for (name, help, read) in families {
        page.family(name, "gauge", help);
        for upstream in upstreams {
            page.sample(name, &[("upstream", upstream.name.as_str())], read(&upstream.learned));
        }
    }
}

fn regions(page: &mut Page, upstreams: &[UpstreamStatus]) {
    let help = "Requests that went to a region against the cost of its endpoints.";
    page.family("unlag_region_requests", "counter", help);
    let has_regions = |it: &&UpstreamStatus| it.endpoints.iter().any(|one| one.learned.region.is_some());
    for upstream in upstreams.iter().filter(has_regions) {
        let UpstreamRegions { spilled, kept_at_home, writes, reads_after_write, replayed } = upstream.regions;
        let reasons = [
            ("spilled", spilled),
            ("kept_at_home", kept_at_home),
            ("write", writes),
            ("read_after_write", reads_after_write),
            ("replayed", replayed),
        ];
        for (reason, value) in reasons {
            let labels = [("upstream", upstream.name.as_str()), ("reason", reason)];
            page.sample("unlag_region_requests_total", &labels, value);
        }
    }
}

/// Of routes beyond the bound on names, which share one, the longest counts.
fn of_routes(page: &mut Page, routes: &[RouteStatus], registry: &Registry) {
    type Read = fn(&crate::plane::AttemptsStatus) -> f64;
    let families: [(&str, &str, Read); 2] = [
        (
            "unlag_attempt_hedge_after_seconds",
            "After how long a second copy is due; 0 while that is not known.",
            |it| it.hedge_after_us.unwrap_or(0.0) / 1e6,
        ),
        (
            "unlag_attempt_timeout_learned_seconds",
            "The learned time-out, in force or watched; 0 while too little is known.",
            |it| it.learned_timeout.as_ref().map_or(0.0, |limit| limit.timeout_ms as f64 / 1e3),
        ),
    ];
    for (name, help, read) in families {
        page.family(name, "gauge", help);
        let mut longest: BTreeMap<&str, f64> = BTreeMap::new();
        for (route, attempts) in routes.iter().filter_map(|it| Some((it, it.attempts.as_ref()?))) {
            let is_known = registry.route(&route.name) != RouteId::OTHER;
            let known = longest.entry(if is_known { &route.name } else { OTHER }).or_default();
            *known = known.max(read(attempts));
        }
        for (route, value) in longest {
            page.sample(name, &[("route", route)], value);
        }
    }
}
