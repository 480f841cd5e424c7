//! The room as a whole: names and forms. What callers see is tested from outside.

use super::policy::{Named, named};
use proptest::prelude::*;
use unlag_config::Pattern;

fn name(pattern: &str, path: &str) -> Option<(String, bool)> {
    let pattern: Pattern = pattern.parse().unwrap();
    let Named { path, is_directory } = named(&pattern, path.as_bytes())?;
    Some((String::from_utf8_lossy(&path).into_owned(), is_directory))
}

#[test]
fn the_path_below_the_pattern_names_the_file() {
    for (pattern, path, file, is_directory) in [
        ("GET /assets/{path...}", "/assets/a/b.js", "a/b.js", false),
        ("GET /assets/{path...}", "/assets/a/", "a", true),
        ("GET /assets/{path...}", "/assets/", "", true),
        ("GET /assets/{path...}", "/assets", "", false),
        ("/{path...}", "/", "", true),
        ("/{path...}", "/x", "x", false),
        ("/t/{tenant}/{path...}", "/t/a/b/c", "b/c", false),
        ("/files/{name}", "/files/a", "a", false),
        ("/files/{year}/{name}", "/files/2026/a", "2026/a", false),
        ("/robots.txt", "/robots.txt", "robots.txt", false),
        ("/a/robots.txt", "/a/robots.txt", "robots.txt", false),
        ("/", "/", "", true),
        ("/docs/", "/docs/", "", true),
        ("/{path...}", "/a%20b/%C3%BC", "a b/\u{fc}", false),
        ("/{path...}", "/.well-known/acme", ".well-known/acme", false),
        ("/{path...}", "/a/...b", "", false),
    ] {
        let expected = (!path.contains("...")).then(|| (file.to_owned(), is_directory));
        assert_eq!(name(pattern, path), expected, "{pattern} {path}");
    }
}

#[test]
fn a_path_that_reads_differently_on_disk_names_nothing() {
    for path in [
        "/..",
        "/../x",
        "/a/../x",
        "/a%2f..%2fx",
        "/a%2Fb",
        "/a%5cb",
        "/a%00",
        "/a%0ab",
        "/.git/config",
        "/a/.env",
        "/%2egit/config",
        "//x",
        "/a//b",
        "/a//",
        "/.",
        "/%",
        "/%zz",
        "/a/.well-known.x",
        "*",
        "",
    ] {
        assert_eq!(name("/{path...}", path), None, "{path}");
    }
}

proptest! {
    #[test]
    fn no_path_names_anything_above_or_hidden(path in "/([a./%2eEfFcC5\\\\0-]|%2e|%2f|%5c|%00|\\.\\.|//){0,12}") {
        let pattern: Pattern = "/{path...}".parse().unwrap();
        let Some(found) = named(&pattern, path.as_bytes()) else { return Ok(()) };
        for name in found.path.split(|&byte| byte == b'/').filter(|_| !found.path.is_empty()) {
            prop_assert!(!name.is_empty() && !name.starts_with(b".") && !name.contains(&b'\\'), "{path}");
            prop_assert!(name.iter().all(|byte| *byte >= b' '), "{path}");
        }
    }
}
