//! What a key stands for, and what is kept for it.

use crate::error::{Error, Fault, Retry};
use crate::exchange::Exchange;
use crate::http::{Fields, Name, Size, media};
use aws_lc_rs::digest::{Context, SHA256};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use xxhash_rust::xxh3::Xxh3;

/// The longest key: a UUID has 36 characters.
const KEY_BYTES_MAX: usize = 255;

/// What stands for whose key it is, and for what; none if it is no key. A hash that nobody finds two of, as no two may ever meet, and
/// whoever sends large cookies must not take the room of others. Each part says how long it is, and what says who asks in which way it
/// does: no cookie reads as another field.
pub fn key(exchange: &Exchange) -> Option<Box<[u8]>> {
    let head = &exchange.head;
    let mut keys = head.fields.all(Name::IdempotencyKey);
    let (Some(value), None) = (keys.next(), keys.next()) else { return None };
    // The draft has a quoted string; most who use it write none.
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    if value.is_empty() || value.len() > KEY_BYTES_MAX {
        return None;
    }
    let mut digest = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    part(exchange.route.config.name.as_bytes());
    part(value);
    part(head.method.as_str().as_bytes());
    part(head.authority());
    part(head.path());
    part(head.query().unwrap_or_default());
    part(exchange.trace.certificate().map_or(&[], |certificate| certificate));
    let mut says = |how: &str, who: &[u8]| {
        part(how.as_bytes());
        part(who);
    };
    head.fields.all(Name::Authorization).for_each(|value| says("authorization", value));
    let cookies = head.fields.all(Name::Cookie).flat_map(|line| line.split(|&byte| byte == b';'));
    // What says that somebody has just written changes by writing, and says nothing of who it is.
    let cookies = cookies.map(<[u8]>::trim_ascii).filter(|pair| !pair.starts_with(MARKER));
    cookies.for_each(|pair| says("cookie", pair));
    for name in IDENTITIES {
        let fields = head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
        fields.for_each(|field| says(name, field.value));
    }
    Some(digest.finish().as_ref().into())
}

/// How the cookie begins that says who has just written (`techniques/region/marker.rs`).
const MARKER: &[u8] = b"x-ryw";

/// What else says who asks, by custom: keys of APIs, and what proxies that know who it is say of it.
const IDENTITIES: [&str; 14] = [
    "api-key",
    "apikey",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-request-email",
    "x-auth-request-user",
    "x-auth-token",
    "x-forwarded-user",
    "x-goog-api-key",
    "x-remote-user",
    "x-session-id",
    "x-tenant-id",
    "x-user-id",
];

/// What stands for the content of a request: who sends another with the same key has made a mistake. Of content that is too long to
/// be looked at whole, it is how it begins and, if that is known, its length.
pub fn fingerprint(fields: &Fields, beginning: &[&[u8]], longer: Option<Size>) -> u128 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    let mut hash = Xxh3::with_seed(*SEED);
    let kind = fields.get(Name::ContentType).unwrap_or_default();
    hash.update(&(kind.len() as u64).to_le_bytes());
    hash.update(kind);
    beginning.iter().for_each(|part| hash.update(part));
    match longer {
        None => {}
        Some(Size::Unknown) => hash.update(b"longer"),
        Some(Size::Exact(length)) => hash.update(&length.to_le_bytes()),
    }
    hash.digest128()
}

/// Whether an answer is passed on while it comes: to have all of it first would take long, or for ever.
pub fn is_streamed(fields: &Fields, size: Size, bytes_max: u64) -> bool {
    matches!(size, Size::Exact(length) if length > bytes_max)
        || fields.get(Name::ContentType).is_some_and(|kind| media::is_grpc(kind) || media::is_stream(kind))
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
