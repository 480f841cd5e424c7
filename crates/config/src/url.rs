//! URLs and names of upstreams, read strictly: what cannot be connected to is refused, nothing is guessed.

use std::net::{IpAddr, Ipv6Addr};

use crate::model::{Scheme, UpstreamUrl};
use crate::problem::{Invalid, quoted};
use crate::value::socket_path;

const URL_HELP: &str = r#"an endpoint is "http://HOST:PORT", "https://HOST:PORT" or "unix:/path/of/socket"; 80 and 443 may be left out"#;

/// The URL of an endpoint: `http`, `https` or `unix`. A path is kept; whether it is allowed is the caller's
/// business.
pub(crate) fn upstream_url(text: &str) -> Result<UpstreamUrl, Invalid> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let host = socket_path(path)?.to_owned();
        return Ok(UpstreamUrl { scheme: Scheme::Unix, host, port: 0, path: String::new() });
    }
    if may_hold_password(text) {
        // Said before anything else, for the other messages repeat the text.
        return Err(Invalid::new("an endpoint cannot carry a user name or password", URL_HELP));
    }
    let refuse = |why: &str| Invalid::new(format!("{} is not an endpoint: {why}", quoted(text)), URL_HELP);
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = match host_and_port(text) {
            Ok((_, Some(_))) => format!(r#"write "http://{text}" or "https://{text}""#),
            _ => URL_HELP.to_owned(),
        };
        return Err(Invalid::new(format!("{} is not an endpoint: it has no scheme", quoted(text)), help));
    };
    let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        _ => return Err(refuse(&format!("unknown scheme {}", quoted(scheme)))),
    };
    let offset = text.len() - rest.len();
    if rest.contains(['?', '#']) {
        return Err(refuse("it cannot have a query or a fragment"));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, given) = host_and_port(authority).map_err(|invalid| invalid.shifted(offset))?;
    let path = path.trim_end_matches('/');
    if !path.is_empty() {
        path_prefix(path).map_err(|invalid| invalid.shifted(text.len() - rest.len() + authority.len()))?;
    }
    Ok(UpstreamUrl { scheme, host, port: given.unwrap_or(port), path: path.to_owned() })
}

/// Whether there is an `@` anywhere but in the path of an `http` URL.
fn may_hold_password(text: &str) -> bool {
    let is_http = |scheme: &str| ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http));
    let before_path = match text.split_once("://") {
        Some((scheme, rest)) if is_http(scheme) => rest.split('/').next(),
        _ => None,
    };
    before_path.unwrap_or(text).contains('@')
}

/// A host in lower case, brackets taken off, and the port when one is given.
pub(crate) fn host_and_port(text: &str) -> Result<(String, Option<u16>), Invalid> {
    if let Some(rest) = text.strip_prefix('[') {
        let help = r#"an IPv6 address stands in brackets: "[::1]:8000""#;
        let refuse = || Invalid::new(format!("{} is not a host", quoted(text)), help);
        let (inside, behind) = rest.split_once(']').ok_or_else(refuse)?;
        let ip: Ipv6Addr = inside.parse().map_err(|_| refuse())?;
        let port = match behind {
            "" => None,
            _ => Some(port(behind.strip_prefix(':').ok_or_else(refuse)?)?),
        };
        return Ok((ip.to_string(), port));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let help = format!(r#"an IPv6 address stands in brackets: "[{text}]""#);
        return Err(Invalid::new(format!("{} has no brackets", quoted(text)), help));
    }
    match text.split_once(':') {
        Some((name, digits)) => {
            let name = host_name(name)?;
            port(digits).map(|port| (name, Some(port)))
        }
        None => Ok((host_name(text)?, None)),
    }
}

fn port(text: &str) -> Result<u16, Invalid> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => {
            Err(Invalid::new(format!("{} is not a port", quoted(text)), "a port is a number from 1 to 65535"))
        }
    }
}

/// A DNS name or an IPv4 address, in lower case.
pub(crate) fn host_name(text: &str) -> Result<String, Invalid> {
    let refuse = |why: &str, help: &str| {
        Err(Invalid::new(format!("{} is not a host name: {why}", quoted(text)), help))
    };
    let help = "a host name is made of letters, digits, `-`, `_` and dots, at most 253 characters";
    if text.is_empty() {
        return Err(Invalid::new("the host name is missing", help));
    }
    if !text.is_ascii() {
        return refuse("it holds characters outside ASCII", "write the name in its `xn--` form");
    }
    if text.contains('*') {
        return refuse(
            "it holds a wildcard",
            "a host is matched exactly; leave the host out to match every host",
        );
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if text.len() > 253 || text.split('.').any(|label| label.len() > 63) {
        return refuse("it is too long", "at most 253 characters, and 63 between two dots");
    }
    if !text.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
    }) {
        return refuse("it holds something that no name has", help);
    }
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if numeric && text.parse::<IpAddr>().is_err() {
        return refuse(
            "it ends like an IPv4 address and is none",
            "an IPv4 address has four numbers from 0 to 255",
        );
    }
    Ok(text.to_ascii_lowercase())
}

/// A path that is put in front of others or taken off them: starts with a slash, ends with none, and needs no
/// repair.
pub(crate) fn path_prefix(text: &str) -> Result<(), Invalid> {
    if !text.starts_with('/') {
        return Err(Invalid::new(
            format!("{} does not start with a slash", quoted(text)),
            r#"for example "/api""#,
        ));
    }
    if text.ends_with('/') {
        let help = match text.trim_end_matches('/') {
            "" => r#"leave the key out, or write something like "/api""#.to_owned(),
            shorter => format!("write {}", quoted(shorter)),
        };
        return Err(Invalid::new(format!("{} ends with a slash", quoted(text)), help));
    }
    let mut at = 1;
    for segment in text.split('/').skip(1) {
        literal_segment(segment).map_err(|invalid| invalid.shifted(at))?;
        if segment.is_empty() {
            return Err(Invalid::new("two slashes in a row", "write one").at(at - 1..at + 1));
        }
        at += segment.len() + 1;
    }
    Ok(())
}

