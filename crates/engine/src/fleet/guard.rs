//! What is counted for as long as it lasts: a request in flight, an open connection.

use super::Endpoint;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// One request in flight to an endpoint.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    begun_ns: u64,
    before: u32,
    stalled_before_ns: u64,
    waits: bool,
}

impl InFlight {
    /// Counts a request in for as long as the guard lives.
    pub(super) fn begin(endpoint: &Arc<Endpoint>, now: u64) -> InFlight {
        let cell = &endpoint.cell;
        let before = cell.in_flight.fetch_add(1, Relaxed);
        // Nobody waited for it: its silence so far says nothing, unless that is why nobody did.
        if cell.waiting.fetch_add(1, Relaxed) == 0 && !endpoint.is_mistrusted(now) {
            cell.progress_ns.store(now, Relaxed);
        }
        let stalled_before_ns = cell.stalled_ns.load(Relaxed);
        InFlight { endpoint: Arc::clone(endpoint), begun_ns: now, before, stalled_before_ns, waits: true }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// When it began.
    pub fn begun_ns(&self) -> u64 {
        self.begun_ns
    }

    /// How many were in flight to the endpoint when it began.
    pub fn before(&self) -> u32 {
        self.before
    }

    /// For how long of its life the endpoint did not move.
    pub fn stalled_ns(&self) -> u64 {
        self.endpoint.cell.stalled_ns.load(Relaxed).saturating_sub(self.stalled_before_ns)
    }

    /// Its answer has begun: from now on it is load, but nobody waits for a sign of life.
    pub fn answered(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.endpoint.cell.waiting.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.answered();
        // In one order with what a core does that begins to wait: see `admit/room.rs`.
        self.endpoint.cell.in_flight.fetch_sub(1, SeqCst);
        self.endpoint.gauge.freed();
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
