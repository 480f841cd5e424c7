//! Patterns: what they match, what overlaps, what is refused.

use proptest::prelude::*;
use std::sync::LazyLock;

use super::*;

type Captured<'c> = Option<&'c [(&'c str, &'c str)]>;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap_or_else(|invalid| panic!("{text}: {invalid}"))
}

#[test]
fn a_pattern_is_written_as_it_was_read() {
    for text in [
        "/",
        "/a/b",
        "/a/",
        "GET /products/{id}",
        "/old/{rest...}",
        "shop.example/{path...}",
        "POST api.example/x",
        "M-SEARCH [::1]/x",
        "/a/{b}/c/{d...}",
        "/caf%C3%A9",
        "/v1:batch,x;y=(z)",
    ] {
        assert_eq!(pattern(text).to_string(), text);
    }
    assert_eq!(pattern("GET   Shop.Example/%c3%a9").to_string(), "GET shop.example/%C3%A9");
}

#[test]
fn parameters_take_whole_segments_and_rests_take_nothing_too() {
    let cases: [(&str, &str, Captured<'_>); 14] = [
        ("/", "/", Some(&[])),
        ("/", "/a", None),
        ("/a", "/a/", None),
        ("/a/", "/a/", Some(&[])),
        ("/a/", "/a", None),
        ("/a/{b}", "/a/1", Some(&[("b", "1")])),
        ("/a/{b}", "/a/", None),
        ("/a/{b}", "/a/1/2", None),
        ("/a/{b}", "/a/x%2Fy", Some(&[("b", "x%2Fy")])),
        ("/old/{rest...}", "/old", Some(&[("rest", "")])),
        ("/old/{rest...}", "/old/", Some(&[("rest", "")])),
        ("/old/{rest...}", "/old/a//b/", Some(&[("rest", "a//b/")])),
        ("/old/{rest...}", "/older", None),
        ("/{all...}", "/", Some(&[("all", "")])),
    ];
    for (text, path, expected) in cases {
        assert_eq!(pattern(text).captures(path).as_deref(), expected, "{text} on {path}");
    }
    assert_eq!(pattern("/{all...}").captures("*"), None);
}

#[test]
fn host_beats_literals_beat_method_beats_conditions_beat_an_open_end() {
    let ascending =
        ["/{a...}", "/{a}", "GET /{a}", "HEAD /{a}", "/x/{a...}", "/x", "GET /x", "/x/y", "h.example/{a...}"];
    for pair in ascending.windows(2) {
        assert!(pattern(pair[0]).specificity(0) < pattern(pair[1]).specificity(0), "{pair:?}");
    }
    assert!(pattern("GET /x").specificity(0) > pattern("/x").specificity(5));
    assert!(pattern("/{a...}").specificity(1) > pattern("/{a}").specificity(0));
}

#[test]
fn what_cannot_match_or_has_two_spellings_is_refused_at_its_place() {
    let cases = [
        ("", None),
        ("products", None),
        ("GET", None),
        ("GET  ", None),
        ("get /x", Some(0..3)),
        ("G@T /x", Some(0..3)),
        ("ANY /x", Some(0..3)),
        ("CONNECT /x", Some(0..7)),
        ("a:80/x", Some(0..4)),
        ("*.a/x", Some(0..3)),
        ("/a/../b", Some(3..5)),
        ("/./b", Some(1..2)),
        ("/a//b", Some(2..4)),
        ("/a/%2fb", Some(3..6)),
        ("/%00", Some(1..4)),
        ("/%2e%2E", Some(1..4)),
        ("/%61", Some(1..4)),
        ("/100%", Some(4..5)),
        ("/%zz", Some(1..4)),
        ("/%é", Some(1..4)),
        ("/a?b=c", Some(2..6)),
        ("/a#b", Some(2..4)),
        ("/a b", Some(2..3)),
        ("/é", Some(1..3)),
        ("/\u{1}", Some(1..2)),
        ("/*", Some(1..2)),
        ("/{}", Some(1..3)),
        ("/{1a}", Some(1..5)),
        ("/{a", Some(1..3)),
        ("/a{b}", Some(1..5)),
        ("/{a}{b}", Some(1..7)),
        ("/{a...}/b", Some(8..9)),
        ("/{a}/{a}", Some(5..8)),
        ("/{a,}", Some(1..5)),
        ("GET x /y", None),
    ];
    for (text, at) in cases {
        let invalid = text.parse::<Pattern>().expect_err(text);
        assert!(!invalid.help.is_empty(), "{text}");
        if at.is_some() {
            assert_eq!(invalid.at, at, "{text}: {invalid}");
        }
    }
    assert!("/a".repeat(65).parse::<Pattern>().is_err());
    assert!(format!("/{}", "a".repeat(3_000)).parse::<Pattern>().is_err());
}

#[test]
fn get_overlaps_head_and_other_methods_only_themselves() {
    assert!(pattern("GET /x").overlaps(&pattern("HEAD /x")));
    assert!(pattern("/x").overlaps(&pattern("PUT /x")));
    assert!(!pattern("GET /x").overlaps(&pattern("PUT /x")));
    assert!(!pattern("a.example/x").overlaps(&pattern("b.example/x")));
    assert!(pattern("a.example/x").overlaps(&pattern("/x")));
}

/// Patterns and paths over an alphabet so small that they often meet.
fn small_pattern() -> impl Strategy<Value = Pattern> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("{}")];
    (proptest::collection::vec(segment, 0..4), 0..3).prop_map(|(segments, end)| {
        let mut text = String::new();
        for (index, segment) in segments.iter().enumerate() {
            text.push('/');
            text.push_str(&segment.replace("{}", &format!("{{p{index}}}")));
        }
        match end {
            0 => text.push_str("/{rest...}"),
            1 => text.push('/'),
            _ if text.is_empty() => text.push('/'),
            _ => {}
        }
        pattern(&text)
    })
}

/// Every path of up to five segments over `a`, `b`, `c` and nothing; long enough to witness any overlap of
/// small patterns.
fn small_paths() -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut longest = paths.clone();
    for _ in 0..5 {
        longest = longest
            .iter()
            .flat_map(|path| ["a", "b", "c", ""].map(|next| format!("{path}/{next}")))
            .collect();
        paths.extend(longest.iter().cloned());
    }
    paths
}

static SMALL_PATHS: LazyLock<Vec<String>> = LazyLock::new(small_paths);

proptest! {
    #[test]
    fn patterns_overlap_exactly_when_a_path_matches_both(one in small_pattern(), two in small_pattern()) {
        let witness = SMALL_PATHS.iter().find(|path| one.captures(path).is_some() && two.captures(path).is_some());
        prop_assert_eq!(one.overlaps(&two), witness.is_some(), "{} and {}: {:?}", one, two, witness);
    }

    #[test]
    fn reading_a_pattern_is_total_and_writing_it_reads_back(text in "[ -~é\u{0}]{0,20}") {
        if let Ok(read) = text.parse::<Pattern>() {
            prop_assert_eq!(&read.to_string().parse::<Pattern>().unwrap(), &read);
        }
    }
}
