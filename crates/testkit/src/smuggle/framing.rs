//! Two framings at once, and one framing that is spelled in a doubtful way.

use super::{Class, HIDDEN, Payload, get, post};

/// Spellings of a Transfer-Encoding that some reader takes for chunked and another does not.
const CODINGS: [&str; 34] = [
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: , ,chunked",
    "Transfer-Encoding: chunked;",
    "Transfer-Encoding: chunked; q=1",
    "Transfer-Encoding: chunked;q=0",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: cow",
    "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: ",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: \r\n\tchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\n ",
    "Transfer\u{2010}Encoding: chunked",
    "Transfer-Encoding: chun ked",
    "Transfer-Encoding: chunked chunked",
    "Transfer-Encoding: c\u{212a}hunked",
    "X: x\nTransfer-Encoding: chunked",
];

/// Values of Content-Length that are not one plain number.
const LENGTHS: [&str; 38] = [
    "+5",
    "-5",
    "-0",
    "+0",
    "05x",
    "5x",
    "x5",
    "5,5",
    "5, 6",
    "5,6",
    "5;6",
    "5 5",
    "5\t5",
    "0x5",
    "0X5",
    "0b101",
    "0o5",
    "5.0",
    "5.",
    ".5",
    "5e0",
    "1e1",
    "",
    "\u{0665}",
    "\u{ff15}",
    "5_0",
    "5,",
    ",5",
    "\"5\"",
    "'5'",
    "(5)",
    "5\u{a0}",
    "99999999999999999999",
    "18446744073709551616",
    "18446744073709551621",
    "9223372036854775808",
    "4294967301x",
    "NaN",
];

pub(super) fn add(all: &mut Vec<Payload>) {
    both_framings(&mut Class::new("cl-te", all));
    coding_spellings(&mut Class::new("te-spelling", all));
    control_bytes_in_codings(&mut Class::new("te-control", all));
    length_forms(&mut Class::new("cl-form", all));
    near_names(&mut Class::new("near-name", all));
    old_versions(&mut Class::new("http10-te", all));
}

fn both_framings(class: &mut Class<'_>) {
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    for length in [0, 4, 5, 6, chunked.len()] {
        for coding in [
            "Transfer-Encoding: chunked",
            "transfer-encoding: Chunked",
            "Transfer-Encoding:chunked",
            "Transfer-Encoding: chunked\t",
        ] {
            class.refused(post(format!("Content-Length: {length}\r\n{coding}"), &chunked));
            class.refused(post(format!("{coding}\r\nContent-Length: {length}"), &chunked));
        }
    }
    let inner = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    for length in [2, 3, 4] {
        class.refused(post(format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), &inner));
        class.refused(get(format!("Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: {length}")));
    }
    class.refused(post("Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", &chunked));
    class.refused(post("Transfer-Encoding: identity\r\nContent-Length: 5", "hello"));
}

fn coding_spellings(class: &mut Class<'_>) {
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    for coding in CODINGS {
        class.refused(post(coding, &chunked));
        class.refused(post(format!("Content-Length: 4\r\n{coding}"), &chunked));
        class.refused(post(format!("{coding}\r\nContent-Length: {}", chunked.len()), &chunked));
    }
    for coding in [
        "Transfer-Encoding: CHUNKED",
        "TRANSFER-ENCODING: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding:   chunked  ",
    ] {
        class.either(post(coding, "5\r\nhello\r\n0\r\n\r\n"));
    }
}

fn control_bytes_in_codings(class: &mut Class<'_>) {
    for byte in [0x00, 0x01, 0x08, 0x0b, 0x0c, 0x0d, 0x1f, 0x7f, 0x85, 0xa0, 0xff_u8] {
        let chunked = format!("0\r\n\r\n{HIDDEN}");
        class.refused(post([b"Transfer-Encoding: ", &[byte][..], b"chunked"].concat(), &chunked));
        class.refused(post([b"Transfer-Encoding: chunked", &[byte][..]].concat(), &chunked));
        class.refused(post([b"Transfer-Encoding", &[byte][..], b": chunked"].concat(), &chunked));
    }
}

fn length_forms(class: &mut Class<'_>) {
    for length in LENGTHS {
        class.refused(post(format!("Content-Length: {length}"), format!("hello{HIDDEN}")));
    }
    for pair in [("5", "6"), ("6", "5"), ("0", "5"), ("5", ""), ("5", "+5"), ("5", "05x")] {
        class.refused(post(format!("Content-Length: {}\r\nContent-Length: {}", pair.0, pair.1), "hello"));
    }
    for name in [
        "Content-Length :",
        "Content-Length\t:",
        " Content-Length:",
        "Content-Length:\r\n ",
        "Content-Length: \n",
    ] {
        class.refused(post(format!("{name}5"), format!("hello{HIDDEN}")));
    }
    class.either(post("Content-Length: 5\r\nContent-Length: 5", "hello"));
    class.either(post("Content-Length: 0005", "hello"));
    class.either(post("Content-Length: \t5 ", "hello"));
    class.either(post("content-LENGTH:5", "hello"));
    class.either(post("Content-Length: 44", HIDDEN));
    for byte in [0x00, 0x0b, 0x0c, 0x0d, 0x7f, 0xa0_u8] {
        class.refused(post([b"Content-Length: 5", &[byte][..]].concat(), format!("hello{HIDDEN}")));
        class.refused(post([b"Content-Length: ", &[byte][..], b"5"].concat(), format!("hello{HIDDEN}")));
    }
}

/// Fields that are no framing here, but that a gateway to CGI would fold into one.
fn near_names(class: &mut Class<'_>) {
    for name in [
        "Content_Length",
        "Transfer_Encoding",
        "Content.Length",
        "Content-Lengt",
        "Transfer-Encodin",
        "X-Content-Length",
        "Content-Length-X",
    ] {
        let value = if name.starts_with('T') { "chunked" } else { "48" };
        class.either(post(format!("Content-Length: 5\r\n{name}: {value}"), "hello"));
        class.either(get(format!("{name}: {value}")));
    }
}

fn old_versions(class: &mut Class<'_>) {
    let body = format!("0\r\n\r\n{HIDDEN}");
    for fields in [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    ] {
        class.refused(format!("POST /outer HTTP/1.0\r\nHost: unlag.test\r\n{fields}\r\n\r\n{body}"));
    }
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/11",
        "HTTP/1.10",
        "HTTP/1,1",
        "HTTP/ 1.1",
        "http/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "HTTP",
        "",
        "XTTP/1.1",
        "HTTP/1.\u{ff11}",
    ] {
        let request = format!("POST /outer {version}\r\nHost: unlag.test\r\nContent-Length: 0\r\n\r\n");
        if version == "HTTP/1.2" { class.either(request) } else { class.refused(request) }
    }
}
