//! Reads an answer from pieces of bytes: its status, what it says of data, and where it ends.

use crate::framing::{BodyReader, Malformed, decimal, ends_with_token, has_token};

/// Largest head accepted, in bytes.
const HEAD_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 64;

/// An answer on its way. No sockets, no clocks.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head: Vec<u8>,
    body: Option<BodyReader>,
    pub(super) status: u16,
    pub(super) reusable: bool,
    /// What `x-version` says.
    pub(super) version: Option<u64>,
    /// What `set-cookie` gives, up to its attributes.
    pub(super) cookie: Option<String>,
}

impl Answer {
    /// Something of it has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.head.is_empty() || self.body.is_some()
    }

    /// Takes the next piece; true once the answer is whole.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<bool, Malformed> {
        let mut rest = piece;
        if self.body.is_none() {
            let before = self.head.len();
            self.head.extend_from_slice(piece);
            let Some(length) = self.parse()? else {
                return if self.head.len() > HEAD_MAX {
                    Err(Malformed("the head is too large"))
                } else {
                    Ok(false)
                };
            };
            rest = piece.get(length.saturating_sub(before)..).unwrap_or_default();
        }
        let Some(body) = &mut self.body else { return Ok(false) };
        let used = body.feed(rest)?;
        if used < rest.len() {
            return Err(Malformed("more than was asked for"));
        }
        Ok(body.is_done())
    }

    /// The peer closed; true when the answer was delimited by that.
    pub(super) fn end(&self) -> bool {
        self.body.as_ref().is_some_and(BodyReader::ends_with_connection)
    }

    /// Reads the head; `Some(its length)` once it is whole.
    fn parse(&mut self) -> Result<Option<usize>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed("the head is not HTTP/1.1")),
        };
        self.status = head.code.unwrap_or(0);
        self.reusable = head.version == Some(1);
        let mut body = BodyReader::until_close();
        for field in head.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                body =
                    BodyReader::length(decimal(field.value).ok_or(Malformed("content-length is no number"))?);
            } else if is("transfer-encoding") && ends_with_token(field.value, b"chunked") {
                body = BodyReader::chunked();
            } else if is("connection") && has_token(field.value, b"close") {
                self.reusable = false;
            } else if is("x-version") {
                self.version = decimal(field.value);
            } else if is("set-cookie") {
                let pair = field.value.split(|byte| *byte == b';').next().unwrap_or_default();
                self.cookie = std::str::from_utf8(pair).ok().map(str::to_owned);
            }
        }
        self.body = Some(body);
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_they_say_in_pieces_of_any_size() {
        let counted =
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-version: 7\r\nset-cookie: a=b; path=/\r\n\r\nabc";
        let chunked = "HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nxy\r\n0\r\n\r\n";
        for (text, status, reusable) in [(counted, 200, true), (chunked, 503, false)] {
            for size in 1..=text.len() {
                let mut answer = Answer::default();
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
                let whole = pieces.iter().map(|piece| answer.feed(piece).expect("valid")).collect::<Vec<_>>();
                assert!(whole.iter().rev().skip(1).all(|whole| !whole) && whole.last() == Some(&true));
                assert_eq!((answer.status, answer.reusable), (status, reusable));
                if status == 200 {
                    assert_eq!((answer.version, answer.cookie.as_deref()), (Some(7), Some("a=b")));
                }
            }
        }
        let mut answer = Answer::default();
        assert!(!answer.feed(b"HTTP/1.0 200 OK\r\n\r\nabc").expect("valid") && answer.end());
        assert!(Answer::default().feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx").is_err());
    }
}
