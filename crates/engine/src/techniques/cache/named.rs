//! What a purge names, as people write it: brought into the form in which URLs are stored, so that what they see in a browser's
//! address bar or in a log is what is taken out. What the proxy would refuse as a request is refused here too.

use super::purge::{TEXT_BYTES_MAX, What};
use crate::http::target::{self, TargetError};

/// Why something cannot be purged under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum Misnamed {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    #[error("a tag has no spaces or control characters: name one tag at a time")]
    Tag,
    #[error("a URL begins with http:// or https:// and names a host, such as http://shop.example/products/1")]
    Url,
    #[error(
        "a prefix is host/path, or /path on every host, such as shop.example/products/ (a whole host: shop.example/)"
    )]
    Prefix,
    #[error("a prefix does not end in a dot segment: it would mean everything in the directory above")]
    Dots,
    #[error("{0}; other characters are percent-encoded, and a fragment (#) is left out")]
    Target(#[from] TargetError),
}

/// The URL `text`, of either scheme.
pub fn url(text: &str) -> Result<What, Misnamed> {
    let stored = stored_form(bounded(text)?)?.ok_or(Misnamed::Url)?;
    Ok(What::Url(stored))
}

/// The tag `text`, byte for byte.
pub fn tag(text: &str) -> Result<What, Misnamed> {
    let tag = bounded(text)?;
    let is_word = !text.chars().any(|character| character.is_whitespace() || character.is_control());
    is_word.then(|| What::Tag(tag.to_vec())).ok_or(Misnamed::Tag)
}

/// What begins with `text`: a host and the beginning of a path, or the latter alone. A scheme before them is left out.
pub fn prefix(text: &str) -> Result<What, Misnamed> {
    let bytes = bounded(text)?;
    let path = bytes.split(|&byte| byte == b'?').next().unwrap_or_default();
    if path.ends_with(b"/.") || path.ends_with(b"/..") {
        return Err(Misnamed::Dots);
    }
    if bytes.first() == Some(&b'/') {
        let target = target::split(bytes)?;
        return Ok(What::Prefix(place(target.path, target.query)?));
    }
    let whole = if text.contains("://") { text.into() } else { format!("http://{text}") };
    let after_scheme = whole.split_once("://").map_or("", |(_, rest)| rest);
    // Without its slash, a host is the beginning of other hosts too.
    if !after_scheme.contains('/') {
        return Err(Misnamed::Prefix);
    }
    let stored = stored_form(whole.as_bytes())?.ok_or(Misnamed::Prefix)?;
    Ok(What::Prefix(stored))
}

fn bounded(text: &str) -> Result<&[u8], Misnamed> {
    match text.len() {
        0 => Err(Misnamed::Empty),
        1..=TEXT_BYTES_MAX => Ok(text.as_bytes()),
        _ => Err(Misnamed::TooLong),
    }
}

/// `host/path?query` of a URL as it is stored, without its scheme; none if it is no URL with a host.
fn stored_form(url: &[u8]) -> Result<Option<Vec<u8>>, Misnamed> {
    let target = match target::split(url) {
        Ok(target) => target,
        Err(TargetError::Form) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(authority) = target.authority.filter(|authority| !authority.is_empty()) else {
        return Ok(None);
    };
    target::check_authority(authority)?;
    let authority = authority.to_ascii_lowercase();
    Ok(Some([authority, place(target.path, target.query)?].concat()))
}

fn place(path: &[u8], query: Option<&[u8]>) -> Result<Vec<u8>, Misnamed> {
    let mut place = target::normalise(path)?.into_owned();
    if let Some(query) = query {
        place.push(b'?');
        place.extend_from_slice(query);
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(what: Result<What, Misnamed>) -> Result<String, Misnamed> {
        what.map(|what| match what {
            What::Url(text) | What::Tag(text) | What::Prefix(text) => String::from_utf8(text).unwrap(),
            What::All => unreachable!("nobody named it"),
        })
    }

    #[test]
    fn a_url_is_named_in_the_form_in_which_a_request_for_it_is_stored() {
        for (text, stored) in [
            ("http://Shop.Example/a", "shop.example/a"),
            ("HTTPS://shop.example:8443/a?b=C", "shop.example:8443/a?b=C"),
            ("http://h", "h/"),
            ("http://h?q", "h/?q"),
            ("http://h/a/../%62", "h/b"),
            ("http://h/a%2Fb?", "h/a%2Fb?"),
            ("http://[::1]:80/x", "[::1]:80/x"),
        ] {
            assert_eq!(shown(url(text)).as_deref(), Ok(stored), "{text}");
        }
        for (text, why) in [
            ("", Misnamed::Empty),
            ("/a", Misnamed::Url),
            ("shop.example/a", Misnamed::Url),
            ("http:///a", Misnamed::Url),
            ("ftp://h/", Misnamed::Url),
            ("*", Misnamed::Url),
            ("http://u@h/", Misnamed::Target(TargetError::Authority)),
            ("http://h/%00", Misnamed::Target(TargetError::Control)),
            ("http://h/%2e%2e/x", Misnamed::Target(TargetError::EscapedDots)),
            ("http://h/a b", Misnamed::Target(TargetError::Byte)),
            ("http://h/a#b", Misnamed::Target(TargetError::Byte)),
            ("http://h/é", Misnamed::Target(TargetError::Byte)),
        ] {
            assert_eq!(shown(url(text)), Err(why), "{text}");
        }
        assert_eq!(url(&format!("http://h/{}", "a".repeat(TEXT_BYTES_MAX))), Err(Misnamed::TooLong));
    }

    #[test]
    fn a_prefix_is_of_one_host_or_of_all_and_never_of_hosts_that_begin_alike() {
        for (text, stored) in [
            ("/products/", "/products/"),
            ("/", "/"),
            ("/a/../%62", "/b"),
            ("/a?b=", "/a?b="),
            ("Shop.Example/", "shop.example/"),
            ("shop.example:80/a/b", "shop.example:80/a/b"),
            ("https://shop.example/a", "shop.example/a"),
        ] {
            assert_eq!(shown(prefix(text)).as_deref(), Ok(stored), "{text}");
        }
        for (text, why) in [
            ("shop.example", Misnamed::Prefix),
            ("http://shop.example", Misnamed::Prefix),
            ("http:///a", Misnamed::Prefix),
            ("ftp://h/", Misnamed::Prefix),
            ("/a/..", Misnamed::Dots),
            ("h/a/.?x", Misnamed::Dots),
            ("/%2e%2e", Misnamed::Target(TargetError::EscapedDots)),
            ("/a%", Misnamed::Target(TargetError::Escape)),
            ("h /a", Misnamed::Target(TargetError::Byte)),
        ] {
            assert_eq!(shown(prefix(text)), Err(why), "{text}");
        }
    }

    #[test]
    fn a_tag_is_one_word() {
        assert_eq!(shown(tag("product-{7},é")).as_deref(), Ok("product-{7},é"));
        for (text, why) in
            [("", Misnamed::Empty), ("a b", Misnamed::Tag), ("a\n", Misnamed::Tag), ("a\0", Misnamed::Tag)]
        {
            assert_eq!(tag(text), Err(why), "{text:?}");
        }
        assert_eq!(tag(&"a".repeat(TEXT_BYTES_MAX + 1)), Err(Misnamed::TooLong));
    }
}
