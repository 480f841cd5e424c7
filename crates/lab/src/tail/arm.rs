//! The arms: a proxy, and how it is set to spread load.

use crate::peers::Peer;

/// One contestant of a scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Arm {
    pub(super) name: &'static str,
    pub(super) peer: Peer,
    /// The peer's own word for it.
    pub(super) balance: &'static str,
    /// unlag: a second copy when the first is slow.
    pub(super) hedge: bool,
    /// unlag: the learned bound on requests in flight.
    pub(super) limit: bool,
    /// Far replicas are told apart: regions, priorities, backups.
    pub(super) regions: bool,
    /// Replicas are asked every second whether they are well.
    pub(super) health: bool,
    pub(super) workers: usize,
    pub(super) processes: usize,
    /// A second node of the same kind stands before the first.
    pub(super) chain: bool,
    /// Replicas come from a file that changes.
    pub(super) discovers: bool,
    /// unlag: who wrote reads from the primary for a while.
    pub(super) own_writes: bool,
    /// unlag: so many requests pass each technique by.
    pub(super) holdout: Option<&'static str>,
}

const fn arm(name: &'static str, peer: Peer, balance: &'static str) -> Arm {
    Arm {
        name,
        peer,
        balance,
        hedge: false,
        limit: false,
        regions: false,
        health: false,
        workers: 1,
        processes: 1,
        chain: false,
        discovers: false,
        own_writes: false,
        holdout: None,
    }
}

pub(super) const HAPROXY: Arm = arm("haproxy-leastconn", Peer::Haproxy, "leastconn");
pub(super) const HAPROXY_RANDOM: Arm = arm("haproxy-random", Peer::Haproxy, "random");
pub(super) const NGINX: Arm = arm("nginx-least-conn", Peer::Nginx, "least_conn");
pub(super) const NGINX_RANDOM: Arm = arm("nginx-random-two", Peer::Nginx, "random two least_conn");
pub(super) const ENVOY: Arm = arm("envoy-least-request", Peer::Envoy, "LEAST_REQUEST");
pub(super) const TRAEFIK: Arm = arm("traefik-leasttime", Peer::Traefik, "leasttime");
pub(super) const UNLAG: Arm = arm("unlag", Peer::Unlag, "adaptive");
pub(super) const UNLAG_LEAST: Arm = arm("unlag-least-request", Peer::Unlag, "least-request");
pub(super) const UNLAG_HEDGE: Arm = Arm { name: "unlag+hedge", hedge: true, ..UNLAG };

/// What everybody would install, as they would set it, and unlag.
pub(super) const ALL: &[Arm] =
    &[HAPROXY, HAPROXY_RANDOM, NGINX, NGINX_RANDOM, ENVOY, TRAEFIK, UNLAG, UNLAG_HEDGE];
/// One arm of each, where what a proxy draws replicas by changes nothing.
pub(super) const EACH: &[Arm] = &[HAPROXY, NGINX, ENVOY, TRAEFIK, UNLAG, UNLAG_HEDGE];
/// One arm of each of the three, for what differs little between the others.
pub(super) const FEW: &[Arm] = &[HAPROXY, NGINX, ENVOY, UNLAG];
pub(super) const FEW_AND_HEDGE: &[Arm] = &[HAPROXY, NGINX, ENVOY, UNLAG, UNLAG_HEDGE];

impl Arm {
    /// Whether a word of `--only` means it: a peer, or an arm.
    pub(super) fn is_meant_by(&self, word: &str) -> bool {
        word == self.name || word == self.peer.name()
    }

    pub(super) fn is_own(&self) -> bool {
        self.peer == Peer::Unlag
    }
}
