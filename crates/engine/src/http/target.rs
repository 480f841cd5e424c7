//! The one policy for paths and authorities: what was matched is what is forwarded.
//!
//! Dot segments are resolved once; escapes of unreserved characters are undone (RFC 3986 §6.2.2.2), so that `/%61dmin` cannot
//! pass a rule for `/admin`. `%2F` stays as it came, part of its segment. `//` and `;` mean what the upstream makes of them
//! and are kept. Refused: control bytes, escaped or not, bytes above ASCII, `\`, `#`, broken escapes, and escaped dot segments.

use super::fields::{is_host_byte, target_bytes};
use super::h1::framing::parse_length;
use std::borrow::Cow;

/// Why a target was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum TargetError {
    #[error("the request target has a byte that may not stand there")]
    Byte,
    #[error("the path has a broken percent escape")]
    Escape,
    #[error("the path has an escaped control byte")]
    Control,
    #[error("the path has an escaped dot segment")]
    EscapedDots,
    #[error("the request target is none of the forms that RFC 9112 section 3.2 allows here")]
    Form,
    #[error("the host is not a valid authority")]
    Authority,
}

/// A request target taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The authority of an absolute-form target.
    pub authority: Option<&'a [u8]>,
    /// The path as it came, not yet normalised; empty only when absolute-form had none.
    pub path: &'a [u8],
    /// What follows the first `?`.
    pub query: Option<&'a [u8]>,
    /// There is nothing in it that [`normalise`] could change.
    pub is_plain: bool,
}

/// Takes a request target of HTTP/1.1 apart: origin-form, absolute-form, or `*`.
pub fn split(target: &[u8]) -> Result<Target<'_>, TargetError> {
    let (is_allowed, is_plain) = target_bytes(target);
    if !is_allowed {
        return Err(TargetError::Byte);
    }
    if target == b"*" {
        return Ok(Target { authority: None, path: target, query: None, is_plain });
    }
    let (authority, rest) = match target.first() {
        Some(b'/') => (None, target),
        _ => {
            let rest = strip_prefix_ignore_case(target, b"http://")
                .or_else(|| strip_prefix_ignore_case(target, b"https://"))
                .ok_or(TargetError::Form)?;
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(end).ok_or(TargetError::Form)?;
            (Some(authority), rest)
        }
    };
    let mut parts = rest.splitn(2, |&byte| byte == b'?');
    Ok(Target { authority, path: parts.next().unwrap_or_default(), query: parts.next(), is_plain })
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Brings a path into the one form that is matched and forwarded. Paths that are in it already, nearly all, are not copied.
pub fn normalise(path: &[u8]) -> Result<Cow<'_, [u8]>, TargetError> {
    if path.is_empty() {
        return Ok(Cow::Borrowed(b"/"));
    }
    if path.first() != Some(&b'/') {
        return Err(TargetError::Form);
    }
    let is_plain = !path.contains(&b'%') && !path.windows(2).any(|pair| pair == b"/.");
    if is_plain {
        return Ok(Cow::Borrowed(path));
    }
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.get(1..).unwrap_or_default().split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {
                if last {
                    out.push(b'/');
                }
            }
            b".." => {
                // There is nothing above the root (RFC 3986 §5.2.4).
                out.truncate(out.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                unescape_unreserved(segment, &mut out)?;
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(Cow::Owned(out))
}

/// Appends a segment with the escapes of unreserved characters undone.
fn unescape_unreserved(segment: &[u8], out: &mut Vec<u8>) -> Result<(), TargetError> {
    let start = out.len();
    let mut rest = segment;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (&[high, low], tail) = rest.split_first_chunk::<2>().ok_or(TargetError::Escape)?;
        let value = hex_digit(high)
            .zip(hex_digit(low))
            .map(|(high, low)| high << 4 | low)
            .ok_or(TargetError::Escape)?;
        rest = tail;
        match value {
            0..0x20 | 0x7f => return Err(TargetError::Control),
            b'-' | b'.' | b'_' | b'~' => out.push(value),
            _ if value.is_ascii_alphanumeric() => out.push(value),
            _ => out.extend_from_slice(&[b'%', high, low]),
        }
    }
    // A segment that only became a dot segment by undoing its escapes was written to get past somebody.
    if matches!(out.get(start..), Some(b"." | b"..")) {
        return Err(TargetError::EscapedDots);
    }
    Ok(())
}

