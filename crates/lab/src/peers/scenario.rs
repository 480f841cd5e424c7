//! The work that the proxies are given.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;

use crate::load::{Arrivals, Options, Protocol, Request};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// GET of 1 KiB.
    Get1k,
    /// GET of 64 KiB.
    Get64k,
    /// POST of 4 KiB, 1 KiB back.
    Post4k,
    /// Cleartext HTTP/2 caller.
    H2c,
    /// Idle keep-alive connections.
    Idle,
    /// Latency at a fixed rate.
    Tail,
    /// Spread of long-lived connections over two workers.
    Workers2,
    /// What recording a request costs.
    Recording,
}

/// Requests per second of the tail scenario.
const TAIL_RATE: f64 = 1_000.0;

impl Scenario {
    /// All, in the order they are run.
    pub const ALL: [Self; 8] = [
        Self::Get1k,
        Self::Get64k,
        Self::Post4k,
        Self::H2c,
        Self::Idle,
        Self::Tail,
        Self::Workers2,
        Self::Recording,
    ];

    /// The name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get1k => "get-1k",
            Self::Get64k => "get-64k",
            Self::Post4k => "post-4k",
            Self::H2c => "h2c",
            Self::Idle => "idle",
            Self::Tail => "tail",
            Self::Workers2 => "workers2",
            Self::Recording => "recording",
        }
    }

    /// What is done and what is measured, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Get1k => "CPU of the proxy per GET of 1 KiB, 64 connections, closed loop",
            Self::Get64k => "CPU of the proxy per GET of 64 KiB, 64 connections, closed loop",
            Self::Post4k => "CPU of the proxy per POST of 4 KiB, 64 connections, closed loop",
            Self::H2c => {
                "CPU of the proxy per GET of 1 KiB, cleartext HTTP/2 caller, 8 connections x 8 streams"
            }
            Self::Idle => "Memory of the proxy per idle keep-alive connection, each served once",
            Self::Tail => "Latency added to the direct way at 1,000 requests/s, open loop",
            Self::Workers2 => {
                "4 long-lived HTTP/2 connections on two workers: CPU per request, and spread (1 is even, 2 all on one)"
            }
            Self::Recording => {
                "What recording costs a request: phases with their clock readings, histograms, ring"
            }
        }
    }

    /// Measured against the way without a proxy, in the same round.
    pub(super) fn has_direct(self) -> bool {
        self == Self::Tail
    }

    /// Uses the HTTP/2 port.
    pub(super) fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::Workers2)
    }

    /// The load, sent to `address` for `length`. No two of its GETs are for the same URL: a proxy may let identical
    /// ones share an answer, and then what is measured is not the passing on of requests.
    pub(super) fn load(self, address: SocketAddr, length: Duration) -> Options {
        let request = match self {
            Self::Get64k => Request::typical_get("/bytes/65536").numbered(),
            Self::Post4k => Request::typical_post("/sink", 4096),
            _ => Request::typical_get("/bytes/1024").numbered(),
        };
        let mut options = Options::new(address, request);
        options.duration = length;
        options.timeout = Duration::from_secs(5);
        match self {
            Self::H2c => (options.connections, options.protocol) = (8, Protocol::Http2 { streams: 8 }),
            Self::Workers2 => (options.connections, options.protocol) = (4, Protocol::Http2 { streams: 8 }),
            Self::Tail => options.arrivals = Arrivals::Poisson { rate: TAIL_RATE },
            _ => {}
        }
        options
    }
}

impl FromStr for Scenario {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|scenario| scenario.name() == name) {
            Some(scenario) => Ok(scenario),
            None => bail!("no scenario `{name}`: there are {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}
