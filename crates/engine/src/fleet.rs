//! Endpoints and what is known of each: the shared state that every core reads and writes, and every technique may read.
//!
//! What balances load is one cache line of atomics per endpoint. Cells outlive reloads: the registry hands the same cell to
//! the next plan when nothing about the endpoint changed, so that it keeps its connections and what was learned.

use crate::clock;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use unlag_config::UpstreamUrl;
use unlag_record::EndpointId;

/// The counters of one endpoint, alone on their cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cell {
    in_flight: AtomicU32,
    failures_in_a_row: AtomicU32,
    ejections_in_a_row: AtomicU32,
    unhealthy: AtomicBool,
    http1_only: AtomicBool,
    ejected_until_ns: AtomicU64,
    resolved_ns: AtomicU64,
    idle_limit_ns: AtomicU64,
    last_idle_close_ns: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    ejections: AtomicU64,
    keeps_alive: AtomicBool,
    cold_until_ns: AtomicU64,
    wait_ns: AtomicU64,
    connections: AtomicU32,
    idle: AtomicU32,
}

/// One address of an upstream that requests can be sent to.
#[derive(Debug)]
pub struct Endpoint {
    /// Dense number of this endpoint in this process, for per-core tables.
    pub index: u32,
    /// Its name in metrics.
    pub record: EndpointId,
    /// The upstream that it belongs to.
    pub upstream: Arc<str>,
    /// Where it is.
    pub url: UpstreamUrl,
    /// `host` or `host:port` as a `Host` field has it.
    pub host: String,
    /// What stands for it where requests are assigned by hash: the same on every node that writes its URL alike.
    pub hash: u64,
    /// Its share of the load among its peers; 1 unless configured.
    pub weight: u32,
    /// The shared state.
    pub cell: Cell,
    /// The addresses that the name resolves to now; empty while it never did.
    pub addresses: arc_swap::ArcSwap<Vec<SocketAddr>>,
    /// The address that connected last although another had a head start, and when.
    pub won: Mutex<Option<(SocketAddr, u64)>>,
    /// The last thing that went wrong, for the console.
    pub last_error: Mutex<Option<&'static str>>,
}

/// Failures in a row after which an endpoint is ejected: few enough to act within a second of traffic, enough not to act on
/// one broken connection.
pub const FAILURES_TO_EJECT: u32 = 5;
/// The first ejection; each further one doubles it.
const EJECT_FIRST: Duration = Duration::from_secs(5);
/// How long cores take to connect to an endpoint that joins: they look twice a second.
const COLD_NS: u64 = 1_000_000_000;
/// The longest ejection.
const EJECT_MAX: Duration = Duration::from_secs(300);
/// How long an address is preferred that connected while one before it did not (RFC 8305 §4: on the order of 10 minutes).
const WON_NS: u64 = 600_000_000_000;
/// How long an idle connection is trusted before its upstream's own limit is known.
const IDLE_LIMIT_UNKNOWN_NS: u64 = 0;

impl Endpoint {
    /// `host:port` as it stands in the configuration.
    pub fn authority(&self) -> String {
        self.url.authority()
    }

