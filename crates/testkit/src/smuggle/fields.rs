//! Field lines with bytes, folds and names that readers treat differently, and the fields that name other fields.

use super::{Class, HIDDEN, Payload, get, post};

pub(super) fn add(all: &mut Vec<Payload>) {
    bytes_in_names(&mut Class::new("name-byte", all));
    bytes_in_values(&mut Class::new("value-byte", all));
    line_ends(&mut Class::new("line-end", all));
    folds(&mut Class::new("fold", all));
    hosts(&mut Class::new("host", all));
    absolute_targets(&mut Class::new("absolute-form", all));
    connection_names(&mut Class::new("connection-names", all));
    sizes(&mut Class::new("field-size", all));
}

fn bytes_in_names(class: &mut Class<'_>) {
    for byte in (0x00..0x21).chain(*b"\"(),/;<=>?@[\\]{}").chain([0x7f, 0x80, 0xa0, 0xc3, 0xe2, 0xff]) {
        if byte != b'\n' {
            class.refused(get([b"X", &[byte][..], b"Y: 1"].concat()));
        }
    }
    for byte in [0x00, 0x09, 0x0b, 0x0c, 0x0d, 0x20, 0x7f, 0x85, 0xa0, 0xff_u8] {
        class.refused(post([b"Content-Length", &[byte][..], b": 5"].concat(), format!("hello{HIDDEN}")));
        class.refused(get([&[byte][..], b"X: 1"].concat()));
    }
    for line in [":", ": 1", "X", "X ", " ", "X;Y: 1", "GET /smuggled HTTP/1.1"] {
        class.refused(get(line));
    }
}

fn bytes_in_values(class: &mut Class<'_>) {
    for byte in (0x00..0x20).chain([0x7f]) {
        match byte {
            b'\t' => class.either(get([b"X-Value: a", &[byte][..], b"b"].concat())),
            b'\n' => class.refused(get(b"X-Value: a\nGET /smuggled HTTP/1.1")),
            _ => class.refused(get([b"X-Value: a", &[byte][..], b"b"].concat())),
        }
    }
    for byte in [0x80, 0x85, 0xa0, 0xc0, 0xe9, 0xff_u8] {
        class.either(get([b"X-Value: a", &[byte][..], b"b"].concat()));
    }
    for value in
        ["", " ", "\t", "a:b", "\"", "=?utf-8?q?x?=", "\\r\\nX: y", "%0d%0aX: y", "\u{560d}\u{560a}X: y"]
    {
        class.either(get(format!("X-Value:{value}")));
    }
}

fn line_ends(class: &mut Class<'_>) {
    let head = "GET /outer HTTP/1.1\r\nHost: unlag.test\r\nX: y\r\n\r\n";
    for (at, _) in head.match_indices("\r\n") {
        let (before, after) = (&head[..at], &head[at + 2..]);
        for end in ["\n", "\r", "\n\r", "\r\r\n"] {
            // A bare CR or LF behind the last line leaves the head unfinished, or finished wrongly: never whole.
            class.refused(format!("{before}{end}{after}{HIDDEN}"));
        }
    }
    class.refused(head.replace("\r\n", "\n"));
    class.refused(head.replace("\r\n", "\r"));
    class.refused(format!("GET /outer HTTP/1.1\r\nHost: unlag.test\r\nX: y\n\n{HIDDEN}"));
    class.refused(format!("GET /outer HTTP/1.1\r\nHost: unlag.test\r\nX: y\r\n\r{HIDDEN}"));
    class.refused("GET /outer HTTP/1.1\r\nHost: unlag.test\r\n");
    class.refused("GET /outer HTTP/1.1\r\nHost: unlag.test");
}

fn folds(class: &mut Class<'_>) {
    for line in [
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X:\r\n b",
        "X: a\r\n ",
        "X: a\r\n \r\n b",
        "X: a\r\n GET /smuggled HTTP/1.1",
    ] {
        class.refused(get(line));
    }
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Cookie", "Authorization"] {
        class.refused(post(format!("X: y\r\n {name}: 5\r\nContent-Length: 5"), "hello"));
    }
    for space in [" ", "\t", "  "] {
        class.refused(format!("GET /outer HTTP/1.1\r\n{space}Host: unlag.test\r\n\r\n"));
        class.refused(format!("GET /outer HTTP/1.1\r\n{space}X: y\r\nHost: unlag.test\r\n\r\n"));
    }
}

