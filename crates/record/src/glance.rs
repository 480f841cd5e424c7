//! A request as a line for people: who asked what, how it ended, and where most of its time went.

use crate::Phase;
use crate::entry::Entry;
use std::fmt::Write;

/// Phases named in a line: what took the most, and what took the most after it.
const PHASES_SHOWN: usize = 2;
/// A phase below this share of the whole explains nothing.
const SHARE_MIN: f64 = 0.05;

/// Writes `200 GET /products/7  12.3 ms  (upstream_ttfb 11.8 ms)  ` and the request id, before it the cause and what the cache had, if
/// there are such. Bytes that a terminal would obey are escaped.
pub(crate) fn write_glance(out: &mut String, entry: &Entry) {
    let target = entry.target.as_bytes().escape_ascii();
    let method = entry.method.as_bytes().escape_ascii();
    let total_ns = entry.timeline.total_ns();
    let _ = write!(out, "{} {method} {target}  {}", entry.status, Time(total_ns));
    let mut phases = Phase::ALL.map(|phase| (entry.timeline.spent_ns(phase), phase));
    phases.sort_by_key(|(ns, _)| std::cmp::Reverse(*ns));
    let shown = phases.iter().take(PHASES_SHOWN).filter(|(ns, _)| *ns as f64 > total_ns as f64 * SHARE_MIN);
    let shown: Vec<_> = shown.map(|(ns, phase)| format!("{} {}", phase.name(), Time(*ns))).collect();
    let _ = write!(out, "  ({})", shown.join(", "));
    if let Some(cause) = entry.cause {
        let _ = write!(out, "  {cause}");
    }
    if let Some(cache) = entry.cache {
        let _ = write!(out, "  cache {}", cache.name());
    }
    if let Some(hedge) = entry.hedge.filter(|hedge| hedge.is_sent()) {
        let _ = write!(out, "  hedge {}", hedge.name());
    }
    let _ = writeln!(out, "  {}", entry.request_id.as_bytes().escape_ascii());
}

/// Nanoseconds in the unit that people read.
struct Time(u64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 as f64 / 1e6 {
            ms if ms < 1.0 => write!(f, "{:.0} us", ms * 1e3),
            ms if ms < 1_000.0 => write!(f, "{ms:.1} ms"),
            ms => write!(f, "{:.2} s", ms / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CacheUse, Outcome, Protocol, Record, RequestId, RouteId, Timeline, Why};

    #[test]
    fn a_line_for_people_names_what_took_the_time_and_obeys_nobody() {
        let mut timeline = Timeline::start(0);
        timeline.enter(Phase::Wait, 400_000);
        timeline.finish(12_300_000);
        let record = Record {
            id: RequestId(1),
            request_id: b"one",
            route: RouteId::OTHER,
            endpoint: None,
            status: 502,
            outcome: Outcome::ServerError,
            cause: Some("truncated"),
            cache: Some(CacheUse::Miss),
            hedge: None,
            trials: Default::default(),
            why: &Why::NONE,
            method: "GET",
            target: b"/a\x1b[31m",
            protocol: Protocol::Http11,
            caller: None,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 1,
            reused: false,
            started_unix_ms: 0,
            timeline: &timeline,
        };
        let mut out = String::new();
        write_glance(&mut out, &Entry::of(&record, 0));
        assert_eq!(
            out,
            "502 GET /a\\x1b[31m  12.3 ms  (upstream_ttfb 11.9 ms)  truncated  cache miss  one\n"
        );
    }
}
