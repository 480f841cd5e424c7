//! Answers that leave encoded: to whom, which of them, and what stays true of them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use unlag_testkit::h2::Call;
use unlag_testkit::response::{Framing, Response};
use unlag_testkit::{Gate, RawOrigin, Script, Setup, Unlag, encoding, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// Something like what a service answers: few words, many numbers.
fn json(bytes: usize) -> String {
    const WORDS: [&str; 8] = ["amber", "basalt", "cedar", "dune", "ember", "fjord", "grove", "harbour"];
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 40) as usize
    };
    let mut text = String::from("[");
    while text.len() < bytes {
        let (id, price, name, kind) = (next(), next() % 10_000, WORDS[next() % 8], WORDS[next() % 8]);
        text +=
            &format!("{{\"id\":{id},\"name\":\"{name} {kind}\",\"price\":{price},\"available\":true}},\n");
    }
    text.truncate(bytes);
    text
}

/// Answers with these lines and content.
fn origin(lines: &'static str, content: String) -> RawOrigin {
    RawOrigin::answering(move |request| {
        let length = content.len();
        let head = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {length}\r\n\r\n");
        if request.method() == "HEAD" { head.into_bytes() } else { (head + &content).into_bytes() }
    })
}

const JSON: &str = "Content-Type: application/json\r\n";

fn in_front_of(origin: &RawOrigin) -> Unlag {
    Setup::of(UNLAG).to([origin.url()]).route("compress", "\"auto\"").start()
}

fn ask(unlag: &Unlag, method: &str, fields: &str) -> Response {
    let request = format!("{method} /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    unlag.connect().send(request).read_response(method)
}

fn takes(unlag: &Unlag, encodings: &str) -> Response {
    ask(unlag, "GET", &format!("Accept-Encoding: {encodings}\r\n"))
}

fn content(response: &Response) -> String {
    String::from_utf8(response.decoded()).expect("text")
}

#[test]
fn an_answer_leaves_in_the_best_encoding_that_the_caller_takes() {
    let lines = "Content-Type: application/json\r\nETag: \"v\"\r\nAccept-Ranges: bytes\r\nContent-Digest: sha-256=:eA==:\r\n";
    for size in [300, 5_000, 400_000] {
        let origin = origin(lines, json(size));
        let unlag = in_front_of(&origin);
        for (accepted, encoding) in [
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, br", "br"),
            ("gzip", "gzip"),
            ("*;q=0, gzip;q=0.1", "gzip"),
            ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ] {
            let answer = takes(&unlag, accepted);
            assert_eq!(answer.header("content-encoding"), Some(encoding), "{accepted}");
            assert_eq!(content(&answer), json(size), "{accepted}");
            assert!(answer.body.len() < size, "{accepted}: {} of {size}", answer.body.len());
            assert_eq!(
                (answer.header("vary"), answer.header("etag")),
                (Some("Accept-Encoding"), Some("W/\"v--encoded\""))
            );
            assert_eq!((answer.header("accept-ranges"), answer.header("content-digest")), (None, None));
            let over_http2 = Call::get("/x").field("accept-encoding", accepted).send(unlag.address());
            assert_eq!(over_http2.header("content-encoding"), Some(encoding));
            assert_eq!(encoding::decoded(Some(encoding), &over_http2.body), json(size).into_bytes());
        }
        for accepted in ["identity", "gzip;q=0", "deflate", "identity;q=1, gzip;q=0.5"] {
            let answer = takes(&unlag, accepted);
            assert_eq!(answer.header("content-encoding"), None, "{accepted}");
            assert_eq!((answer.text(), answer.header("etag")), (json(size), Some("\"v\"")));
            assert_eq!(answer.header("vary"), Some("Accept-Encoding"), "another caller gets another form");
            assert_eq!(answer.framing, Framing::Length(size as u64));
        }
        assert!(
            origin
                .requests()
                .iter()
                .all(|seen| seen.header("accept-encoding").as_deref() == Some("identity"))
        );
    }
}

#[test]
fn what_is_small_packed_encoded_or_not_to_be_touched_leaves_as_it_came() {
    for (lines, size) in [
        ("Content-Type: image/png\r\n", 5_000),
        ("Content-Type: application/json\r\nContent-Encoding: br\r\n", 5_000),
        ("Content-Type: application/json\r\nCache-Control: no-transform\r\n", 5_000),
        ("", 5_000),
        (JSON, 255),
    ] {
        let origin = origin(lines, json(size));
        let unlag = in_front_of(&origin);
        let answer = takes(&unlag, "gzip, br, zstd");
        assert_eq!(
            (answer.status(), answer.text(), answer.framing),
            (200, json(size), Framing::Length(size as u64)),
            "{lines}"
        );
        assert_ne!(answer.header("content-encoding"), Some("zstd"));
        assert_eq!(answer.header("vary").is_some(), lines == JSON, "{lines}");
    }
}

#[test]
fn a_route_that_says_nothing_passes_everything_as_it_is() {
    let origin = origin(JSON, json(5_000));
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let answer = takes(&unlag, "gzip");
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    assert_eq!(origin.only_request().header("accept-encoding").as_deref(), Some("gzip"));
}

#[test]
fn only_what_a_route_offers_is_used() {
    let origin = origin(JSON, json(5_000));
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("compress", "[\"gzip\", \"br\"]").start();
    assert_eq!(takes(&unlag, "zstd, br, gzip").header("content-encoding"), Some("gzip"));
    assert_eq!(takes(&unlag, "zstd").header("content-encoding"), None);
}

#[test]
fn head_tells_what_get_would() {
    let origin = origin(JSON, json(5_000));
    let unlag = in_front_of(&origin);
    let head = ask(&unlag, "HEAD", "Accept-Encoding: br\r\n");
    assert_eq!(
        (head.status(), head.header("content-encoding"), head.header("content-length")),
        (200, Some("br"), None)
    );
    assert_eq!(head.header("vary"), Some("Accept-Encoding"));
    let plain = ask(&unlag, "HEAD", "");
    assert_eq!((plain.header("content-encoding"), plain.header("content-length")), (None, Some("5000")));
}

#[test]
fn head_tells_of_a_stored_answer_what_get_does() {
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(20_000)
    .collect();
    for (content, is_encoded) in
        [(noise[..5_000].to_vec(), false), (noise, false), (json(20_000).into(), true)]
    {
        let origin = RawOrigin::answering(move |_| {
            let length = content.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\n{JSON}Cache-Control: max-age=60\r\nETag: \"v\"\r\nContent-Length: {length}\r\n\r\n"
            );
            [head.as_bytes(), &content].concat()
        });
        let unlag = in_front_of(&origin);
        let told = |method: &str| {
            let answer = ask(&unlag, method, "Accept-Encoding: gzip\r\n");
            ["content-encoding", "content-length", "etag", "vary"]
                .map(|name| answer.header(name).map(str::to_owned))
        };
        wait_until("it is encoded, or known not to pay", || {
            let [encoding, length, ..] = told("GET");
            encoding.is_some() == is_encoded && length.is_some()
        });
        // With all effort it may be another length the next moment.
        wait_until("both say the same", || told("HEAD") == told("GET"));
        assert_eq!(told("HEAD")[0].is_some(), is_encoded);
    }
}

