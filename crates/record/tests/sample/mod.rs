//! Requests for the tests: a timeline of given lengths, a record with nothing special about it.

use unlag_record::{Outcome, Phase, Protocol, Record, RequestId, RouteId, Timeline, Why};

/// A moment in 2026, in milliseconds of Unix time.
pub(crate) const NOW_MS: u64 = 1_790_000_000_000;

/// Enters the phases one after the other, each for the given nanoseconds.
pub(crate) fn timeline(phases: &[(Phase, u64)]) -> Timeline {
    let mut now = 5_000;
    let mut timeline = Timeline::start(now);
    for &(phase, ns) in phases {
        timeline.enter(phase, now);
        now += ns;
    }
    timeline.finish(now);
    timeline
}

/// A request that was answered with 200 over HTTP/1.1.
pub(crate) fn record(route: RouteId, timeline: &Timeline) -> Record<'_> {
    Record {
        id: RequestId(0xabc),
        request_id: b"req-1",
        route,
        endpoint: None,
        status: 200,
        outcome: Outcome::Ok,
        cause: None,
        cache: None,
        hedge: None,
        trials: Default::default(),
        why: &Why::NONE,
        method: "GET",
        target: b"/product/7",
        protocol: Protocol::Http11,
        caller: None,
        bytes_in: 0,
        bytes_out: 1_024,
        attempts: 1,
        reused: true,
        started_unix_ms: NOW_MS,
        timeline,
    }
}
