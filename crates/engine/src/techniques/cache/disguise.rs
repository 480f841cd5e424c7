//! Answers in disguise: an application that takes `/account/x.css` for `/account` answers with somebody's page under a name that
//! the rest of the world, and often the origin's own rules for lifetimes, take for a file that is the same for all. Whoever gets a
//! person to follow such a link would find the page in the cache ("Web cache deception", Gil 2017; Mirheidari et al. 2020).

use crate::http::media;

/// Whether an answer of this type to this path is a page or a document where the name promises style, script, picture, sound or
/// font.
pub(super) fn is_disguised(path: &[u8], content_type: &[u8]) -> bool {
    // What applications make for one person.
    let is_document = media::is_html(content_type) || media::is_json(content_type);
    is_document && promises_a_file(path)
}

/// Whether the name's extension is of a kind that is never a document.
fn promises_a_file(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let (Some(extension), true) = (name.rsplit(|&byte| byte == b'.').next(), name.contains(&b'.')) else {
        return false;
    };
    let Ok(extension) = std::str::from_utf8(extension) else { return false };
    let promised = mime_guess::from_ext(extension).first_raw().unwrap_or_default();
    let kind = promised.split('/').next().unwrap_or_default();
    matches!(kind, "audio" | "font" | "image" | "video")
        || matches!(promised, "text/css" | "text/javascript" | "application/javascript" | "application/pdf")
}

#[cfg(test)]
mod tests {
    use super::is_disguised;

    #[test]
    fn a_page_under_the_name_of_a_file_is_one_in_disguise() {
        for path in ["/account/x.css", "/me/a.b.JS", "/.png", "/me/x.woff2", "/me/x.ico", "/me/x.svg"] {
            for content_type in ["text/html; charset=utf-8", "Application/JSON", "application/problem+json"] {
                assert!(is_disguised(path.as_bytes(), content_type.as_bytes()), "{path} {content_type}");
            }
        }
        for (path, content_type) in [
            ("/x.css", "text/css"),
            ("/x.png", "image/svg+xml"),
            ("/x.js", ""),
            ("/account", "text/html"),
            ("/x.html", "text/html"),
            ("/x.css/y", "text/html"),
            ("/x.map", "application/json"),
            ("/v1.2", "application/json"),
            ("/x.", "text/html"),
        ] {
            assert!(!is_disguised(path.as_bytes(), content_type.as_bytes()), "{path} {content_type}");
        }
    }
}
