//! A record as it is kept: a copy of fixed size, so that keeping one never allocates and never exceeds its bound.

use crate::names::Names;
use crate::recent::Recent;
use crate::{
    CacheUse, EndpointId, Hedge, Outcome, Protocol, Record, RequestId, RouteId, Timeline, Trials, Why,
};
use std::net::SocketAddr;

/// How much of a target is kept. Enough for the path of nearly every call between services.
pub(crate) const TARGET_BYTES: usize = 256;
/// How much of `x-request-id` is kept: all that the engine honours, so that a request is found by the id that it had.
pub(crate) const REQUEST_ID_BYTES: usize = 128;
/// How much of a method is kept; the longest registered one has 17 characters.
pub(crate) const METHOD_BYTES: usize = 20;

/// Up to `N` bytes of something longer.
#[derive(Clone)]
pub(crate) struct Excerpt<const N: usize> {
    bytes: [u8; N],
    len: u16,
    cut: bool,
}

impl<const N: usize> Excerpt<N> {
    #[inline]
    fn of(whole: &[u8]) -> Self {
        let mut bytes = [0; N];
        let kept = whole.get(..N).unwrap_or(whole);
        if let Some(head) = bytes.get_mut(..kept.len()) {
            head.copy_from_slice(kept);
        }
        Excerpt { bytes, len: kept.len() as u16, cut: kept.len() < whole.len() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }
}

/// One finished request, copied.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) serial: u64,
    pub(crate) id: RequestId,
    pub(crate) request_id: Excerpt<REQUEST_ID_BYTES>,
    pub(crate) route: RouteId,
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) cause: Option<&'static str>,
    pub(crate) cache: Option<CacheUse>,
    pub(crate) hedge: Option<Hedge>,
    pub(crate) trials: Trials,
    pub(crate) why: Why,
    pub(crate) method: Excerpt<METHOD_BYTES>,
    pub(crate) target: Excerpt<TARGET_BYTES>,
    pub(crate) protocol: Protocol,
    pub(crate) caller: Option<SocketAddr>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) attempts: u8,
    pub(crate) reused: bool,
    pub(crate) started_unix_ms: u64,
    pub(crate) timeline: Timeline,
}

impl Entry {
    /// Copies what the bounds allow. `serial` tells two requests of one trace apart.
    #[inline]
    pub(crate) fn of(record: &Record<'_>, serial: u64) -> Entry {
        Entry {
            serial,
            id: record.id,
            request_id: Excerpt::of(record.request_id),
            route: record.route,
            endpoint: record.endpoint,
            status: record.status,
            outcome: record.outcome,
            cause: record.cause,
            cache: record.cache,
            hedge: record.hedge,
            trials: record.trials,
            why: *record.why,
            method: Excerpt::of(record.method.as_bytes()),
            target: Excerpt::of(record.target),
            protocol: record.protocol,
            caller: record.caller,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            attempts: record.attempts,
            reused: record.reused,
            started_unix_ms: record.started_unix_ms,
            timeline: record.timeline.clone(),
        }
    }

    /// When the request ended, in milliseconds of Unix time.
    pub(crate) fn ended_unix_ms(&self) -> u64 {
        self.started_unix_ms.saturating_add(self.timeline.total_ns() / 1_000_000)
    }

    /// With names instead of numbers, for those who read.
    pub(crate) fn to_recent(&self, names: &Names) -> Recent {
        let endpoint = self.endpoint.map(|id| names.endpoint_name(id));
        Recent {
            id: self.id,
            request_id: lossy(self.request_id.as_bytes()),
            route: names.route_name(self.route).to_string(),
            upstream: endpoint.as_ref().map(|name| name.upstream.to_string()),
            endpoint: endpoint.map(|name| name.address.to_string()),
            status: self.status,
            outcome: self.outcome,
            cause: self.cause,
            cache: self.cache,
            hedge: self.hedge,
            held_out: self.trials.held().map(crate::Technique::name).collect(),
            why: self.why.named(names),
            method: lossy(self.method.as_bytes()),
            target: lossy(self.target.as_bytes()),
            target_cut: self.target.is_cut(),
            protocol: self.protocol,
            caller: self.caller,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            attempts: self.attempts,
            reused: self.reused,
            started_unix_ms: self.started_unix_ms,
            timeline: self.timeline.clone(),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
