//! Preconditions on a representation that is at hand whole: which of them hold, and what that makes of the answer (RFC 9110 §13).

use super::fields::Fields;
use super::name::Name;
use super::range::{self, Wanted};

/// What identifies a representation.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its strong ETag, quotes included.
    pub etag: &'a [u8],
    /// Its `Last-Modified`, as it is sent.
    pub last_modified: &'a [u8],
    /// The same, Unix time in seconds.
    pub modified_s: u64,
}

/// What the preconditions of a GET or HEAD make of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Answer it.
    Go,
    /// The caller has it already: 304.
    NotModified,
    /// It is not what the caller thinks: 412.
    Failed,
}

/// Evaluates the preconditions in the order of RFC 9110 §13.2.2.
pub fn judge(request: &Fields, of: Validators<'_>) -> Judgement {
    let is = |asked: &[u8]| asked == b"*" || is_same(asked, of.etag);
    let is_strongly = |asked: &[u8]| asked == b"*" || asked == of.etag;
    let date = |name| request.get_named(name).and_then(http_date_s);
    if request.get_named("if-match").is_some() {
        if !listed(request, "if-match").any(is_strongly) {
            return Judgement::Failed;
        }
    } else if date("if-unmodified-since").is_some_and(|since| of.modified_s > since) {
        return Judgement::Failed;
    }
    let is_known = match request.has(Name::IfNoneMatch) {
        true => listed(request, "if-none-match").any(is),
        false => date("if-modified-since").is_some_and(|since| of.modified_s <= since),
    };
    if is_known { Judgement::NotModified } else { Judgement::Go }
}

/// What a GET wants of a representation of so many bytes.
pub fn wanted(request: &Fields, of: Validators<'_>, length: u64) -> Wanted {
    let mut ranges = request.all(Name::Range);
    let (Some(asked), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    // A strong ETag or the exact date; anything else asks for the whole (RFC 9110 §13.1.5).
    let holds =
        request.get_named("if-range").is_none_or(|asked| asked == of.etag || asked == of.last_modified);
    if holds { range::of(asked, length) } else { Wanted::Whole }
}

/// Weak comparison (RFC 9110 §8.8.3.2).
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let opaque = |etag| <[u8]>::strip_prefix(etag, b"W/").unwrap_or(etag);
    opaque(one) == opaque(other)
}

/// The ETags of a field, and `*`. A comma may stand within one.
pub fn listed<'a>(request: &'a Fields, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let lines = request.iter().filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    lines.flat_map(|field| {
        let mut rest = field.value;
        std::iter::from_fn(move || {
            let begin = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
            let from = rest.get(begin..)?;
            let mut is_quoted = false;
            let is_over = |byte: &u8| {
                is_quoted ^= *byte == b'"';
                !is_quoted && matches!(byte, b' ' | b'\t' | b',')
            };
            let end = from.iter().position(is_over).unwrap_or(from.len());
            let (tag, after) = from.split_at_checked(end)?;
            rest = after;
            Some(tag)
        })
    })
}

/// An HTTP date in any of its three forms, Unix time in seconds.
fn http_date_s(value: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Validators<'_> = Validators {
        etag: b"\"a,b\"",
        last_modified: b"Sun, 06 Nov 1994 08:49:37 GMT",
        modified_s: 784_111_777,
    };

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    #[test]
    fn preconditions_are_evaluated_in_their_order() {
        use Judgement::*;
        let (now, before) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:36 GMT");
        for (list, expected) in [
            (&[][..], Go),
            (&[("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-none-match", "\"x\", W/\"a,b\"")], NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"a\", b\"")], Go),
            (&[("if-none-match", "\"x\""), ("if-modified-since", now)], Go),
            (&[("if-modified-since", now)], NotModified),
            (&[("if-modified-since", before)], Go),
            (&[("if-modified-since", "yesterday")], Go),
            (&[("if-match", "\"a,b\"")], Go),
            (&[("if-match", "W/\"a,b\"")], Failed),
            (&[("if-match", "\"x\""), ("if-none-match", "\"a,b\"")], Failed),
            (&[("if-unmodified-since", before)], Failed),
            (&[("if-unmodified-since", now), ("if-none-match", "*")], NotModified),
        ] {
            assert_eq!(judge(&fields(list), OF), expected, "{list:?}");
        }
    }

    #[test]
    fn a_part_is_given_to_whoever_has_the_rest_of_the_same() {
        let asks = |list: &[(&str, &str)]| wanted(&fields(list), OF, 10);
        let part = Wanted::Part(2, 9);
        assert_eq!(asks(&[]), Wanted::Whole);
        assert_eq!(asks(&[("range", "bytes=2-")]), part);
        assert_eq!(asks(&[("range", "bytes=2-"), ("if-range", "\"a,b\"")]), part);
        assert_eq!(asks(&[("range", "bytes=2-"), ("if-range", "Sun, 06 Nov 1994 08:49:37 GMT")]), part);
        assert_eq!(asks(&[("range", "bytes=2-"), ("if-range", "W/\"a,b\"")]), Wanted::Whole);
        assert_eq!(asks(&[("range", "bytes=2-"), ("if-range", "\"x\"")]), Wanted::Whole);
        assert_eq!(asks(&[("range", "bytes=2-"), ("range", "bytes=3-")]), Wanted::Whole);
        assert_eq!(asks(&[("range", "bytes=10-")]), Wanted::Nothing);
    }
}
