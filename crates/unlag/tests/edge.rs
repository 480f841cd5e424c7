//! Files from a directory: what is served of them, to whom in which form, and what never is.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use unlag_testkit::h2::Call;
use unlag_testkit::response::Response;
use unlag_testkit::{Setup, Unlag, wait_until};

#[path = "edge/forms.rs"]
mod forms;

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// Serves `public` below `/assets/`; `keys` are further keys of `static`, each with a comma in front.
fn serving(keys: &str) -> Unlag {
    let route =
        format!("[[route]]\nmatch = \"/assets/{{path...}}\"\nstatic = {{ directory = \"public\"{keys} }}");
    let unlag = Setup::of(UNLAG).toml(&route).start();
    fs::create_dir_all(public(&unlag, "")).expect("a directory");
    unlag
}

fn public(unlag: &Unlag, name: &str) -> PathBuf {
    unlag.directory().join("public").join(name)
}

/// Writes a file that has not changed for an hour.
fn put(unlag: &Unlag, name: &str, content: impl AsRef<[u8]>) {
    put_aged(unlag, name, content, 3600);
}

fn put_aged(unlag: &Unlag, name: &str, content: impl AsRef<[u8]>, age_s: u64) {
    let path = public(unlag, name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(&path, content).expect("a file");
    let then = SystemTime::now() - Duration::from_secs(age_s);
    fs::File::open(&path).and_then(|file| file.set_modified(then)).expect("a time");
}

fn ask(unlag: &Unlag, method: &str, path: &str, fields: &str) -> Response {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    unlag.connect().send(request).read_response(method)
}

fn get(unlag: &Unlag, name: &str, fields: &str) -> Response {
    ask(unlag, "GET", &format!("/assets/{name}"), fields)
}

fn text(bytes: usize) -> Vec<u8> {
    (0u64..)
        .flat_map(|n| format!("line {n} of a text, {} squared\n", n * n).into_bytes())
        .take(bytes)
        .collect()
}

#[test]
fn a_file_comes_with_its_type_its_validators_and_the_advice_to_ask_again() {
    let unlag = serving("");
    put(&unlag, "a/page.html", "<p>hello");
    put(&unlag, "picture.png", "not really");
    let page = get(&unlag, "a/page.html", "");
    assert_eq!((page.status(), page.text().as_str()), (200, "<p>hello"));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "public, no-cache"),
        ("accept-ranges", "bytes"),
        ("vary", "Accept-Encoding"),
        ("content-length", "8"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let etag = page.header("etag").expect("an ETag");
    assert!(etag.starts_with('"') && etag.len() == 34, "{etag}");
    assert!(page.header("last-modified").is_some_and(|date| date.ends_with(" GMT")));
    let head = ask(&unlag, "HEAD", "/assets/a/page.html", "");
    let without_date = |response: &Response| -> Vec<_> {
        let ours = |name: &str| !matches!(name, "date" | "x-request-id");
        response.head.fields.iter().filter(|(name, _)| ours(name)).cloned().collect()
    };
    assert_eq!((head.body.len(), without_date(&head)), (0, without_date(&page)));
    let picture = get(&unlag, "picture.png", "Accept-Encoding: gzip\r\n");
    assert_eq!((picture.header("content-type"), picture.header("vary")), (Some("image/png"), None));
    let over_http2 = Call::get("/assets/a/page.html").send(unlag.address());
    assert_eq!((over_http2.text().as_str(), over_http2.header("etag")), ("<p>hello", Some(etag)));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let refused = ask(&unlag, method, "/assets/a/page.html", "Content-Length: 0\r\n");
        assert_eq!((refused.status(), refused.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[test]
fn equal_content_has_an_equal_etag_and_other_content_another_however_it_was_changed() {
    let unlag = serving("");
    put(&unlag, "a.txt", "one");
    put_aged(&unlag, "b.txt", "one", 7200);
    let etag = |name: &str| get(&unlag, name, "").header("etag").map(str::to_owned);
    let before = etag("a.txt");
    assert_eq!(before, etag("b.txt"));
    // The same length, the same time, in place.
    put(&unlag, "b.txt", "two");
    wait_until("the change is seen", || get(&unlag, "b.txt", "").text() == "two");
    assert_ne!(before, etag("b.txt"));
    fs::write(public(&unlag, "next"), "three")
        .and_then(|()| fs::rename(public(&unlag, "next"), public(&unlag, "b.txt")))
        .expect("a change");
    wait_until("the change is seen", || get(&unlag, "b.txt", "").text() == "three");
    fs::remove_file(public(&unlag, "b.txt")).expect("a file less");
    wait_until("its absence is seen", || get(&unlag, "b.txt", "").status() == 404);
}

#[test]
fn who_has_the_file_is_told_so() {
    let unlag = serving("");
    put(&unlag, "a.txt", "content");
    let first = get(&unlag, "a.txt", "");
    let (etag, date) = (first.header("etag").expect("ETag"), first.header("last-modified").expect("a date"));
    for condition in [
        format!("If-None-Match: {etag}\r\n"),
        format!("If-None-Match: \"x\", W/{etag}\r\n"),
        "If-None-Match: *\r\n".into(),
        format!("If-Modified-Since: {date}\r\n"),
    ] {
        let same = get(&unlag, "a.txt", &condition);
        assert_eq!((same.status(), same.body.len()), (304, 0), "{condition}");
        assert_eq!((same.header("etag"), same.header("vary")), (Some(etag), Some("Accept-Encoding")));
    }
    for condition in [
        format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"),
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(),
        format!("If-Match: {etag}\r\n"),
    ] {
        assert_eq!(get(&unlag, "a.txt", &condition).status(), 200, "{condition}");
    }
    assert_eq!(get(&unlag, "a.txt", "If-Match: \"x\"\r\n").status(), 412);
}

#[test]
fn a_part_of_a_file_is_given_to_who_asks_for_one() {
    let unlag = serving("");
    put(&unlag, "small.txt", "0123456789");
    let large = text(300_000);
    put(&unlag, "large.txt", &large);
    let whole = get(&unlag, "small.txt", "");
    let (etag, date) = (whole.header("etag").expect("ETag"), whole.header("last-modified").expect("a date"));
    for (fields, status, content, range) in [
        ("Range: bytes=2-4\r\n", 206, "234", Some("bytes 2-4/10")),
        ("Range: bytes=-3\r\n", 206, "789", Some("bytes 7-9/10")),
        ("Range: bytes=8-\r\n", 206, "89", Some("bytes 8-9/10")),
        ("Range: bytes=10-\r\n", 416, "", Some("bytes */10")),
        ("Range: bytes=0-1,4-5\r\n", 200, "0123456789", None),
        ("Range: lines=0-1\r\n", 200, "0123456789", None),
        ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n", 200, "0123456789", None),
        (&format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n"), 206, "01", Some("bytes 0-1/10")),
        (&format!("Range: bytes=0-1\r\nIf-Range: W/{etag}\r\n"), 200, "0123456789", None),
        // It may have been written twice in that second, and whoever has a part of it has its ETag.
        (&format!("Range: bytes=0-1\r\nIf-Range: {date}\r\n"), 200, "0123456789", None),
    ] {
        let part = get(&unlag, "small.txt", fields);
        assert_eq!(
            (part.status(), part.text().as_str(), part.header("content-range")),
            (status, content, range),
            "{fields}"
        );
    }
    let part = get(&unlag, "large.txt", "Range: bytes=65000-265000\r\n");
    assert!(part.status() == 206 && part.body == large[65_000..=265_000]);
    assert!(get(&unlag, "large.txt", "").body == large);
    let over_http2 = Call::get("/assets/large.txt").field("range", "bytes=-100000").send(unlag.address());
    assert!(over_http2.status == 206 && over_http2.body == large[200_000..]);
}

#[test]
fn names_that_change_with_their_content_are_never_asked_for_again() {
    let unlag = serving(r", immutable = '\.[0-9a-f]{8,}\.'");
    put(&unlag, "app.0123abcd.js", "x");
    put(&unlag, "app.js", "x");
    let control = |name: &str| get(&unlag, name, "").header("cache-control").map(str::to_owned);
    assert_eq!(control("app.0123abcd.js").as_deref(), Some("public, max-age=31536000, immutable"));
    assert_eq!(control("app.js").as_deref(), Some("public, no-cache"));
}

#[test]
fn a_directory_stands_for_its_index_and_is_never_listed() {
    let unlag = serving("");
    put(&unlag, "index.html", "home");
    put(&unlag, "docs/index.html", "docs");
    put(&unlag, "empty/other.html", "other");
    assert_eq!(get(&unlag, "", "").text(), "home");
    assert_eq!(get(&unlag, "docs/", "").text(), "docs");
    assert_eq!(get(&unlag, "docs/", "").header("content-type"), Some("text/html; charset=utf-8"));
    for (path, to) in [
        ("/assets", "/assets/"),
        ("/assets/docs", "/assets/docs/"),
        ("/assets/docs?x=1&y=%2F", "/assets/docs/?x=1&y=%2F"),
    ] {
        let moved = ask(&unlag, "GET", path, "");
        assert_eq!((moved.status(), moved.header("location")), (308, Some(to)));
    }
    for nothing in ["empty/", "index.html/", "docs/index.html/x", "docs//"] {
        assert_eq!(get(&unlag, nothing, "").status(), 404, "{nothing}");
    }
    let unlag = serving(", index = \"off\"");
    put(&unlag, "index.html", "home");
    assert_eq!((get(&unlag, "", "").status(), ask(&unlag, "GET", "/assets", "").status()), (404, 404));
    assert_eq!(get(&unlag, "index.html", "").text(), "home");
}

#[test]
fn nothing_leads_out_of_the_directory_or_to_what_is_hidden_or_no_file() {
    let unlag = serving("");
    put(&unlag, "inside.txt", "inside");
    put(&unlag, ".env", "secret");
    put(&unlag, ".git/config", "secret");
    put(&unlag, ".well-known/security.txt", "contact");
    fs::write(unlag.directory().join("secret.txt"), "secret").expect("a secret");
    let link = |to: &str, name: &str| symlink(to, public(&unlag, name)).expect("a link");
    link("../secret.txt", "out.txt");
    link("/etc/passwd", "absolute.txt");
    link("..", "up");
    link("inside.txt", "within.txt");
    link("loop", "loop");
    link("/proc/self/root/etc/passwd", "magic.txt");
    let fifo = Command::new("mkfifo").arg(public(&unlag, "pipe.txt")).status().expect("mkfifo");
    assert!(fifo.success());
    let _socket = std::os::unix::net::UnixListener::bind(public(&unlag, "socket.txt")).expect("a socket");
    for path in [
        "/assets/../secret.txt",
        "/assets/..%2fsecret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets/%2e%2e%2fsecret.txt",
        "/assets/..%5csecret.txt",
        "/assets/..\\secret.txt",
        "/assets/a/../../secret.txt",
        "/assets//../secret.txt",
        "/assets/inside.txt%00.png",
        "/assets//etc/passwd",
        "/assets/%2fetc/passwd",
        "/assets/.env",
        "/assets/%2eenv",
        "/assets/.git/config",
        "/assets/out.txt",
        "/assets/absolute.txt",
        "/assets/up/secret.txt",
        "/assets/loop",
        "/assets/magic.txt",
        "/assets/pipe.txt",
        "/assets/socket.txt",
    ] {
        let answer = ask(&unlag, "GET", path, "");
        assert!(matches!(answer.status(), 400 | 404), "{path}: {}", answer.status());
        assert!(!answer.text().contains("secret\n") && !answer.text().contains("root:"), "{path}");
    }
    assert_eq!(get(&unlag, ".well-known/security.txt", "").text(), "contact");
    assert_eq!(
        get(&unlag, "within.txt", "").text(),
        "inside",
        "a link that stays inside is as good as a file"
    );
    assert_eq!(get(&unlag, "inside.txt", "").text(), "inside");
}

#[test]
fn a_file_that_may_not_be_read_is_not_taken_for_absent_and_the_log_names_it() {
    // Whoever may read everything, reads everything.
    let shell = r#"[ "$(id -u)" = 0 ] || exec "$@"
        less=-dac_override,-dac_read_search
        exec setpriv --inh-caps "$less" --bounding-set "$less" "$@""#;
    let route = "[[route]]\nname = \"site\"\nmatch = \"/assets/{path...}\"\n\
        static = { directory = \"public\", precompressed = true }";
    let unlag = Setup::of(UNLAG).toml(route).wrapped_in(shell).start();
    let lock = |name: &str| {
        let modes = fs::Permissions::from_mode(0o000);
        fs::set_permissions(public(&unlag, name), modes).expect("other permissions");
    };
    put(&unlag, "a.css.br", "not to be read");
    put(&unlag, "a.css", "open");
    put(&unlag, "shut/b.css", "shut");
    lock("a.css.br");
    assert_eq!(get(&unlag, "a.css", "Accept-Encoding: br\r\n").text(), "open");
    let line = unlag.wait_for_log("a file of a static route cannot be read");
    let file = line["file"].as_str().expect("its path");
    assert!(file.ends_with("/public/a.css.br") && line["route"] == "site", "{line}");
    lock("a.css");
    wait_until("the change is seen", || get(&unlag, "a.css", "").status() == 503);
    lock("shut");
    assert_eq!((get(&unlag, "shut/b.css", "").status(), get(&unlag, "none.css", "").status()), (503, 404));
    fs::set_permissions(public(&unlag, "shut"), fs::Permissions::from_mode(0o755)).expect("as it was");
    assert_eq!(get(&unlag, "shut/b.css", "").text(), "shut", "it is looked at again");
}

#[test]
fn a_name_may_have_any_letters_that_a_path_can_tell() {
    let unlag = serving("");
    put(&unlag, "a b%ü/x+y.txt", "strange");
    assert_eq!(get(&unlag, "a%20b%25%C3%BC/x+y.txt", "").text(), "strange");
}

#[test]
fn all_who_ask_at_once_for_what_nobody_has_read_get_it() {
    let unlag = serving("");
    let content = text(2 << 20);
    for name in ["a.js", "b.js", "c.js"] {
        put(&unlag, name, &content);
        let clients: Vec<_> = (0..64)
            .map(|_| {
                let mut client = unlag.connect();
                client.send(format!("GET /assets/{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
                client
            })
            .collect();
        for mut client in clients {
            let answer = client.read_response("GET");
            assert!(answer.status() == 200 && answer.body == content, "{name}: {}", answer.status());
        }
    }
}

#[test]
fn many_downloads_of_a_gibibyte_take_no_memory() {
    const GIB: u64 = 1 << 30;
    let unlag = serving("");
    fs::File::create(public(&unlag, "huge.bin")).and_then(|file| file.set_len(GIB)).expect("a sparse file");
    put(&unlag, "small.txt", "small");
    get(&unlag, "small.txt", "");
    let before = unlag.resident_kib();
    let address = unlag.address().to_owned();
    let downloads: Vec<_> = (0..4)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).expect("connect");
                stream
                    .write_all(b"GET /assets/huge.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    .expect("send");
                let (mut piece, mut all) = (vec![0; 1 << 20], 0u64);
                while let Ok(read @ 1..) = stream.read(&mut piece) {
                    all += read as u64;
                }
                all
            })
        })
        .collect();
    let mut most = 0;
    wait_until("they are under way or done", || {
        most = most.max(unlag.resident_kib());
        downloads.iter().all(|download| download.is_finished())
    });
    for download in downloads {
        let all = download.join().expect("a download");
        assert!(all > GIB && all < GIB + 1024, "{all}");
    }
    assert!(most < before + 16 * 1024, "from {before} to {most} KiB");
}

#[test]
fn callers_who_take_nothing_hold_nothing() {
    const CALLERS: usize = 400;
    const BYTES: usize = 16 << 20;
    let unlag = serving("");
    put(&unlag, "large.bin", text(BYTES));
    let begin = || {
        let mut stream = std::net::TcpStream::connect(unlag.address()).expect("connect");
        stream.write_all(b"GET /assets/large.bin HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
        stream
    };
    let mut piece = vec![0; 1 << 20];
    let mut is_full = |stream: &std::net::TcpStream| {
        wait_until("its buffers are full", || stream.peek(&mut piece).is_ok_and(|bytes| bytes > 48 * 1024));
    };
    // The first downloads of a worker leave what the allocator keeps for the next ones: megabytes, but once.
    let first: Vec<_> = (0..16).map(|_| begin()).collect();
    first.iter().for_each(&mut is_full);
    drop(first);
    let before = unlag.resident_kib();
    let mut callers: Vec<_> = (0..CALLERS).map(|_| begin()).collect();
    callers.iter().for_each(is_full);
    let each = unlag.resident_kib().saturating_sub(before) / CALLERS as u64;
    assert!(each < 32, "{each} KiB for each");
    // What was let go comes nevertheless.
    let mut all = Vec::new();
    let mut last = callers.pop().expect("one of them").take(BYTES as u64);
    last.read_to_end(&mut all).expect("its content");
    let head = all.windows(4).position(|end| end == b"\r\n\r\n").expect("its head") + 4;
    assert!(all[head..] == text(BYTES)[..BYTES - head]);
}

#[test]
fn a_file_that_ends_early_cuts_the_answer_and_one_that_was_replaced_does_not() {
    const BYTES: usize = 64 << 20;
    let unlag = serving("");
    let sparse = |name: &str| {
        fs::File::create(public(&unlag, name)).and_then(|file| file.set_len(BYTES as u64)).expect("a file")
    };
    sparse("cut.bin");
    sparse("kept.bin");
    let begin = |name: &str| {
        let mut client = unlag.connect();
        client.send(format!("GET /assets/{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    let (mut cut, mut kept) = (begin("cut.bin"), begin("kept.bin"));
    // Its first bytes have come, the socket's buffers are full, most of it is still to be read.
    for client in [&mut cut, &mut kept] {
        assert_eq!(client.read_head().expect("a head").status, 200);
    }
    let file = fs::OpenOptions::new().write(true).open(public(&unlag, "cut.bin")).expect("the file");
    file.set_len(1 << 20).expect("a shorter file");
    let (next, name) = (public(&unlag, "next"), public(&unlag, "kept.bin"));
    fs::write(&next, "short").and_then(|()| fs::rename(&next, name)).expect("another file");
    assert!(cut.read_exact(BYTES).is_err(), "a fake end");
    assert!(kept.read_exact(BYTES).is_ok(), "the old file is still there for who reads it");
    wait_until("the change is seen", || get(&unlag, "kept.bin", "").text() == "short");
}
