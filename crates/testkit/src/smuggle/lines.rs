//! Request lines: methods, spaces, targets, and paths that lead elsewhere.

use super::{Class, HIDDEN, Payload};

pub(super) fn add(all: &mut Vec<Payload>) {
    methods(&mut Class::new("method", all));
    spaces(&mut Class::new("space", all));
    target_bytes(&mut Class::new("target-byte", all));
    paths(&mut Class::new("path", all));
}

fn request(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: unlag.test\r\nContent-Length: 0\r\n\r\n"].concat()
}

fn methods(class: &mut Class<'_>) {
    for method in [
        "",
        "GE T",
        "G\tT",
        "G(T",
        "G/T",
        "\"GET\"",
        "GET:",
        "G\u{e9}T",
        "{GET}",
        "G@T",
        "G,T",
        "[GET]",
        "G\\T",
        "\u{feff}GET",
    ] {
        class.refused(request(format!("{method} /outer HTTP/1.1")));
    }
    for byte in [0x00, 0x01, 0x0b, 0x0c, 0x0d, 0x7f, 0x80, 0xff_u8] {
        class.refused(request([b"G", &[byte][..], b"T /outer HTTP/1.1"].concat()));
        class.refused(request([&[byte][..], b"GET /outer HTTP/1.1"].concat()));
    }
    for method in ["get", "Get", "FOO", "G-T", "M-SEARCH", "G!T", "G~T"] {
        class.either(request(format!("{method} /outer HTTP/1.1")));
    }
    class.refused("PRI * HTTP/2.0\r\nHost: unlag.test\r\n\r\n");
    class.refused("GET /outer\r\n\r\n");
    class.refused("GET\r\n\r\n");
    class.refused("/outer\r\n\r\n");
    class.refused("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

fn spaces(class: &mut Class<'_>) {
    for line in [
        "GET  /outer HTTP/1.1",
        "GET /outer  HTTP/1.1",
        " GET /outer HTTP/1.1",
        "GET /outer HTTP/1.1 ",
        "GET\t/outer HTTP/1.1",
        "GET /outer\tHTTP/1.1",
        "GET /outer /smuggled HTTP/1.1",
        "GET /outer HTTP/1.1 HTTP/1.1",
        "GET\x0b/outer HTTP/1.1",
        "GET /outer\x0cHTTP/1.1",
        "GET\r/outer HTTP/1.1",
        "GET /outer\rHTTP/1.1",
        "GET/outer HTTP/1.1",
        "GET /outerHTTP/1.1",
        "GET /outer\u{a0}HTTP/1.1",
        "GET /a HTTP/1.1\nX: GET /smuggled HTTP/1.1",
    ] {
        class.refused(request(line));
    }
    for before in ["\r\n", "\r\n\r\n"] {
        class.either([before.as_bytes(), &request("GET /outer HTTP/1.1")].concat());
    }
    for before in ["\n", "\r", " \r\n", "\t\r\n", "\0\r\n", "x\r\n"] {
        class.refused([before.as_bytes(), &request("GET /outer HTTP/1.1")].concat());
    }
}

fn target_bytes(class: &mut Class<'_>) {
    for byte in (0x01..0x20).chain([0x00, 0x7f]) {
        class.refused(request([b"GET /a", &[byte][..], b"b HTTP/1.1"].concat()));
    }
    for byte in [0x80, 0xa0, 0xc3, 0xe9, 0xff_u8] {
        class.either(request([b"GET /a", &[byte][..], b"b HTTP/1.1"].concat()));
    }
    for byte in *b"\"<>\\^`{|}#" {
        class.either(request([b"GET /a", &[byte][..], b"b HTTP/1.1"].concat()));
    }
    for target in
        ["/a#/smuggled", "*", "outer", "?a", "", "//", "//evil/outer", "/\\evil", ".", "..", "/a?b#c"]
    {
        class.either(request(format!("GET {target} HTTP/1.1")));
    }
}

fn paths(class: &mut Class<'_>) {
    for path in [
        "/a/%2e%2e/smuggled",
        "/%2e%2e/smuggled",
        "/a/.%2e/smuggled",
        "/a/%2e./smuggled",
        "/%2E%2E/smuggled",
        "/%2e/smuggled",
        "/a/%2e",
        "/a/%2e%2e",
        "/a%00/b",
    ] {
        class.refused(request(format!("GET {path} HTTP/1.1")));
    }
    for path in [
        "/a/../outer",
        "/../outer",
        "/./outer",
        "/a/./b/../c",
        "/a/..",
        "/a/.",
        "//outer",
        "/a//b",
        "/a%2fb",
        "/a%2F..%2fb",
        "/a;b/outer",
        "/a;/../outer",
        "/a%5c..%5cb",
        "/a%",
        "/a%zz",
        "/a%2",
        "/%252e%252e/outer",
        "/a%25",
        "/...",
        "/a/.../b",
        "/a%20b",
        "/%61",
        "/~user",
        "/a?%00",
        "/a?%0d%0aX:y",
        "/outer?GET%20/smuggled",
        "/%c0%ae%c0%ae/outer",
        "/a\u{2024}\u{2024}/b",
        "/outer?/../smuggled",
        "/a%0d%0aX:%20y",
        "/a%0a",
        "/a%0db",
        "/a%1f",
        "/a%7f",
        "/a%01b",
    ] {
        class.either(request(format!("GET {path} HTTP/1.1")));
    }
    class.either(
        [request("GET /outer HTTP/1.1"), b"GET /second HTTP/1.1\r\nHost: unlag.test\r\n\r\n".to_vec()]
            .concat(),
    );
    class.refused(format!("GET /outer HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: -1\r\n\r\n{HIDDEN}"));
}
