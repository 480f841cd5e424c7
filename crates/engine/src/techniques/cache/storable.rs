//! What may be stored for others (RFC 9111 §3), and why not. Without configuration, only what the origin itself declares
//! cacheable; what is about one person never is.

use super::directives::Directives;
use super::disguise;
use super::freshness::{self, Overrides, Received};
use super::vary;
use crate::exchange::Exchange;
use crate::http::{Fields, Name, NameSet, ResponseHead};

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of `Refusal::word` are the documentation")]
pub enum Refusal {
    Method,
    Status,
    RequestNoStore,
    NoStore,
    Private,
    SetCookie,
    Authorization,
    Vary,
    NoLifetime,
    TooLarge,
    Tags,
    Identity,
    Disguise,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Refusal; 13] = [
        Refusal::Method,
        Refusal::Status,
        Refusal::RequestNoStore,
        Refusal::NoStore,
        Refusal::Private,
        Refusal::SetCookie,
        Refusal::Authorization,
        Refusal::Vary,
        Refusal::NoLifetime,
        Refusal::TooLarge,
        Refusal::Tags,
        Refusal::Identity,
        Refusal::Disguise,
    ];

    /// One word, for `Cache-Status`.
    pub const fn word(self) -> &'static str {
        match self {
            Refusal::Method => "method",
            Refusal::Status => "status",
            Refusal::RequestNoStore => "request-no-store",
            Refusal::NoStore => "no-store",
            Refusal::Private => "private",
            Refusal::SetCookie => "set-cookie",
            Refusal::Authorization => "authorization",
            Refusal::Vary => "vary",
            Refusal::NoLifetime => "no-lifetime",
            Refusal::TooLarge => "too-large",
            Refusal::Tags => "tags",
            Refusal::Identity => "identity",
            Refusal::Disguise => "disguise",
        }
    }
}

/// What of a request bears on storing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// What was asked for.
    pub path: &'a [u8],
    /// It carries credentials.
    pub authorization: bool,
    /// It carries cookies: what answers it may be about one person, unless the origin says for how long all may have it.
    pub cookie: bool,
    /// It forbids storing.
    pub no_store: bool,
}

impl Asked<'_> {
    /// Of this request.
    pub fn of(request: &Exchange, no_store: bool) -> Asked<'_> {
        let fields = &request.head.fields;
        Asked {
            path: fields.read(request.asked_path),
            authorization: fields.has(Name::Authorization),
            cookie: fields.has(Name::Cookie),
            no_store,
        }
    }
}

/// Whether the answer to a GET may be stored for others.
pub fn may_store(
    asked: Asked<'_>,
    head: &ResponseHead,
    is_exact_part: bool,
    directives: &Directives,
    received: Received,
    overrides: &Overrides,
) -> Result<(), Refusal> {
    let fields = &head.fields;
    // What answers a precondition, a range or the size of this one request is no answer for others.
    if matches!(head.status, 408 | 412 | 413 | 416 | 417 | 421 | 425 | 426 | 428 | 429 | 431) {
        return Err(Refusal::Status);
    }
    if head.status < 200 || head.status == 304 || head.status == 206 && !is_exact_part {
        return Err(Refusal::Status);
    }
    if asked.no_store {
        return Err(Refusal::RequestNoStore);
    }
    // A cache that knows the status may store it all the same (RFC 9111 §5.2.2.3).
    let is_understood = directives.must_understand && understands(head.status);
    if (directives.must_understand || directives.no_store) && !is_understood {
        return Err(Refusal::NoStore);
    }
    if directives.private.is_all() {
        return Err(Refusal::Private);
    }
    if fields.has(Name::SetCookie) && !overrides.set_cookie {
        return Err(Refusal::SetCookie);
    }
    let content_type = fields.get(Name::ContentType).unwrap_or_default();
    if head.status < 300 && disguise::is_disguised(asked.path, content_type) {
        return Err(Refusal::Disguise);
    }
    // RFC 9111 §3.5
    let for_all = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if asked.authorization && !for_all {
        return Err(Refusal::Authorization);
    }
    if vary::is_unkeyable(fields) {
        return Err(Refusal::Vary);
    }
    has_use(asked, head, directives, received, overrides).then_some(()).ok_or(Refusal::NoLifetime)
}

/// Whether it can ever be served: fresh for a time, or after asking the origin whether it still holds.
fn has_use(
    asked: Asked<'_>,
    head: &ResponseHead,
    directives: &Directives,
    received: Received,
    overrides: &Overrides,
) -> bool {
    let fields = &head.fields;
    // The route's word is about answers to nobody in particular, as the origin's silence is.
    if overrides.ttl_ns.is_some()
        && !asked.cookie
        && matches!(head.status, 200 | 203 | 204 | 206 | 300 | 301 | 308)
    {
        return true;
    }
    let is_declared = freshness::declared_s(fields, directives, received).is_some();
    let has_validator = fields.has(Name::Etag) || fields.has(Name::LastModified);
    let may_be_asked = has_validator && !asked.cookie && freshness::is_cacheable_by_default(head.status);
    is_declared || directives.public || may_be_asked
}

