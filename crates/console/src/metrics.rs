//! `/metrics`: everything counted, as OpenMetrics text with classic buckets that begin at 50 µs, because a
//! regression of a millisecond must be visible.

mod admission;
mod cache;
mod learned;

use crate::plane::{Counter, EndpointState, KeysStatus, Plane, Readiness, UpstreamStatus, WorkerStatus};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use unlag_record::{Histogram, Registry};

/// What the answer is.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper bounds of the buckets: as a label in seconds, and in nanoseconds.
const BOUNDS: [(&str, u64); 18] = [
    ("5e-05", 50_000),
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1.0", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5.0", 5_000_000_000),
    ("10.0", 10_000_000_000),
    ("30.0", 30_000_000_000),
];

/// The whole page.
pub(crate) fn render(plane: &dyn Plane) -> String {
    let mut page = Page::default();
    histograms(&mut page, plane.registry());
    let upstreams = plane.upstreams();
    endpoints(&mut page, &upstreams);
    admission::render(&mut page, &upstreams);
    learned::render(&mut page, &upstreams, &plane.routes(), plane.registry());
    workers(&mut page, &plane.workers());
    keys(&mut page, plane.keys());
    cache::render(&mut page, &plane.cache(), plane.registry());
    let ready = u64::from(plane.readiness() == Readiness::Ready);
    page.family("unlag_ready", "gauge", "Whether new requests are welcome.");
    page.sample("unlag_ready", &[], ready);
    let mut counters = plane.counters();
    counters.extend(own_counters(plane.registry()));
    render_counters(&mut page, &counters);
    page.text.push_str("# EOF\n");
    page.text
}

fn histograms(page: &mut Page, registry: &Registry) {
    let snapshot = registry.snapshot();
    let name = "unlag_request_duration_seconds";
    page.family(name, "histogram", "Requests from the first byte received to the last byte sent.");
    for series in &snapshot.requests {
        let labels = [("route", &*series.route), ("outcome", series.outcome.name())];
        page.histogram(name, &labels, &series.histogram);
    }
    let name = "unlag_phase_duration_seconds";
    page.family(
        name,
        "histogram",
        "What requests that entered a phase spent in it; phases add up to the request.",
    );
    for series in &snapshot.phases {
        let labels = [("route", &*series.route), ("phase", series.phase.name())];
        page.histogram(name, &labels, &series.histogram);
    }
    let name = "unlag_trial_duration_seconds";
    page.family(name, "histogram", "Requests that a technique acted on, or that were held out of it.");
    for series in &snapshot.trials {
        let held_out = if series.held_out { "true" } else { "false" };
        let labels =
            [("route", &*series.route), ("technique", series.technique.name()), ("held_out", held_out)];
        page.histogram(name, &labels, &series.histogram);
    }
    let name = "unlag_upstream_request_duration_seconds";
    page.family(name, "histogram", "Requests to endpoints: writing, waiting and passing the answer on.");
    for series in &snapshot.endpoints {
        let labels = [
            ("upstream", &*series.upstream),
            ("endpoint", &*series.endpoint),
            ("outcome", series.outcome.name()),
        ];
        page.histogram(name, &labels, &series.histogram);
    }
}

fn endpoints(page: &mut Page, upstreams: &[UpstreamStatus]) {
    type Read = fn(&crate::plane::EndpointStatus) -> u64;
    let gauges: [(&str, &str, Read); 3] = [
        ("unlag_endpoint_requests_in_flight", "Requests under way.", |endpoint| endpoint.in_flight),
        ("unlag_endpoint_connections_open", "Open connections.", |endpoint| endpoint.connections_open),
        ("unlag_endpoint_connections_idle", "Connections waiting for a request.", |endpoint| {
            endpoint.connections_idle
        }),
    ];
    for (name, help, read) in gauges {
        page.family(name, "gauge", help);
        for (upstream, endpoint) in pairs(upstreams) {
            let labels = [("upstream", upstream), ("endpoint", endpoint.address.as_str())];
            page.sample(name, &labels, read(endpoint));
        }
    }
    page.family("unlag_endpoint_state", "gauge", "1 for the state that the endpoint is in.");
    for (upstream, endpoint) in pairs(upstreams) {
        for state in EndpointState::ALL {
            let labels =
                [("upstream", upstream), ("endpoint", endpoint.address.as_str()), ("state", state.name())];
            page.sample("unlag_endpoint_state", &labels, u64::from(endpoint.state == state));
        }
    }
    let name = "unlag_endpoint_ejections";
    page.family(name, "counter", "How often the endpoint was ejected.");
    for (upstream, endpoint) in pairs(upstreams) {
        let labels = [("upstream", upstream), ("endpoint", endpoint.address.as_str())];
        page.sample("unlag_endpoint_ejections_total", &labels, endpoint.ejections);
    }
}

