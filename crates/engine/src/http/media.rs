//! What the media type of content says of it (RFC 9110 §8.3.1).

use super::quoted;

/// The type without its parameters, in small letters.
fn essence(content_type: &[u8]) -> Vec<u8> {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().to_ascii_lowercase()
}

/// A type with its parameters in one form for all that mean the same: white space between them and the letter case of their names
/// mean nothing, that of their values may mean something.
pub fn plain(media_type: &[u8]) -> Vec<u8> {
    if !quoted::is_closed(media_type) {
        return media_type.to_vec();
    }
    let mut plain = Vec::with_capacity(media_type.len());
    for (number, part) in quoted::parts(media_type, b';').enumerate() {
        if number > 0 {
            plain.push(b';');
        }
        let names = match part.iter().position(|&byte| byte == b'=') {
            Some(end) if number > 0 => end,
            _ => part.len(),
        };
        let (name, value) = part.split_at(names);
        plain.extend(name.iter().map(u8::to_ascii_lowercase));
        plain.extend_from_slice(value);
    }
    plain
}

/// Whether content is framed as gRPC does. gRPC-Web is not: it has its trailers within its content.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let (start, rest) = content_type.split_at(content_type.len().min(16));
    start.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Whether content is a row of events, each of which is for at once.
pub fn is_stream(content_type: &[u8]) -> bool {
    const STREAMS: [&[u8]; 4] =
        [b"text/event-stream", b"application/x-ndjson", b"application/stream+json", b"application/json-seq"];
    STREAMS.contains(&&*essence(content_type))
}

/// Whether content is JSON (RFC 6839 §3.1).
pub fn is_json(content_type: &[u8]) -> bool {
    let essence = essence(content_type);
    essence == b"application/json" || essence.starts_with(b"application/") && essence.ends_with(b"+json")
}

/// Whether content is a page.
pub fn is_html(content_type: &[u8]) -> bool {
    matches!(&*essence(content_type), b"text/html" | b"application/xhtml+xml")
}

/// Whether content of this type becomes smaller, as far as one can tell beforehand. What is left out is packed already, or
/// changes too often to know.
pub fn is_compressible(content_type: &[u8]) -> bool {
    let essence = essence(content_type);
    essence.starts_with(b"text/")
        || essence.ends_with(b"+json")
        || essence.ends_with(b"+xml")
        || LISTED.iter().any(|listed| essence == listed.as_bytes())
}

const LISTED: [&str; 18] = [
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/jsonlines",
    "application/rtf",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-yaml",
    "application/xml",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
];

#[cfg(test)]
mod tests {
    use super::{is_compressible, is_grpc, is_html, is_json, plain};

    #[test]
    fn a_type_in_one_form_keeps_the_values_of_its_parameters() {
        let of = |text: &str| String::from_utf8(plain(text.as_bytes())).unwrap();
        assert_eq!(of("Text/HTML ; Charset=UTF-8;; P=\"A; b\""), "text/html;charset=UTF-8;p=\"A; b\"");
        assert_eq!(of("A/b;c=\"D"), "A/b;c=\"D");
    }

    #[test]
    fn a_type_is_told_by_its_essence() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC; a=b"] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpcx", "application/grp", ""] {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
        assert!(is_json(b"Application/JSON ;charset=utf-8") && is_json(b"application/problem+json"));
        assert!(!is_json(b"text/json") && !is_json(b"application/jsonx") && !is_json(b"image/x+json"));
        assert!(
            is_html(b"text/HTML;charset=utf-8")
                && is_html(b"application/xhtml+xml")
                && !is_html(b"text/htmlx")
        );
    }

    #[test]
    fn text_in_any_dress_is_worth_it_and_packed_things_are_not() {
        for yes in
            ["text/html; charset=utf-8", "application/problem+json", "image/svg+xml", "Application/JSON"]
        {
            assert!(is_compressible(yes.as_bytes()), "{yes}");
        }
        for no in ["image/png", "video/mp4", "application/zip", "application/grpc", "font/woff2", "", "json"]
        {
            assert!(!is_compressible(no.as_bytes()), "{no}");
        }
    }
}
