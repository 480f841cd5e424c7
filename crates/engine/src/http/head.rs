//! The heads of a request and of a response, independent of the wire format that they came in.

use super::fields::{Fields, Span, members};
use super::name::Name;
use http::Method;

/// What the caller speaks to us; the upstream side is chosen apart from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the versions name themselves")]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    /// As `Via` wants it (RFC 9110 §7.6.3).
    pub const fn number(self) -> &'static str {
        match self {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
            Version::Http2 => "2.0",
        }
    }
}

/// How the caller reached us: said in `X-Forwarded-Proto` and to HTTP/2 upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the schemes name themselves")]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// In lower case, as URLs have it.
    pub const fn text(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// A request's head. Target and authority live in the text of `fields`.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method, `CONNECT` never among them.
    pub method: Method,
    /// The path, normalised (see [`super::target`]), beginning with `/`; or `*` for a server-wide `OPTIONS`.
    pub path: Span,
    /// The query without its `?`, byte for byte; `None` when there is no `?`.
    pub query: Option<Span>,
    /// The authority in lower case, without user information; empty for an HTTP/1.0 caller that named none.
    pub authority: Span,
    /// What the caller speaks.
    pub version: Version,
    /// The fields. `Host` is not among them: it is the authority.
    pub fields: Fields,
}

impl RequestHead {
    /// The path's bytes.
    pub fn path(&self) -> &[u8] {
        self.fields.read(self.path)
    }

    /// The query's bytes.
    pub fn query(&self) -> Option<&[u8]> {
        self.query.map(|span| self.fields.read(span))
    }

    /// The authority's bytes.
    pub fn authority(&self) -> &[u8] {
        self.fields.read(self.authority)
    }
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Three digits, 100 to 999.
    pub status: u16,
    /// The fields, without those of one hop.
    pub fields: Fields,
}

impl ResponseHead {
    /// A head with this status and no fields.
    pub fn new(status: u16) -> ResponseHead {
        ResponseHead { status, fields: Fields::with_capacity(256, 8) }
    }

    /// Whether a `Content-Length` tells the length of content that is not sent; nothing else without content may have one (RFC
    /// 9110 §8.6).
    pub fn may_tell_length(&self, method: &Method) -> bool {
        self.status == 304 || (*method == Method::HEAD && self.status >= 200 && self.status != 204)
    }

    /// Takes away what is not to be passed on: fields of one hop, and the length where it is not ours to repeat, because framing
    /// is ours to say.
    pub fn strip(&mut self, method: &Method) {
        self.strip_hop();
        if !self.may_tell_length(method) {
            self.fields.remove_known(Name::ContentLength);
        }
    }

    /// Removes the fields of one hop, and those that `Connection` names.
    pub fn strip_hop(&mut self) {
        if !self.fields.has_any(Name::HOP_BY_HOP) {
            return;
        }
        let named: Vec<Vec<u8>> = self
            .fields
            .all(Name::Connection)
            .flat_map(members)
            .filter(|member| !Name::of(member).is_protected())
            .map(<[u8]>::to_ascii_lowercase)
            .collect();
        self.fields.retain(|field| {
            !field.known.is_hop_by_hop()
                && (named.is_empty() || !named.iter().any(|name| field.name.eq_ignore_ascii_case(name)))
        });
    }

    /// Whether it is an interim answer (1xx), after which the final one still follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Whether a message with this status and an answer to this method carries no content (RFC 9112 §6.3).
    pub fn is_bodiless(&self, method: &Method) -> bool {
        self.status < 200 || self.status == 204 || self.status == 304 || *method == Method::HEAD
    }
}