    /// Counts a request in for as long as the guard lives.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.cell.in_flight.fetch_add(1, Relaxed);
        InFlight { endpoint: Arc::clone(self) }
    }

    /// Requests in flight from this process.
    pub fn in_flight(&self) -> u32 {
        self.cell.in_flight.load(Relaxed)
    }

    /// Whether the last health check failed.
    pub fn is_unhealthy(&self) -> bool {
        self.cell.unhealthy.load(Relaxed)
    }

    /// Whether it is left out at `now` because it failed too often.
    pub fn is_ejected(&self, now: u64) -> bool {
        self.cell.ejected_until_ns.load(Relaxed) > now
    }

    /// Notes an answer that came from the application.
    pub fn succeeded(&self) {
        self.cell.successes.fetch_add(1, Relaxed);
        if self.cell.failures_in_a_row.load(Relaxed) != 0 {
            self.cell.failures_in_a_row.store(0, Relaxed);
            self.cell.ejections_in_a_row.store(0, Relaxed);
        }
    }

    /// Notes a failure of the endpoint and ejects it when there were too many in a row.
    pub fn failed(&self, cause: &'static str, now: u64) {
        self.cell.failures.fetch_add(1, Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        let failures = self.cell.failures_in_a_row.fetch_add(1, Relaxed) + 1;
        if failures >= FAILURES_TO_EJECT && self.cell.ejected_until_ns.load(Relaxed) <= now {
            let earlier = self.cell.ejections_in_a_row.fetch_add(1, Relaxed);
            let jitter_percent = 80 + (now ^ u64::from(self.index)) % 41;
            let until = now + clock::ns(ejection(earlier)) / 100 * jitter_percent;
            self.cell.ejected_until_ns.store(until, Relaxed);
            self.cell.ejections.fetch_add(1, Relaxed);
        }
    }

    /// Says what an active health check found. An ejection is left to run out: a check that passes says nothing about the
    /// requests that failed.
    pub fn set_healthy(&self, healthy: bool) {
        self.cell.unhealthy.store(!healthy, Relaxed);
    }

    /// When its name was last resolved.
    pub fn resolved_ns(&self) -> u64 {
        self.cell.resolved_ns.load(Relaxed)
    }

    /// Its name was resolved, or its addresses confirmed.
    pub fn note_resolved(&self, now: u64) {
        self.cell.resolved_ns.store(now, Relaxed);
    }

    /// Its addresses in the order in which they are tried.
    pub fn in_order(&self, now: u64) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.load().as_ref().clone();
        let won = *self.won.lock().unwrap_or_else(PoisonError::into_inner);
        let won = won.filter(|(_, at)| now.saturating_sub(*at) < WON_NS);
        if let Some(at) = won.and_then(|(won, _)| addresses.iter().position(|&address| address == won)) {
            let won = addresses.remove(at);
            addresses.insert(0, won);
        }
        addresses
    }

    /// This address connected although it did not have the head start.
    pub fn note_won(&self, address: SocketAddr, now: u64) {
        *self.won.lock().unwrap_or_else(PoisonError::into_inner) = Some((address, now));
    }

    /// Whether it chose HTTP/1.1 when it was last offered HTTP/2.
    pub fn is_http1_only(&self) -> bool {
        self.cell.http1_only.load(Relaxed)
    }

    /// Remembers what the last new connection agreed on.
    pub fn note_http1_only(&self, http1_only: bool) {
        self.cell.http1_only.store(http1_only, Relaxed);
    }

    /// Nobody checks it any more.
    pub fn forget_health(&self) {
        self.cell.unhealthy.store(false, Relaxed);
    }

    /// How long a connection may have been idle and still be used: 80 % of what the upstream was seen to grant, or `unknown`.
    pub fn idle_limit_ns(&self, unknown: Duration) -> u64 {
        match self.cell.idle_limit_ns.load(Relaxed) {
            IDLE_LIMIT_UNKNOWN_NS => clock::ns(unknown),
            learned => learned / 10 * 8,
        }
    }

    /// The upstream says how long it keeps an idle connection (`Keep-Alive: timeout=`).
    pub fn declare_idle_limit(&self, declared_ns: u64) {
        self.cell.idle_limit_ns.store(declared_ns.max(1), Relaxed);
    }

    /// Learns from a close that was observed on a connection idle for so long. One close may be a restart; two at about the
    /// same age are a limit.
    pub fn learn_idle_limit(&self, seen_ns: u64) {
        let last = self.cell.last_idle_close_ns.swap(seen_ns, Relaxed);
        let known = self.cell.idle_limit_ns.load(Relaxed);
        let alike = last.abs_diff(seen_ns) < seen_ns / 4;
        if alike && (known == IDLE_LIMIT_UNKNOWN_NS || seen_ns < known) {
            self.cell.idle_limit_ns.store(seen_ns.max(1), Relaxed);
        }
    }

    /// Counts connections for the console.
    pub fn count_connection(&self, opened: bool) {
        if opened {
            self.cell.connections.fetch_add(1, Relaxed);
        } else {
            self.cell.connections.fetch_sub(1, Relaxed);
        }
    }

    /// Counts pooled connections over all cores; returns how many there are afterwards.
    pub fn count_idle(&self, added: bool) -> u32 {
        if added {
            self.cell.idle.fetch_add(1, Relaxed) + 1
        } else {
            self.cell.idle.fetch_sub(1, Relaxed) - 1
        }
    }

    /// Learns from an answered request. Of two cores that learn at once, one may be overheard.
    pub fn observe(&self, sample: Sample) {
        let next = match self.cell.wait_ns.load(Relaxed) {
            0 => sample.wait_ns,
            known => known - known / SAMPLES + sample.wait_ns / SAMPLES,
        };
        self.cell.wait_ns.store(next, Relaxed);
    }

    /// Whether it has kept a connection for another request.
    pub fn keeps_alive(&self) -> bool {
        self.cell.keeps_alive.load(Relaxed)
    }

    /// It has.
    pub fn kept_alive(&self) {
        if !self.keeps_alive() {
            self.cell.keeps_alive.store(true, Relaxed);
        }
    }

    /// It joins a fleet at work: until all cores have had the time to connect, its peers are asked.
    pub fn joins(&self, now: u64) {
        self.cell.cold_until_ns.store(now + COLD_NS, Relaxed);
    }

    /// Whether cores are still connecting to it.
    pub fn is_cold(&self, now: u64) -> bool {
        self.cell.cold_until_ns.load(Relaxed) > now
    }

    /// A copy of the counters.
    pub fn status(&self, now: u64) -> EndpointStatus {
        let cell = &self.cell;
        EndpointStatus {
            address: self.authority(),
            unhealthy: self.is_unhealthy(),
            ejected: self.is_ejected(now),
            unresolved: self.addresses.load().is_empty() && self.url.scheme != unlag_config::Scheme::Unix,
            in_flight: self.in_flight(),
            connections: cell.connections.load(Relaxed),
            idle: cell.idle.load(Relaxed),
            successes: cell.successes.load(Relaxed),
            failures: cell.failures.load(Relaxed),
            ejections: cell.ejections.load(Relaxed),
            last_error: *self.last_error.lock().unwrap_or_else(PoisonError::into_inner),
            wait_ns: Some(cell.wait_ns.load(Relaxed)).filter(|&ns| ns > 0),
            idle_limit_ns: Some(cell.idle_limit_ns.load(Relaxed)).filter(|&ns| ns != IDLE_LIMIT_UNKNOWN_NS),
        }
    }
}

