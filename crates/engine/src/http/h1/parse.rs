//! The head parser of both halves: a strict scan first ([`super::scan`]), then httparse for the fields, then the rules that
//! decide whether a head is taken at all.

use super::scan::{self, ScanError};
use crate::http::fields::{Fields, Span, is_token_byte};
use crate::http::head::{RequestHead, ResponseHead, Version};
use crate::http::name::Name;
use crate::http::target::{self, TargetError};
use http::Method;
use std::mem::MaybeUninit;

/// The bounds under which a head is read.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of a whole head.
    pub head: usize,
    /// Number of fields, at most [`FIELDS_MAX`].
    pub fields: usize,
    /// Bytes of a request target.
    pub uri: usize,
}

/// No configuration takes more fields than this: their table lives on the stack while a head is parsed.
pub const FIELDS_MAX: usize = 256;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum HeadError {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Target(#[from] TargetError),
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
}

/// A request head as it came, and how many bytes it took.
#[derive(Debug)]
pub struct ParsedRequest {
    /// The head, its framing fields still among the others.
    pub head: RequestHead,
    /// Bytes consumed, with the empty line.
    pub len: usize,
}

/// Parses a request head at the start of `buf`, `None` while it is incomplete. `seen` carries the scan from call to call.
pub fn request(
    buf: &[u8],
    seen: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<ParsedRequest>, HeadError> {
    // A method begins with a letter or the like; one empty line before it is forgiven (RFC 9112 §2.2).
    if buf.first().is_some_and(|&first| first != b'\r' && first != b'\n' && !is_token_byte(first)) {
        return Err(HeadError::Syntax);
    }
    let len = match scan::head_end(buf, seen, limits.head) {
        Ok(Some(len)) => len,
        Ok(None) => return Ok(None),
        // A target that alone breaks the bound deserves its own answer.
        Err(ScanError::TooLarge) if !buf.get(..limits.head).unwrap_or(buf).contains(&b'\n') => {
            return Err(HeadError::UriTooLong);
        }
        Err(error) => return Err(error.into()),
    };
    let bytes = buf.get(..len).unwrap_or_default();
    let mut table = [MaybeUninit::uninit(); FIELDS_MAX];
    let table = table.get_mut(..limits.fields.min(FIELDS_MAX)).unwrap_or_default();
    let mut parsed = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_request_with_uninit_headers(&mut parsed, bytes, table) {
        Ok(httparse::Status::Complete(end)) if end == len => {}
        Ok(_) => return Err(HeadError::Syntax),
        Err(httparse::Error::Version) if !names_a_version(bytes) => return Err(HeadError::Syntax),
        Err(error) => return Err(syntax(error)),
    }
    let version = match parsed.version {
        Some(1) => Version::Http11,
        Some(0) => Version::Http10,
        _ => return Err(HeadError::Version),
    };
    let method = parsed.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let (Some(method), Some(raw)) = (method, parsed.path) else { return Err(HeadError::Syntax) };
    if method == Method::CONNECT {
        return Err(HeadError::Connect);
    }
    if raw.len() > limits.uri {
        return Err(HeadError::UriTooLong);
    }
    let target = target::split(raw.as_bytes())?;
    if target.path == b"*" && method != Method::OPTIONS {
        return Err(TargetError::Form.into());
    }
    let mut fields = copy_fields(bytes, parsed.headers)?;
    let authority = authority(&mut fields, target.authority, version)?;
    let path = match target.path {
        b"*" => fields.store(b"*"),
        path => match target::normalise(path)? {
            std::borrow::Cow::Borrowed(same) => locate(bytes, same).unwrap_or_else(|| fields.store(same)),
            std::borrow::Cow::Owned(changed) => fields.store(&changed),
        },
    };
    let query = target.query.map(|query| locate(bytes, query).unwrap_or_default());
    Ok(Some(ParsedRequest { head: RequestHead { method, path, query, authority, version, fields }, len }))
}

/// Parses a response head at the start of `buf`: the head, its version, and how many bytes it took.
pub fn response(
    buf: &[u8],
    seen: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<(ResponseHead, Version, usize)>, HeadError> {
    // Another protocol is told by its first bytes, instead of by a head that never ends.
    if buf.iter().zip(b"HTTP/1.").any(|(byte, expected)| byte != expected) {
        return Err(if buf.starts_with(b"HTTP/") { HeadError::Version } else { HeadError::Syntax });
    }
    let Some(len) = scan::head_end(buf, seen, limits.head)? else { return Ok(None) };
    let bytes = buf.get(..len).unwrap_or_default();
    let mut table = [MaybeUninit::uninit(); FIELDS_MAX];
    let table = table.get_mut(..limits.fields.min(FIELDS_MAX)).unwrap_or_default();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, table) {
        Ok(httparse::Status::Complete(end)) if end == len => {}
        Ok(_) => return Err(HeadError::Syntax),
        Err(error) => return Err(syntax(error)),
    }
    let version = match parsed.version {
        Some(1) => Version::Http11,
        Some(0) => Version::Http10,
        _ => return Err(HeadError::Version),
    };
    let status = parsed.code.filter(|status| (100..=999).contains(status)).ok_or(HeadError::Status)?;
    let fields = copy_fields(bytes, parsed.headers)?;
    Ok(Some((ResponseHead { status, fields }, version, len)))
}

/// Parses trailer fields: the lines after the last chunk, with the empty line at their end.
pub fn trailers(bytes: &[u8], fields_max: usize) -> Result<Fields, HeadError> {
    let mut table = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let table = table.get_mut(..fields_max.min(FIELDS_MAX)).unwrap_or_default();
    match httparse::parse_headers(bytes, table).map_err(syntax)? {
        httparse::Status::Complete((end, headers)) if end == bytes.len() => copy_fields(bytes, headers),
        _ => Err(HeadError::Syntax),
    }
}

/// Whether the request line ends with a version of HTTP, though not one that is spoken here.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn syntax(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => HeadError::Version,
        httparse::Error::Status => HeadError::Status,
        _ => HeadError::Syntax,
    }
}

