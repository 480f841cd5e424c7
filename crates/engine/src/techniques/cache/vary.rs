//! `Vary` (RFC 9110 §12.5.5): which fields of the request a stored response depends on, and the one form in which their values
//! are compared, so that what means nothing by the grammar of a field that is known does not multiply what is stored. Of others
//! only white space beside commas is left out.

use super::storable;
use crate::http::{Fields, Name, media, quoted};

/// What a stored response was selected by: names in lower case, sorted, each with the value that it was asked with.
pub type Selected = Box<[(Box<[u8]>, Option<Box<[u8]>>)]>;

/// Whether no later request can be told to match: `*`, or a field that differs for everybody.
pub fn is_unkeyable(fields: &Fields) -> bool {
    let never = [&b"*"[..], b"cookie", b"user-agent"];
    names(fields).any(|name| never.iter().any(|other| name.eq_ignore_ascii_case(other)))
}

fn names(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    let lines = fields.all(Name::Vary).flat_map(|line| line.split(|&byte| byte == b','));
    lines.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
}

/// What the answer `response` to `request` was selected by.
pub fn selected(response: &Fields, request: &Fields) -> Selected {
    let mut names: Vec<Vec<u8>> = names(response).map(<[u8]>::to_ascii_lowercase).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| (name.as_slice().into(), normal(&name, request))).collect()
}

/// Writes what `request` selects among the variants of `response`.
pub fn write_selection(response: &Fields, request: &Fields, out: &mut Vec<u8>) {
    write(&selected(response, request), out);
}

/// Writes what `request` selects by fields with these names, in lower case and sorted.
pub fn write_values<'a>(names: impl Iterator<Item = &'a [u8]>, request: &Fields, out: &mut Vec<u8>) {
    write(&names.map(|name| (name.into(), normal(name, request))).collect(), out);
}

/// Writes a selection.
pub fn write(selected: &Selected, out: &mut Vec<u8>) {
    for (name, value) in selected {
        out.push(0);
        out.extend_from_slice(name);
        // Absent is another choice than empty.
        out.push(if value.is_some() { b':' } else { 0 });
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
}

/// Whether `request` selects what was selected so, or the language that it wants most is that of the response.
pub fn matches(selected: &Selected, response: &Fields, request: &Fields) -> bool {
    selected.iter().all(|(name, value)| {
        let asked = normal(name, request);
        asked == *value || &**name == b"accept-language" && wants_language(asked.as_deref(), response)
    })
}

/// The value of a field of the request in the form in which it is compared. What the origin is never told chooses nothing.
fn normal(name: &[u8], request: &Fields) -> Option<Box<[u8]>> {
    let lines = request.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let lines: Vec<&[u8]> = lines.map(|field| field.value).collect();
    if lines.is_empty() || storable::is_unkeyed(name) {
        return None;
    }
    let joined = lines.join(&b", "[..]);
    if !quoted::is_closed(&joined) {
        return Some(joined.trim_ascii().into());
    }
    if !matches!(name, b"accept" | b"accept-language" | b"accept-encoding") {
        let parts = quoted::split(&joined, b',').map(<[u8]>::trim_ascii);
        return Some(parts.collect::<Vec<_>>().join(&b","[..]).into());
    }
    let mut members: Vec<Vec<u8>> = quoted::parts(&joined, b',').map(preference).collect();
    if name == b"accept-encoding" {
        // A coding that nobody has chooses nothing, and would multiply what is stored.
        members.retain(|member| CODINGS.contains(&weigh(member).1));
    }
    if name != b"accept" {
        // Order means nothing among languages (RFC 9110 §12.5.4) and codings of one weight; of types many origins take the first.
        members.sort_unstable();
    }
    members.sort_by_key(|member| std::cmp::Reverse(weigh(member).0));
    Some(members.join(&b","[..]).into())
}

/// Content codings that an origin may have.
const CODINGS: [&[u8]; 10] =
    [b"br", b"zstd", b"gzip", b"x-gzip", b"deflate", b"compress", b"dcb", b"dcz", b"identity", b"*"];

/// A member of a list of preferences: `Q=1.0` is the weight that is not said, and `q=0.50` is `q=0.5`.
fn preference(member: &[u8]) -> Vec<u8> {
    let mut plain = media::plain(member);
    let Some((at, digits)) = weight(&plain) else { return plain };
    if let [b'0' | b'1', b'.', rest @ ..] = digits
        && rest.len() <= 3
    {
        let zeros = rest.iter().rev().take_while(|&&digit| digit == b'0').count();
        let dot = usize::from(zeros == rest.len());
        plain.truncate(plain.len() - zeros - dot);
    }
    if plain.get(at..) == Some(b";q=1") {
        plain.truncate(at);
    }
    plain
}

/// The weight of a member in that form, which stands at its end, and where it begins.
fn weight(member: &[u8]) -> Option<(usize, &[u8])> {
    let at = member.iter().rposition(|&byte| byte == b';')?;
    let digits = member.get(at..)?.strip_prefix(b";q=")?;
    digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.').then_some((at, digits))
}

/// A member's weight in thousandths, and what it weighs.
fn weigh(member: &[u8]) -> (u32, &[u8]) {
    let Some((at, digits)) = weight(member) else { return (1_000, member) };
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let weight = text.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0);
    ((weight * 1_000.0).round() as u32, member.get(..at).unwrap_or_default())
}

