//! Takes a head apart, line by line. A line is judged once all of it is here, so that what is refused, and why, does not
//! depend on how the bytes were cut. Nothing is repaired: lines that end in a bare LF and continued lines, on which parsers
//! disagree, are refused (RFC 9112 §2.2, §5.2), and so is a bare CR, NUL or any other control byte.

use super::parse::HeadError;
use super::scan;
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
            let (known, name, value, is_line) = match plain_field(rest) {
                Some((name, value)) => {
                    self.at = start + value.end() + 2;
                    (Name::of_token(rest.get(..name).unwrap_or_default(), false), name, value, true)
                }
                None => {
                    let Some(line) = self.take()? else { return Ok(None) };
                    if line.is_empty() {
                        fields.set_text(self.bytes.get(..self.at).unwrap_or_default());
                        return Ok(Some(fields));
                    }
                    let (name, has_underscore) = token(line);
                    let known = Name::of_token(line.get(..name).unwrap_or_default(), has_underscore);
                    (known, name, any_value(line, name)?, false)
                }
            };
            if fields.len() == max {
                return Err(HeadError::TooManyFields);
            }
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

/// Name and value of what nearly every field is: a name of letters and dashes, colon, one space, a value without a tab in it or
/// a space around it, CR LF. Any other line is looked at byte by byte.
fn plain_field(rest: &[u8]) -> Option<(usize, Span)> {
    let name = scan::name(rest).filter(|&name| name > 0)?;
    let value = rest.get(name..)?.strip_prefix(b": ")?;
    let len = scan::value(value)?;
    let (value, end) = value.split_at_checked(len)?;
    let is_line = end.starts_with(b"\r\n") && value.first() != Some(&b' ') && value.last() != Some(&b' ');
    is_line.then(|| (name, Span::new(name + 2, len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        /// What is taken at a glance is what looking byte by byte finds.
        #[test]
        fn a_plain_line_means_what_it_means_byte_by_byte(
            name in "[A-Za-z-]{0,20}",
            between in prop::sample::select(vec![": ", ":", ":  ", " : ", ":\t"]),
            value in "([ -~]{0,40}|[ -~\t\u{0}\u{7f}\u{e9}]{0,40})",
            end in prop::sample::select(vec!["\r\n", "\n", "\r\r\n", " \r\n"]),
        ) {
            let text = format!("{name}{between}{value}{end}\r\nfollowing: bytes\r\n\r\n");
            if let Some(plain) = plain_field(text.as_bytes()) {
                let line = Lines::new(text.as_bytes(), 0).take().unwrap().unwrap();
                let name = token(line).0;
                prop_assert_eq!(plain, (name, any_value(line, name).unwrap()), "{:?}", text);
            }
        }
    }
}
