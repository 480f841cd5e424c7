//! Answers whole and in pieces, each with its length by every rule HTTP/1.1 has.

use super::*;

fn read(bytes: &[u8], piece: usize, bodiless: bool) -> Result<Option<Complete>, Malformed> {
    let mut reader = ResponseReader::new();
    reader.start(bodiless);
    for part in bytes.chunks(piece) {
        if let Some(complete) = reader.feed(part)? {
            return Ok(Some(complete));
        }
    }
    Ok(reader.end())
}

#[test]
fn an_answer_reads_the_same_in_pieces_of_any_size() {
    let table: [(&str, u16, u64, bool); 7] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, 0, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nhi", 200, 2, false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n",
            200,
            15,
            true,
        ),
        ("HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n", 500, 1, true),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 C\r\nContent-Length: 1\r\n\r\nx", 201, 1, true),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, 13, false),
    ];
    for (text, status, body_bytes, reusable) in table {
        for piece in 1..=text.len() {
            let got = read(text.as_bytes(), piece, false).expect(text).expect("complete");
            assert_eq!(
                (got.status, got.body_bytes, got.reusable),
                (status, body_bytes, reusable),
                "{text:?} in pieces of {piece}"
            );
        }
    }
}

#[test]
fn an_answer_to_a_head_request_has_no_body_whatever_its_length_says() {
    let got = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 9, true).expect("valid");
    assert_eq!(got.map(|c| c.body_bytes), Some(0));
}

#[test]
fn bytes_after_the_answer_are_not_consumed() {
    let got = read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP", 1000, false).expect("valid");
    assert_eq!(got.map(|c| c.consumed), Some(39));
}

#[test]
fn a_body_that_was_cut_off_is_not_complete() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        assert_eq!(read(text.as_bytes(), 7, false), Ok(None), "{text:?}");
    }
}

#[test]
fn broken_framing_is_refused() {
    let long_line = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}", "x".repeat(20_000));
    for text in [
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
        "HTTP/1.1 101 Switching\r\n\r\n",
        &long_line,
    ] {
        assert!(read(text.as_bytes(), 11, false).is_err(), "{text:?}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_MAX));
    assert!(read(endless.as_bytes(), 4096, false).is_err());
}
