//! One range of a stored response (RFC 9110 §14), and responses that are one range themselves.

use super::object::Stored;
use super::validate::validators;
use crate::http::{Fields, Name, ResponseHead, Size, conditions, range};
use http::Method;

pub use crate::http::range::Wanted;

/// Which part of a representation a stored 206 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte.
    pub first: u64,
    /// Its last.
    pub last: u64,
    /// How many there are in all.
    pub total: u64,
}

/// The part that a 206 says it is, if its content is exactly that and a validator tells whether another part is of the same
/// representation. Anything else is nobody's but the caller's.
pub fn exact(head: &ResponseHead, size: Size) -> Option<Part> {
    let mut ranges = head.fields.all(Name::ContentRange);
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
    let (span, total) = std::str::from_utf8(range).ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
    };
    let part = Part { first: number(first)?, last: number(last)?, total: number(total)? };
    let is_strong = head.fields.get(Name::Etag).is_some_and(|etag| etag.starts_with(b"\""));
    let is_sound = part.first <= part.last && part.last < part.total && is_strong;
    (is_sound && size == Size::Exact(part.last - part.first + 1)).then_some(part)
}

/// Whether a stored response has what a request wants: the whole always, a part only if all that a GET wants lies in it.
pub fn covers(method: &Method, request: &Fields, stored: &Stored) -> bool {
    let Some(part) = stored.part.as_deref() else { return true };
    if *method != Method::GET {
        return false;
    }
    let Some(asked) = range::asked(request) else { return false };
    let Wanted::Part(first, last) = range::of(asked, part.total) else { return false };
    if_range_holds(request, stored) && part.first <= first && last <= part.last
}

/// What a GET wants of `stored`, counted in the whole representation.
pub fn wanted(request: &Fields, stored: &Stored) -> Wanted {
    let Some(asked) = range::asked(request) else { return Wanted::Whole };
    if let Some(part) = stored.part.as_deref() {
        return range::of(asked, part.total);
    }
    if stored.head.status != 200 || !if_range_holds(request, stored) {
        return Wanted::Whole;
    }
    // A part of what has no known length yet cannot be named; the whole is an answer as well.
    stored.content.length().map_or(Wanted::Whole, |length| range::of(asked, length))
}

/// Whether the caller has the rest of what is stored, if it says what it has.
fn if_range_holds(request: &Fields, stored: &Stored) -> bool {
    request.get_named("if-range").is_none_or(|asked| conditions::is_exactly(asked, validators(stored)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_206_that_is_exactly_what_it_says_is_a_part() {
        let of = |range: &str, etag: &str, length| {
            let mut head = ResponseHead::new(206);
            head.fields.push(b"content-range", range.as_bytes());
            head.fields.push(b"etag", etag.as_bytes());
            exact(&head, Size::Exact(length))
        };
        assert_eq!(of("bytes 4-9/20", "\"a\"", 6), Some(Part { first: 4, last: 9, total: 20 }));
        for (range, etag, length) in [
            ("bytes 4-9/20", "\"a\"", 5),
            ("bytes 4-9/20", "W/\"a\"", 6),
            ("bytes 4-9/*", "\"a\"", 6),
            ("bytes 4-9/9", "\"a\"", 6),
            ("bytes 9-4/20", "\"a\"", 6),
            ("bytes +4-9/20", "\"a\"", 6),
            ("lines 4-9/20", "\"a\"", 6),
            ("bytes */20", "\"a\"", 6),
        ] {
            assert_eq!(of(range, etag, length), None, "{range} {etag} {length}");
        }
        assert_eq!(exact(&ResponseHead::new(206), Size::Exact(6)), None);
    }
}
