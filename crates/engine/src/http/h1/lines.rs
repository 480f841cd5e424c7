//! Takes a head apart, line by line. A line is judged once all of it is here, so that what is refused, and why, does not
//! depend on how the bytes were cut. Nothing is repaired: lines that end in a bare LF and continued lines, on which parsers
//! disagree, are refused (RFC 9112 §2.2, §5.2), and so is a bare CR, NUL or any other control byte.

use super::parse::HeadError;
use crate::http::fields::{Fields, Span, token};
use crate::http::name::Name;
use memchr::memchr;

/// The lines of a buffer from some place on.
#[derive(Debug)]
pub struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// From byte `at` of `bytes` on.
    pub fn new(bytes: &'a [u8], at: usize) -> Lines<'a> {
        Lines { bytes, at }
    }

    /// Where the next line begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next line without its end, `None` while it is incomplete.
    pub fn take(&mut self) -> Result<Option<&'a [u8]>, HeadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = memchr(b'\n', rest) else { return Ok(None) };
        self.at += end + 1;
        match rest.get(..end).unwrap_or_default().split_last() {
            Some((b'\r', line)) => Ok(Some(line)),
            _ => Err(HeadError::BareLf),
        }
    }

    /// All fields up to the empty line, `None` while they are incomplete. They own a copy of the bytes so far, in which the
    /// caller may refer to other places as well.
    pub fn fields(&mut self, max: usize) -> Result<Option<Fields>, HeadError> {
        let mut fields = Fields::with_capacity(0, TYPICAL_FIELDS);
        loop {
            let start = self.at;
            let rest = self.bytes.get(start..).unwrap_or_default();
            let (name, has_underscore) = match plain_name(rest) {
                Some(len) => (len, false),
                None => token(rest),
            };
            let (value, is_line) = match plain_value(rest, name) {
                Some(value) => {
                    self.at = start + value.end() + 2;
                    (value, true)
                }
                None => {
                    let Some(line) = self.take()? else { return Ok(None) };
                    if line.is_empty() {
                        fields.set_text(self.bytes.get(..self.at).unwrap_or_default());
                        return Ok(Some(fields));
                    }
                    (any_value(line, name)?, false)
                }
            };
            if fields.len() == max {
                return Err(HeadError::TooManyFields);
            }
            let known = Name::of_token(rest.get(..name).unwrap_or_default(), has_underscore);
            fields.push_span(known, Span::new(start, name), value.shifted(start), is_line);
        }
    }
}

/// Fields of a usual head, with what the proxy adds.
const TYPICAL_FIELDS: usize = 24;

/// Where the value stands in a line whose name has this length (RFC 9112 §5).
fn any_value(line: &[u8], name: usize) -> Result<Span, HeadError> {
    let Some(value) = line.get(name..).and_then(|rest| rest.strip_prefix(b":")).filter(|_| name > 0) else {
        let is_fold = matches!(line.first(), Some(b' ' | b'\t'));
        return Err(if is_fold { HeadError::Fold } else { HeadError::Syntax });
    };
    if !value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
        return Err(HeadError::Syntax);
    }
    let start = value.trim_ascii_start();
    Ok(Span::new(line.len() - start.len(), start.trim_ascii_end().len()))
}

/// The value of what nearly every field is: name, colon, one space, a value without a tab in it or a space around it, CR LF.
/// Any other line is for [`any_value`] to judge.
fn plain_value(rest: &[u8], name: usize) -> Option<Span> {
    let value = rest.get(name..)?.strip_prefix(b": ").filter(|_| name > 0)?;
    let len = plain_len(value)?;
    let is_trimmed = len == 0 || (value.first() != Some(&b' ') && value.get(len - 1) != Some(&b' '));
    let is_line = is_trimmed && value.get(len..len + 2) == Some(b"\r\n");
    is_line.then(|| Span::new(name + 2, len))
}

/// How many bytes there are before the first that is not plain ASCII; `None` if the end comes first.
fn plain_len(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // Below the space, or from DEL on. A borrow or carry only marks bytes above one that is marked rightly, and the lowest
        // mark is the one that counts.
        let marks = (word.wrapping_sub(each(b' ')) | word.wrapping_add(each(1)) | word) & each(0x80);
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    None
}

