//! The address that a connection leads to, and whether the name of its endpoint still has it.
//!
//! A service that had moved was asked at its old address for as long as callers kept the old connection busy. A connection that
//! leads where the name no longer points gets no further request; what is under way on it goes on to its end.

use crate::fleet::Endpoint;
use crate::net::io::Io;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;

/// How long a connection is kept whose address is in no answer any more: a name server that gives a few of many addresses at a time
/// gives this one again sooner, and who has moved away usually goes on for longer.
const MISSING_NS: u64 = 5_000_000_000;

/// Where a connection leads.
#[derive(Debug)]
pub struct Peer {
    /// Nothing on a unix socket.
    ip: Option<IpAddr>,
    /// Since when the name has been without it; 0 while it has it.
    missing_since_ns: Cell<u64>,
    /// The change of addresses up to which it is known that the name has it.
    seen_moved_ns: Cell<Option<u64>>,
}

impl Peer {
    /// Where this stream leads.
    pub fn of(io: &Io) -> Peer {
        Peer { ip: io.peer_ip(), missing_since_ns: Cell::default(), seen_moved_ns: Cell::default() }
    }

    /// Whether the name of the endpoint has been without this address for so long at `now` that nothing more is sent there.
    pub fn is_left(&self, endpoint: &Endpoint, now: u64) -> bool {
        let moved_ns = endpoint.moved_ns.load(Relaxed);
        if self.seen_moved_ns.get() == Some(moved_ns) {
            return false;
        }
        let is_missing = self.is_missing(&endpoint.addresses.load(), moved_ns, now);
        // A change is known before its addresses are.
        let is_settled = now.saturating_sub(moved_ns) >= MISSING_NS;
        let is_there = self.missing_since_ns.get() == 0;
        self.seen_moved_ns.set((is_there && is_settled).then_some(moved_ns));
        is_missing
    }

    /// `moved_ns` is when these became the addresses.
    fn is_missing(&self, addresses: &[SocketAddr], moved_ns: u64, now: u64) -> bool {
        let Some(ip) = self.ip else { return false };
        // Without any nothing is known of where it has gone.
        if addresses.is_empty() || addresses.iter().any(|address| address.ip() == ip) {
            self.missing_since_ns.set(0);
            return false;
        }
        if self.missing_since_ns.get() == 0 {
            self.missing_since_ns.set(moved_ns);
        }
        now.saturating_sub(self.missing_since_ns.get()) >= MISSING_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::endpoint;

    const SECOND: u64 = 1_000_000_000;

    fn addresses(last: &[u8]) -> Vec<SocketAddr> {
        last.iter().map(|&last| ([10, 0, 0, last], 80).into()).collect()
    }

    fn peer(ip: Option<IpAddr>) -> Peer {
        Peer { ip, missing_since_ns: Cell::default(), seen_moved_ns: Cell::default() }
    }

    #[test]
    fn an_address_is_left_once_its_name_has_been_without_it_for_five_seconds_on_end() {
        let peer = peer(Some([10, 0, 0, 1].into()));
        assert!(!peer.is_missing(&addresses(&[1, 2]), SECOND, SECOND));
        assert!(!peer.is_missing(&addresses(&[2]), 2 * SECOND, 3 * SECOND));
        assert!(!peer.is_missing(&addresses(&[3]), 4 * SECOND, 7 * SECOND - 1));
        assert!(!peer.is_missing(&addresses(&[2, 1]), 6 * SECOND, 7 * SECOND - 1), "it is back");
        assert!(!peer.is_missing(&addresses(&[3]), 8 * SECOND, 8 * SECOND), "it is missed anew");
        assert!(peer.is_missing(&addresses(&[4]), 12 * SECOND, 13 * SECOND), "whatever comes in its place");
    }

    #[test]
    fn an_address_that_was_there_is_looked_for_again_after_every_change() {
        let endpoint = endpoint(0);
        let change = |last: &[u8], now: u64| {
            endpoint.moved_ns.store(now, Relaxed);
            endpoint.addresses.store(std::sync::Arc::new(addresses(last)));
        };
        let peer = peer(Some([10, 0, 0, 1].into()));
        change(&[1], SECOND);
        assert!(!peer.is_left(&endpoint, 20 * SECOND) && !peer.is_left(&endpoint, 30 * SECOND));
        change(&[2], 60 * SECOND);
        assert!(!peer.is_left(&endpoint, 61 * SECOND) && peer.is_left(&endpoint, 66 * SECOND));
    }

    #[test]
    fn a_connection_that_comes_back_long_after_its_address_has_gone_is_left_at_once() {
        let peer = peer(Some([10, 0, 0, 1].into()));
        assert!(peer.is_missing(&addresses(&[2]), 2 * SECOND, 60 * SECOND));
    }

    #[test]
    fn where_nothing_is_known_nothing_is_left() {
        let gone = peer(Some([10, 0, 0, 1].into()));
        let unix = peer(None);
        for now in [1, 100 * SECOND] {
            assert!(!gone.is_missing(&[], 1, now), "its name does not resolve");
            assert!(!unix.is_missing(&addresses(&[1]), 1, now), "a unix socket has no address");
        }
    }
}
