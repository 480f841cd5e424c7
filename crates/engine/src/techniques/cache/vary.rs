//! `Vary` (RFC 9110 §12.5.5): which fields of the request a stored response depends on, and the one form in which their values
//! are compared, so that white space, order and letter case that mean nothing do not multiply what is stored.

use crate::http::{Fields, Name};

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

/// The value of a field of the request in the form in which it is compared.
fn normal(name: &[u8], request: &Fields) -> Option<Box<[u8]>> {
    let lines: Vec<&[u8]> = request
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
        .collect();
    if lines.is_empty() {
        return None;
    }
    let is_preference = matches!(name, b"accept" | b"accept-language" | b"accept-encoding");
    let joined = lines.join(&b","[..]);
    let members = joined.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let members = members.filter(|member| !member.is_empty());
    let mut members: Vec<Vec<u8>> =
        members.map(|member| if is_preference { preference(member) } else { spaced(member) }).collect();
    if name == b"accept-encoding" {
        // A coding that nobody has chooses nothing, and would multiply what is stored.
        members.retain(|member| {
            let coding = member.split(|&byte| byte == b';').next().unwrap_or_default();
            CODINGS.contains(&coding)
        });
    }
    if is_preference {
        members.sort_unstable();
    }
    Some(members.join(&b","[..]).into())
}

/// Content codings that an origin may have.
const CODINGS: [&[u8]; 10] =
    [b"br", b"zstd", b"gzip", b"x-gzip", b"deflate", b"compress", b"dcb", b"dcz", b"identity", b"*"];

/// Runs of white space become one space.
fn spaced(member: &[u8]) -> Vec<u8> {
    let words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b" "[..])
}

/// A member of a list of preferences: letter case and white space mean nothing, nor does a weight of one.
fn preference(member: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = member.to_ascii_lowercase();
    plain.retain(|byte| !byte.is_ascii_whitespace());
    for full in [&b";q=1"[..], b";q=1.0", b";q=1.00", b";q=1.000"] {
        if let Some(rest) = plain.strip_suffix(full) {
            return rest.to_vec();
        }
    }
    plain
}

/// Whether the one language that is wanted more than all others is that of the response.
fn wants_language(asked: Option<&[u8]>, response: &Fields) -> bool {
    let (Some(asked), Some(language)) = (asked, response.get_named("content-language")) else { return false };
    let mut weighed: Vec<(u32, &[u8])> = asked.split(|&byte| byte == b',').map(weigh).collect();
    weighed.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    match weighed.as_slice() {
        [(best, language_asked), rest @ ..] => {
            rest.first().is_none_or(|(next, _)| next < best)
                && language_asked.eq_ignore_ascii_case(language.trim_ascii())
        }
        [] => false,
    }
}

/// A member's weight in thousandths, and what it weighs.
fn weigh(member: &[u8]) -> (u32, &[u8]) {
    let mut parts = member.split(|&byte| byte == b';');
    let tag = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix(b"q="));
    let text = weight.and_then(|weight| std::str::from_utf8(weight).ok()).unwrap_or("1");
    let weight = text.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0);
    ((weight * 1_000.0) as u32, tag)
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
        assert!(same("foo", &[("foo", "a,  b")], &[("foo", "a"), ("foo", "b")]));
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
    fn a_request_that_wants_the_language_of_the_response_most_matches() {
        let response = fields(&[("vary", "accept-language"), ("content-language", "de")]);
        let kept = selected(&response, &fields(&[("accept-language", "en, de")]));
        let asks = |value| matches(&kept, &response, &fields(&[("accept-language", value)]));
        assert!(asks("en;q=0.5, de") && asks("DE"));
        assert!(!asks("en, fr") && !asks("de;q=0.5, en;q=0.5"));
    }

    #[test]
    fn what_differs_for_everybody_is_not_stored() {
        for vary in ["*", "a, *", "Cookie", "User-Agent"] {
            assert!(is_unkeyable(&fields(&[("vary", vary)])), "{vary}");
        }
        assert!(!is_unkeyable(&fields(&[("vary", "accept, x-cookie")])));
    }
}
