//! Laws that hold for any bytes a peer may send. `fuzz/` tries the same laws on inputs that a fuzzer grows; here they are
//! tried on inputs that are nearly well formed, and on every seed of the fuzzer.

#![allow(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

#[path = "properties/authority.rs"]
mod authority;
#[path = "properties/chunked_body.rs"]
mod chunked_body;
#[path = "properties/cuts.rs"]
mod cuts;
#[path = "properties/deadlines.rs"]
mod deadlines;
#[path = "properties/h1_request_head.rs"]
mod h1_request_head;
#[path = "properties/h1_response_head.rs"]
mod h1_response_head;
#[path = "properties/h2_frames.rs"]
mod h2_frames;
#[path = "properties/hop.rs"]
mod hop;
#[path = "properties/path.rs"]
mod path;
#[path = "properties/trace_context.rs"]
mod trace_context;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

/// Set to the number that a failure showed, it brings the same inputs again. proptest reads it, and `PROPTEST_CASES`.
const SEED: &str = "PROPTEST_RNG_SEED";

/// An input as a failure shows it.
struct Input(Vec<u8>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Panics when it does not hold for these bytes.
type Law = fn(&[u8]);

/// Tries the law on inputs of this kind.
fn for_any(inputs: impl Strategy<Value = Vec<u8>>, law: Law) {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => std::hash::RandomState::new().build_hasher().finish(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let tried = TestRunner::new(config).run(&inputs.prop_map(Input), |input| {
        law(&input.0);
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}\nthe same inputs again: {SEED}={seed}");
    }
}

/// Pieces of a text in any order, now and then with other bytes among them.
fn pieces(of: &'static [&'static str], count: std::ops::Range<usize>) -> BoxedStrategy<Vec<u8>> {
    let piece = prop_oneof![
        12 => prop::sample::select(of).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
        1 => "[a-z0-9]{1,12}".prop_map(String::into_bytes),
    ];
    vec(piece, count).prop_map(|pieces| pieces.concat()).boxed()
}

/// `start`, then lines of fields, then the end of the head.
fn head(start: BoxedStrategy<Vec<u8>>, lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let end = prop::sample::select(vec!["\r\n", "\r\nGET / HTTP/1.1\r\n", "\n", ""]);
    (start, pieces(lines, 0..20), end).prop_map(|(start, lines, end)| [start, lines, end.into()].concat())
}

const TARGET: &[&str] = &[
    "/", "//", ".", "..", "/./", "/../", "%2e", "%2E", "%2F", "%5c", "%00", "%0a", "%41", "%7e", "%25", "%",
    "%z", "a", "b;c", "?", "=&", "#", "\\", "*", ":", "@", "http://", "HTTPS://", "h:80", "[::1]", "\u{e9}",
];

const FIELDS: &[&str] = &[
    "Host: a\r\n",
    "host: A:80\r\n",
    "Host:\r\n",
    "Content-Length: 5\r\n",
    "content-length:0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close, X-A\r\n",
    "TE: trailers\r\n",
    "Upgrade: websocket\r\n",
    "X-A: \t b \r\n",
    "X-Empty:\r\n",
    "X-High: \u{e9}\u{ff}\r\n",
    "X-Fold: a\r\n b\r\n",
    "X Y: c\r\n",
    "X-Bare: a\n",
    "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
];

#[test]
fn a_request_head_means_the_same_however_it_is_cut_and_when_written_again() {
    let line = (
        prop::sample::select(vec!["GET ", "POST ", "OPTIONS ", "M-SEARCH ", "get ", "\r\nGET ", "GET  ", ""]),
        prop_oneof![3 => Just(b"/".to_vec()), 7 => pieces(TARGET, 0..14)],
        prop::sample::select(vec![" HTTP/1.1\r\n", " HTTP/1.0\r\n", " HTTP/1.1\n", " HTTP/2.0\r\n", "\r\n"]),
        prop::sample::select(vec!["Host: a\r\n", "Host: [::1]:8\r\n", ""]),
    );
    let start = line.prop_map(|(method, target, version, host)| {
        [method.as_bytes(), &target, version.as_bytes(), host.as_bytes()].concat()
    });
    for_any(head(start.boxed(), FIELDS), h1_request_head::holds);
}

#[test]
fn a_request_head_past_its_bounds_is_refused_the_same_however_it_is_cut() {
    let sized = |(target, field): (usize, usize)| {
        let (target, field) = ("a".repeat(target), "b".repeat(field));
        format!("GET /{target} HTTP/1.1\r\nHost: a\r\nX-B: {field}\r\n\r\n").into_bytes()
    };
    for_any((0usize..1100, 0usize..1100).prop_map(sized), h1_request_head::holds);
    (980..1030).for_each(|length| h1_request_head::holds(&sized((length, 0))));
}

#[test]
fn a_response_head_means_the_same_however_it_is_cut_and_when_written_again() {
    const START: &[&str] = &["HTTP/1.1 ", "HTTP/1.0 ", "200", " OK", "404 ", "099", "999 \u{e9}", "\r\n"];
    let start = prop_oneof![
        3 => prop::sample::select(vec!["HTTP/1.1 200 OK\r\n", "HTTP/1.0 304\r\n", "HTTP/1.1 103 \r\n"])
            .prop_map(|line| line.as_bytes().to_vec()),
        1 => pieces(START, 1..6),
    ];
    for_any(head(start.boxed(), FIELDS), h1_response_head::holds);
}

#[test]
fn a_chunked_body_has_the_same_content_and_end_however_it_is_cut() {
    const PARTS: &[&str] = &[
        "5\r\nhello\r\n",
        "1\r\n!\r\n",
        "0A\r\n0123456789\r\n",
        "5;a=\"b\"\r\nhello\r\n",
        "0\r\n",
        "\r\n",
        "X-T: 1\r\n",
        "Content-Length: 3\r\n",
        "5\nhello\r\n",
        "fffffffffffffff\r\n",
        "+1\r\n",
        "5 \r\n",
        "; ",
        "0000000000000001",
        "X: a\n",
        "\r",
        "\n",
    ];
    for_any(pieces(PARTS, 1..30), chunked_body::holds);
}

#[test]
fn a_chunk_extension_up_to_its_bound_and_past_it_gets_a_verdict() {
    let sized =
        |length: usize| [b"5;", &*vec![b'a'; length], b"\r\nhello\r\n0\r\n\r\n", &[b'x'; 9000]].concat();
    for_any((1usize..600).prop_map(sized), chunked_body::holds);
    (240..270).for_each(|length| chunked_body::holds(&sized(length)));
}

#[test]
fn what_is_written_in_chunks_is_read_back_whatever_it_is() {
    let chunks = vec(vec(any::<u8>(), 1..200), 0..8).prop_map(|chunks| {
        let mut out = Vec::new();
        for chunk in &chunks {
            unlag_engine::http::h1::chunked::write_size(&mut out, chunk.len());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        unlag_engine::http::h1::chunked::write_end(&mut out, None);
        out
    });
    for_any(chunks, chunked_body::holds);
}

#[test]
fn a_path_has_one_form_without_dot_segments_and_controls() {
    for_any(pieces(TARGET, 0..16).prop_map(|rest| [b"/", &*rest].concat()), path::holds);
    for_any(pieces(TARGET, 0..16), path::holds);
}

#[test]
fn an_authority_names_one_host_and_at_most_one_port() {
    const PARTS: &[&str] = &[
        "a",
        "B.c",
        "-",
        "_",
        "[",
        "]",
        "[::1]",
        "::",
        "[1.2.3.4]",
        "1:2:3:4:",
        ":",
        ":80",
        ":65536",
        ":080",
        "@",
        "/",
        "%41",
        "!$",
        "127.0.0.1",
        "*",
        "'",
        "",
    ];
    for_any(pieces(PARTS, 0..6), authority::holds);
}

#[test]
fn one_well_formed_trace_context_goes_upstream_whatever_came() {
    const LINES: &[&str] = &[
        "traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
        "traceparent:01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more\n",
        "traceparent:00-00000000000000000000000000000000-b7ad6b7169203331-01\n",
        "Traceparent:00-0af7651916cd43dd8448eb211c80319",
        "tracestate:a=b,c=d\n",
        "b3:80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1\n",
        "b3:0\n",
        "x-b3-traceid:e457b5a2e4d86bd1\n",
        "x-b3-traceid:0000000000000000\n",
        "x-request-id:abc-1\n",
        "X-Request-Id:a b\n",
        "x-request-id:\u{1b}[31m\n",
        "accept:*/*\n",
        "\n",
        "-",
        "\u{e9}",
    ];
    for_any(pieces(LINES, 0..6), trace_context::holds);
}

#[test]
fn a_deadline_goes_on_in_its_dialects_and_never_longer_than_what_is_left() {
    const LINES: &[&str] = &[
        "grpc-timeout:",
        "Grpc-Timeout:",
        "x-request-timeout-ms:",
        "x-envoy-expected-rq-timeout-ms:",
        "X-Request-Deadline:",
        "x-other:",
        "0",
        "1500",
        "99999999",
        "18446744073709551615",
        "H",
        "M",
        "S",
        "m",
        "u",
        "n",
        "-",
        ".",
        " ",
        "\n",
        "\n",
        "\n",
    ];
    for_any(pieces(LINES, 0..16), deadlines::holds);
}

#[test]
fn what_a_caller_says_to_this_hop_goes_no_further_and_takes_nothing_with_it() {
    const LINES: &[&str] = &[
        "Connection: close\r\n",
        "Connection: Upgrade, X-A\r\n",
        "connection: upgrade, TE,, x-b\r\n",
        "Connection: keep-alive, http2-settings\r\n",
        "Connection: x-request-id\r\n",
        "Connection: content-type, expect\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Authorization: a\r\n",
        "TE: trailers\r\n",
        "te: gzip, Trailers\r\n",
        "Trailer: x-t\r\n",
        "Upgrade: websocket\r\n",
        "Upgrade: h2c\r\n",
        "Upgrade: HTTP/2.0, websocket\r\n",
        "Upgrade: a b\r\n",
        "HTTP2-Settings: AAMAAABk\r\n",
        "Expect: 100-continue\r\n",
        "Expect: 100-Continue \r\n",
        "Expect: 200-ok\r\n",
        "Content-Length: 0\r\n",
        "Content-Type: a/b\r\n",
        "Authorization: b\r\n",
        "X-A: 1\r\n",
        "x-b: 2\r\n",
        "X_Forwarded_For: 1\r\n",
        "my_field: 1\r\n",
    ];
    let start = prop::sample::select(vec![
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n",
    ]);
    for_any(head(start.prop_map(|start| start.into()).boxed(), LINES), hop::holds);
}

#[test]
fn what_frames_cost_is_counted_the_same_however_they_are_cut() {
    let frame = (0u8..10, any::<u8>(), prop_oneof![Just(0usize), Just(4), 0usize..40], any::<[u8; 40]>());
    let frame = frame.prop_map(|(kind, flags, length, payload)| {
        let mut frame = vec![0, 0, length as u8, kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload.get(..length).unwrap_or_default());
        frame
    });
    let stream = (vec(frame, 0..20), 0usize..12).prop_map(|(frames, lost)| {
        let bytes = [vec![b'P'; 24], frames.concat()].concat();
        bytes.get(..bytes.len().saturating_sub(lost)).unwrap_or_default().to_vec()
    });
    for_any(stream, h2_frames::holds);
}

#[test]
fn every_seed_of_the_fuzzer_keeps_its_law() {
    let laws: [(&str, Law); 9] = [
        ("authority", authority::holds),
        ("chunked_body", chunked_body::holds),
        ("deadlines", deadlines::holds),
        ("h1_request_head", h1_request_head::holds),
        ("h1_response_head", h1_response_head::holds),
        ("h2_frames", h2_frames::holds),
        ("hop", hop::holds),
        ("path", path::holds),
        ("trace_context", trace_context::holds),
    ];
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (target, law) in laws {
        let entries = std::fs::read_dir(seeds.join(target)).expect("each target has seeds");
        let paths: Vec<_> = entries.map(|entry| entry.expect("a seed").path()).collect();
        assert!(paths.len() >= 3, "{target} has {} seeds", paths.len());
        for path in paths {
            law(&std::fs::read(&path).expect("a seed can be read"));
        }
    }
}
