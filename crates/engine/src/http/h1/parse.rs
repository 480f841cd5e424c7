//! The head parser of both halves: the start line, the fields ([`super::lines`]), then the rules that decide whether a head is
//! taken at all.

use super::lines::Lines;
use crate::http::fields::{Fields, Span, is_token_byte};
use crate::http::head::{RequestHead, ResponseHead, Version};
use crate::http::name::Name;
use crate::http::target::{self, TargetError};
use http::Method;
use memchr::memchr;
use std::borrow::Cow;

/// The bounds under which a head is read.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of a whole head.
    pub head: usize,
    /// Number of fields.
    pub fields: usize,
    /// Bytes of a request target.
    pub uri: usize,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum HeadError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("a line of the head ends without a carriage return")]
    BareLf,
    #[error("the head has a continued line")]
    Fold,
    #[error("the head is larger than allowed")]
    TooLarge,
    #[error("the head has more fields than allowed")]
    TooManyFields,
    #[error("the request target is longer than allowed")]
    UriTooLong,
    #[error("this version of HTTP is not spoken here")]
    Version,
    #[error("the head is not well formed")]
    Syntax,
    #[error("Host must be given exactly once")]
    Host,
    #[error("Host is not the host of the request target")]
    HostMismatch,
    #[error("CONNECT is not offered")]
    Connect,
    #[error("the status is not three digits")]
    Status,
    #[error(
        "it does not begin as HTTP does (TLS on a port that is spoken to in clear, or clear on one under TLS?)"
    )]
    NotHttp,
}

/// A request head as it came, and how many bytes it took.
#[derive(Debug)]
pub struct ParsedRequest {
    /// The head, its framing fields still among the others.
    pub head: RequestHead,
    /// Bytes consumed, with the empty line.
    pub len: usize,
}

/// A response head, its version, and how many bytes it took.
pub type ParsedResponse = (ResponseHead, Version, usize);

/// Parses a request head at the start of `buf`, `None` while it is incomplete. `seen` is how much of it has been looked at:
/// only another line is a reason to look again.
pub fn request(
    buf: &[u8],
    seen: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<ParsedRequest>, HeadError> {
    // A method begins with a letter or the like; one empty line before it is forgiven (RFC 9112 §2.2).
    if buf.first().is_some_and(|&first| first != b'\r' && first != b'\n' && !is_token_byte(first)) {
        return Err(HeadError::Syntax);
    }
    match within_bounds(buf, seen, limits.head, |window| whole_request(window, limits)) {
        // A target that alone breaks the bound deserves its own answer.
        Err(HeadError::TooLarge) if memchr(b'\n', buf.get(..limits.head).unwrap_or(buf)).is_none() => {
            Err(HeadError::UriTooLong)
        }
        result => result,
    }
}

/// Parses a response head at the start of `buf`, `None` while it is incomplete; as [`request`].
pub fn response(
    buf: &[u8],
    seen: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<ParsedResponse>, HeadError> {
    // Another protocol is told by its first bytes, instead of by a head that never ends.
    if buf.iter().zip(b"HTTP/1.").any(|(byte, expected)| byte != expected) {
        return Err(if buf.starts_with(b"HTTP/") { HeadError::Version } else { HeadError::NotHttp });
    }
    within_bounds(buf, seen, limits.head, |window| whole_response(window, limits))
}

/// Parses as much of `buf` as may be a head, if there is another line in it.
fn within_bounds<T>(
    buf: &[u8],
    seen: &mut usize,
    max: usize,
    parse: impl FnOnce(&[u8]) -> Result<Option<T>, HeadError>,
) -> Result<Option<T>, HeadError> {
    let window = buf.get(..buf.len().min(max)).unwrap_or_default();
    if memchr(b'\n', window.get(*seen..).unwrap_or_default()).is_some()
        && let Some(parsed) = parse(window)?
    {
        return Ok(Some(parsed));
    }
    *seen = window.len();
    if buf.len() < max { Ok(None) } else { Err(HeadError::TooLarge) }
}

fn whole_request(window: &[u8], limits: &HeadLimits) -> Result<Option<ParsedRequest>, HeadError> {
    let start = if window.starts_with(b"\r\n") { 2 } else { 0 };
    let mut lines = Lines::new(window, start);
    let Some(line) = lines.take()? else { return Ok(None) };
    let (method, raw, version) = request_line(line)?;
    let raw_at = start + method.len() + 1;
    let method = Method::from_bytes(method).map_err(|_| HeadError::Syntax)?;
    if method == Method::CONNECT {
        return Err(HeadError::Connect);
    }
    if raw.len() > limits.uri {
        return Err(HeadError::UriTooLong);
    }
    let target = target::split(raw)?;
    if target.path == b"*" && method != Method::OPTIONS {
        return Err(TargetError::Form.into());
    }
    let Some(mut fields) = lines.fields(limits.fields)? else { return Ok(None) };
    let authority = authority(&mut fields, target.authority, version)?;
    // The target ends with path and query, so that their places can be told from the end.
    let query = target.query.map(|query| Span::new(raw_at + raw.len() - query.len(), query.len()));
    let path_end = raw_at + raw.len() - target.query.map_or(0, |query| query.len() + 1);
    let path = match target.path {
        b"*" => Span::new(raw_at, 1),
        path if target.is_plain && path.first() == Some(&b'/') => {
            Span::new(path_end - path.len(), path.len())
        }
        path => match target::normalise(path)? {
            Cow::Borrowed(same) if same.len() == path.len() => Span::new(path_end - path.len(), path.len()),
            changed => fields.store(&changed),
        },
    };
    let head = RequestHead { method, path, query, authority, version, fields };
    Ok(Some(ParsedRequest { head, len: lines.at() }))
}

/// Method, target and version (RFC 9112 §3).
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], Version), HeadError> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return Err(HeadError::Syntax);
    };
    if target.is_empty() {
        return Err(HeadError::Syntax);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit() => {
            return Err(HeadError::Version);
        }
        _ => return Err(HeadError::Syntax),
    };
    Ok((method, target, version))
}