/// A path as it is asked for: starts with a slash, may end with one, may carry a query.
pub(crate) fn request_path(text: &str) -> Result<(), Invalid> {
    let path = text.split('?').next().unwrap_or("");
    let bad = text.bytes().any(|b| !b.is_ascii_graphic() || b == b'#');
    if bad || !path.starts_with('/') || text.len() > 2_048 {
        let help = r#"a path starts with a slash and is percent-encoded: "/healthz""#;
        return Err(Invalid::new(format!("{} is not a path", quoted(text)), help));
    }
    Ok(())
}

/// A literal part of a path between two slashes, in its one canonical spelling: hex digits of escapes in
/// upper case.
///
/// Requests are matched byte for byte, so what has two spellings must have one here.
pub(crate) fn literal_segment(text: &str) -> Result<String, Invalid> {
    if text == "." || text == ".." {
        return Err(Invalid::new(
            "a path cannot hold dot segments",
            "requests are matched after their dot segments are resolved; write the path that is left",
        )
        .at(0..text.len()));
    }
    let mut canonical = String::with_capacity(text.len());
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let here = at..at + character.len_utf8();
        match character {
            '%' => {
                let escape = text.get(at..at + 3).unwrap_or_else(|| text.get(at..).unwrap_or(""));
                canonical.push_str(&escaped(escape).map_err(|invalid| invalid.at(at..at + escape.len()))?);
                characters.nth(1);
            }
            'A'..='Z' | 'a'..='z' | '0'..='9' => canonical.push(character),
            _ if "-._~!$&'()*+,;=:@".contains(character) => canonical.push(character),
            '?' | '#' => {
                return Err(Invalid::new(
                    "a path ends before its query and fragment",
                    "match on the path alone; the query is passed on untouched",
                )
                .at(at..text.len()));
            }
            '{' | '}' => {
                return Err(Invalid::new(
                    "a parameter is a whole segment",
                    "write `{name}` between two slashes, or `{name...}` at the end",
                )
                .at(0..text.len()));
            }
            other => {
                let mut buffer = [0; 4];
                let encoded: String =
                    other.encode_utf8(&mut buffer).bytes().map(|byte| format!("%{byte:02X}")).collect();
                let help = format!("write it as `{encoded}`, which is how it comes in a request");
                return Err(Invalid::new(
                    format!("{} cannot stand in a path", quoted(&other.to_string())),
                    help,
                )
                .at(here));
            }
        }
    }
    Ok(canonical)
}

/// A percent escape in its canonical spelling.
fn escaped(escape: &str) -> Result<String, Invalid> {
    let byte = match escape.get(1..3).map(|digits| (digits, u8::from_str_radix(digits, 16))) {
        Some((digits, Ok(byte))) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => byte,
        _ => {
            return Err(Invalid::new(
                format!("{} is not a percent escape", quoted(escape)),
                "a percent sign is followed by two hex digits; a plain one is written `%25`",
            ));
        }
    };
    match byte {
        b'/' | b'.' => Err(Invalid::new(
            format!("`{escape}` hides a `{}`", char::from(byte)),
            "slashes and dots are matched as they are; write them plainly",
        )),
        0..=0x1f | 0x7f => Err(Invalid::new(
            format!("`{escape}` hides a control byte"),
            "requests with such a path are refused before they are matched",
        )),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Err(Invalid::new(
            format!("`{escape}` is an escape that nothing needs"),
            format!("write `{}`", char::from(byte)),
        )),
        _ => Ok(format!("%{byte:02X}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_what_a_connection_needs() {
        let url = upstream_url("HTTPS://Orders.Internal:8443").unwrap();
        assert_eq!((url.scheme, url.host.as_str(), url.port), (Scheme::Https, "orders.internal", 8443));
        assert_eq!(upstream_url("http://[::1]").unwrap().authority(), "[::1]");
        assert_eq!(upstream_url("http://[::1]:81/").unwrap().to_string(), "http://[::1]:81");
        assert_eq!(upstream_url("http://a/b/c/").unwrap().path, "/b/c");
        assert_eq!(upstream_url("unix:///run/a.sock").unwrap().host, "/run/a.sock");
    }

    #[test]
    fn urls_that_cannot_be_connected_to_are_refused() {
        for bad in [
            "",
            "10.0.0.1:80",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:65536",
            "http://a:+1",
            "http://u@a",
            "http://a?q",
            "http://a#f",
            "http://10.0.0.256",
            "http://::1",
            "http://[::1",
            "http://a b",
            "http://-a",
            "http://a..b",
            "http://ä",
            "unix:",
            "http://a/../b",
            "http://a//b",
            "http://*.a",
        ] {
            assert!(upstream_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_literal_segment_has_one_spelling() {
        assert_eq!(literal_segment("caf%c3%a9").unwrap(), "caf%C3%A9");
        for bad in [
            "%2f", "%2E%2e", "%00", "%41", "%", "%4", "%zz", "a?b", "a#b", "ä", " ", "\u{7}", "a{b}", "..",
            "%+1",
        ] {
            assert!(literal_segment(bad).is_err(), "{bad}");
        }
    }
}
