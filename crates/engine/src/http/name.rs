//! The field names that unlag itself reads or writes, recognised once while a head is parsed, so that every later question
//! ("is there a Content-Length?") compares one byte instead of two strings.

/// Declares [`Name`] with each variant's spelling on the wire, in lower case as HTTP/2 wants it.
macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// A field name that means something to this proxy; everything else is [`Name::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each variant is spelled like the field that it names")]
        pub enum Name { Other, $($variant,)* }

        impl Name {
            /// Every spelling.
            const TEXTS: &[&str] = &[$($text),*];

            /// The spelling on the wire; empty for [`Name::Other`].
            pub const fn text(self) -> &'static str {
                match self { Name::Other => "", $(Name::$variant => $text,)* }
            }

            /// The beginning of its line in HTTP/1.1: the spelling, a colon and a space.
            pub(super) const fn line_start(self) -> &'static str {
                match self { Name::Other => ": ", $(Name::$variant => concat!($text, ": "),)* }
            }

            const ALL: &[Name] = &[$(Name::$variant),*];

            /// The bit that stands for it in a set of names; none for [`Name::Other`].
            pub const fn bit(self) -> NameSet {
                match self { Name::Other => 0, known => 1 << known as u8 }
            }
        }
    };
}

/// A set of known names, one bit each.
pub type NameSet = u128;

/// Longer names are never known ones, but for one.
const LONGEST: usize = 24;
/// The one that is longer than what is compared at once.
const LONG: &[u8] = Name::EnvoyTimeoutMs.text().as_bytes();
/// Names that there may be: as many as a set has bits.
const NAMES_MAX: usize = 128;

/// A name of a known length in three words, without regard to letter case: two of them are compared in three steps.
type Folded = [u64; 3];

/// Takes the first, the last and the second eight bytes, which overlap in a short name, and sets the bit that tells lower case
/// from upper. It makes no two names alike: letters, digits and `-` are all there is in known names, and what else would
/// become one of them is a control byte.
#[inline]
const fn fold(name: &[u8]) -> Folded {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        let second = match name.split_at_checked(8) {
            Some((_, rest)) => match rest.first_chunk::<8>() {
                Some(second) => u64::from_ne_bytes(*second),
                None => 0,
            },
            None => 0,
        };
        return [u64::from_ne_bytes(*first) | LOWER, u64::from_ne_bytes(*last) | LOWER, second | LOWER];
    }
    let mut short = 0;
    let mut rest = name;
    while let Some((byte, tail)) = rest.split_first() {
        short = short << 8 | (*byte | 0x20) as u64;
        rest = tail;
    }
    [short, 0, 0]
}

/// Where the names with one first letter and one length begin in [`Name::ALL`] (counted from 1; 0 is none), and which
/// comes after each: a name is compared with the one or two that it may be, not with all.
struct Index {
    first: [[u8; LONGEST + 1]; 26],
    next: [u8; NAMES_MAX],
    folded: [Folded; NAMES_MAX],
}

static INDEX: Index = index();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]
const fn index() -> Index {
    let mut index =
        Index { first: [[0; LONGEST + 1]; 26], next: [0; NAMES_MAX], folded: [[0; 3]; NAMES_MAX] };
    let mut at = 0;
    while at < Name::TEXTS.len() {
        let text = Name::TEXTS[at].as_bytes();
        if !text[0].is_ascii_lowercase() || text.len() > LONGEST {
            at += 1;
            continue;
        }
        let (letter, len) = ((text[0] - b'a') as usize, text.len());
        index.folded[at] = fold(text);
        index.next[at] = index.first[letter][len];
        at += 1;
        index.first[letter][len] = at as u8;
    }
    index
}

/// Whether it is one of the many names in which proxies say what they were asked. Most names are told by their first letter.
fn is_forwarded(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'x' | b'X'))
        && name.first_chunk::<12>().is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
}

