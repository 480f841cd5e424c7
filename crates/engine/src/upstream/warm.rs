//! Connections that are opened before a request needs them, so that no request waits for a handshake while an endpoint is at
//! work: after one is taken, and twice a second.
//!
//! Only an endpoint that has kept a connection for another request is worth it: a server that serves one connection at a
//! time, or closes each after its answer, would wait for a request on a connection that nobody needs. Of an upstream at work,
//! an endpoint that joins is connected to by every core before it gets its first request ([`Endpoint::is_cold`]).
//!
//! Idea: the pre-opened pools of ingress controllers, where a new pod met its first request cold.

use super::connect::{self, Connected};
use crate::clock;
use crate::core::Core;
use crate::fleet::Endpoint;
use crate::plan::Upstream;
use std::rc::Rc;
use std::sync::Arc;

/// An endpoint counts as at work for so long after a request; then its connections may grow old and go.
pub const AT_WORK_NS: u64 = 60_000_000_000;
/// How long no connection is opened ahead after one could not be, or was closed before it was used.
pub const BACK_OFF_NS: u64 = 10_000_000_000;

/// What is known of one endpoint's connections on one core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stock {
    /// Connections that wait for a request; an HTTP/2 connection counts as well: whether its streams suffice is for
    /// [`super::h2_turn`] to say.
    pub ready: usize,
    /// Connections being opened ahead.
    pub opening: usize,
    /// When the core last took one; `None` if it never did.
    pub used_ns: Option<u64>,
    /// Not to be opened ahead before this moment.
    pub not_before_ns: u64,
}

impl Stock {
    /// Whether another is to be opened ahead at `now`, where `wanted` are to be ready. `keeps` says that the endpoint keeps
    /// connections, or that its peers do and this core has not connected to it yet.
    pub fn wants_more(&self, wanted: usize, keeps: bool, now: u64) -> bool {
        let at_work = self.used_ns.is_none_or(|used| now.saturating_sub(used) < AT_WORK_NS);
        keeps && at_work && self.ready + self.opening < wanted && now >= self.not_before_ns
    }
}

/// Opens one if too few are ready. `joins` says that the endpoint's peers are at work.
pub fn replenish(core: &Rc<Core>, upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>, joins: bool) {
    let wanted = core.limits().warm_connections;
    let stock = core.pools.stock(endpoint);
    if stock.ready >= wanted {
        return;
    }
    let now = clock::now();
    let keeps = if stock.used_ns.is_some() { endpoint.keeps_alive() } else { joins };
    if core.shared.is_draining() || !stock.wants_more(wanted, keeps, now) {
        return;
    }
    let opening = core.pools.opening(endpoint);
    let (core, upstream, endpoint) = (Rc::clone(core), Arc::clone(upstream), Arc::clone(endpoint));
    tokio::task::spawn_local(async move {
        let opened = connect::open(&core, &upstream, &endpoint, None, false).await;
        drop(opening);
        match opened {
            Ok(Connected::Http1(conn)) => core.pools.put_unused(conn),
            Ok(Connected::Http2(_)) => {}
            Err(_) => core.pools.back_off(&endpoint, clock::now() + BACK_OFF_NS),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn connections_are_opened_ahead_while_an_endpoint_that_keeps_them_is_at_work() {
        let stock = Stock { used_ns: Some(100 * SECOND), ..Stock::default() };
        assert!(stock.wants_more(1, true, 159 * SECOND));
        assert!(!stock.wants_more(1, true, 161 * SECOND), "nothing was asked for a minute");
        assert!(!stock.wants_more(1, false, 101 * SECOND), "it closes them");
        assert!(!stock.wants_more(0, true, 101 * SECOND), "switched off");
        assert!(!Stock { ready: 1, ..stock }.wants_more(1, true, 101 * SECOND));
        assert!(!Stock { opening: 1, ..stock }.wants_more(1, true, 101 * SECOND));
        assert!(!Stock { not_before_ns: 102 * SECOND, ..stock }.wants_more(1, true, 101 * SECOND));
        assert!(Stock::default().wants_more(1, true, 500 * SECOND), "one that joins");
    }
}
