//! The ways in which many callers can meet.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;

use crate::peers::goal::Goal;
use crate::services::{Policy, Resource};

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stampede {
    /// A key that nobody has asked for yet, 200 ms away.
    Cold200,
    /// The same, 20 ms away.
    Cold20,
    /// The same with two workers.
    Workers2,
    /// Nothing is said about caching.
    Silent,
    /// The first burst of a route whose answers are not to be stored.
    NoStoreFirst,
    /// The second burst for the same.
    NoStoreSecond,
    /// Answers for one caller, on a route known for them.
    Private,
    /// Stored and no longer fresh.
    Expired,
    /// Stored, no longer fresh, and to be served while it is fetched again.
    WhileRevalidate,
    /// Stored, no longer fresh, and to be served while the origin fails.
    IfError,
    /// A second caller for a stream that is under way.
    Join,
}

/// What is fresh for one second is stale after this, whatever is rounded on the way.
const UNTIL_STALE: Duration = Duration::from_millis(2_200);
const BYTES: usize = 1_024;

/// How a scenario is driven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Drive {
    /// So many callers at once.
    AtOnce(usize),
    /// One caller, so many times, so far apart.
    Paced(usize, Duration),
    /// One caller, and another this much later.
    Joined(Duration),
}

/// What is asked before what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// The same burst.
    Burst,
    /// One request, then the answer gets stale.
    Stale,
}

impl Stampede {
    /// All, in the order they are run.
    pub const ALL: [Self; 11] = [
        Self::Cold200,
        Self::Cold20,
        Self::Workers2,
        Self::Silent,
        Self::NoStoreFirst,
        Self::NoStoreSecond,
        Self::Private,
        Self::Expired,
        Self::WhileRevalidate,
        Self::IfError,
        Self::Join,
    ];

    /// The name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold200 => "cold-200",
            Self::Cold20 => "cold-20",
            Self::Workers2 => "workers2",
            Self::Silent => "silent",
            Self::NoStoreFirst => "no-store-first",
            Self::NoStoreSecond => "no-store-second",
            Self::Private => "private",
            Self::Expired => "expired",
            Self::WhileRevalidate => "while-revalidate",
            Self::IfError => "if-error",
            Self::Join => "join",
        }
    }

    /// What is done, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Cold200 => "Callers at once for a cold cacheable key, origin 200 ms",
            Self::Cold20 => "Callers at once for a cold cacheable key, origin 20 ms",
            Self::Workers2 => "Callers at once for a cold cacheable key, origin 20 ms, two workers",
            Self::Silent => {
                "Callers at once for an answer that says nothing of caching (TTL 0), origin 200 ms"
            }
            Self::NoStoreFirst => "First burst of a route that answers no-store, origin 200 ms",
            Self::NoStoreSecond => "Second burst for the same no-store key, origin 200 ms",
            Self::Private => "20 callers at once for private, max-age=0, origin 200 ms",
            Self::Expired => "Callers at once for an expired key (max-age only), origin 200 ms",
            Self::WhileRevalidate => "Callers at once for a key inside stale-while-revalidate, origin 200 ms",
            Self::IfError => "20 requests in 2 s inside stale-if-error=600 while the origin answers 503",
            Self::Join => "A second caller joins a stream of 1.8 s after 0.6 s",
        }
    }

    /// What it is to show.
    pub(super) fn goal(self) -> Goal {
        match self {
            Self::Cold200 | Self::Cold20 | Self::Workers2 | Self::Silent => Goal::OneFetch { added_ms: 2.0 },
            Self::Expired => Goal::OneFreshFetch { added_ms: 2.0 },
            Self::NoStoreFirst => Goal::TimesDirect(2.0),
            Self::NoStoreSecond | Self::Private => Goal::TimesDirect(1.05),
            Self::WhileRevalidate => Goal::AsFastAsAHit { added_ms: 0.1 },
            Self::IfError => Goal::Served,
            Self::Join => Goal::JoinsAStream { first_byte_ms: 1.0 },
        }
    }

    pub(super) fn workers(self) -> usize {
        if self == Self::Workers2 { 2 } else { 1 }
    }

    pub(super) fn drive(self, callers: usize) -> Drive {
        match self {
            Self::Private => Drive::AtOnce(callers.min(20)),
            Self::IfError => Drive::Paced(20, Duration::from_millis(100)),
            Self::Join => Drive::Joined(Duration::from_millis(600)),
            _ => Drive::AtOnce(callers),
        }
    }

    pub(super) fn before(self) -> Before {
        match self {
            Self::NoStoreSecond => Before::Burst,
            Self::Expired | Self::WhileRevalidate | Self::IfError => Before::Stale,
            _ => Before::Nothing,
        }
    }

    /// How long what was stored before is left to get stale.
    pub(super) fn aging(self) -> Duration {
        if self.before() == Before::Stale { UNTIL_STALE } else { Duration::ZERO }
    }

    /// The route of a round: a new one each round where it is the first burst of a route that counts.
    pub(super) fn route(self, round: usize) -> String {
        match self {
            Self::NoStoreFirst => format!("{}-{round}", self.name()),
            _ => self.name().to_owned(),
        }
    }

    /// What is asked for in a round by the callers of one cache.
    pub(super) fn resource(self, round: usize, asker: &str) -> Resource {
        let (policy, delay_ms) = match self {
            Self::Cold200 => (Policy::Fresh, 200),
            Self::Cold20 | Self::Workers2 => (Policy::Fresh, 20),
            Self::Silent => (Policy::Silent, 200),
            Self::NoStoreFirst | Self::NoStoreSecond => (Policy::NoStore, 200),
            Self::Private => (Policy::Private, 200),
            Self::Expired => (Policy::Short, 200),
            Self::WhileRevalidate => (Policy::WhileRevalidate, 200),
            Self::IfError => (Policy::IfError, 20),
            Self::Join => (Policy::Stream, 1_800),
        };
        let bytes = if self == Self::Join { 18 * BYTES } else { BYTES };
        let (route, delay) = (self.route(round), Duration::from_millis(delay_ms));
        Resource { route, policy, delay, bytes, key: format!("{asker}-{round}") }
    }
}

impl FromStr for Stampede {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|scenario| scenario.name() == name) {
            Some(scenario) => Ok(scenario),
            None => bail!("no scenario `{name}`: there are {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}
