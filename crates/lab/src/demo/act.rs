//! The acts of the demo: which fault is on when.

use anyhow::Result;
use serde::Serialize;

use crate::services::{Fault, Faults};

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
}

impl Act {
    /// The acts in order.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::SlowReplica, Self::FailingReplica, Self::Recovered];

    /// A short title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowReplica => "one slow replica",
            Self::FailingReplica => "one failing replica",
            Self::Recovered => "recovered",
        }
    }

    /// What happens, in a sentence.
    pub fn story(self) -> &'static str {
        match self {
            Self::Healthy => "every service is well",
            Self::SlowReplica => "replica 2 of 3 of catalog takes ten times as long",
            Self::FailingReplica => "replica 3 of 3 of catalog answers 500 at once",
            Self::Recovered => "every service is well again",
        }
    }

    pub(super) fn set(self, faults: &Faults) -> Result<()> {
        faults.clear();
        match self {
            Self::Healthy | Self::Recovered => Ok(()),
            Self::SlowReplica => faults.set(SERVICE, 1, Fault::slow(SLOW)),
            Self::FailingReplica => faults.set(SERVICE, 2, Fault::failing(1.0)),
        }
    }
}