fn whole_response(window: &[u8], limits: &HeadLimits) -> Result<Option<ParsedResponse>, HeadError> {
    let mut lines = Lines::new(window, 0);
    let Some(line) = lines.take()? else { return Ok(None) };
    let (version, status) = status_line(line)?;
    let Some(fields) = lines.fields(limits.fields)? else { return Ok(None) };
    Ok(Some((ResponseHead { status, fields }, version, lines.at())))
}

/// Version and status; the phrase may say anything, or be left out (RFC 9112 §4).
fn status_line(line: &[u8]) -> Result<(Version, u16), HeadError> {
    let (version, rest) = line.split_at_checked(b"HTTP/1.1".len()).ok_or(HeadError::Version)?;
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(HeadError::Version),
    };
    let rest = rest.strip_prefix(b" ").ok_or(HeadError::Syntax)?;
    let (digits, phrase) = rest.split_first_chunk::<3>().ok_or(HeadError::Status)?;
    let in_range = matches!(digits, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']);
    if !in_range || !matches!(phrase.first(), None | Some(b' ')) {
        return Err(HeadError::Status);
    }
    if !phrase.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
        return Err(HeadError::Syntax);
    }
    Ok((version, digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'))))
}

/// Takes `Host` out of the fields and settles the one authority (RFC 9112 §3.2).
fn authority(fields: &mut Fields, absolute: Option<&[u8]>, version: Version) -> Result<Span, HeadError> {
    check_authority(fields, absolute, version)?;
    let host = fields.lift_lower(Name::Host);
    Ok(absolute.map(|absolute| fields.store_lower(absolute)).or(host).unwrap_or_default())
}

fn check_authority(fields: &Fields, absolute: Option<&[u8]>, version: Version) -> Result<(), HeadError> {
    let mut hosts = fields.all(Name::Host);
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && version == Version::Http11) {
        return Err(HeadError::Host);
    }
    if let Some(absolute) = absolute
        && host.is_some_and(|host| !host.eq_ignore_ascii_case(absolute))
    {
        return Err(HeadError::HostMismatch);
    }
    match absolute.or(host) {
        // RFC 9110 §7.2 lets a target without authority send an empty Host.
        None => Ok(()),
        Some(b"") if absolute.is_none() => Ok(()),
        Some(chosen) => target::check_authority(chosen).map_err(HeadError::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 20, uri: 200 };

    fn parse(text: &str) -> Result<RequestHead, HeadError> {
        request(text.as_bytes(), &mut 0, &LIMITS).map(|parsed| parsed.expect("a whole head").head)
    }

    #[test]
    fn a_request_head_is_taken_apart_without_losing_a_byte() {
        let head =
            parse("GET /a/../b%2Fc?x=1&y HTTP/1.1\r\nHost: Example.COM:80\r\nX-A:  1 \r\n\r\n").unwrap();
        assert_eq!(head.path(), b"/b%2Fc");
        assert_eq!(head.query(), Some(&b"x=1&y"[..]));
        assert_eq!(head.authority(), b"example.com:80");
        assert_eq!(head.fields.get_named("x-a"), Some(&b"1"[..]));
        assert!(!head.fields.has(Name::Host));
    }

    #[test]
    fn heads_that_two_parsers_could_read_differently_are_refused() {
        for (text, why) in [
            ("GET / HTTP/1.1\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError::Host),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::HostMismatch),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\nX\u{80}: b\r\n\r\n", HeadError::Syntax),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Syntax),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", HeadError::Version),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", HeadError::Version),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", HeadError::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", HeadError::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", HeadError::Syntax),
            ("GET / HTTP/1.1\rHost: a\r\n\r\n", HeadError::Syntax),
            ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Byte)),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target(TargetError::Form)),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Syntax),
        ] {
            let result = parse(text);
            assert!(result.as_ref().is_err_and(|error| *error == why), "{text:?}: {result:?}");
        }
    }

    #[test]
    fn bounds_on_target_and_fields_have_their_own_reasons() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(300));
        assert_eq!(parse(&long).unwrap_err(), HeadError::UriTooLong);
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(30));
        assert_eq!(parse(&many).unwrap_err(), HeadError::TooManyFields);
        let endless = format!("GET /{}", "a".repeat(5000));
        assert_eq!(request(endless.as_bytes(), &mut 0, &LIMITS).unwrap_err(), HeadError::UriTooLong);
    }

    #[test]
    fn a_response_head_needs_a_status_of_three_digits() {
        let parse = |text: &str| response(text.as_bytes(), &mut 0, &LIMITS);
        let (head, version, len) = parse("HTTP/1.1 204 \r\nA: b\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, version, len), (204, Version::Http11, 23));
        for bad in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 20000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "hello\r\n\r\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
