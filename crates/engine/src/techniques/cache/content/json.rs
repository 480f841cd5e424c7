//! JSON in one form: members sorted by name, no white space. Strings and numbers stay as they are written, so that two texts that
//! some service might read differently never become one.

use std::str::Chars;

/// Deeper nesting is not read.
const DEPTH_MAX: usize = 64;

/// The canonical form, unless the text is not JSON, is too deep, or has a name twice in one object, however it is written.
pub fn canonical(text: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader { text, at: 0 };
    let mut out = Vec::with_capacity(text.len());
    reader.value(&mut out, 0)?;
    reader.space();
    (reader.at == text.len()).then_some(out)
}

/// The members of an object in their canonical form, in the order of their names as written, quotes included.
pub fn members(text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut reader = Reader { text, at: 0 };
    reader.space();
    let members = reader.object(0)?;
    reader.space();
    (reader.at == text.len()).then_some(members)
}

/// Whether two names are the same to some service, which then takes the first or the last of them: one may be written with escapes,
/// and some services do not tell letter case apart. Nothing if a name cannot be read.
fn has_twins(members: &[(Vec<u8>, Vec<u8>)]) -> Option<bool> {
    // Both ways: there are small letters that share a capital, and capitals that share a small letter.
    let folded = members.iter().map(|(name, _)| Some(string(name)?.to_lowercase().to_uppercase()));
    let mut folded = folded.collect::<Option<Vec<String>>>()?;
    folded.sort_unstable();
    Some(folded.iter().zip(folded.iter().skip(1)).any(|(one, next)| one == next))
}

/// The text that a string stands for, which comes with its quotes.
pub fn string(written: &[u8]) -> Option<String> {
    let inside = written.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut rest = std::str::from_utf8(inside).ok()?.chars();
    let mut text = String::with_capacity(inside.len());
    while let Some(plain) = rest.next() {
        text.push(match plain {
            '\\' => match rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => code(&mut rest)?,
                other @ ('"' | '\\' | '/') => other,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(text)
}

/// The character behind `\u`, of which two may stand for one.
fn code(rest: &mut Chars<'_>) -> Option<char> {
    let unit = |rest: &mut Chars<'_>| {
        let digits =
            rest.as_str().get(..4).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        rest.nth(3)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(rest)?;
    let units = match char::from_u32(first.into()) {
        Some(plain) => return Some(plain),
        None => (rest.next()? == '\\' && rest.next()? == 'u').then(|| unit(rest))?,
    };
    char::decode_utf16([first, units?]).next()?.ok()
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte`, or does nothing.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.peek()? {
            b'{' => {
                let members = self.object(depth)?;
                out.push(b'{');
                for (number, (name, value)) in members.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name);
                    out.push(b':');
                    out.extend_from_slice(value);
                }
                out.push(b'}');
            }
            b'[' => self.array(out, depth)?,
            b'"' => out.extend_from_slice(self.string()?),
            _ => out.extend_from_slice(self.literal()?),
        }
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        self.take(b'{')?;
        let mut members = Vec::new();
        self.space();
        if self.take(b'}').is_some() {
            return Some(members);
        }
        loop {
            self.space();
            let name = self.string()?.to_vec();
            self.space();
            self.take(b':')?;
            let mut value = Vec::new();
            self.value(&mut value, depth + 1)?;
            members.push((name, value));
            self.space();
            if self.take(b',').is_none() {
                self.take(b'}')?;
                break;
            }
        }
        members.sort_unstable();
        (!has_twins(&members)?).then_some(members)
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.take(b'[')?;
        out.push(b'[');
        self.space();
        if self.take(b']').is_none() {
            loop {
                self.value(out, depth + 1)?;
                self.space();
                if self.take(b',').is_none() {
                    self.take(b']')?;
                    break;
                }
                out.push(b',');
            }
        }
        out.push(b']');
        Some(())
    }

    /// A string with its quotes, as written.
    fn string(&mut self) -> Option<&[u8]> {
        let from = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(from..self.at)
    }

    /// A number, `true`, `false` or `null`, as written.
    fn literal(&mut self) -> Option<&[u8]> {
        let from = self.at;
        while matches!(self.peek(), Some(byte) if byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            self.at += 1;
        }
        let word = self.text.get(from..self.at)?;
        let is_number = word.first().is_some_and(|first| *first == b'-' || first.is_ascii_digit());
        (is_number || matches!(word, b"true" | b"false" | b"null")).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Option<String> {
        canonical(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn texts_that_mean_the_same_become_one() {
        let one = of(r#" { "b" : [1, 2.0, {"y":null,"x":"a b"}], "a":true } "#);
        assert_eq!(one.as_deref(), Some(r#"{"a":true,"b":[1,2.0,{"x":"a b","y":null}]}"#));
        assert_eq!(one, of(r#"{"a":true,"b":[1,2.0,{"x":"a b","y":null}]}"#));
        assert_eq!(of("[]"), Some("[]".into()));
        assert_ne!(of("[1]"), of("[1.0]"), "some service may tell them apart");
    }

    #[test]
    fn what_is_no_json_or_could_be_read_in_two_ways_has_no_form() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1,"A":2}"#,
            r#"{"\ud800":1}"#,
            "{",
            "[1,]",
            r#"{"a"}"#,
            "\"a",
            "1 2",
            "nul",
            "",
            "{,}",
            "\"\n\"",
            &deep,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_string_is_read_with_its_escapes() {
        for (written, text) in [
            (r#""a\"\\\/\n""#, "a\"\\/\n"),
            (r#""\u0061\u00E9\ud83d\ude00é""#, "aé😀é"),
            (r#""\u0000""#, "\0"),
        ] {
            assert_eq!(string(written.as_bytes()).as_deref(), Some(text), "{written}");
        }
        for bad in [
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ude00\ud83d""#,
            r#""\u00e""#,
            r#""\u+0e9""#,
            r#""\x""#,
            "\"a",
            "a",
        ] {
            assert_eq!(string(bad.as_bytes()), None, "{bad}");
        }
        assert!(of(r#"{"caf\u00e9":1,"b":{"c\/":2}}"#).is_some());
    }

    proptest! {
        #[test]
        fn the_form_is_its_own_form_and_reads_as_the_same_value(text in r#"[\[\]{},:"a1 .\\-]{0,40}"#) {
            if let Some(form) = of(&text) {
                prop_assert_eq!(of(&form), Some(form.clone()));
                if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                    prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&form).unwrap(), value);
                }
            }
        }
    }
}
