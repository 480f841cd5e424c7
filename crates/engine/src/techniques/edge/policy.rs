//! Which file a path names, and what a form of it is called.

use super::file::File;
use crate::encoding::{Effort, Wanted};
use crate::http::conditions;
use crate::http::target::hex_digit;
use crate::http::{Fields, Name};
use unlag_config::{Encoding, Pattern, Segment};

/// A file or directory below the directory of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its names on disk, with slashes in between and none at either end; empty for the directory itself.
    pub path: Vec<u8>,
    /// It was asked for with a slash at its end.
    pub is_directory: bool,
}

impl Named {
    /// A file in it.
    pub fn with(&self, name: &str) -> Vec<u8> {
        if self.path.is_empty() { name.into() } else { [&self.path, &b"/"[..], name.as_bytes()].concat() }
    }
}

/// What a path names below the directory of a route. `None` for names that no file may have: hidden ones, and those that read
/// differently on disk than in a path.
pub fn named(pattern: &Pattern, path: &[u8]) -> Option<Named> {
    let below = below(pattern, path.strip_prefix(b"/")?)?;
    let mut out = Vec::with_capacity(below.len());
    let mut segments = below.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() {
            // In the middle it is no name; at the end it asks for a directory, `/a` with nothing below `a` alone does not.
            return is_last.then_some(Named { path: out, is_directory: path.ends_with(b"/") });
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        let start = out.len();
        unescape(segment, &mut out)?;
        let name = out.get(start..)?;
        if name.starts_with(b".") && name != b".well-known" {
            return None;
        }
    }
    Some(Named { path: out, is_directory: false })
}

/// The part of a path (without its first slash) that lies below the directory: what the rest of the pattern stands for, else what
/// follows its leading literals, else its last segment.
fn below<'a>(pattern: &Pattern, path: &'a [u8]) -> Option<&'a [u8]> {
    let is_rest = |segment: &Segment| matches!(segment, Segment::Rest(_));
    let is_literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
    let all = pattern.segments.len();
    let skipped = match pattern.segments.iter().position(is_rest) {
        Some(at) => at,
        None => {
            pattern.segments.iter().take_while(|segment| is_literal(segment)).count().min(all.checked_sub(1)?)
        }
    };
    let mut rest = path;
    for _ in 0..skipped {
        // A path may end where the rest begins: `/a` matches `/a/{rest...}`.
        rest = match rest.iter().position(|&byte| byte == b'/') {
            Some(slash) => rest.get(slash + 1..)?,
            None => b"",
        };
    }
    Some(rest)
}

/// Undoes the escapes of a segment. What would be a separator, or an end, is not a part of a name.
fn unescape(segment: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = segment;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let byte = match byte {
            b'%' => {
                let (&[high, low], tail) = rest.split_first_chunk::<2>()?;
                rest = tail;
                hex_digit(high)? << 4 | hex_digit(low)?
            }
            byte => byte,
        };
        if matches!(byte, b'/' | b'\\' | 0..0x20 | 0x7f) {
            return None;
        }
        out.push(byte);
    }
    Some(())
}

/// How a file's sibling in an encoding is called.
pub fn suffix(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Zstd => ".zst",
        Encoding::Brotli => ".br",
        Encoding::Gzip => ".gz",
    }
}

/// The ETag of a form that lies beside a file.
pub fn etag_of_sibling(sibling: &File, encoding: Encoding) -> Box<[u8]> {
    let base = sibling.etag.strip_suffix(b"\"").unwrap_or(&sibling.etag);
    [base, b".", encoding.name().as_bytes(), b"\""].concat().into()
}

/// The ETag of a form that is made here, wherever and whenever that is: another effort gives other bytes and hence another tag.
pub fn etag_of_made(file: &File, encoding: Encoding, effort: Effort) -> Box<[u8]> {
    let base = file.etag.strip_suffix(b"\"").unwrap_or(&file.etag);
    let heavy = if effort == Effort::Heavy { "+" } else { "" };
    [base, b"-", encoding.name().as_bytes(), heavy.as_bytes(), b"\""].concat().into()
}

/// The form of a file that a caller says it has and can use. The tags of all forms are made of the content, so they hold before
/// this node has made them: after a restart, or where another node answered the last time.
pub fn known_form(file: &File, wanted: &Wanted, request: &Fields) -> Option<(Option<Encoding>, Box<[u8]>)> {
    if !request.has(Name::IfNoneMatch) {
        return None;
    }
    let made = wanted.encodings().flat_map(|encoding| {
        [Effort::Heavy, Effort::Quick].map(|effort| (Some(encoding), etag_of_made(file, encoding, effort)))
    });
    let plain = wanted.identity.then(|| (None, file.etag.clone()));
    plain.into_iter().chain(made).find(|(_, etag)| is_known(etag, request))
}

/// Whether a part is asked for that may be given. Several forms have one date, and so may what was written twice in a second: it does
/// not say what the caller has the beginning of (RFC 9110 §13.1.5).
pub fn wants_part(request: &Fields) -> bool {
    let is_by_date = || request.get_named("if-range").is_some_and(|condition| !condition.ends_with(b"\""));
    request.has(Name::Range) && !is_by_date()
}

/// Whether a caller says that it has what this tag is of.
fn is_known(etag: &[u8], request: &Fields) -> bool {
    conditions::listed(request, "if-none-match").any(|asked| conditions::is_same(asked, etag))
}