/// One copy of the head, and a span for each name and value in it.
fn copy_fields(bytes: &[u8], headers: &[httparse::Header<'_>]) -> Result<Fields, HeadError> {
    let mut fields = Fields::over(bytes, headers.len());
    for header in headers {
        let value = header.value.trim_ascii();
        let name = locate(bytes, header.name.as_bytes()).ok_or(HeadError::Syntax)?;
        let value = locate(bytes, value).unwrap_or_default();
        fields.push_span(name, value);
    }
    Ok(fields)
}

/// Where `part`, a slice of `whole`, begins in it.
fn locate(whole: &[u8], part: &[u8]) -> Option<Span> {
    let range = whole.as_ptr_range();
    let at = (part.as_ptr() as usize).checked_sub(range.start as usize)?;
    (at + part.len() <= whole.len()).then(|| Span::new(at, part.len()))
}

/// Takes `Host` out of the fields and settles the one authority (RFC 9112 §3.2).
fn authority(fields: &mut Fields, absolute: Option<&[u8]>, version: Version) -> Result<Span, HeadError> {
    let chosen = choose_authority(fields, absolute, version)?.map(<[u8]>::to_ascii_lowercase);
    fields.remove_known(Name::Host);
    Ok(chosen.map(|lower| fields.store(&lower)).unwrap_or_default())
}

fn choose_authority<'a>(
    fields: &'a Fields,
    absolute: Option<&'a [u8]>,
    version: Version,
) -> Result<Option<&'a [u8]>, HeadError> {
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
        None | Some(b"") if absolute.is_none() => Ok(None),
        Some(chosen) => target::check_authority(chosen).map(|()| Some(chosen)).map_err(HeadError::from),
        None => Ok(None),
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
            ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Syntax),
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