/// The value of a hexadecimal digit.
pub fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Checks an authority: a name, an IPv4 or bracketed IPv6 address, and an optional port. User information is refused: no
/// service call needs it and every confusion about hosts begins with it.
pub fn check_authority(authority: &[u8]) -> Result<(), TargetError> {
    let (host, port) = split_port(authority);
    let host_ok = match host.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]")) {
        Some(inner) => {
            std::str::from_utf8(inner).is_ok_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        }
        None => !host.is_empty() && host.len() <= 255 && host.iter().all(|&byte| is_host_byte(byte)),
    };
    let port_ok = port.is_none_or(|port| {
        port.len() <= 5 && parse_length(port).is_some_and(|port| port <= u64::from(u16::MAX))
    });
    if host_ok && port_ok { Ok(()) } else { Err(TargetError::Authority) }
}

/// Splits `host:port`; brackets of an IPv6 address stay on.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let is_bracketed = authority.first() == Some(&b'[');
    let bracket = is_bracketed.then(|| memchr::memrchr(b']', authority)).flatten();
    let after_bracket = bracket.map_or(0, |at| at + 1);
    let tail = authority.get(after_bracket..).unwrap_or_default();
    // Too short to be worth a call.
    match tail.iter().position(|&byte| byte == b':') {
        Some(colon) => {
            let (host, port) = authority.split_at(after_bracket + colon);
            (host, port.get(1..))
        }
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, TargetError> {
        normalise(path.as_bytes()).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn dot_segments_are_resolved_once_as_rfc_3986_does() {
        for (path, expected) in [
            ("/a/b/../c", "/a/c"),
            ("/a/./b", "/a/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a//../b", "/a/b"),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("", "/"),
            ("/", "/"),
            ("/a//b/", "/a//b/"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(normal("/../a").as_deref(), Ok("/a"));
        assert_eq!(normal("/a/../../b").as_deref(), Ok("/b"));
    }

    #[test]
    fn escapes_of_plain_letters_are_undone_and_an_escaped_slash_stays() {
        assert_eq!(normal("/%61dmin").as_deref(), Ok("/admin"));
        assert_eq!(normal("/a%2Fb").as_deref(), Ok("/a%2Fb"));
        assert_eq!(normal("/a%2fb").as_deref(), Ok("/a%2fb"));
        assert_eq!(normal("/caf%C3%A9").as_deref(), Ok("/caf%C3%A9"));
        assert_eq!(normal("/x%2etxt").as_deref(), Ok("/x.txt"));
        for (bad, why) in [
            ("/%00", TargetError::Control),
            ("/%0d%0ax", TargetError::Control),
            ("/%2e", TargetError::EscapedDots),
            ("/a/%2E%2e/b", TargetError::EscapedDots),
            ("/a/.%2e/b", TargetError::EscapedDots),
            ("/%4", TargetError::Escape),
            ("/%zz", TargetError::Escape),
        ] {
            assert_eq!(normal(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        for path in ["/a/./%61/b", "/%25%36%31", "/a/b/../%7e", "/%252e%252e/x"] {
            let once = normal(path).unwrap();
            assert_eq!(normal(&once).as_ref(), Ok(&once), "{path}");
        }
    }

    #[test]
    fn targets_come_in_three_forms() {
        assert_eq!(split(b"/a?b?c").unwrap().query, Some(&b"b?c"[..]));
        assert_eq!(split(b"http://h:1/a").unwrap().authority, Some(&b"h:1"[..]));
        assert_eq!(
            split(b"HTTP://h?x").unwrap(),
            Target { authority: Some(b"h"), path: b"", query: Some(b"x"), is_plain: true }
        );
        assert_eq!(split(b"*").unwrap().path, b"*");
        for bad in [&b"a"[..], b"ftp://h/", b"/a b", b"/a#b", b"/a\\b", b"/\xc3", b"", b"h:80"] {
            assert!(split(bad).is_err());
        }
    }

    #[test]
    fn an_authority_is_a_host_and_maybe_a_port() {
        for good in ["a", "a.b:80", "127.0.0.1:1", "[::1]:443", "[::1]", "a_b"] {
            assert_eq!(check_authority(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["", ":80", "a:", "a:b", "a:99999", "u@h", "a b", "a/b", "[::1", "[]", "a:1:2", "a,b?"] {
            assert!(check_authority(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
