//! Chunk sizes, extensions, ends and trailers, and what follows a body.

use super::{Class, HIDDEN, Payload, get, post};

/// Size lines before five bytes of data that no strict reader takes for five.
const SIZES: [&str; 36] = [
    "+5",
    "-5",
    "0x5",
    "0X5",
    "x5",
    "5x",
    "5h",
    "5_",
    "0_5",
    "5 5",
    " 5",
    "\t5",
    "5 ",
    "5\t",
    "",
    " ",
    "5,5",
    "5.0",
    "5e0",
    "\"5\"",
    "00000000000000005",
    "100000000000000005",
    "fffffffffffffffff",
    "ffffffffffffffff",
    "8000000000000005",
    "\u{0665}",
    "\u{ff15}",
    "5\u{a0}",
    "g",
    "5\0",
    "\x005",
    "5\x0b",
    "5\x0c",
    "#5",
    "(5)",
    "5:",
];

/// Extensions that hide a line end from one reader.
const EXTENSIONS: [&str; 14] = [
    ";\n",
    ";a\n",
    ";a=\n",
    ";a\nb",
    ";a=b\nc",
    ";\r",
    ";a\rb",
    ";a=\"\n\"",
    ";a=\"\r\n\"",
    ";\0",
    ";a\0b",
    "\n",
    "\r",
    " ;\n",
];

pub(super) fn add(all: &mut Vec<Payload>) {
    sizes(&mut Class::new("chunk-size", all));
    extensions(&mut Class::new("chunk-extension", all));
    data_ends(&mut Class::new("chunk-end", all));
    trailers(&mut Class::new("trailer", all));
    what_follows(&mut Class::new("behind", all));
}

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

fn sizes(class: &mut Class<'_>) {
    for size in SIZES {
        class.refused(chunked(format!("{size}\r\nhello\r\n0\r\n\r\n{HIDDEN}")));
    }
    for size in ["+0", "-0", "0x0", "0_", "g", "0 0"] {
        class.refused(chunked(format!("5\r\nhello\r\n{size}\r\n\r\n{HIDDEN}")));
    }
    for size in ["05", "0005", "000000000000005"] {
        class.either(chunked(format!("{size}\r\nhello\r\n0\r\n\r\n")));
    }
    for size in ["A", "a", "0A"] {
        class.either(chunked(format!("{size}\r\nhellohello\r\n0\r\n\r\n")));
    }
    for zeros in ["00", "0000000", "000000000000000"] {
        class.either(chunked(format!("5\r\nhello\r\n{zeros}\r\n\r\n")));
    }
}

fn extensions(class: &mut Class<'_>) {
    for extension in EXTENSIONS {
        class.refused(chunked(format!("5{extension}\r\nhello\r\n0\r\n\r\n{HIDDEN}")));
        class.refused(chunked(format!("5\r\nhello\r\n0{extension}\r\n\r\n{HIDDEN}")));
    }
    for extension in
        [";a", ";a=b", ";a=\"b c\"", ";a;b=c", "; a = b", ";", ";;", ";a=\"\\\"\"", ";=", ";a=\"unclosed"]
    {
        class.either(chunked(format!("5{extension}\r\nhello\r\n0\r\n\r\n")));
    }
    class.refused(chunked(format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(100_000))));
}

fn data_ends(class: &mut Class<'_>) {
    let bodies = [
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\r\nhello\n\r0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\r\n\r\nhello\r\n0\r\n\r\n",
        "hello",
    ];
    for body in bodies {
        class.refused(chunked(format!("{body}{HIDDEN}")));
    }
    for unfinished in
        ["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "5", "5\r\nhello\r\n0\r\nX: y\r\n"]
    {
        class.refused(chunked(unfinished));
    }
}

fn trailers(class: &mut Class<'_>) {
    for trailer in [
        "Content-Length: 48",
        "Transfer-Encoding: chunked",
        "Host: evil",
        "Authorization: evil",
        "Connection: close",
        "X-Forwarded-For: 6.6.6.6",
        "Cookie: evil=1",
        "X-Sum: 1",
        "Trailer: X",
        "Expect: 100-continue",
    ] {
        class.either(chunked(format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n")));
    }
    for trailer in [
        "X : y",
        " X: y",
        "X: y\r\n z",
        "X: y\nGET /smuggled HTTP/1.1",
        "X\0: y",
        "X: \0",
        "no colon",
        ": y",
        "X: y\rZ: 1",
    ] {
        class.refused(chunked(format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n{HIDDEN}")));
    }
    class.refused(chunked(format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5_000))));
    class.refused(chunked(format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "y".repeat(100_000))));
}

/// A second request behind the first is a request of its own; what only looks like one inside a body is not.
fn what_follows(class: &mut Class<'_>) {
    let second = "GET /second HTTP/1.1\r\nHost: unlag.test\r\nConnection: close\r\n\r\n";
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "FOO"] {
        let head = format!("{method} /outer HTTP/1.1\r\nHost: unlag.test\r\n");
        class.either(format!("{head}Content-Length: {}\r\n\r\n{HIDDEN}{second}", HIDDEN.len()));
        let size = format!("{:x}", HIDDEN.len());
        class.either(format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{size}\r\n{HIDDEN}\r\n0\r\n\r\n{second}"
        ));
    }
    for between in ["\r\n", "\r\n\r\n", "\n", "\0", " "] {
        class.either(format!(
            "{}hello{between}{second}",
            String::from_utf8_lossy(&post("Content-Length: 5", ""))
        ));
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: ";
    for protocol in ["websocket", "h2c", "TLS/1.0", "HTTP/2.0", "WebSocket", "foo, websocket", "unlag"] {
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
        class.either(
            [get(format!("{upgrade}{protocol}\r\n{key}")), b"\x81\x85GET /smuggled".to_vec()].concat(),
        );
    }
    class.either(
        [
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ]
        .concat(),
    );
    class.either(post("Content-Length: 5\r\nExpect: 100-continue", "hello"));
    class.either(post("Content-Length: 5\r\nExpect: 100-continue, x", "hello"));
    class.refused(format!("CONNECT unlag.test:80 HTTP/1.1\r\nHost: unlag.test:80\r\n\r\n{HIDDEN}"));
    class.refused(format!(
        "CONNECT /outer HTTP/1.1\r\nHost: unlag.test\r\nContent-Length: 48\r\n\r\n{HIDDEN}"
    ));
}