fn hosts(class: &mut Class<'_>) {
    for fields in [
        "",
        "X: y",
        "Host: a\r\nHost: b",
        "Host: unlag.test\r\nHost: unlag.test",
        "Host: a\r\nX: y\r\nhost: b",
        "Host : unlag.test",
        "Host: a b",
        "Host: a, b",
        "Host: a,b",
        "Host: a/b",
        "Host: /a",
        "Host: http://a",
        "Host: a?b",
        "Host: a#b",
        "Host: user@a",
        "Host: a@b",
        "Host: a\\b",
        "Host: a:b",
        "Host: a:80:80",
        "Host: a:-1",
        "Host: a:99999",
        "Host: a:80x",
        "Host: [::1",
        "Host: ::1",
        "Host: [::1]x",
        "Host: \"a\"",
        "Host: <a>",
        "Host: a|b",
        "Host: a^b",
        "Host: {a}",
        "Host: a%00b",
        "Host: a%0d%0ab",
        "Host: a\tb",
        "Host: \u{ff41}",
        "Host: a\0",
    ] {
        class.refused(format!("GET /outer HTTP/1.1\r\n{fields}\r\n\r\n").replace("\r\n\r\n\r\n", "\r\n\r\n"));
    }
    for fields in [
        "Host: UNLAG.test",
        "Host: unlag.test:80",
        "Host: unlag.test.",
        "Host:unlag.test",
        "Host:  unlag.test ",
        "Host: [::1]",
        "Host: 127.0.0.1",
        "Host: a_b",
        "Host: unlag.test:",
    ] {
        class.either(format!("GET /outer HTTP/1.1\r\n{fields}\r\n\r\n"));
    }
    class.either("GET /outer HTTP/1.0\r\n\r\n");
    class.refused("GET /outer HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
}

/// Targets in absolute form that contradict the Host, or are none at all.
fn absolute_targets(class: &mut Class<'_>) {
    for (target, host) in [
        ("http://a/outer", "b"),
        ("http://a:80/outer", "a:81"),
        ("http://user@a/outer", "a"),
        ("http://a@b/outer", "a"),
        ("http:///outer", "a"),
        ("http://a\\@b/outer", "a"),
        ("http:/outer", "a"),
        ("http://a b/outer", "a"),
        ("ftp://a/outer", "a"),
        ("a/outer", "a"),
        ("http://a%2f@b/outer", "b"),
        ("http://[::1/outer", "a"),
        ("http://a?/outer", "b"),
        ("http://", "a"),
    ] {
        class.refused(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    for target in [
        "http://unlag.test/outer",
        "HTTP://UNLAG.test/outer",
        "http://unlag.test",
        "http://unlag.test?x",
        "http://unlag.test:80/outer",
    ] {
        class.either(format!("GET {target} HTTP/1.1\r\nHost: unlag.test\r\n\r\n"));
    }
}

fn connection_names(class: &mut Class<'_>) {
    for name in [
        "Content-Length",
        "Host",
        "Transfer-Encoding",
        "X-Forwarded-For",
        "Authorization",
        "Cookie",
        "Connection",
        "close, Content-Length",
        "keep-alive, Host",
        "content-length,",
        ",Content-Length",
        "Via",
        "X-Request-Id",
        "Traceparent",
        "Forwarded",
        "Expect",
        "TE",
        "Upgrade",
        "Content-Length\r\nConnection: Host",
    ] {
        let fields = format!(
            "Connection: {name}\r\nAuthorization: yes\r\nCookie: c=1\r\nContent-Length: {}",
            HIDDEN.len()
        );
        class.either(post(fields, HIDDEN));
    }
    for value in ["a b", "\"Content-Length\"", "Content-Length;q=1", "Content-Length:", "\u{e9}"] {
        class.either(post(format!("Connection: {value}\r\nContent-Length: 5"), "hello"));
    }
    class.either(post(
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "5\r\nhello\r\n0\r\n\r\n",
    ));
    class.either(post(
        "Proxy-Connection: Content-Length\r\nKeep-Alive: timeout=5\r\nContent-Length: 5",
        "hello",
    ));
}

fn sizes(class: &mut Class<'_>) {
    class.refused(get(format!("X: {}", "a".repeat(200_000))));
    class.refused(get(format!("{}: 1", "X".repeat(100_000))));
    class.refused(get("X: y\r\n".repeat(20_000).trim_end()));
    class.refused(format!("GET /{} HTTP/1.1\r\nHost: unlag.test\r\n\r\n", "a".repeat(100_000)));
    class.refused(format!("{} /outer HTTP/1.1\r\nHost: unlag.test\r\n\r\n", "G".repeat(100_000)));
    class.refused(format!(
        "POST /outer HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: {}5\r\n\r\nhello",
        "0".repeat(40_000)
    ));
}
