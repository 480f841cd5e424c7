//! The acts of the demo: which fault is on when, and what is asked for. First the shop, then pairs of before and after, each
//! with the same load: pages that the proxy passes on and pages that it caches, then replicas in trouble, reached the
//! plain way and by what unlag does about it.

use anyhow::Result;
use serde::Serialize;

use super::pools::{Trouble, Way};
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
    /// One of three replicas takes ten times as long; they are asked in turn.
    SlowPlain,
    /// The same, with the adaptive balance.
    SlowUnlag,
    /// One of three replicas freezes again and again; the one with the fewest requests is asked.
    FreezingPlain,
    /// The same, with hedging.
    FreezingUnlag,
    /// One of three replicas answers 500 at once; they are asked in turn.
    FailingPlain,
    /// The same, with the adaptive balance.
    FailingUnlag,
    /// Three replicas are near and three are far; the one with the fewest requests is asked.
    FarPlain,
    /// The near ones are lost, and come back.
    LostPlain,
    /// Three replicas are near and three are far, and they are known as two regions.
    FarUnlag,
    /// The near region is lost, and comes back.
    LostUnlag,
}

impl Act {
    /// The acts in order.
    pub const ALL: [Self; 18] = [
        Self::Healthy,
        Self::SlowReplica,
        Self::FailingReplica,
        Self::Recovered,
        Self::ProductsPassed,
        Self::ProductsCached,
        Self::AssetsPassed,
        Self::AssetsEdge,
        Self::SlowPlain,
        Self::SlowUnlag,
        Self::FreezingPlain,
        Self::FreezingUnlag,
        Self::FailingPlain,
        Self::FailingUnlag,
        Self::FarPlain,
        Self::LostPlain,
        Self::FarUnlag,
        Self::LostUnlag,
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
            Self::SlowPlain => "slow: in turn",
            Self::SlowUnlag => "slow: adaptive",
            Self::FreezingPlain => "freezing: plain",
            Self::FreezingUnlag => "freezing: hedged",
            Self::FailingPlain => "failing: in turn",
            Self::FailingUnlag => "failing: adaptive",
            Self::FarPlain => "far: plain",
            Self::LostPlain => "near lost: plain",
            Self::FarUnlag => "far: regions",
            Self::LostUnlag => "near lost: regions",
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
            Self::SlowPlain => "one of three replicas takes ten times as long, all are asked in turn",
            Self::SlowUnlag => "the same with `balance = \"adaptive\"`",
            Self::FreezingPlain => {
                "one of three replicas freezes for 300 ms every 1.3 s, the one with the fewest requests is asked"
            }
            Self::FreezingUnlag => "the same with `balance = \"adaptive\"` and `hedge = {}`",
            Self::FailingPlain => "one of three replicas answers 500 at once, all are asked in turn",
            Self::FailingUnlag => "the same with `balance = \"adaptive\"`",
            Self::FarPlain => {
                "three replicas near and three 30 ms away, the one with the fewest requests is asked"
            }
            Self::LostPlain => "the near ones are lost for a while",
            Self::FarUnlag => "three replicas near and three 30 ms away, known as regions",
            Self::LostUnlag => "the near region is lost for a while",
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
            _ if self.trial().is_some() => vec![Request::typical_get("/r").numbered()],
            _ => Shop::mix(),
        }
    }

    /// What is wrong and how it is reached, in the acts that are not the shop's.
    pub(super) fn trial(self) -> Option<(Trouble, Way)> {
        Some(match self {
            Self::SlowPlain => (Trouble::Slow, Way::Plain),
            Self::SlowUnlag => (Trouble::Slow, Way::Unlag),
            Self::FreezingPlain => (Trouble::Freezing, Way::Plain),
            Self::FreezingUnlag => (Trouble::Freezing, Way::Unlag),
            Self::FailingPlain => (Trouble::Failing, Way::Plain),
            Self::FailingUnlag => (Trouble::Failing, Way::Unlag),
            Self::FarPlain | Self::LostPlain => (Trouble::Far, Way::Plain),
            Self::FarUnlag | Self::LostUnlag => (Trouble::Far, Way::Unlag),
            _ => return None,
        })
    }

    /// Its part of the whole, in hundredths: faults of the shop take a while to show and to be gone round.
    pub(super) fn hundredths(self) -> u32 {
        match self {
            Self::Healthy | Self::SlowReplica | Self::FailingReplica | Self::Recovered => 10,
            Self::ProductsPassed | Self::ProductsCached | Self::AssetsPassed | Self::AssetsEdge => 5,
            _ => 4,
        }
    }
}
