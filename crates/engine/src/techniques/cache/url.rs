//! The URL that an answer is stored under: what the caller asked for, before a route rewrote it, because that is what others ask
//! for and what a purge names.

use crate::exchange::Exchange;

/// The URL of a request: scheme, authority, path and query, byte for byte as they were matched.
pub fn of(exchange: &Exchange) -> Vec<u8> {
    let mut url = Vec::new();
    write(exchange, &mut url);
    url
}

/// The same, in the place of what is in `url`.
pub fn write(exchange: &Exchange, url: &mut Vec<u8>) {
    let head = &exchange.head;
    let (path, query) = (head.fields.read(exchange.asked_path), head.query());
    url.clear();
    url.reserve(16 + head.authority().len() + path.len() + query.map_or(0, <[u8]>::len));
    push_origin(exchange, url);
    url.extend_from_slice(path);
    if let Some(query) = query {
        url.push(b'?');
        url.extend_from_slice(query);
    }
    if let Some(said) = exchange.otherwise {
        url.push(OTHERWISE);
        url.extend_from_slice(head.fields.read(said));
    }
}

/// Between a URL and what a trusted peer says that its caller asked for instead, which is part of the key.
const OTHERWISE: u8 = 1;

/// A key without the content and the claims that may be part of it: no URL holds a control byte.
pub fn plain(key: &[u8]) -> &[u8] {
    key.split(|&byte| byte <= OTHERWISE).next().unwrap_or_default()
}

/// Whether content is part of a key.
pub fn has_content(key: &[u8]) -> bool {
    key.contains(&0)
}

/// The part before the path.
pub fn origin(exchange: &Exchange) -> Vec<u8> {
    let mut origin = Vec::new();
    push_origin(exchange, &mut origin);
    origin
}

fn push_origin(exchange: &Exchange, out: &mut Vec<u8>) {
    out.extend_from_slice(exchange.scheme.text().as_bytes());
    out.extend_from_slice(b"://");
    out.extend_from_slice(exchange.head.authority());
}

/// The URL that a `Location` names, if it is of the same origin.
pub fn resolve(origin: &[u8], location: &[u8]) -> Option<Vec<u8>> {
    let location = location.split(|&byte| byte == b'#').next().unwrap_or_default();
    let path = match location.strip_prefix(origin) {
        Some(path) => path,
        None if location.starts_with(b"//") => return None,
        None => location,
    };
    if path.first() != Some(&b'/') {
        return None;
    }
    let (path, query) = match path.iter().position(|&byte| byte == b'?') {
        Some(at) => path.split_at(at),
        None => (path, &b""[..]),
    };
    let path = crate::http::target::normalise(path).ok()?;
    Some([origin, &*path, query].concat())
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn only_places_of_the_same_origin_are_resolved() {
        let at = |location: &str| {
            resolve(b"http://a:1", location.as_bytes()).map(|url| String::from_utf8(url).unwrap())
        };
        assert_eq!(at("/x?y#z").as_deref(), Some("http://a:1/x?y"));
        assert_eq!(at("http://a:1/x/../y").as_deref(), Some("http://a:1/y"));
        for other in ["http://b/x", "//b/x", "x", "http://a:12/x", "http://a:1x/y", ""] {
            assert_eq!(at(other), None, "{other}");
        }
    }
}