/// Whether the one language that is wanted more than all others is that of the response.
fn wants_language(asked: Option<&[u8]>, response: &Fields) -> bool {
    let (Some(asked), Some(language)) = (asked, response.get_named("content-language")) else { return false };
    let mut best = asked.split(|&byte| byte == b',').map(weigh);
    let Some((weight, tag)) = best.next() else { return false };
    let is_first = weight > 0 && best.next().is_none_or(|(next, _)| next < weight);
    is_first && tag.eq_ignore_ascii_case(language.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    fn same(vary: &str, first: &[(&str, &str)], second: &[(&str, &str)]) -> bool {
        let response = fields(&[("vary", vary)]);
        matches(&selected(&response, &fields(first)), &response, &fields(second))
    }

    #[test]
    fn only_a_value_that_means_the_same_matches() {
        assert!(same("Foo", &[("foo", "1")], &[("FOO", "1")]));
        assert!(!same("foo", &[("foo", "1")], &[("foo", "2")]));
        assert!(!same("foo", &[("foo", "1")], &[]));
        assert!(!same("foo", &[], &[("foo", "")]));
        assert!(same("foo, bar", &[("foo", "1"), ("x", "1")], &[("foo", "1"), ("x", "2")]));
        assert!(same("foo", &[("foo", "a, b")], &[("foo", "a"), ("foo", "b")]));
        for (one, other) in
            [(r#""a, b""#, r#""a,b""#), (r#""a  b""#, r#""a b""#), ("a,,b", "a,b"), ("a b", "ab"), ("A", "a")]
        {
            assert!(
                !same("foo", &[("foo", one)], &[("foo", other)]),
                "{one} {other}: nobody knows its grammar"
            );
        }
        assert!(same("foo", &[("foo", "a,b")], &[("foo", " a ,  b")]));
        assert!(!same("foo", &[("foo", "a, b")], &[("foo", "b, a")]), "order may mean something");
    }

    #[test]
    fn preferences_are_compared_without_what_means_nothing() {
        assert!(same(
            "accept-encoding",
            &[("accept-encoding", "GZIP, br;q=1.0")],
            &[("accept-encoding", "br,gzip")]
        ));
        assert!(!same("accept-encoding", &[("accept-encoding", "gzip;q=0")], &[("accept-encoding", "gzip")]));
        assert!(same(
            "accept-encoding",
            &[("accept-encoding", "gzip, junk7")],
            &[("accept-encoding", "gzip")]
        ));
    }

    #[test]
    fn only_what_means_nothing_by_the_grammar_is_left_out() {
        for (name, one, other) in [
            ("accept", "Text/HTML; Level=1 ;Q=0.50", "text/html;level=1;q=0.5"),
            ("accept", "a/b;q=0.5, c/d", "c/d;q=1.000,a/b;q=0.5"),
            ("accept", r#"a/b ; P="x, y";q=1"#, r#"a/b;p="x, y""#),
            ("accept-language", "DE-at, *;q=0.0", "de-AT,*;q=0"),
            ("accept-language", "de, en", "en, de"),
            ("accept-encoding", "gzip, deflate, br", "br, gzip, deflate"),
        ] {
            assert!(same(name, &[(name, one)], &[(name, other)]), "{one} {other}");
        }
        for (name, one, other) in [
            ("accept", r#"a/b;p="urn:A""#, r#"a/b;p="urn:a""#),
            ("accept", "a/b;p=A", "a/b;p=a"),
            ("accept", r#"a/b;p="x y""#, r#"a/b;p="xy""#),
            ("accept", r#"a/b;p="x, y""#, r#"a/b;p="x,y""#),
            ("accept", r#"a/b;p="; q=1""#, r#"a/b;p="""#),
            ("accept", r#"a/b;p="A"#, r#"a/b;p="a"#),
            ("accept", "a/b;q=1;x=y", "a/b;x=y"),
            ("accept", "a/b, c/d", "c/d, a/b"),
            ("accept-language", "de;q=0", "de"),
        ] {
            assert!(!same(name, &[(name, one)], &[(name, other)]), "{one} {other}");
        }
    }

    #[test]
    fn what_the_origin_is_never_told_chooses_nothing() {
        assert!(same("x-host, X_Scheme", &[("x-host", "a")], &[("x_scheme", "b")]));
    }

    #[test]
    fn a_request_that_wants_the_language_of_the_response_most_matches() {
        let response = fields(&[("vary", "accept-language"), ("content-language", "de")]);
        let kept = selected(&response, &fields(&[("accept-language", "en, de")]));
        let asks = |value| matches(&kept, &response, &fields(&[("accept-language", value)]));
        assert!(asks("en;q=0.5, de") && asks("DE"));
        assert!(!asks("en, fr") && !asks("de;q=0.5, en;q=0.5"));
        assert!(!asks("de;q=0") && !asks("de;q=x") && !asks(""));
        assert!(asks("en;q=0, de;q=0.1"));
    }

    #[test]
    fn what_differs_for_everybody_is_not_stored() {
        for vary in ["*", "a, *", "Cookie", "User-Agent"] {
            assert!(is_unkeyable(&fields(&[("vary", vary)])), "{vary}");
        }
        assert!(!is_unkeyable(&fields(&[("vary", "accept, x-cookie")])));
    }
}
