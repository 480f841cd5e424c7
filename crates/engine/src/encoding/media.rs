//! Which content is worth encoding, by its media type. What is left out is packed already, or changes too often to know.

/// Whether content of this type becomes smaller, as far as one can tell beforehand.
pub fn is_compressible(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
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
    use super::is_compressible;

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
