//! Whether two requests are the same in everything that an origin might look at. An origin that says nothing of how long or for
//! whom its answer is good has said nothing against giving it to a request that does not differ from the one it answered.

use crate::exchange::Exchange;
use crate::http::{Fields, Name};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Fields that differ from request to request and are about the way, not about what is asked; and those that are answered here.
const OF_THE_WAY: [&str; 19] = [
    "via",
    "x-request-id",
    "x-request-timeout-ms",
    "x-request-deadline",
    "x-envoy-expected-rq-timeout-ms",
    "x-attempt",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "if-none-match",
    "if-modified-since",
    "if-range",
    "range",
    "connection",
];

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));

/// Whether an answer to this request may be given to others who ask at the same time, or the other way round. One with
/// credentials only where the route says that they do not matter (`coalesce`).
pub fn may_share(exchange: &Exchange) -> bool {
    exchange.route.config.coalesce.unwrap_or_else(|| !has_credentials(&exchange.head.fields))
}

/// Whether a request says who asks.
pub fn has_credentials(fields: &Fields) -> bool {
    fields.has(Name::Authorization) || fields.has(Name::Cookie)
}

/// What stands for the credentials of a request; 0 for none. A fast hash, since hits are compared by it: whoever finds two that
/// meet only keeps the guard from looking after his own.
pub fn credentials(fields: &Fields) -> u64 {
    if !has_credentials(fields) {
        return 0;
    }
    let values = fields.all(Name::Authorization).chain(fields.all(Name::Cookie));
    values.fold(*SEED, |seed, value| xxh3_64_with_seed(value, seed))
}

/// What stands for all fields of a request that an origin might look at, in their order.
pub fn identity(fields: &Fields) -> u64 {
    let counts = |name: &[u8]| !OF_THE_WAY.iter().any(|way| name.eq_ignore_ascii_case(way.as_bytes()));
    let mut hasher = HASHER.build_hasher();
    for field in fields.iter().filter(|field| counts(field.name)) {
        field.name.to_ascii_lowercase().hash(&mut hasher);
        field.value.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str)]) -> u64 {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        identity(&fields)
    }

    #[test]
    fn requests_are_the_same_unless_they_differ_in_what_an_origin_might_look_at() {
        let plain = of(&[("accept", "a"), ("x-user", "1")]);
        assert_eq!(
            plain,
            of(&[("Accept", "a"), ("traceparent", "00-1"), ("x-user", "1"), ("range", "bytes=0-1")])
        );
        for other in [
            &[("accept", "a"), ("x-user", "2")][..],
            &[("accept", "a")],
            &[("accept", "a"), ("x-user", "1"), ("x-user", "1")],
            &[("accept", "ax-user"), ("", "1")],
            &[("accept", "a"), ("x-user", "1"), ("x-forwarded-for", "192.0.2.7")],
        ] {
            assert_ne!(plain, of(other), "{other:?}");
        }
    }
}