/// Statuses whose meaning for a cache this one knows.
fn understands(status: u16) -> bool {
    freshness::is_cacheable_by_default(status) || matches!(status, 302 | 303 | 307)
}

/// Takes out what is not stored: fields that `no-cache` or `private` name, and what each hop says for itself.
pub fn strip(fields: &mut Fields, directives: &Directives) {
    use super::directives::Scope;
    use crate::http::fields::members;
    for scope in [&directives.no_cache, &directives.private] {
        let Scope::Fields(names) = scope else { continue };
        for name in members(names) {
            fields.retain(|field| !field.name.eq_ignore_ascii_case(name));
        }
    }
    fields.remove_known(Name::CacheStatus);
    fields.remove_known(Name::XRequestId);
    fields.remove_known(Name::ServerTiming);
}

/// Fields that some frameworks take for the URL, the scheme, the host, the method or a part of their own routing, and that no key
/// holds: whoever sends one could have his answer stored for everybody. What may be stored is asked for without them, however an
/// origin reads `_`; `X-Forwarded-*` of callers that are not trusted are gone already. Sorted.
///
/// An origin that says `Vary` by one of them does not change that: before it has said so, nobody knows, and an answer of its own
/// that forgets to would be everybody's. Requests with and without it are one selection, and both get what it says without.
const UNKEYED: [&str; 69] = [
    "base-url",
    "cloudfront-forwarded-proto",
    "fastly-ssl",
    "front-end-https",
    "https",
    "path-info",
    "proxy-host",
    "request-uri",
    "script-name",
    "wl-proxy-ssl",
    "x-accel-mapping",
    "x-appengine-https",
    "x-arr-ssl",
    "x-base-url",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-base-url",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-https",
    "x-invoke-error",
    "x-invoke-output",
    "x-invoke-path",
    "x-invoke-query",
    "x-invoke-status",
    "x-matched-path",
    "x-method-override",
    "x-middleware-invoke",
    "x-middleware-next",
    "x-middleware-prefetch",
    "x-middleware-redirect",
    "x-middleware-rewrite",
    "x-middleware-subrequest",
    "x-nextjs-data",
    "x-now-deployment-url",
    "x-now-route-matches",
    "x-original-host",
    "x-original-method",
    "x-original-path",
    "x-original-scheme",
    "x-original-uri",
    "x-original-url",
    "x-prerender-revalidate",
    "x-proto",
    "x-proxy-url",
    "x-real-host",
    "x-replaced-path",
    "x-request-uri",
    "x-rewrite-path",
    "x-rewrite-query",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-sendfile-type",
    "x-url-scheme",
];

/// Longer names are none of them.
const UNKEYED_BYTES_MAX: usize = 32;

/// Whether an origin might look at a field that no key holds.
pub fn is_unkeyed(name: &[u8]) -> bool {
    let mut folded = [0; UNKEYED_BYTES_MAX];
    let Some(folded) = folded.get_mut(..name.len()) else { return false };
    for (place, &byte) in folded.iter_mut().zip(name) {
        *place = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    }
    UNKEYED.binary_search_by(|known| known.as_bytes().cmp(folded)).is_ok()
}

