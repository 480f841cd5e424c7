//! What a key stands for, and what is kept for it.

use crate::error::{Error, Fault, Retry};
use crate::exchange::Exchange;
use crate::http::fields::Field;
use crate::http::{Fields, Name, Size, media};
use crate::marker;
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
    let mut says = |how: &[u8], who: &[u8]| {
        part(how);
        part(who);
    };
    head.fields.all(Name::Authorization).for_each(|value| says(b"authorization", value));
    let cookies = head.fields.all(Name::Cookie).flat_map(|line| line.split(|&byte| byte == b';'));
    // What says that somebody has just written changes by writing, and says nothing of who it is.
    let cookies = cookies.map(<[u8]>::trim_ascii).filter(|pair| !is_marker(pair));
    cookies.for_each(|pair| says(b"cookie", pair));
    let is_said = |field: &Field<'_>| field.known != Name::Authorization && says_who_asks(field.name);
    let fields = head.fields.iter().filter(is_said);
    let mut said: Vec<_> = fields.map(|field| (field.name.to_ascii_lowercase(), field.value)).collect();
    // In whatever order they come.
    said.sort();
    said.iter().for_each(|(name, value)| says(name, value));
    Some(digest.finish().as_ref().into())
}

/// Whether a cookie is one that says who has just written: `x-ryw-<upstream>`.
fn is_marker(cookie: &[u8]) -> bool {
    cookie.trim_ascii_start().strip_prefix(marker::NAME.as_bytes()).is_some_and(|name| name.starts_with(b"-"))
}

/// What else says who asks, by custom: keys of APIs, and what proxies that know who it is say of it. A word of the field's name says
/// so. One field too few would show somebody another's answer; one too many, or one whose value is renewed meanwhile, makes it another
/// key, and a second execution.
const IDENTIFYING: [&str; 38] = [
    "accesstoken",
    "account",
    "apikey",
    "assertion",
    "auth",
    "authentication",
    "authorization",
    "bearer",
    "cert",
    "clientcert",
    "clientid",
    "consumer",
    "credential",
    "credentials",
    "customer",
    "dn",
    "email",
    "identity",
    "jwt",
    "key",
    "login",
    "oidc",
    "org",
    "organization",
    "principal",
    "remote",
    "secret",
    "session",
    "sid",
    "sub",
    "subject",
    "tenant",
    "token",
    "uid",
    "user",
    "userid",
    "userinfo",
    "username",
];

/// Of those names, the ones that say something else: what the key itself is, what program asks, and what changes by the request.
const NOT_IDENTIFYING: [&str; 7] =
    ["idempotency-key", "user-agent", "csrf", "xsrf", "signature", "timestamp", "nonce"];

/// Whether a field says who asks.
fn says_who_asks(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is_other = |other: &&str| memchr::memmem::find(&name, other.as_bytes()).is_some();
    let mut words = name.split(|byte| matches!(byte, b'-' | b'_'));
    words.any(|word| IDENTIFYING.iter().any(|known| known.as_bytes() == word))
        && !NOT_IDENTIFYING.iter().any(is_other)
}

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

/// What is kept of an answer's fields, all but what says that its caller has just written; and whether something did. Who gets it
/// again may have written since: the old marker would take the place of a newer one, and may be over.
pub fn kept(fields: &Fields) -> (Fields, bool) {
    let mut kept = fields.clone();
    kept.retain(|field| {
        let is_cookie = field.known == Name::SetCookie && is_marker(field.value);
        !is_cookie && !field.name.eq_ignore_ascii_case(marker::NAME.as_bytes())
    });
    let wrote = kept.len() < fields.len();
    (kept.compact(), wrote)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_fields_name_says_that_it_is_who_asks() {
        for name in [
            "X-Api-Key",
            "Api-Key",
            "ApiKey",
            "Private-Token",
            "X-Vault-Token",
            "X-Forwarded-Access-Token",
            "X-User",
            "X-Forwarded-User",
            "X-Amzn-Oidc-Data",
            "X-Goog-Iap-Jwt-Assertion",
            "X-Auth",
            "X-Account-Id",
            "x_session_id",
            "X-Forwarded-Client-Cert",
            "X-MS-Client-Principal",
            "X-Original-Authorization",
            "X-ARR-ClientCert",
            "X-SSL-Client-S-DN",
        ] {
            assert!(says_who_asks(name.as_bytes()), "{name}");
        }
        for name in [
            "User-Agent",
            "X-Amz-User-Agent",
            "Idempotency-Key",
            "X-CSRF-Token",
            "X-Auth-Signature",
            "Accept",
            "X-Request-Id",
            "Author",
        ] {
            assert!(!says_who_asks(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_is_kept_of_an_answer_does_not_say_who_has_just_written_and_says_all_else() {
        let mut fields = Fields::default();
        for (name, value) in [
            ("Set-Cookie", "session=a; Path=/"),
            ("X-RYW", "18f.abc"),
            ("x-ryw", "18f.def"),
            ("set-cookie", "x-ryw-orders=18f.abc; Path=/; Max-Age=5"),
            ("Location", "/pay/1"),
            ("set-cookie", " x-ryw-stock=18f.abc"),
            ("set-cookie", "x-rywing=yes; Path=/x-ryw-orders"),
            ("x-ryw-other", "1"),
        ] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let (kept, wrote) = kept(&fields);
        assert!(wrote && !super::kept(&kept).1);
        let values: Vec<&[u8]> = kept.iter().map(|field| field.value).collect();
        let rest = ["session=a; Path=/", "/pay/1", "x-rywing=yes; Path=/x-ryw-orders", "1"];
        assert_eq!(values, rest.map(str::as_bytes));
        assert_eq!(kept.all(Name::SetCookie).count(), 2);
        assert!(kept.allocations()[0] < fields.allocations()[0], "it takes no memory for the others");
        assert_eq!(fields.len(), 8, "who asked first is told");
    }
}
