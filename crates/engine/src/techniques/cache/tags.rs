//! Names by which stored answers are purged together: what the origin gives them (`Surrogate-Key`, `xkey`, `Cache-Tag`), groups
//! (RFC 9875), the route's own with values of the path in them, and for every answer its URL.

use super::stamps::Purges;
use super::url;
use crate::exchange::Exchange;
use crate::http::Fields;
use crate::router;
use sfv::{BareItem, List, ListEntry, Parser};
use unlag_config::{Part, Template};

/// Tags of one answer. One that has more is not stored: a purge might miss it.
pub const TAGS_MAX: usize = 256;

/// All tags of an answer, unless there are too many.
pub fn of(purges: &Purges, url: &[u8], response: &Fields, request: &Exchange) -> Option<Box<[u64]>> {
    let origin = url::origin(request);
    let given = response.iter().flat_map(|field| words(field.name, field.value));
    let groups = groups(response, "cache-groups").into_iter().map(|group| group_name(&origin, &group));
    let own = request.route.config.cache.iter().flat_map(|cache| &cache.tags);
    let tags = std::iter::once(purges.url_tag(url))
        .chain(given.map(|word| purges.tag(word)))
        .chain(groups.map(|group| purges.tag(&group)))
        .chain(own.map(|template| purges.tag(&filled(template, request))));
    let tags: Vec<u64> = tags.take(TAGS_MAX + 1).collect();
    (tags.len() <= TAGS_MAX).then(|| tags.into())
}

/// The tags in a field of an answer.
fn words<'a>(name: &[u8], value: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let names = [&b"surrogate-key"[..], b"xkey", b"cache-tag"];
    let is_list = names.iter().any(|known| name.eq_ignore_ascii_case(known));
    let value = if is_list { value } else { &[] };
    value.split(|&byte| matches!(byte, b' ' | b'\t' | b',')).filter(|word| !word.is_empty())
}

/// The groups that the answer to a change says are to be invalidated (RFC 9875 §3), by the tags that they have here.
pub fn invalidated(response: &Fields, origin: &[u8]) -> Vec<Vec<u8>> {
    let groups = groups(response, "cache-group-invalidation");
    groups.iter().take(TAGS_MAX).map(|group| group_name(origin, group)).collect()
}

/// The members of a list of strings (RFC 9651) in a field; one that is something else makes the field void.
fn groups(fields: &Fields, name: &str) -> Vec<Vec<u8>> {
    let lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    let value = lines.map(|field| field.value).collect::<Vec<_>>().join(&b", "[..]);
    if value.is_empty() {
        return Vec::new();
    }
    let Ok(list) = Parser::new(&value).parse::<List>() else { return Vec::new() };
    let strings = list.into_iter().map(|entry| match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(text) => Some(text.as_str().as_bytes().to_vec()),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    });
    strings.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Groups are of one origin: another's of the same name is another.
fn group_name(origin: &[u8], group: &[u8]) -> Vec<u8> {
    [b"group ", origin, b" ", group].concat()
}

fn filled(template: &Template, request: &Exchange) -> Vec<u8> {
    let path = request.head.fields.read(request.asked_path);
    let values = router::parameters(&request.route.config.pattern, path);
    let mut text = Vec::new();
    for part in &template.0 {
        match part {
            Part::Text(literal) => text.extend_from_slice(literal.as_bytes()),
            Part::Param(name) => {
                let value = values.iter().find(|(known, _)| known == name);
                text.extend_from_slice(value.map_or(&[][..], |(_, value)| value));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    #[test]
    fn groups_are_strings_and_anything_else_makes_the_field_void() {
        let of = |value: &str| groups(&fields(&[("Cache-Groups", value)]), "cache-groups");
        assert_eq!(of(r#""a", "b c";x=1"#), [b"a".to_vec(), b"b c".to_vec()]);
        for void in [r#""a", b"#, "a", r#"("a")"#, r#""a"#, "", "1"] {
            assert!(of(void).is_empty(), "{void}");
        }
        let two = fields(&[("cache-groups", r#""a""#), ("cache-groups", r#""b""#)]);
        assert_eq!(groups(&two, "cache-groups").len(), 2);
    }

    #[test]
    fn tags_are_words_of_the_fields_that_are_in_use() {
        let all = |name: &str, value: &str| {
            words(name.as_bytes(), value.as_bytes())
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(all("Surrogate-Key", "a  b-1"), ["a", "b-1"]);
        assert_eq!(all("Cache-Tag", "a, b"), ["a", "b"]);
        assert_eq!(all("xkey", "a\tb,\tc"), ["a", "b", "c"]);
        assert!(all("x-other", "a").is_empty());
    }
}