/// The length of a name of letters and dashes that a colon follows: what nearly every name is.
fn plain_name(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let colons = !nonzero(word ^ each(b':')) & each(0x80);
        let before_colon = colons.wrapping_sub(1) & !colons;
        let lower = word | each(0x20);
        let letters = lower.wrapping_add(each(0x80 - b'a')) & !lower.wrapping_add(each(0x7f - b'z'));
        let named = (letters | !nonzero(word ^ each(b'-'))) & !word & each(0x80);
        if colons == 0 && named == each(0x80) {
            continue;
        }
        let is_name = named & before_colon == each(0x80) & before_colon && colons != 0;
        return is_name.then(|| index * 8 + colons.trailing_zeros() as usize / 8);
    }
    None
}

/// The byte eight times.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The upper bit of each byte that is not zero, whatever the other bits.
const fn nonzero(word: u64) -> u64 {
    ((word & each(0x7f)).wrapping_add(each(0x7f))) | word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Option<Vec<(String, String)>>, HeadError> {
        let fields = Lines::new(text.as_bytes(), 0).fields(3)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(fields.map(|fields| fields.iter().map(|field| (text(field.name), text(field.value))).collect()))
    }

    #[test]
    fn white_space_around_a_value_is_not_part_of_it() {
        let expected = [("A", "1"), ("B", ""), ("C", "2 \t3")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(fields("A:1\r\nB: \t\r\nC: \t2 \t3 \r\n\r\nmore"), Ok(Some(expected.into())));
        assert_eq!(fields("A: 1\r\n\r"), Ok(None));
    }

    #[test]
    fn the_first_byte_that_is_not_plain_is_found_wherever_it_is_and_whatever_surrounds_it() {
        for odd in (0..0x20).chain(0x7f..=0xff) {
            for around in [b' ', b'~', b'a'] {
                for at in 0..24 {
                    let mut bytes = [around; 32];
                    bytes[at] = odd;
                    assert_eq!(plain_len(&bytes), Some(at), "{odd} among {around}");
                    bytes[at + 1..].fill(odd);
                    assert_eq!(plain_len(&bytes), Some(at), "{odd} after {around}");
                }
            }
        }
        assert_eq!(plain_len(&[b' '; 32]), None);
    }

    #[test]
    fn a_plain_name_is_letters_and_dashes_and_ends_at_the_first_colon() {
        for len in 0..20 {
            for after in [b'x', b':', 0, 0xff, b' '] {
                let mut bytes = [after; 32];
                bytes[..len].fill(b'Z');
                bytes[len] = b':';
                assert_eq!(plain_name(&bytes), Some(len), "{len} before {after}");
                for odd in (0..=255).filter(|byte: &u8| !byte.is_ascii_alphabetic() && !b":-".contains(byte))
                {
                    for at in 0..len {
                        let mut broken = bytes;
                        broken[at] = odd;
                        assert_eq!(plain_name(&broken), None, "{odd} at {at} of {len}");
                    }
                }
                bytes[..len].fill(b'-');
                assert_eq!(plain_name(&bytes), Some(len), "dashes");
            }
        }
        assert_eq!(plain_name(b"no-colon-in-all-of-these-bytes"), None);
    }

    #[test]
    fn a_doubtful_line_is_refused_by_its_kind() {
        for (line, why) in [
            ("A: b\n", HeadError::BareLf),
            ("\n", HeadError::BareLf),
            ("A: b\r\n c\r\n", HeadError::Fold),
            (" A: b\r\n", HeadError::Fold),
            ("A : b\r\n", HeadError::Syntax),
            (": b\r\n", HeadError::Syntax),
            ("A\r\n", HeadError::Syntax),
            ("A: b\rc\r\n", HeadError::Syntax),
            ("A: b\r\r\n", HeadError::Syntax),
            ("A: b\0c\r\n", HeadError::Syntax),
            ("A: b\u{7f}\r\n", HeadError::Syntax),
            ("A\u{80}: b\r\n", HeadError::Syntax),
            ("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n", HeadError::TooManyFields),
        ] {
            assert_eq!(fields(line), Err(why), "{line:?}");
        }
    }
}
