//! A route's rate: who shares an allowance with whom, and what a request that is over it is told.

use super::rate::{Keyed, Rate, Whole};
use crate::clock;
use crate::error::Error;
use crate::http::{Fields, Name};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use unlag_config::{Network, RateBy};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What is used up of a rate, for all cores and for as long as plans say the same of it.
#[derive(Debug)]
pub struct Used {
    by: By,
    /// Requests that were over the rate.
    refused: AtomicU64,
}

#[derive(Debug)]
enum By {
    /// By everybody.
    Whole(Whole),
    /// By each, under keys that nobody outside can foresee.
    Keyed(Box<Keyed>, u64),
}

/// A route's rate.
#[derive(Clone, Debug)]
pub struct Allowance {
    rate: Rate,
    by: RateBy,
    used: Arc<Used>,
    trusted: Vec<Network>,
}

impl Used {
    /// Nothing.
    pub fn nothing(by: &RateBy) -> Used {
        let by = match by {
            RateBy::Route => By::Whole(Whole::default()),
            // Keeps callers from choosing who shares their place in the table.
            RateBy::Client | RateBy::Header(_) => By::Keyed(Box::default(), RandomState::new().hash_one(0)),
        };
        Used { by, refused: AtomicU64::new(0) }
    }
}

impl Allowance {
    /// A rate, what is used up of it, and the peers whose word on the caller is believed.
    pub fn new(config: &unlag_config::Rate, used: Arc<Used>, trusted: &[Network]) -> Allowance {
        let rate = Rate::new(config.requests, config.per, config.burst);
        Allowance { rate, by: config.by.clone(), used, trusted: trusted.to_vec() }
    }

    /// Charges a request, or refuses it.
    pub fn take(&self, fields: &Fields) -> Result<(), Error> {
        let now = clock::now();
        let taken = match &self.used.by {
            By::Whole(whole) => whole.take(self.rate, now),
            By::Keyed(keyed, secret) => keyed.take(self.rate, self.key(fields, *secret), now),
        };
        taken.map_err(|early_ns| {
            self.used.refused.fetch_add(1, Relaxed);
            let seconds = early_ns.div_ceil(1_000_000_000).max(1);
            Error::TooMany { after_s: u16::try_from(seconds).unwrap_or(u16::MAX) }
        })
    }

    /// Requests that were over it.
    pub fn refused(&self) -> u64 {
        self.used.refused.load(Relaxed)
    }

    fn key(&self, fields: &Fields, secret: u64) -> u64 {
        match &self.by {
            RateBy::Route => secret,
            RateBy::Header(name) => xxh3_64_with_seed(fields.get_named(name).unwrap_or_default(), secret),
            RateBy::Client => match caller_address(fields, &self.trusted) {
                Some(IpAddr::V4(ip)) => xxh3_64_with_seed(&ip.octets(), secret),
                Some(IpAddr::V6(ip)) => xxh3_64_with_seed(&(ip.to_bits() >> 64).to_be_bytes(), secret),
                // Over a unix socket all are one.
                None => secret,
            },
        }
    }
}

/// The last address in `X-Forwarded-For` that is not a trusted peer's: ours is the last entry of all, and what stands before one that
/// is not trusted is what that one claims.
pub fn caller_address(fields: &Fields, trusted: &[Network]) -> Option<IpAddr> {
    let mut address = None;
    let all: Vec<&[u8]> = fields.all(Name::XForwardedFor).collect();
    for entry in all.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b',')) {
        let text = std::str::from_utf8(entry.trim_ascii()).ok();
        let Some(ip) = text.and_then(|text| text.parse::<IpAddr>().ok()) else { break };
        let ip = ip.to_canonical();
        address = Some(ip);
        if !trusted.iter().any(|network| network.contains(ip)) {
            break;
        }
    }
    address
}