/// Takes out what an origin might look at and no key holds.
pub fn strip_unkeyed(fields: &mut Fields) {
    const KNOWN: NameSet = Name::OriginalUrl.bit()
        | Name::RewriteUrl.bit()
        | Name::XForwardedPort.bit()
        | Name::XForwardedOther.bit()
        | Name::Underscored.bit();
    fields.retain(|field| {
        let may_be = field.known == Name::Other || KNOWN & field.known.bit() != 0;
        !(may_be && is_unkeyed(field.name))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(asked: Asked<'_>, status: u16, list: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut head = ResponseHead::new(status);
        list.iter().for_each(|(name, value)| head.fields.push(name.as_bytes(), value.as_bytes()));
        let directives = Directives::of_response(&head.fields);
        may_store(asked, &head, false, &directives, Received::default(), &Overrides::default())
    }

    const ANYBODY: Asked<'_> =
        Asked { path: b"/x.css", authorization: false, cookie: false, no_store: false };

    #[test]
    fn only_what_the_origin_declares_cacheable_is_stored() {
        assert_eq!(verdict(ANYBODY, 200, &[]), Err(Refusal::NoLifetime));
        assert_eq!(verdict(ANYBODY, 200, &[("cache-control", "max-age=1")]), Ok(()));
        assert_eq!(verdict(ANYBODY, 200, &[("expires", "0")]), Ok(()), "to be asked about");
        assert_eq!(verdict(ANYBODY, 200, &[("etag", "\"a\"")]), Ok(()), "to be asked about");
        assert_eq!(verdict(ANYBODY, 500, &[("etag", "\"a\"")]), Err(Refusal::NoLifetime));
        assert_eq!(verdict(ANYBODY, 206, &[("cache-control", "max-age=1")]), Err(Refusal::Status));
    }

    #[test]
    fn what_is_about_one_person_is_never_stored() {
        let fresh = ("cache-control", "max-age=60");
        for private in ["private", "max-age=60, private", "no-store", "max-age=60, no-store"] {
            assert!(verdict(ANYBODY, 200, &[("cache-control", private)]).is_err(), "{private}");
        }
        assert_eq!(verdict(ANYBODY, 200, &[fresh, ("set-cookie", "a=b")]), Err(Refusal::SetCookie));
        let known = Asked { authorization: true, ..ANYBODY };
        assert_eq!(verdict(known, 200, &[fresh]), Err(Refusal::Authorization));
        for shared in ["public", "s-maxage=60", "max-age=60, must-revalidate"] {
            assert_eq!(verdict(known, 200, &[("cache-control", shared)]), Ok(()), "{shared}");
        }
        let page = ("content-type", "text/html");
        assert_eq!(verdict(ANYBODY, 200, &[fresh, page]), Err(Refusal::Disguise));
        assert_eq!(verdict(ANYBODY, 404, &[fresh, page]), Ok(()), "that there is no such file");
        assert_eq!(verdict(Asked { path: b"/x", ..ANYBODY }, 200, &[fresh, page]), Ok(()));
        let cookie = Asked { cookie: true, ..ANYBODY };
        let own = Overrides { ttl_ns: Some(1), ..Overrides::default() };
        let silent = ResponseHead::new(200);
        let directives = Directives::of_response(&silent.fields);
        let of = |asked| may_store(asked, &silent, false, &directives, Received::default(), &own);
        assert_eq!(
            (of(ANYBODY), of(cookie)),
            (Ok(()), Err(Refusal::NoLifetime)),
            "a route's lifetime is for nobody's"
        );
        for status in [408, 412, 413, 416, 417, 429, 431] {
            assert_eq!(
                verdict(ANYBODY, status, &[fresh]),
                Err(Refusal::Status),
                "{status} is about this request"
            );
        }
        assert_eq!(verdict(cookie, 200, &[("etag", "\"a\"")]), Err(Refusal::NoLifetime));
        assert_eq!(verdict(cookie, 200, &[fresh]), Ok(()));
    }

    #[test]
    fn what_no_key_holds_is_known_in_any_spelling() {
        assert!(UNKEYED.is_sorted() && UNKEYED.iter().all(|name| name.len() <= UNKEYED_BYTES_MAX));
        let mut fields = Fields::default();
        for name in UNKEYED {
            let shouted = name.to_ascii_uppercase().replace('-', "_");
            for spelled in [name, &shouted, &name.replacen('-', "_", 1)] {
                fields.push(spelled.as_bytes(), b"evil");
            }
        }
        let kept = ["accept", "host", "x-hostname", "x_user", "x-forwarded-for", "x-forwarded-client-cert"];
        kept.iter().for_each(|name| fields.push(name.as_bytes(), b"good"));
        strip_unkeyed(&mut fields);
        let left: Vec<&[u8]> = fields.iter().map(|field| field.name).collect();
        assert_eq!(left, kept.map(str::as_bytes));
    }

    #[test]
    fn fields_that_are_private_are_not_stored() {
        let mut fields = Fields::default();
        for (name, value) in [("x-a", "1"), ("X-B", "2"), ("x-c", "3"), ("x-d", "4")] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields.push(b"cache-control", br#"private="X-A, x-b", no-cache=x-c"#);
        let directives = Directives::of_response(&fields);
        strip(&mut fields, &directives);
        assert_eq!(
            fields.iter().map(|field| field.name).collect::<Vec<_>>(),
            [&b"x-d"[..], b"cache-control"]
        );
    }

    #[test]
    fn a_status_that_must_be_understood_is_stored_only_if_it_is() {
        let said = [("cache-control", "max-age=60, no-store, must-understand")];
        assert_eq!(verdict(ANYBODY, 200, &said), Ok(()));
        assert_eq!(verdict(ANYBODY, 499, &said), Err(Refusal::NoStore));
        let without = [("cache-control", "max-age=60, must-understand")];
        assert_eq!(verdict(ANYBODY, 499, &without), Err(Refusal::NoStore));
    }
}
