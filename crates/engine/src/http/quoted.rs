//! Quoted strings in the values of fields (RFC 9110 §5.6.4): what separates elsewhere means nothing in them.

/// Where a text stands.
#[derive(Clone, Copy, Default)]
struct Quoted {
    is_open: bool,
    is_escaped: bool,
}

impl Quoted {
    /// Reads on, and says whether that byte stands in a quoted string.
    fn holds(&mut self, byte: u8) -> bool {
        let was_open = self.is_open;
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_open => self.is_escaped = true,
            b'"' => self.is_open = !self.is_open,
            _ => {}
        }
        was_open
    }
}

/// Whether every quote has its end. Where one has not, nobody can say what it was meant to hold.
pub fn is_closed(value: &[u8]) -> bool {
    let mut quoted = Quoted::default();
    value.iter().for_each(|&byte| _ = quoted.holds(byte));
    !quoted.is_open
}

/// The parts between separators, quoted strings whole, without white space around them and without empty parts.
pub fn parts(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    split(value, separator).map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// What stands between separators, as it is.
pub fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = Quoted::default();
    value.split(move |&byte| !quoted.holds(byte) && byte == separator)
}

#[cfg(test)]
mod tests {
    use super::{is_closed, parts};

    #[test]
    fn a_separator_within_a_quoted_string_separates_nothing() {
        let of = |text: &'static str| parts(text.as_bytes(), b',').collect::<Vec<_>>();
        assert_eq!(of(r#" a , "b, \", c" ,, d"e,f" "#), [&b"a"[..], br#""b, \", c""#, br#"d"e,f""#]);
        assert!(of(" ,").is_empty());
    }

    #[test]
    fn a_quote_without_an_end_is_known_as_one() {
        assert!(is_closed(b"a") && is_closed(br#""a", "\"""#) && is_closed(br#"\"a""#));
        assert!(!is_closed(br#"a""#) && !is_closed(br#""a\""#) && !is_closed(br#""a" ""#));
    }
}