#[test]
fn one_stored_answer_serves_every_encoding_and_is_encoded_once() {
    let count = AtomicUsize::new(0);
    let origin = RawOrigin::answering(move |_| {
        count.fetch_add(1, Relaxed);
        let content = json(50_000);
        format!("HTTP/1.1 200 OK\r\n{JSON}Cache-Control: max-age=60\r\nETag: \"v\"\r\nContent-Length: 50000\r\n\r\n{content}").into_bytes()
    });
    let unlag = in_front_of(&origin);
    for encoding in ["gzip", "br", "zstd", "identity"] {
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let answer = takes(&unlag, encoding);
            assert_eq!(answer.header("content-encoding").unwrap_or("identity"), encoding);
            assert_eq!(content(&answer), json(50_000));
            sizes.push(answer.body.len());
        }
        if encoding == "identity" {
            continue;
        }
        wait_until("what is kept is served", || {
            matches!(takes(&unlag, encoding).framing, Framing::Length(_))
        });
        if encoding != "gzip" {
            let passing = sizes[0];
            wait_until("more effort is put into it", || {
                takes(&unlag, encoding).body.len() < passing * 19 / 20
            });
        }
        let kept = takes(&unlag, encoding);
        assert_eq!((content(&kept), kept.header("etag")), (json(50_000), Some("W/\"v--encoded\"")));
    }
    let part = ask(&unlag, "GET", "Accept-Encoding: gzip\r\nRange: bytes=10-19\r\n");
    assert_eq!(
        (part.status(), part.text(), part.header("content-encoding")),
        (206, json(20)[10..].to_owned(), None)
    );
    assert_eq!(part.header("vary"), Some("Accept-Encoding"));
    for tag in ["W/\"v--encoded\"", "W/\"v\"", "\"v\""] {
        let same = ask(&unlag, "GET", &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"));
        assert_eq!(
            (same.status(), same.header("etag"), same.header("vary")),
            (304, Some(tag), Some("Accept-Encoding"))
        );
    }
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn what_is_fetched_anew_each_time_is_not_kept_encoded() {
    let lines = "Content-Type: application/json\r\nAge: 3\r\nCache-Control: private, max-age=60\r\n";
    let origin = origin(lines, json(12_000));
    let unlag = in_front_of(&origin);
    for _ in 0..20 {
        let answer = takes(&unlag, "gzip");
        assert_eq!(
            (content(&answer), answer.framing),
            (json(12_000), Framing::Chunked),
            "encoded as it passes"
        );
    }
    assert_eq!(origin.request_count(), 20);
}

#[test]
fn an_upstream_finds_its_own_tags_and_no_others() {
    let origin = RawOrigin::answering(|request| {
        let tags = request.header("if-none-match").or(request.header("if-match")).unwrap_or_default();
        match tags.split(", ").any(|tag| tag == "\"v\"") {
            true => format!("HTTP/1.1 304 Not Modified\r\nX-Asked: {tags}\r\nETag: \"v\"\r\n\r\n"),
            false => format!("HTTP/1.1 412 No\r\nX-Asked: {tags}\r\nContent-Length: 0\r\n\r\n"),
        }
        .into_bytes()
    });
    // No cache stands between, which would ask in its own words.
    let unlag =
        Setup::of(UNLAG).to([origin.url()]).route("compress", "\"auto\"").route("cache", "\"off\"").start();
    let same = ask(&unlag, "GET", "Accept-Encoding: gzip\r\nIf-None-Match: W/\"v--encoded\"\r\n");
    assert_eq!((same.status(), same.header("etag")), (304, Some("W/\"v--encoded\"")));
    // A weak tag of the upstream's own never matches strongly: made strong, it would overwrite what another has changed.
    for (tag, passed) in [
        ("W/\"v--encoded\"", "\"v\""),
        ("W/\"x--encoded\", W/\"v\"", "\"x\", W/\"v\""),
        ("W/\"v\"", "W/\"v\""),
        ("\"v--encoded\"", "\"v--encoded\""),
        ("*", "*"),
    ] {
        let changed = ask(&unlag, "PUT", &format!("If-Match: {tag}\r\nContent-Length: 0\r\n"));
        assert_eq!(changed.status(), if passed == "\"v\"" { 304 } else { 412 }, "{tag}");
        assert_eq!(changed.header("x-asked"), Some(passed));
    }
}

/// The date is the same for the answer as it is and for its encoded form: it does not tell which of them was cut.
#[test]
fn who_goes_on_with_an_answer_by_its_date_gets_the_whole_where_it_was_encoded() {
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let origin = RawOrigin::answering(|request| {
        let (fields, content) = (format!("{JSON}Last-Modified: {DATE}\r\nETag: \"v\"\r\n"), json(5_000));
        match request.header("range") {
            Some(_) => format!(
                "HTTP/1.1 206 Partial Content\r\n{fields}Content-Range: bytes 4000-4999/5000\r\nContent-Length: 1000\r\n\r\n{}",
                &content[4000..]
            ),
            None => format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 5000\r\n\r\n{content}"),
        }
        .into_bytes()
    });
    let route = Setup::of(UNLAG).to([origin.url()]).route("compress", "\"auto\"");
    let unlag = route.route("cache", "\"off\"").start();
    for (fields, status) in [
        (format!("Accept-Encoding: gzip\r\nIf-Range: {DATE}\r\n"), 200),
        (format!("If-Range: {DATE}\r\n"), 206),
        ("Accept-Encoding: gzip\r\nIf-Range: \"v\"\r\n".into(), 206),
        ("Accept-Encoding: gzip\r\n".into(), 206),
    ] {
        let answer = ask(&unlag, "GET", &format!("Range: bytes=4000-\r\n{fields}"));
        assert_eq!(answer.status(), status, "{fields}");
        assert!(content(&answer) == json(5_000)[if status == 206 { 4_000 } else { 0 }..], "{fields}");
        assert_eq!(answer.header("content-encoding").is_some(), status == 200);
    }
}

#[test]
fn events_arrive_when_they_are_sent() {
    for encoding in ["gzip", "br", "zstd"] {
        let gate = Gate::default();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let event = "d\r\ndata: event\n\n\r\n";
        let script = Script::new().request().send(head).send(event).wait(&gate).send(event).send("0\r\n\r\n");
        let origin = RawOrigin::always(script);
        let unlag = in_front_of(&origin);
        let mut curl = Command::new("curl")
            .args(["-sSN", "--compressed", "-H", &format!("Accept-Encoding: {encoding}")])
            .arg(format!("http://{}/x", unlag.address()))
            .stdout(Stdio::piped())
            .spawn();
        let Ok(curl) = &mut curl else {
            return unlag_testkit::skip::skip("curl", "curl is not here; cargo xtask setup gets it");
        };
        let mut first = [0; 13];
        curl.stdout.as_mut().expect("stdout").read_exact(&mut first).expect("the first event");
        assert_eq!(&first, b"data: event\n\n", "{encoding}: it is here before the second is sent");
        gate.open();
        let mut rest = Vec::new();
        curl.stdout.as_mut().expect("stdout").read_to_end(&mut rest).expect("the second event");
        assert_eq!(rest, b"data: event\n\n");
        assert!(curl.wait().expect("its end").success());
    }
}

#[test]
fn trailers_stay_and_an_answer_that_was_cut_stays_cut() {
    let chunk = json(1000);
    let head = format!(
        "HTTP/1.1 200 OK\r\n{JSON}Trailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{chunk}\r\n"
    );
    let origin = RawOrigin::always(Script::new().request().send(&head).send("0\r\nX-Sum: 1\r\n\r\n"));
    let unlag = in_front_of(&origin);
    let answer = ask(&unlag, "GET", "Accept-Encoding: br\r\nTE: trailers\r\nConnection: TE\r\n");
    assert_eq!((content(&answer), answer.trailers.as_slice()), (chunk, &[("x-sum".into(), "1".into())][..]));
    let origin = RawOrigin::always(Script::new().request().send(&head).close());
    let unlag = in_front_of(&origin);
    for encoding in ["gzip", "br", "zstd"] {
        let request = format!("GET /x HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {encoding}\r\n\r\n");
        let cut = unlag.connect().send(request).try_read_response("GET");
        // Cut, or refused where nothing of it had been passed on yet.
        assert!(cut.is_err() || cut.is_ok_and(|answer| answer.status() == 502), "a fake end");
    }
}

#[test]
fn grpc_and_upgrades_pass_as_they_are() {
    let origin = RawOrigin::answering(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0".to_vec()
    });
    let unlag = in_front_of(&origin);
    let answer = Call::grpc("/a/b").field("accept-encoding", "gzip").send(unlag.address());
    assert_eq!((answer.status, answer.header("content-encoding")), (200, None));
    assert_eq!(origin.only_request().header("accept-encoding").as_deref(), Some("gzip"));
}

