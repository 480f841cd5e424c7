//! Reads requests from a connection's bytes, one after another, pipelined or not. No sockets, no clocks.

use crate::framing::{BodyReader, Malformed, decimal, ends_with_token, has_token};

/// Largest head accepted, in bytes.
const HEAD_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 100;

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// The piece is used up.
    NeedMore,
    /// The caller waits for `100 Continue` before it sends the body.
    Continue,
    /// A request, its body read to the end.
    Request(T, Persistence),
}

/// Whether the connection goes on after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Another request may follow.
    Keep,
    /// The caller asked for an end, or speaks HTTP/1.0.
    Close,
}

/// The reader of one connection. `T` is what its owner makes of a head.
#[derive(Debug)]
pub(super) struct RequestReader<T> {
    partial: Vec<u8>,
    current: Option<(T, Persistence, BodyReader)>,
}

impl<T> RequestReader<T> {
    pub(super) fn new() -> Self {
        Self { partial: Vec::new(), current: None }
    }

    /// Reads on from the front of `piece`; returns what was used and what came of it.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        read_head: impl FnOnce(&httparse::Request<'_, '_>) -> T,
    ) -> Result<(usize, Step<T>), Malformed> {
        let mut at = 0;
        if self.current.is_none() {
            let Some((used, expects)) = self.feed_head(piece, read_head)? else {
                return Ok((piece.len(), Step::NeedMore));
            };
            at = used;
            if expects && at == piece.len() {
                return Ok((at, Step::Continue));
            }
        }
        let Some((what, persistence, mut body)) = self.current.take() else {
            return Ok((at, Step::NeedMore));
        };
        at += body.feed(piece.get(at..).unwrap_or_default())?;
        if body.is_done() {
            return Ok((at, Step::Request(what, persistence)));
        }
        self.current = Some((what, persistence, body));
        Ok((at, Step::NeedMore))
    }

    /// `Some((bytes used, expects 100))` once the head is whole.
    fn feed_head(
        &mut self,
        piece: &[u8],
        read_head: impl FnOnce(&httparse::Request<'_, '_>) -> T,
    ) -> Result<Option<(usize, bool)>, Malformed> {
        let before = self.partial.len();
        let mut partial = std::mem::take(&mut self.partial);
        let bytes = if before == 0 {
            piece
        } else {
            partial.extend_from_slice(piece);
            partial.as_slice()
        };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Request::new(&mut fields);
        match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => {
                let (persistence, body, expects) = delimit(&head)?;
                self.current = Some((read_head(&head), persistence, body));
                Ok(Some((length.saturating_sub(before), expects)))
            }
            Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX => {
                if before == 0 {
                    partial.extend_from_slice(piece);
                }
                self.partial = partial;
                Ok(None)
            }
            _ => Err(Malformed("the head is not HTTP/1.1, or too large")),
        }
    }
}

fn delimit(head: &httparse::Request<'_, '_>) -> Result<(Persistence, BodyReader, bool), Malformed> {
    let mut persistence = if head.version == Some(1) { Persistence::Keep } else { Persistence::Close };
    let (mut body, mut expects, mut chunked) = (BodyReader::length(0), false, false);
    for field in head.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") && !chunked {
            body = BodyReader::length(decimal(field.value).ok_or(Malformed("content-length is no number"))?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if !ends_with_token(field.value, b"chunked") {
                return Err(Malformed("an unknown transfer coding"));
            }
            chunked = true;
            body = BodyReader::chunked();
        } else if field.name.eq_ignore_ascii_case("connection") {
            if has_token(field.value, b"close") {
                persistence = Persistence::Close;
            } else if has_token(field.value, b"keep-alive") {
                persistence = Persistence::Keep;
            }
        } else if field.name.eq_ignore_ascii_case("expect") {
            expects = has_token(field.value, b"100-continue");
        }
    }
    expects &= !body.is_done();
    Ok((persistence, body, expects))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8], piece: usize) -> Result<Vec<(String, Persistence)>, Malformed> {
        let mut reader = RequestReader::new();
        let mut found = Vec::new();
        for part in bytes.chunks(piece) {
            let mut at = 0;
            while at < part.len() {
                let (used, step) = reader.feed(&part[at..], |head| head.path.unwrap_or("").to_owned())?;
                at += used;
                if let Step::Request(path, persistence) = step {
                    found.push((path, persistence));
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn pipelined_requests_are_read_one_by_one_in_pieces_of_any_size() {
        let text = "GET /a HTTP/1.1\r\nhost: x\r\n\r\n\
                    POST /b HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc\
                    POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n\
                    GET /d HTTP/1.0\r\n\r\n";
        for piece in 1..=text.len() {
            let found = read_all(text.as_bytes(), piece).expect("valid");
            let want = [("/a", Persistence::Keep), ("/b", Persistence::Keep), ("/c", Persistence::Keep)];
            let want = want.into_iter().chain([("/d", Persistence::Close)]);
            assert!(found.iter().map(|(p, k)| (p.as_str(), *k)).eq(want), "pieces of {piece}: {found:?}");
        }
    }

    #[test]
    fn a_caller_that_expects_100_is_told_to_go_on() {
        let mut reader = RequestReader::new();
        let head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        assert_eq!(reader.feed(head, |_| ()).expect("valid").1, Step::Continue);
        let (used, step) = reader.feed(b"ok", |_| ()).expect("valid");
        assert_eq!((used, step), (2, Step::Request((), Persistence::Keep)));
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert!(read_all(b"\x16\x03\x01 hello\r\n\r\n", 100).is_err());
        assert!(read_all(b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 100).is_err());
        assert!(read_all(b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 100).is_err());
        assert!(read_all(format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000)).as_bytes(), 1000).is_err());
    }
}
