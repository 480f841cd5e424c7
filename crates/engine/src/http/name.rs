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

            /// Recognises a name in any letter case.
            pub fn of(name: &[u8]) -> Name {
                $(const _: () = assert!($text.len() <= LONGEST && (Name::$variant as u8) < 64);)*
                let mut lower = [0u8; LONGEST];
                let Some(lower) = lower.get_mut(..name.len()) else { return Name::Other };
                // Most fields of most requests are none of ours, and most of those are told apart by this.
                if name.is_empty() || !is_candidate(name) { return Name::Other; }
                for (to, from) in lower.iter_mut().zip(name) { *to = from.to_ascii_lowercase(); }
                $(if lower == $text.as_bytes() { return Name::$variant; })*
                Name::Other
            }

            /// The bit that stands for it in a set of names; none for [`Name::Other`].
            pub const fn bit(self) -> u64 {
                match self { Name::Other => 0, known => 1 << known as u8 }
            }
        }
    };
}

/// Longer names are never known ones.
const LONGEST: usize = 24;

/// Whether some known name begins with this letter and has this length.
fn is_candidate(name: &[u8]) -> bool {
    const LENGTHS: [u32; 26] = lengths_by_letter();
    let letter = name.first().map_or(0, |byte| byte.to_ascii_lowercase()).wrapping_sub(b'a');
    LENGTHS.get(usize::from(letter)).is_some_and(|lengths| lengths >> name.len() & 1 == 1)
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn lengths_by_letter() -> [u32; 26] {
    let mut table = [0; 26];
    let mut at = 0;
    while at < Name::TEXTS.len() {
        let text = Name::TEXTS[at].as_bytes();
        table[(text[0] - b'a') as usize] |= 1 << text.len();
        at += 1;
    }
    table
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
    XAttempt = "x-attempt",
    XCriticality = "x-criticality",
}

impl Name {
    /// Fields that belong to one hop and are never passed on (RFC 9110 §7.6.1, plus the ones that old software invented).
    /// `TE` is among them, but `trailers` is put back where the next hop can use it.
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Name::Connection
                | Name::KeepAlive
                | Name::ProxyConnection
                | Name::ProxyAuthenticate
                | Name::ProxyAuthorization
                | Name::Te
                | Name::Trailer
                | Name::TransferEncoding
                | Name::Upgrade
                | Name::Http2Settings
        )
    }

    /// Fields that a `Connection` header must not be able to strip: they carry identity, routing or framing.
    pub const fn is_protected(self) -> bool {
        matches!(
            self,
            Name::Host
                | Name::ContentLength
                | Name::Authorization
                | Name::Cookie
                | Name::Forwarded
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedPort
                | Name::XForwardedProto
                | Name::RealIp
                | Name::Via
                | Name::XRequestId
        )
    }

    /// Names that may not come as a trailer: they frame, route or authenticate a message that has already been acted on
    /// (RFC 9110 §6.5.1).
    pub const fn is_forbidden_in_trailers(self) -> bool {
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
}