/// Decoders that share nothing with the encoders.
#[test]
fn other_programs_decode_what_leaves() {
    let origin = origin(JSON, json(200_000));
    let unlag = in_front_of(&origin);
    let pipe = |program: &str, arguments: &[&str], input: &[u8]| -> Option<Vec<u8>> {
        let child =
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.ok()?;
        let (mut stdin, input) = (child.stdin.take()?, input.to_vec());
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().ok()?;
        writer.join().ok()?.ok()?;
        output.status.success().then_some(output.stdout)
    };
    let python = "import gzip, sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    let encoded = takes(&unlag, "gzip");
    match pipe("python3", &["-c", python], &encoded.body) {
        Some(out) => assert_eq!(out, json(200_000).into_bytes()),
        None => unlag_testkit::skip::skip("python3", "python3 is not here"),
    }
    for encoding in ["gzip", "br", "zstd"] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let asked = format!("Accept-Encoding: {encoding}");
            let url = format!("http://{}/x", unlag.address());
            match pipe("curl", &["-sS", version, "--compressed", "-H", &asked, &url], b"") {
                Some(out) => assert_eq!(out, json(200_000).into_bytes(), "{encoding}"),
                None => unlag_testkit::skip::skip("curl", "curl is not here; cargo xtask setup gets it"),
            }
        }
    }
}
