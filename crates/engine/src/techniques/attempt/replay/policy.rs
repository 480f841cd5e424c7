//! What a key stands for, and what is kept for it.

use crate::error::{Error, Fault, Retry};
use crate::exchange::Exchange;
use crate::http::{Body, Fields, Name, Size};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Why a key is refused.
pub const BAD_KEY: &str = "an Idempotency-Key is one value of 1 to 255 characters";
/// The longest key: a UUID has 36 characters.
const KEY_BYTES_MAX: usize = 255;

/// Whose key it is, and for what: all of it, not a hash, as no two may ever meet. None if it is no key.
pub fn key(exchange: &Exchange) -> Option<Box<[u8]>> {
    let head = &exchange.head;
    let mut keys = head.fields.all(Name::IdempotencyKey);
    let (Some(value), None) = (keys.next(), keys.next()) else { return None };
    // The draft has a quoted string; most who use it write none.
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    if value.is_empty() || value.len() > KEY_BYTES_MAX {
        return None;
    }
    let mut key = Vec::with_capacity(256);
    let mut part = |bytes: &[u8]| {
        key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        key.extend_from_slice(bytes);
    };
    part(exchange.route.config.name.as_bytes());
    part(value);
    part(head.method.as_str().as_bytes());
    part(head.authority());
    part(head.path());
    part(head.query().unwrap_or_default());
    part(exchange.trace.certificate().map_or(&[], |certificate| certificate));
    let credentials = head.fields.all(Name::Authorization).chain(head.fields.all(Name::Cookie));
    credentials.for_each(part);
    Some(key.into_boxed_slice())
}

/// What stands for the content of a request: who sends another with the same key has made a mistake.
pub fn fingerprint(fields: &Fields, body: &Body, declared: Size) -> u128 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    let kind = fields.get(Name::ContentType).unwrap_or_default();
    let seed = xxh3_128_with_seed(kind, *SEED) as u64;
    match (body, declared) {
        (Body::Bytes(bytes), _) => xxh3_128_with_seed(bytes, seed),
        (Body::Empty, _) => xxh3_128_with_seed(b"", seed),
        // Too long to be looked at: as far as its length tells.
        (Body::Stream(_), Size::Exact(length)) => xxh3_128_with_seed(&length.to_le_bytes(), !seed),
        (Body::Stream(_), Size::Unknown) => xxh3_128_with_seed(b"", !seed),
    }
}

/// Whether an answer says that nothing was done: who is asked again may do it.
pub fn is_void(status: u16) -> bool {
    matches!(status, 401 | 407 | 408 | 409 | 413 | 421 | 425 | 429 | 503)
}

/// Whether a request that failed so may have been acted on.
pub fn may_have_been_executed(error: Error) -> bool {
    let is_known_unsent = matches!(
        error,
        Error::Doomed
            | Error::NoEndpoint
            | Error::NoOther
            | Error::NoLocalPort
            | Error::Undiscovered
            | Error::Overloaded { .. }
            | Error::UpstreamLost { .. }
            | Error::Drained
    );
    error.retry() != Retry::Safe && error.fault() != Fault::Caller && !is_known_unsent
}
