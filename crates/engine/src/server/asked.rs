//! What a caller asked for, where a trusted peer says that it is not what we are asked for. An origin may go by any of it, so what
//! is kept for others is kept apart by all of it.

use crate::http::fields::members;
use crate::http::{Fields, Name, Scheme, Span};

/// What a caller asked for.
#[derive(Clone, Copy)]
pub struct Asked {
    /// The scheme. A peer that takes in both asks for both, and an origin may redirect one to the other.
    pub scheme: Scheme,
    /// What else is said of it, where that differs from what we are asked for.
    pub otherwise: Option<Span>,
}

/// Parts of what is said otherwise; no field holds this byte.
const APART: u8 = 1;

impl Asked {
    /// What `fields` say, of a request that came to us for `host` over `scheme`. What untrusted peers claim is gone from them.
    pub fn of(fields: &mut Fields, host: Span, scheme: Scheme) -> Asked {
        if !fields.has_any(Name::Forwarded.bit() | Name::XForwardedHost.bit() | Name::XForwardedProto.bit()) {
            return Asked { scheme, otherwise: None };
        }
        let join = |name| fields.all(name).collect::<Vec<_>>().join(&b","[..]);
        let (said_host, said_proto) = (join(Name::XForwardedHost), join(Name::XForwardedProto));
        let (scheme, is_plain) = match &*said_proto {
            b"https" => (Scheme::Https, true),
            b"http" => (Scheme::Http, true),
            none => (scheme, none.is_empty()),
        };
        let (mut otherwise, host) = (Vec::new(), fields.read(host));
        if !said_host.is_empty() && said_host != host {
            otherwise.extend_from_slice(&said_host);
        }
        if !is_plain {
            otherwise.push(APART);
            otherwise.extend_from_slice(&said_proto);
        }
        let host = if said_host.is_empty() { host } else { &said_host };
        let as_said = [(&b"proto"[..], scheme.text().as_bytes()), (b"host", host)];
        for pair in fields.all(Name::Forwarded).flat_map(pairs).filter(|pair| !as_said.contains(pair)) {
            otherwise.extend_from_slice(&[&[APART], pair.0, b"=", pair.1].concat());
        }
        Asked { scheme, otherwise: (!otherwise.is_empty()).then(|| fields.store(&otherwise)) }
    }
}

/// The pairs of a `Forwarded` field (RFC 7239 §4) that say what was asked for, and not by whom. One that is not well formed is
/// a pair in some way too: it is to tell requests apart, not to be understood.
fn pairs(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    members(value).flat_map(|element| element.split(|&byte| byte == b';')).filter_map(|pair| {
        let (name, value) = pair.split_at(pair.iter().position(|&byte| byte == b'=').unwrap_or_default());
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
        let name = name.trim_ascii();
        let is_who = name.eq_ignore_ascii_case(b"for") || name.eq_ignore_ascii_case(b"by");
        (!is_who).then_some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(list: &[(&str, &str)]) -> (Scheme, Option<String>) {
        let mut fields = Fields::default();
        let host = fields.store(b"shop");
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        let asked = Asked::of(&mut fields, host, Scheme::Http);
        (asked.scheme, asked.otherwise.map(|span| String::from_utf8(fields.read(span).to_vec()).unwrap()))
    }

    #[test]
    fn what_a_trusted_peer_says_as_we_would_is_nothing_new() {
        assert_eq!(asked(&[]), (Scheme::Http, None));
        assert_eq!(asked(&[("x-forwarded-for", "1.2.3.4")]), (Scheme::Http, None));
        assert_eq!(
            asked(&[("x-forwarded-host", "shop"), ("x-forwarded-proto", "http")]),
            (Scheme::Http, None)
        );
        let chain =
            [("x-forwarded-proto", "https"), ("forwarded", "for=1;proto=https;host=\"shop\", For=2;By=3")];
        assert_eq!(asked(&chain), (Scheme::Https, None));
    }

    #[test]
    fn whatever_an_origin_may_go_by_tells_requests_apart() {
        let said = |list| asked(list).1.expect("something else");
        assert_eq!(said(&[("x-forwarded-host", "a")]), "a");
        assert_eq!(said(&[("x-forwarded-host", "shop"), ("x-forwarded-host", "a")]), "shop,a");
        assert_eq!(said(&[("x-forwarded-proto", "HTTPS")]), "\u{1}HTTPS");
        assert_eq!(said(&[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")]), "\u{1}https,http");
        assert_eq!(said(&[("forwarded", "for=1;host=evil")]), "\u{1}host=evil");
        assert_eq!(said(&[("forwarded", "for=\"[1,host=evil\"")]), "\u{1}host=evil\"", "a quoted comma");
        assert_eq!(said(&[("forwarded", "evil; proto = https")]), "\u{1}=evil\u{1}proto=https");
        assert_eq!(said(&[("forwarded", "host=shop"), ("forwarded", "path=/x")]), "\u{1}path=/x");
    }
}
