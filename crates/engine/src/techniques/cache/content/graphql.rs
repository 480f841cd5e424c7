//! GraphQL over POST (GraphQL over HTTP, §6): only documents in which every operation is a query are reads. The key is the
//! document without what means nothing (white space, commas, comments), the operation's name, and the variables in one form.

use super::json;

/// The key of a request, if it only reads.
pub fn key(content: &[u8]) -> Option<Vec<u8>> {
    let members = json::members(content)?;
    let member =
        |name: &[u8]| members.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice());
    // A document that is named by a hash alone may be a mutation.
    let document = json::string(member(b"\"query\"")?)?;
    let mut key = condensed(document.as_bytes())?;
    for (name, value) in &members {
        if name != b"\"query\"" {
            key.push(0);
            key.extend_from_slice(name);
            key.extend_from_slice(value);
        }
    }
    Some(key)
}

/// Whether an answer says that something went wrong: a part of it may be missing.
pub fn has_errors(content: &[u8]) -> bool {
    json::members(content).is_none_or(|members| members.iter().any(|(name, _)| name == b"\"errors\""))
}

/// The tokens of a document, one space between them, if every operation in it is a query.
fn condensed(document: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(document.len());
    let (mut rest, mut depth, mut begins) = (document, 0_usize, true);
    let mut operations = 0;
    loop {
        rest = ignored(rest);
        let Some(&first) = rest.first() else { break };
        let length = token(rest)?;
        let (this, tail) = rest.split_at_checked(length)?;
        match (first, depth) {
            // At the top: the shorthand for a query, or a definition.
            (b'{', 0) if begins => operations += 1,
            (_, 0) if begins => match this {
                b"query" => operations += 1,
                b"fragment" => {}
                _ => return None,
            },
            _ => {}
        }
        match first {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        begins = first == b'}' && depth == 0;
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(this);
        rest = tail;
    }
    (operations > 0 && depth == 0 && begins).then_some(out)
}

/// What is left behind white space, commas and comments.
fn ignored(mut text: &[u8]) -> &[u8] {
    loop {
        match text.first() {
            Some(b' ' | b'\t' | b'\n' | b'\r' | b',') => text = text.get(1..).unwrap_or_default(),
            Some(b'#') => {
                let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len());
                text = text.get(end..).unwrap_or_default();
            }
            _ => return text,
        }
    }
}

/// The length of the token at the start.
fn token(text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    if text.starts_with(b"\"\"\"") {
        let inside = text.get(3..)?;
        let end = memchr::memmem::find_iter(inside, b"\"\"\"")
            .find(|&at| at == 0 || inside.get(at - 1) != Some(&b'\\'))?;
        return Some(end + 6);
    }
    match first {
        b'"' => {
            let mut at = 1;
            loop {
                match text.get(at)? {
                    b'"' => return Some(at + 1),
                    b'\\' => at += 2,
                    b'\n' | b'\r' => return None,
                    _ => at += 1,
                }
            }
        }
        b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => Some(1),
        b'.' => text.starts_with(b"...").then_some(3),
        _ => {
            let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(byte);
            let length = text.iter().position(|byte| !is_of_word(byte)).unwrap_or(text.len());
            (length > 0).then_some(length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(document: &str) -> Option<String> {
        let content = serde_json::json!({ "query": document }).to_string();
        key(content.as_bytes()).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn documents_that_differ_in_nothing_that_counts_have_one_key() {
        let one = of("query Q($a: Int) {\n  x(a: $a, b: \"c, d\") { y }  # why\n}");
        assert_eq!(one, of("query Q ( $a : Int ) { x ( a : $a b : \"c, d\" ) { y } }"));
        assert_ne!(one, of("query Q($a: Int) { x(a: $a, b: \"c,d\") { y } }"));
        assert!(of("{ x }").is_some() && of("query A { x } fragment F on T { y } query B { z }").is_some());
    }

    #[test]
    fn what_may_change_something_or_cannot_be_read_has_no_key() {
        for other in [
            "mutation { x }",
            "subscription { x }",
            "query A { x } mutation B { y }",
            "fragment F on T { y }",
            "query",
            "{ x",
            "{ x } }",
            "{ x(a: \"b) }",
            "",
            "{ x } y",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(key(br#"{"extensions":{"persistedQuery":{"sha256Hash":"x"}}}"#), None);
        assert_eq!(key(br#"[{"query":"{ x }"}]"#), None);
        for twin in [r#""query""#, r#""\u0071uery""#, r#""Query""#] {
            let both = format!(r#"{{"query":"{{ x }}",{twin}:"mutation {{ x }}"}}"#);
            assert_eq!(key(both.as_bytes()), None, "{both}: some service takes the last");
        }
        assert_eq!(key(br#"{"query":"\u006dutation { x }"}"#), None);
    }

    #[test]
    fn variables_and_the_name_of_the_operation_are_part_of_the_key() {
        let of = |rest: &str| key(format!(r#"{{"query":"{{ x }}"{rest}}}"#).as_bytes()).unwrap();
        assert_ne!(of(r#","variables":{"a":1}"#), of(r#","variables":{"a":2}"#));
        assert_eq!(of(r#","variables":{"a":1,"b":2}"#), of(r#", "variables":{"b":2, "a":1}"#));
        assert_ne!(of(r#","operationName":"A""#), of(""));
    }

    #[test]
    fn an_answer_with_errors_is_known_as_one() {
        assert!(has_errors(br#"{"data":null,"errors":[]}"#) && has_errors(b"not json"));
        assert!(!has_errors(br#"{"data":{"errors":1}}"#));
    }
}
