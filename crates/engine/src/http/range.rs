//! One range of a representation (RFC 9110 §14). Several ranges at once are answered with the whole: no service needs them, and
//! many small ones are a way to multiply work.

use super::{Fields, Name};

/// What of a representation is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// From this byte to that, both included.
    Part(u64, u64),
    /// A part that there is not.
    Nothing,
}

/// The one range that a request asks for, if it is one line.
pub fn asked(request: &Fields) -> Option<&[u8]> {
    let mut lines = request.all(Name::Range);
    lines.next().filter(|_| lines.next().is_none())
}

/// What a `Range` wants of so many bytes.
pub fn of(range: &[u8], length: u64) -> Wanted {
    let spec =
        range.trim_ascii().split_at_checked(6).filter(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes="));
    let Some((_, spec)) = spec else { return Wanted::Whole };
    let Some(dash) = spec.iter().position(|&byte| byte == b'-') else { return Wanted::Whole };
    let (first, last) = (spec.get(..dash).unwrap_or_default(), spec.get(dash + 1..).unwrap_or_default());
    let (first, last) = match (number(first), number(last)) {
        (Some(None), Some(Some(suffix))) => {
            (length.saturating_sub(suffix), length.checked_sub(1).filter(|_| suffix > 0))
        }
        (Some(Some(first)), Some(None)) => (first, length.checked_sub(1)),
        (Some(Some(first)), Some(Some(last))) if first <= last => {
            (first, length.checked_sub(1).map(|end| end.min(last)))
        }
        _ => return Wanted::Whole,
    };
    match last {
        Some(last) if first <= last => Wanted::Part(first, last),
        _ => Wanted::Nothing,
    }
}

/// `Some(None)` for nothing, `None` for anything but digits.
fn number(text: &[u8]) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.iter().all(u8::is_ascii_digit).then(|| {
        let digits = text.iter().map(|digit| u64::from(digit - b'0'));
        Some(digits.fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(digit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_there_is() {
        for (range, expected) in [
            ("bytes=0-3", Wanted::Part(0, 3)),
            ("Bytes=4-", Wanted::Part(4, 9)),
            ("bytes=4-99999999999999999999999", Wanted::Part(4, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-30", Wanted::Part(0, 9)),
            ("bytes=9-9", Wanted::Part(9, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=3-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
        ] {
            assert_eq!(of(range.as_bytes(), 10), expected, "{range}");
        }
        assert_eq!(of(b"bytes=0-", 0), Wanted::Nothing);
    }
}
