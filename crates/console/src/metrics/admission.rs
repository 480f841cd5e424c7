//! Limits, the lines in front of them, and refusals.

use super::{Page, pairs};
use crate::plane::{UpstreamAdmission, UpstreamStatus};

pub(super) fn render(page: &mut Page, upstreams: &[UpstreamStatus]) {
    type Read = fn(&UpstreamAdmission) -> u64;
    let families: [(&str, &str, &str, &str, Read); 3] = [
        (
            "unlag_upstream_waiting",
            "",
            "gauge",
            "Requests that wait for an endpoint below its limit.",
            |it| it.waiting,
        ),
        ("unlag_upstream_waited", "_total", "counter", "Requests that had to wait.", |it| it.waited),
        ("unlag_upstream_lost", "", "gauge", "1 while no endpoint can be reached.", |it| u64::from(it.lost)),
    ];
    for (name, suffix, kind, help, read) in families {
        page.family(name, kind, help);
        for upstream in upstreams {
            let labels = [("upstream", upstream.name.as_str())];
            page.sample(&format!("{name}{suffix}"), &labels, read(&upstream.admission));
        }
    }
    page.family("unlag_upstream_refused", "counter", "Requests refused before they were sent.");
    for upstream in upstreams {
        let UpstreamAdmission { refused, refused_lost, .. } = upstream.admission;
        for (reason, value) in [("overloaded", refused.saturating_sub(refused_lost)), ("lost", refused_lost)]
        {
            let labels = [("upstream", upstream.name.as_str()), ("reason", reason)];
            page.sample("unlag_upstream_refused_total", &labels, value);
        }
    }
    page.family("unlag_endpoint_limit", "gauge", "Requests at a time, learned or set; 0 while none is.");
    for (upstream, endpoint) in pairs(upstreams) {
        let labels = [("upstream", upstream), ("endpoint", endpoint.address.as_str())];
        page.sample("unlag_endpoint_limit", &labels, endpoint.admission.limit.unwrap_or_default());
    }
    let name = "unlag_endpoint_would_refuse";
    page.family(name, "counter", "Requests that the limit would have refused, while it is only observed.");
    for (upstream, endpoint) in pairs(upstreams) {
        let labels = [("upstream", upstream), ("endpoint", endpoint.address.as_str())];
        page.sample("unlag_endpoint_would_refuse_total", &labels, endpoint.admission.would_refuse);
    }
}
