//! The forms of a file: siblings on disk, encodings made beside, and who has which.

use super::{ask, get, put, put_aged, serving, text};
use std::process::Command;
use unlag_testkit::response::Response;
use unlag_testkit::wait_until;

#[test]
fn a_sibling_is_served_to_who_takes_it_unless_it_is_older_than_its_file() {
    let unlag = serving(", precompressed = true");
    let content = text(5000);
    put(&unlag, "a.js", &content);
    // What is beside it is sent as it lies there.
    put(&unlag, "a.js.br", "as br");
    put(&unlag, "a.js.gz", "as gzip");
    put_aged(&unlag, "a.js.zst", "as zstd", 7200);
    put(&unlag, "plain.bin", "1234");
    put(&unlag, "plain.bin.gz", "as gzip");
    let mut etags = vec![get(&unlag, "a.js", "").header("etag").map(str::to_owned)];
    for (accepted, encoding, sent) in [
        ("gzip, br", Some("br"), &b"as br"[..]),
        ("gzip", Some("gzip"), b"as gzip"),
        ("br;q=0.5, gzip", Some("gzip"), b"as gzip"),
        ("br;q=0, *", Some("gzip"), b"as gzip"),
        ("identity, gzip;q=0.5", None, &content),
        ("deflate", None, &content),
    ] {
        let answer = get(&unlag, "a.js", &format!("Accept-Encoding: {accepted}\r\n"));
        assert_eq!(answer.header("content-encoding"), encoding, "{accepted}");
        assert!(answer.body == sent, "{accepted}");
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        etags.push(answer.header("etag").map(str::to_owned));
    }
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), 3, "one for each form: {etags:?}");
    // An older sibling is no form of the file: it is not served, and the form that is made in its place is right.
    let zstd = get(&unlag, "a.js", "Accept-Encoding: zstd\r\n");
    assert!(zstd.decoded() == content);
    let bin = get(&unlag, "plain.bin", "Accept-Encoding: gzip\r\n");
    assert_eq!((bin.text().as_str(), bin.header("vary")), ("as gzip", Some("Accept-Encoding")));
    let part = get(&unlag, "a.js", "Accept-Encoding: br\r\nRange: bytes=3-\r\n");
    assert_eq!(
        (part.status(), part.text().as_str(), part.header("content-encoding")),
        (206, "br", Some("br"))
    );
    let same = get(
        &unlag,
        "a.js",
        &format!("Accept-Encoding: br\r\nIf-None-Match: {}\r\n", part.header("etag").expect("ETag")),
    );
    assert_eq!(same.status(), 304);
    // Not asked for: the siblings are files like others.
    let unlag = serving("");
    put(&unlag, "a.js", "x");
    put(&unlag, "a.js.gz", "as gzip");
    assert_eq!(get(&unlag, "a.js", "Accept-Encoding: gzip\r\n").header("content-encoding"), None);
}

#[test]
fn what_has_no_sibling_is_encoded_beside_and_better_once_it_was_asked_for_often() {
    let unlag = serving("");
    for (name, size) in [("small.css", 3_000), ("large.css", 70_000)] {
        let content = text(size);
        put(&unlag, name, &content);
        for encoding in ["gzip", "br", "zstd"] {
            let asked = format!("Accept-Encoding: {encoding}\r\n");
            let first = get(&unlag, name, &asked);
            assert!(first.body == content, "nobody waits for an encoding");
            let mut quick = Response::default();
            wait_until("it is encoded", || {
                quick = get(&unlag, name, &asked);
                quick.header("content-encoding") == Some(encoding)
            });
            assert!(quick.decoded() == content, "{encoding}");
            assert!(quick.body.len() < size / 2);
            assert_eq!(
                (quick.header("vary"), quick.header("accept-ranges")),
                (Some("Accept-Encoding"), None)
            );
            let quick_tag = quick.header("etag").expect("ETag").to_owned();
            assert_ne!(first.header("etag"), Some(quick_tag.as_str()));
            let mut heavy = Response::default();
            wait_until("it is encoded better", || {
                heavy = get(&unlag, name, &asked);
                heavy.header("etag") != Some(quick_tag.as_str())
            });
            assert!(heavy.decoded() == content && heavy.body.len() < size / 2, "{encoding}");
            let same = get(&unlag, name, &format!("{asked}If-None-Match: {quick_tag}\r\n"));
            assert_eq!(
                (same.status(), same.header("etag")),
                (304, Some(quick_tag.as_str())),
                "it has the file"
            );
            let head = ask(&unlag, "HEAD", &format!("/assets/{name}"), &asked);
            assert_eq!(head.header("content-encoding"), Some(encoding));
            assert_eq!(head.header("content-length"), Some(heavy.body.len().to_string().as_str()));
        }
        let part = get(&unlag, name, "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n");
        assert!(
            part.status() == 206 && part.body == content[..10] && part.header("content-encoding").is_none()
        );
    }
    put(&unlag, "small.css", "now it is short");
    wait_until("the change is seen", || {
        get(&unlag, "small.css", "Accept-Encoding: br\r\n").text() == "now it is short"
    });
}

