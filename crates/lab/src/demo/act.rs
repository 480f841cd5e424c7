//! The acts of the demo: which fault is on when, and what is asked for. The last two pairs are before and after: the same
//! load on the same pages, on paths that the proxy passes on and on paths that it caches.

use anyhow::Result;
use serde::Serialize;

use crate::load::Request;
use crate::services::{Fault, Faults, Shop};

/// How much slower the slow replica gets.
const SLOW: f64 = 10.0;
/// The service whose replicas get the faults: the one that has three.
const SERVICE: &str = "catalog";

/// An act of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Everything works.
    Healthy,
    /// One of three replicas of the catalogue takes ten times as long.
    SlowReplica,
    /// One of three replicas of the catalogue answers everything with 500, at once.
    FailingReplica,
    /// Everything works again.
    Recovered,
    /// Product pages, passed on.
    ProductsPassed,
    /// The same pages, cached by the proxy.
    ProductsCached,
    /// Pictures and scripts, passed on.
    AssetsPassed,
    /// The same, kept at the edge and fetched again beside the requests.
    AssetsEdge,
}

impl Act {
    /// The acts in order.
    pub const ALL: [Self; 8] = [
        Self::Healthy,
        Self::SlowReplica,
        Self::FailingReplica,
        Self::Recovered,
        Self::ProductsPassed,
        Self::ProductsCached,
        Self::AssetsPassed,
        Self::AssetsEdge,
    ];

    /// A short title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowReplica => "one slow replica",
            Self::FailingReplica => "one failing replica",
            Self::Recovered => "recovered",
            Self::ProductsPassed => "products passed on",
            Self::ProductsCached => "products cached",
            Self::AssetsPassed => "assets passed on",
            Self::AssetsEdge => "assets at the edge",
        }
    }

    /// What happens, in a sentence.
    pub fn story(self) -> &'static str {
        match self {
            Self::Healthy => "every service is well",
            Self::SlowReplica => "replica 2 of 3 of catalog takes ten times as long",
            Self::FailingReplica => "replica 3 of 3 of catalog answers 500 at once",
            Self::Recovered => "every service is well again",
            Self::ProductsPassed => "product pages, each request passed on to catalog",
            Self::ProductsCached => "the same pages where the proxy has `cache = { ttl = \"10s\" }`",
            Self::AssetsPassed => "pictures and scripts that take catalog 40 ms, each request passed on",
            Self::AssetsEdge => {
                "the same where the proxy keeps them and fetches them again beside the requests"
            }
        }
    }

    pub(super) fn set(self, faults: &Faults) -> Result<()> {
        faults.clear();
        match self {
            Self::SlowReplica => faults.set(SERVICE, 1, Fault::slow(SLOW)),
            Self::FailingReplica => faults.set(SERVICE, 2, Fault::failing(1.0)),
            _ => Ok(()),
        }
    }

    /// What is asked for in it.
    pub(super) fn mix(self) -> Vec<Request> {
        match self {
            Self::ProductsPassed => Shop::products("products"),
            Self::ProductsCached => Shop::products("cached"),
            Self::AssetsPassed => Shop::assets("assets"),
            Self::AssetsEdge => Shop::assets("edge"),
            _ => Shop::mix(),
        }
    }

    /// Its part of the whole, in twelfths: faults take a while to show and to be gone round.
    pub(super) fn twelfths(self) -> u32 {
        match self {
            Self::Healthy | Self::SlowReplica | Self::FailingReplica | Self::Recovered => 2,
            _ => 1,
        }
    }
}
