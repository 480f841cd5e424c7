//! Preconditions on a representation that is at hand whole: which of them hold, and what that makes of the answer (RFC 9110 §13).

use super::fields::Fields;
use super::name::Name;
use super::range::{self, Wanted};
use super::time;

/// What identifies a representation.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its ETag, quotes included.
    pub etag: Option<&'a [u8]>,
    /// Since when it is as it is, Unix time in seconds.
    pub modified_s: Option<u64>,
    /// When it was seen to be so for certain.
    pub date_s: Option<u64>,
    /// For dates that leave the century open.
    pub now_s: u64,
}

/// A date tells two representations apart only if it was over for so long when the answer was made: until then there may be another
/// one of the same second. A second would do if whatever wrote the file or the row had the clock of whoever writes `Date`
/// (RFC 9110 §8.8.2.2), which nobody here knows; a minute was the rule before (RFC 7232 §2.2.2) and costs no more than a whole answer.
const CERTAIN_AFTER_S: u64 = 60;

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

/// Whether a request has any precondition.
pub fn has_any(request: &Fields) -> bool {
    let is_if = |name: &[u8]| name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"if-"));
    request.has_any(Name::IfNoneMatch.bit() | Name::IfModifiedSince.bit())
        || request.iter().any(|field| field.known == Name::Other && is_if(field.name))
}

/// Evaluates the preconditions in the order of RFC 9110 §13.2.2.
pub fn judge(request: &Fields, of: Validators<'_>) -> Judgement {
    let is = |asked: &[u8]| asked == b"*" || of.etag.is_some_and(|etag| is_same(asked, etag));
    let is_strongly = |asked: &[u8]| asked == b"*" || is_strong(asked) && of.etag == Some(asked);
    let date = |name| request.get_named(name).and_then(|date| time::parse(date, of.now_s));
    if request.get_named("if-match").is_some() {
        if !listed(request, "if-match").any(is_strongly) {
            return Judgement::Failed;
        }
    } else if date("if-unmodified-since").zip(of.modified_s).is_some_and(|(since, modified)| modified > since)
    {
        return Judgement::Failed;
    }
    // What does not say since when it is so has been so when it was made (RFC 9111 §4.3.2).
    let modified_s = of.modified_s.or(of.date_s);
    let is_known = match request.has(Name::IfNoneMatch) {
        true => listed(request, "if-none-match").any(is),
        false => date("if-modified-since").zip(modified_s).is_some_and(|(since, modified)| modified <= since),
    };
    if is_known { Judgement::NotModified } else { Judgement::Go }
}

/// What a GET wants of a representation of so many bytes.
pub fn wanted(request: &Fields, of: Validators<'_>, length: u64) -> Wanted {
    let Some(asked) = range::asked(request) else { return Wanted::Whole };
    let holds = request.get_named("if-range").is_none_or(|asked| is_exactly(asked, of));
    if holds { range::of(asked, length) } else { Wanted::Whole }
}

/// Whether the value of `If-Range` is of exactly this representation: its strong ETag, or its date where that is as certain. Anything
/// else asks for the whole (RFC 9110 §13.1.5).
pub fn is_exactly(asked: &[u8], of: Validators<'_>) -> bool {
    if is_strong(asked) {
        return of.etag == Some(asked);
    }
    let (Some(modified), Some(date)) = (of.modified_s, of.date_s) else { return false };
    date.saturating_sub(modified) >= CERTAIN_AFTER_S && time::parse(asked, of.now_s) == Some(modified)
}

fn is_strong(etag: &[u8]) -> bool {
    etag.starts_with(b"\"")
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

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Validators<'_> = Validators {
        etag: Some(b"\"a,b\""),
        modified_s: Some(784_111_777),
        date_s: Some(784_111_777 + CERTAIN_AFTER_S),
        now_s: 784_111_900,
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
            assert_eq!(has_any(&fields(list)), !list.is_empty());
        }
    }

    #[test]
    fn what_is_not_known_of_a_representation_is_not_held_against_a_caller() {
        let neither = Validators { etag: None, modified_s: None, ..OF };
        let of = |name, value| judge(&fields(&[(name, value)]), neither);
        assert_eq!(of("if-match", "\"a,b\""), Judgement::Failed);
        assert_eq!(of("if-match", "*"), Judgement::Go);
        assert_eq!(of("if-none-match", "\"a,b\""), Judgement::Go);
        assert_eq!(of("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), Judgement::Go);
        assert_eq!(of("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), Judgement::Go);
        assert_eq!(of("if-modified-since", "Sun, 06 Nov 1994 08:50:37 GMT"), Judgement::NotModified);
        let weak = Validators { etag: Some(b"W/\"a\""), ..OF };
        assert_eq!(judge(&fields(&[("if-match", "W/\"a\"")]), weak), Judgement::Failed);
    }

    #[test]
    fn a_date_is_as_good_as_a_strong_etag_only_if_it_was_over_when_the_answer_was_made() {
        let now = b"Sun, 06 Nov 1994 08:49:37 GMT";
        let at = |date_s| Validators { date_s, ..OF };
        assert!(is_exactly(now, OF) && is_exactly(b"Sunday, 06-Nov-94 08:49:37 GMT", OF));
        assert!(!is_exactly(b"Sun, 06 Nov 1994 08:49:38 GMT", OF), "later is not the same");
        for date_s in [None, Some(784_111_777), Some(784_111_777 + CERTAIN_AFTER_S - 1), Some(0)] {
            assert!(!is_exactly(now, at(date_s)), "{date_s:?}");
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