#[test]
fn who_has_a_file_as_it_is_does_not_get_it_again_when_an_encoding_is_made() {
    let unlag = serving("");
    put(&unlag, "a.js", text(10_000));
    let plain = get(&unlag, "a.js", "").header("etag").expect("an ETag").to_owned();
    let takes = "Accept-Encoding: zstd\r\n";
    wait_until("it is encoded", || get(&unlag, "a.js", takes).header("content-encoding").is_some());
    let asks = |fields: &str| get(&unlag, "a.js", &format!("If-None-Match: {plain}\r\n{fields}"));
    let same = asks(takes);
    assert_eq!((same.status(), same.header("etag")), (304, Some(plain.as_str())));
    assert_eq!(asks("Accept-Encoding: zstd, identity;q=0\r\n").status(), 200, "it cannot take it as it is");
    put(&unlag, "a.js", text(10_001));
    wait_until("the change is seen", || asks(takes).status() == 200);
}

/// After a restart, and behind a balancer where the other node has made it.
#[test]
fn who_has_a_file_in_an_encoding_that_is_not_made_yet_has_the_file() {
    let content = text(10_000);
    let before = serving("");
    put(&before, "a.js", &content);
    let takes = "Accept-Encoding: br\r\n";
    let mut tag = String::new();
    wait_until("it is encoded better", || {
        tag = get(&before, "a.js", takes).header("etag").unwrap_or_default().to_owned();
        tag.ends_with("-br+\"")
    });
    drop(before);
    for form in [tag.clone(), tag.replace('+', "")] {
        let other = serving("");
        put(&other, "a.js", &content);
        let has = format!("If-None-Match: \"x\", {form}\r\n");
        let same = get(&other, "a.js", &format!("{has}Accept-Encoding: zstd, br\r\n"));
        assert_eq!((same.status(), same.header("etag")), (304, Some(form.as_str())));
        assert_eq!((same.header("vary"), same.body.len()), (Some("Accept-Encoding"), 0));
        for cannot_decode in ["", "Accept-Encoding: gzip\r\n", "Accept-Encoding: br;q=0\r\n"] {
            let whole = get(&other, "a.js", &format!("{has}{cannot_decode}"));
            assert!(whole.status() == 200 && whole.decoded() == content, "{cannot_decode}");
            assert_ne!(whole.header("content-encoding"), Some("br"));
        }
        // These ask for exactly the bytes of that form, which nobody can vouch for.
        let part = get(&other, "a.js", &format!("{takes}Range: bytes=5-\r\nIf-Range: {form}\r\n"));
        assert!(part.status() == 200 && part.decoded() == content);
        assert_eq!(get(&other, "a.js", &format!("If-Match: {form}\r\n")).status(), 412);
        put(&other, "a.js", text(10_001));
        wait_until("the change is seen", || get(&other, "a.js", &format!("{has}{takes}")).status() == 200);
    }
}

/// Two forms have one date, and so may what was written twice in a second: it does not tell which of them was cut.
#[test]
fn who_names_a_part_by_a_date_gets_the_whole() {
    let unlag = serving("");
    let content = text(10_000);
    put(&unlag, "a.js", &content);
    put(&unlag, "a.png", &content);
    for name in ["a.js", "a.png"] {
        let date = get(&unlag, name, "").header("last-modified").expect("a date").to_owned();
        let fields = format!("Accept-Encoding: br\r\nRange: bytes=5-\r\nIf-Range: {date}\r\n");
        let answer = get(&unlag, name, &fields);
        assert!(answer.status() == 200 && answer.decoded() == content, "{name}");
    }
}

#[test]
fn what_is_packed_already_or_small_or_not_to_be_encoded_leaves_as_it_is() {
    let unlag = serving("");
    put(&unlag, "tiny.txt", "tiny");
    put(&unlag, "film.mp4", vec![0; 10_000]);
    for name in ["tiny.txt", "film.mp4"] {
        for _ in 0..10 {
            assert_eq!(
                get(&unlag, name, "Accept-Encoding: br\r\n").header("content-encoding"),
                None,
                "{name}"
            );
        }
    }
    let unlag = serving(", encodings = \"off\"");
    put(&unlag, "a.txt", text(10_000));
    for _ in 0..10 {
        let answer = get(&unlag, "a.txt", "Accept-Encoding: br\r\n");
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    }
}

#[test]
fn what_callers_can_decode_is_what_lies_there() {
    if !Command::new("curl").arg("--version").output().is_ok_and(|found| found.status.success()) {
        return unlag_testkit::skip::skip("curl", "curl is not here; cargo xtask setup gets it");
    }
    let unlag = serving("");
    let content = text(100_000);
    put(&unlag, "a.txt", &content);
    for encoding in ["gzip", "br", "zstd"] {
        let asked = format!("Accept-Encoding: {encoding}\r\n");
        wait_until("it is encoded", || get(&unlag, "a.txt", &asked).header("content-encoding").is_some());
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let header = format!("Accept-Encoding: {encoding}");
            let url = format!("http://{}/assets/a.txt", unlag.address());
            let curl =
                Command::new("curl").args(["-sS", version, "--compressed", "-H", &header, &url]).output();
            let curl = curl.expect("curl");
            assert!(
                curl.stdout == content,
                "{version} {encoding}: {}",
                String::from_utf8_lossy(&curl.stderr)
            );
        }
    }
}
