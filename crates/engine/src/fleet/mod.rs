//! Endpoints and what is known of each: the shared state that every core reads and writes, and every technique may read.
//!
//! What balances load is one cache line of atomics per endpoint ([`cell`]); what is learned of all endpoints of an upstream
//! together stands in its [`Service`]. Both outlive reloads: the registry hands the same ones to the next plan when nothing about
//! them changed, so that an endpoint keeps its connections and what was learned.

pub mod cell;
mod curve;
mod distance;
mod gaps;
mod guard;
mod health;
mod load;
pub mod ranking;
mod service;
mod shortest;
mod speed;
mod status;
#[cfg(test)]
mod tests;
mod vigil;
mod went;

pub use cell::Cell;
pub use guard::{InFlight, Open};
pub use health::{STOOD_STILL_NS, fails_more};
pub use service::{Figures, STALL_GAPS, Service};
pub use status::EndpointStatus;
pub use vigil::Vigil;
pub use went::Went;

use crate::clock;
use crate::techniques::admit::gauge::Gauge;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use unlag_config::UpstreamUrl;
use unlag_record::EndpointId;

/// A region, by the order in which this process came to know its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionId(pub u16);

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
    /// The name that its certificate must carry, unless its upstream names another.
    pub server_name: String,
    /// What stands for it where requests are assigned by hash: the same on every node that writes its URL alike.
    pub hash: u64,
    /// Its share of the load among its peers; 1 unless configured.
    pub(crate) weight: AtomicU32,
    /// Where it runs, if that is said.
    pub region: Option<RegionId>,
    /// The shared state.
    pub cell: Cell,
    /// How much it takes at a time, and whether it can be reached.
    pub gauge: Gauge,
    /// The addresses that the name resolves to now; empty while it never did.
    pub addresses: arc_swap::ArcSwap<Vec<SocketAddr>>,
    /// Since when it has had these.
    pub moved_ns: AtomicU64,
    /// The address that connected last although another had a head start, and when.
    pub won: Mutex<Option<(SocketAddr, u64)>>,
    /// The last thing that went wrong, for the console.
    pub last_error: Mutex<Option<&'static str>>,
}

/// How long an address is preferred that connected while one before it did not (RFC 8305 §4: on the order of 10 minutes).
const WON_NS: u64 = 600_000_000_000;
/// How long an idle connection is trusted before its upstream's own limit is known.
const IDLE_LIMIT_UNKNOWN_NS: u64 = 0;

impl Endpoint {
    /// `host:port` as it stands in the configuration.
    pub fn authority(&self) -> String {
        self.url.authority()
    }

    /// Its share of the load among its peers.
    #[inline]
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Gives it another share.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Relaxed);
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
}