/// Compares all words before it decides.
fn is_same(one: Folded, other: Folded) -> bool {
    one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

impl Name {
    /// Recognises a name in any letter case.
    pub fn of(name: &[u8]) -> Name {
        Name::of_token(name, name.contains(&b'_'))
    }

    /// The same, where it is known already whether there is an underscore in it.
    pub fn of_token(name: &[u8], has_underscore: bool) -> Name {
        match Name::known(name) {
            Name::Other if has_underscore => Name::Underscored,
            Name::Other if is_forwarded(name) => Name::XForwardedOther,
            Name::Other if name.len() == LONG.len() && name.eq_ignore_ascii_case(LONG) => {
                Name::EnvoyTimeoutMs
            }
            known => known,
        }
    }

    fn known(name: &[u8]) -> Name {
        let Some(first) = name.first() else { return Name::Other };
        let letter = usize::from(first.to_ascii_lowercase().wrapping_sub(b'a'));
        let mut candidate =
            INDEX.first.get(letter).and_then(|lengths| lengths.get(name.len())).copied().unwrap_or_default();
        if candidate == 0 {
            return Name::Other;
        }
        let folded = fold(name);
        while let Some(at) = usize::from(candidate).checked_sub(1) {
            if INDEX.folded.get(at).is_some_and(|known| is_same(*known, folded)) {
                return Name::ALL.get(at).copied().unwrap_or(Name::Other);
            }
            candidate = INDEX.next.get(at).copied().unwrap_or_default();
        }
        Name::Other
    }
}

names! {
    Connection = "connection",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Authorization = "authorization",
    B3 = "b3",
    B3Sampled = "x-b3-sampled",
    B3SpanId = "x-b3-spanid",
    B3TraceId = "x-b3-traceid",
    Date = "date",
    Expect = "expect",
    Forwarded = "forwarded",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    KeepAlive = "keep-alive",
    Location = "location",
    MaxForwards = "max-forwards",
    Proxy = "proxy",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    RealIp = "x-real-ip",
    OriginalUrl = "x-original-url",
    RewriteUrl = "x-rewrite-url",
    Server = "server",
    ServerTiming = "server-timing",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    Via = "via",
    Http2Settings = "http2-settings",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
    XRequestTimeoutMs = "x-request-timeout-ms",
    XRequestDeadline = "x-request-deadline",
    EnvoyTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XAttempt = "x-attempt",
    XLbRif = "x-lb-rif",
    EndpointLoadMetrics = "endpoint-load-metrics",
    XCriticality = "x-criticality",
    TrueClientIp = "true-client-ip",
    XClientIp = "x-client-ip",
    XClusterClientIp = "x-cluster-client-ip",
    CfConnectingIp = "cf-connecting-ip",
    Age = "age",
    CacheControl = "cache-control",
    CacheStatus = "cache-status",
    CdnCacheControl = "cdn-cache-control",
    ContentRange = "content-range",
    Etag = "etag",
    Expires = "expires",
    IfModifiedSince = "if-modified-since",
    IfNoneMatch = "if-none-match",
    IdempotencyKey = "idempotency-key",
    LastModified = "last-modified",
    Pragma = "pragma",
    Range = "range",
    SetCookie = "set-cookie",
    Vary = "vary",
    // Two kinds of names instead of one: their texts stand for all of them.
    XForwardedOther = "x-forwarded-*",
    Underscored = "_",
}

impl Name {
    /// Fields that belong to one hop and are never passed on (RFC 9110 §7.6.1, plus the ones that old software invented).
    /// `TE` is among them, but `trailers` is put back where the next hop can use it.
    pub const fn is_hop_by_hop(self) -> bool {
        Name::HOP_BY_HOP & self.bit() != 0
    }

    /// The set of these.
    pub const HOP_BY_HOP: NameSet = Name::Connection.bit()
        | Name::KeepAlive.bit()
        | Name::ProxyConnection.bit()
        | Name::ProxyAuthenticate.bit()
        | Name::ProxyAuthorization.bit()
        | Name::Te.bit()
        | Name::Trailer.bit()
        | Name::TransferEncoding.bit()
        | Name::Upgrade.bit()
        | Name::Http2Settings.bit();

    /// The fields in which proxies agree to say whom they speak for.
    pub const FORWARDING: NameSet = Name::Forwarded.bit()
        | Name::XForwardedFor.bit()
        | Name::XForwardedHost.bit()
        | Name::XForwardedPort.bit()
        | Name::XForwardedProto.bit()
        | Name::RealIp.bit();

    /// What a peer may only say of somebody else if it is trusted.
    pub const CLAIMS: NameSet = Name::FORWARDING
        | Name::OriginalUrl.bit()
        | Name::RewriteUrl.bit()
        | Name::XAttempt.bit()
        | Name::XRequestDeadline.bit()
        | Name::XCriticality.bit()
        | Name::TrueClientIp.bit()
        | Name::XClientIp.bit()
        | Name::XClusterClientIp.bit()
        | Name::CfConnectingIp.bit()
        | Name::XForwardedOther.bit();

    /// Whether many frameworks cannot tell a name with `_` from one that identifies or frames (`X_Forwarded_For` becomes the
    /// same CGI variable as `X-Forwarded-For`).
    pub fn is_impostor(name: &[u8]) -> bool {
        let dashed: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
        let known = Name::of(&dashed);
        known.is_protected() || known.is_hop_by_hop() || Name::CLAIMS & known.bit() != 0
    }

    /// Fields that a `Connection` header must not be able to strip: they carry identity, routing or framing.
    pub const fn is_protected(self) -> bool {
        Name::PROTECTED & self.bit() != 0
    }

    const PROTECTED: NameSet = Name::FORWARDING
        | Name::Host.bit()
        | Name::ContentLength.bit()
        | Name::Authorization.bit()
        | Name::Cookie.bit()
        | Name::Via.bit()
        | Name::XRequestId.bit();

    /// Names that may not come as a trailer: they frame, route or authenticate a message that has already been acted on
    /// (RFC 9110 §6.5.1).
    pub(super) const fn is_forbidden_in_trailers(self) -> bool {
        self.is_hop_by_hop() || self.is_protected() || matches!(self, Name::Expect | Name::ContentType)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_name_is_known_in_any_letter_case() {
        assert_eq!(Name::of(b"content-length"), Name::ContentLength);
        assert_eq!(Name::of(b"Content-LENGTH"), Name::ContentLength);
        assert_eq!(Name::of(b"content-lengt\xff"), Name::Other);
        assert_eq!(Name::of(b"a-name-that-is-longer-than-every-known-one"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn every_known_name_is_found_among_those_of_its_letter_and_length() {
        for (text, known) in Name::TEXTS.iter().zip(Name::ALL) {
            assert_eq!((Name::of(text.as_bytes()), known.text()), (*known, *text));
        }
        assert_eq!(Name::of(b"X-Forwarded-Client-Cert"), Name::XForwardedOther);
        assert_eq!(Name::of(b"X-Forwarded_Client"), Name::Underscored);
    }
}