/// What the console shows of an endpoint.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are named after what they count")]
pub struct EndpointStatus {
    pub address: String,
    pub unhealthy: bool,
    pub ejected: bool,
    pub unresolved: bool,
    pub in_flight: u32,
    pub connections: u32,
    pub idle: u32,
    pub successes: u64,
    pub failures: u64,
    pub ejections: u64,
    pub last_error: Option<&'static str>,
    pub idle_limit_ns: Option<u64>,
    pub wait_ns: Option<u64>,
}

/// How long an ejection lasts after so many in a row before it.
fn ejection(earlier: u32) -> Duration {
    EJECT_FIRST.saturating_mul(1 << earlier.min(10)).min(EJECT_MAX)
}

/// What an answered request tells about its endpoint: what a balancer learns from.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From the last byte of the request to the head of the answer.
    pub wait_ns: u64,
}

/// One sample in so many makes the moving average: about the last sixteen count.
const SAMPLES: u64 = 16;

/// One request in flight to an endpoint.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
}

impl InFlight {
    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.cell.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Counts a connection to an endpoint for as long as it is open.
#[derive(Debug)]
pub struct Open {
    endpoint: Arc<Endpoint>,
}

impl Open {
    /// One to `endpoint` is open from now on.
    pub fn to(endpoint: &Arc<Endpoint>) -> Open {
        endpoint.count_connection(true);
        Open { endpoint: Arc::clone(endpoint) }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.endpoint.count_connection(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_an_endpoint_takes_follows_its_answers() {
        let endpoint = crate::plan::tests::endpoint(1);
        let wait = || endpoint.status(0).wait_ns.unwrap_or_default();
        assert_eq!(wait(), 0, "not asked yet");
        endpoint.observe(Sample { wait_ns: 1_600 });
        assert_eq!(wait(), 1_600, "the first is all that is known");
        (0..64).for_each(|_| endpoint.observe(Sample { wait_ns: 16_000 }));
        assert!((15_000..=16_000).contains(&wait()), "{}", wait());
    }

    #[test]
    fn ejections_double_up_to_five_minutes() {
        assert_eq!(ejection(0), Duration::from_secs(5));
        assert_eq!(ejection(2), Duration::from_secs(20));
        assert_eq!(ejection(40), Duration::from_secs(300));
    }
}
