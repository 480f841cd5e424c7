//! The same endpoint for requests that have something in common, so that what one endpoint has stored, or knows of a session, is
//! asked for there and nowhere else.
//!
//! Weighted rendezvous hashing: each endpoint draws a number from its URL and the key, `-weight / ln(u)`, and the highest wins.
//! Every node draws the same, today and after its next start, and nobody keeps a table. When an endpoint goes, each of its keys
//! goes to whoever came second for it, and comes back with it. With bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018): one
//! that has more than its share in flight passes a request to whoever came second, so that one hot key sinks nobody.

use super::policy::Picked;
use crate::fleet::Endpoint;
use crate::fleet::ranking::{Ask, Ranking};
use crate::http::{Name, RequestHead};
use std::sync::Arc;
use unlag_config::HashKey;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How far above its share of what is in flight an endpoint may be, in quarters: 1.25 times. Less scatters more keys; more lets
/// the busiest endpoint be slower than the others for longer.
const BOUND_QUARTERS: u64 = 5;
/// So many more may be in flight to any endpoint: a handful of requests is no load, and passing them on only fetches twice.
pub const SLACK: u64 = 8;

/// What stands for a request among the endpoints; none if it has nothing to go by.
pub fn key(head: &RequestHead, by: &HashKey) -> Option<u64> {
    match by {
        HashKey::Path => {
            let path = xxh3_64(head.path());
            Some(head.query().map_or(path, |query| xxh3_64_with_seed(query, path)))
        }
        HashKey::Header(name) if name == "host" => {
            Some(head.authority()).filter(|it| !it.is_empty()).map(xxh3_64)
        }
        HashKey::Header(name) => head.fields.get_named(name).filter(|value| !value.is_empty()).map(xxh3_64),
        HashKey::Cookie(name) => {
            let pairs = head.fields.all(Name::Cookie).flat_map(|line| line.split(|&byte| byte == b';'));
            let value = |pair: &'_ [u8]| {
                let at = memchr::memchr(b'=', pair)?;
                let (known, value) = pair.split_at(at);
                (known.trim_ascii() == name.as_bytes() && value.len() > 1)
                    .then(|| xxh3_64(value.trim_ascii()))
            };
            pairs.into_iter().find_map(value)
        }
    }
}

/// What stands for an endpoint: its URL as it is written, which is the same on every node.
pub fn of_endpoint(url: &unlag_config::UpstreamUrl) -> u64 {
    xxh3_64(url.to_string().as_bytes())
}

/// Picks the endpoint that this key belongs to, among those that may best be asked (see [`Ranking`]).
pub fn pick<'a>(fleet: &'a [Arc<Endpoint>], key: u64, ask: &Ask<'_>) -> Option<Picked<'a>> {
    let mut ranking = Ranking::new(fleet, *ask);
    // This request is one of those in flight.
    let (mut least, mut weights, mut in_flight) = (u8::MAX, 0, 1);
    for endpoint in fleet {
        let Some(rank) = ranking.of(endpoint) else { continue };
        if rank < least {
            (least, weights, in_flight) = (rank, 0, 1);
        }
        if rank == least {
            weights += u64::from(endpoint.weight());
            in_flight += u64::from(endpoint.in_flight());
        }
    }
    let looked = ranking.looked;
    let has_room = |endpoint: &Endpoint| {
        u64::from(endpoint.in_flight()) < share_max(u64::from(endpoint.weight()), weights, in_flight) + SLACK
    };
    // Another core may have changed a rank meanwhile: whoever has the least now.
    let (mut best, mut most) = (None, (0, false, 0.0));
    for endpoint in fleet {
        let Some(rank) = ranking.of(endpoint) else { continue };
        let drawn = (u8::MAX - rank, has_room(endpoint), draw(endpoint, key));
        if best.is_none() || drawn > most {
            (best, most) = (Some((endpoint, rank)), drawn);
        }
    }
    best.map(|(endpoint, rank)| Picked::regardless(endpoint, rank, looked))
}

/// How many of `in_flight` an endpoint of this weight may have at most, apart from the slack.
pub fn share_max(weight: u64, weights: u64, in_flight: u64) -> u64 {
    (in_flight * weight * BOUND_QUARTERS).div_ceil(weights.max(1) * 4)
}

/// The number that an endpoint draws for a key: of two with weights 2 and 1, the first has the higher one for two keys of three.
fn draw(endpoint: &Endpoint, key: u64) -> f64 {
    let bits = xxh3_64_with_seed(&key.to_le_bytes(), endpoint.hash) >> 11;
    // Above 0 and below 1: 53 bits are what the fraction of a double holds.
    let unit = (bits as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(endpoint.weight()) / unit.ln()
}