fn pairs(upstreams: &[UpstreamStatus]) -> impl Iterator<Item = (&str, &crate::plane::EndpointStatus)> {
    upstreams
        .iter()
        .flat_map(|upstream| upstream.endpoints.iter().map(|endpoint| (upstream.name.as_str(), endpoint)))
}

fn workers(page: &mut Page, workers: &[WorkerStatus]) {
    type Read = fn(&WorkerStatus) -> u64;
    let families: [(&str, &str, &str, &str, Read); 3] = [
        ("unlag_worker_connections", "", "gauge", "Open connections of callers.", |worker| {
            worker.connections
        }),
        ("unlag_worker_streams", "", "gauge", "Requests under way.", |worker| worker.streams),
        ("unlag_worker_requests", "_total", "counter", "Requests.", |worker| worker.requests),
    ];
    for (name, suffix, kind, help, read) in families {
        page.family(name, kind, help);
        for (number, worker) in workers.iter().enumerate() {
            let (sample, number) = (format!("{name}{suffix}"), number.to_string());
            page.sample(&sample, &[("worker", &number)], read(worker));
        }
    }
}

fn keys(page: &mut Page, status: KeysStatus) {
    let gauges = [
        ("unlag_idempotency_keys", "Idempotency keys that are known.", status.keys),
        ("unlag_idempotency_bytes", "Memory for these and the answers to them.", status.bytes),
        ("unlag_idempotency_under_way", "Requests with such a key under way.", status.under_way),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        page.sample(name, &[], value);
    }
}

fn own_counters(registry: &Registry) -> Vec<Counter> {
    let counter = |name, help, value| Counter { name, help, labels: Vec::new(), value };
    let help = "Requests not kept among the recent ones because a reader was in the way.";
    let mut counters = vec![counter("unlag_recent_requests_missed", help, registry.recent_missed())];
    let help = "Requests that unlag answered itself or gave up, by cause.";
    counters.extend(registry.causes().into_iter().map(|(cause, value)| Counter {
        name: "unlag_errors",
        help,
        labels: vec![("cause", cause.to_owned())],
        value,
    }));
    if let Some(log) = registry.log() {
        counters.extend([
            counter("unlag_access_log_lines_written", "Access log lines written.", log.written()),
            counter("unlag_access_log_lines_dropped", "Access log lines lost to a slow sink.", log.dropped()),
            counter(
                "unlag_access_log_failures",
                "Access log writes and reopenings that failed.",
                log.failed(),
            ),
        ]);
    }
    counters
}

/// Counters of one name belong together, wherever they stand in the list; equal label sets are added up.
fn render_counters(page: &mut Page, counters: &[Counter]) {
    type Samples<'a> = BTreeMap<Vec<(&'a str, &'a str)>, u64>;
    let mut families: BTreeMap<&str, (&str, Samples<'_>)> = BTreeMap::new();
    for counter in counters {
        let name = counter.name.strip_suffix("_total").unwrap_or(counter.name);
        let labels = counter.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (_, samples) = families.entry(name).or_insert_with(|| (counter.help, BTreeMap::new()));
        *samples.entry(labels).or_default() += counter.value;
    }
    for (name, (help, samples)) in families {
        page.family(name, "counter", help);
        let sample = format!("{name}_total");
        for (labels, value) in samples {
            page.sample(&sample, &labels, value);
        }
    }
}

/// The text so far, and which series it has: one that comes twice would make the whole page invalid.
#[derive(Default)]
struct Page {
    text: String,
    seen: HashSet<String>,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
        {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(help));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let series = format!("{name}{}", braced(labels));
        if self.seen.contains(&series) {
            return;
        }
        let _ = writeln!(self.text, "{series} {value}");
        self.seen.insert(series);
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let (bucket, count) = (format!("{name}_bucket"), histogram.count());
        let mut with_bound = labels.to_vec();
        for (label, bound_ns) in BOUNDS {
            with_bound.push(("le", label));
            self.sample(&bucket, &with_bound, histogram.cumulative_at(bound_ns));
            with_bound.pop();
        }
        with_bound.push(("le", "+Inf"));
        self.sample(&bucket, &with_bound, count);
        self.sample(&format!("{name}_count"), labels, count);
        self.sample(&format!("{name}_sum"), labels, seconds(histogram.sum_ns()));
    }
}

fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

fn braced(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", labels.join(","))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}
