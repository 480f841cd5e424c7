//! Any text is either a configuration or a list of problems; reading never panics, and what is shown never
//! leaks a secret.

#[path = "total/endpoints.rs"]
mod endpoints;

use proptest::prelude::*;
use std::path::Path;
use unlag_config::{Severity, parse, starter};

fn check(text: &str) -> Result<(), TestCaseError> {
    match parse(text, "unlag.toml") {
        Ok(parsed) => {
            prop_assert!(parsed.warnings.iter().all(|problem| problem.severity == Severity::Warning));
            prop_assert!(!parsed.config.listen.is_empty());
            prop_assert!(!unlag_config::explain(&parsed.config).is_empty());
        }
        Err(problems) => {
            prop_assert!(problems.errors() > 0, "{}", problems);
            prop_assert!(!problems.to_string().is_empty());
            for problem in &problems.0 {
                prop_assert!(problem.line >= 1 && problem.line <= text.split('\n').count(), "{}", problem);
            }
        }
    }
    Ok(())
}

/// Pieces that are nearly a configuration.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[[listen]]",
        "[listen]",
        "[admin]",
        "[limits]",
        "[[route]]",
        "[upstream.a]",
        "[route.respond]",
        "[cache]",
        "\n",
        "\n",
        "\n",
        " = ",
        "address",
        "match",
        "upstream",
        "endpoints",
        "headers",
        "timeout",
        "respond",
        "tls",
        "\"127.0.0.1:80\"",
        "\"/a/{b}\"",
        "\"a\"",
        "[\"http://a\"]",
        "\"5s\"",
        "\"off\"",
        "-1",
        "{ x = 1 }",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "\"\"\"",
        "é",
        "\u{0}",
        "\r\n",
        "#",
        ".",
        ",",
        "1979-05-27",
        "0xff",
        "inf",
        "true",
        "\"\\u0000\"",
        "head",
        "fields",
        "99999999999999999999",
    ]);
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// A valid file with one part replaced.
fn damaged() -> impl Strategy<Value = String> {
    let whole = format!("{}\n{}", starter(), include_str!("product.toml"));
    (any::<bool>(), any::<prop::sample::Index>(), 0usize..20, ".{0,8}").prop_map(
        move |(both, at, length, new)| {
            let text = if both { whole.as_str() } else { include_str!("product.toml") };
            let mut characters: Vec<char> = text.chars().collect();
            let start = at.index(characters.len());
            let end = (start + length).min(characters.len());
            characters.splice(start..end, new.chars());
            characters.into_iter().collect()
        },
    )
}

/// Lines that are nearly endpoints.
fn endpoint_lines() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "http://",
        "https://",
        "unix:",
        "unix:/run/a.sock",
        "10.0.0.1",
        "Shop.Example",
        "[::1]",
        ":80",
        ":443",
        "/x",
        "user@",
        " weight=",
        " region=",
        " zone=",
        "3",
        "0",
        "b",
        "é",
        "#",
        " ",
        "\t",
        "\r\n",
        "\n",
        "\n",
    ]);
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_list_of_endpoints_reads_back_the_same_or_is_refused(text in prop_oneof![endpoint_lines(), ".{0,80}"]) {
        endpoints::holds(&text);
    }

    #[test]
    fn a_password_in_a_list_of_endpoints_is_never_shown(
        scheme in prop::sample::select(vec!["", "http://", "HTTPS://", "ftp://", "http:/", "://", "http://a zone="]),
        behind in "[ a-z0-9:/=\\[]{0,6}",
    ) {
        let problems = unlag_config::endpoints(&format!("{scheme}user:hunter2@{behind}"), "endpoints").unwrap_err();
        prop_assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{}", problems);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,200}") {
        check(&text)?;
    }

    #[test]
    fn any_pieces_are_read_without_a_panic(text in pieces()) {
        check(&text)?;
    }

    #[test]
    fn any_damage_is_read_without_a_panic(text in damaged()) {
        check(&text)?;
    }

    #[test]
    fn a_secret_in_the_file_is_never_shown(before in "[ a-z=\"]{0,6}", after in "[ a-z=\"\\[]{0,6}") {
        let text = format!("admin = {{ adress = 1, token = \"hunter2\" {before} }} {after}");
        if let Err(problems) = parse(&text, "unlag.toml") {
            prop_assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{}", problems);
        }
    }
}

#[test]
fn deep_nesting_and_long_lines_are_refused_in_bounded_space() {
    for text in [
        "[".repeat(100_000),
        "a = ".to_owned() + &"[".repeat(100_000),
        "a.".repeat(50_000) + "b = 1",
        "x".repeat(1 << 20),
    ] {
        let problems = parse(&text, "unlag.toml").unwrap_err();
        assert!(problems.to_string().len() < 4_096);
    }
    let many: String = (0..10_000).map(|n| format!("key{n} = 1\n")).collect();
    assert!(parse(&many, "unlag.toml").unwrap_err().0.len() <= 200);
    let large = " ".repeat(unlag_config::FILE_BYTES_MAX + 1);
    assert!(parse(&large, "unlag.toml").unwrap_err().to_string().contains("too large"));
}

#[test]
fn every_seed_of_the_fuzzer_is_read() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (target, law) in
        [("config", (|text| check(text).unwrap()) as fn(&str)), ("endpoints", endpoints::holds)]
    {
        let paths: Vec<_> =
            std::fs::read_dir(seeds.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(paths.len() >= 3, "{target} has {} seeds", paths.len());
        paths.iter().for_each(|path| law(&std::fs::read_to_string(path).unwrap()));
    }
}
