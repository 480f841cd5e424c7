//! Reads one HTTP/1.1 answer from pieces of bytes: a state machine without sockets or clocks. Bodies are
//! counted, not kept.

use crate::framing::{BodyReader, Malformed, decimal, ends_with_token, has_token};

/// Largest head accepted, in bytes.
const HEAD_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 128;
/// An answer read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Complete {
    pub(super) status: u16,
    /// Bytes of content, without framing.
    pub(super) body_bytes: u64,
    /// The connection may carry another request.
    pub(super) reusable: bool,
    /// How much of the last piece belonged to this answer.
    pub(super) consumed: usize,
}

/// The reader of one answer after another on a connection.
#[derive(Debug)]
pub(super) struct ResponseReader {
    /// `None` while the head is read.
    body: Option<BodyReader>,
    /// The part of a head that came before its end; usually empty, heads come whole.
    partial: Vec<u8>,
    bodiless: bool,
    status: u16,
    reusable: bool,
}

impl ResponseReader {
    pub(super) fn new() -> Self {
        Self { body: None, partial: Vec::new(), bodiless: false, status: 0, reusable: true }
    }

    /// Gets ready for the next answer. `bodiless`: it answers a HEAD.
    pub(super) fn start(&mut self, bodiless: bool) {
        self.partial.clear();
        (self.body, self.bodiless) = (None, bodiless);
    }

    /// Takes the next piece; `Some` once the answer is complete.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Option<Complete>, Malformed> {
        let mut at = 0;
        loop {
            let rest = piece.get(at..).unwrap_or_default();
            let Some(body) = &mut self.body else {
                let Some(used) = self.feed_head(rest)? else { return Ok(None) };
                at += used;
                continue;
            };
            at += body.feed(rest)?;
            return Ok(body.is_done().then(|| self.complete(at)));
        }
    }

    /// The peer closed: complete when the answer was delimited by that.
    pub(super) fn end(&self) -> Option<Complete> {
        let by_close = self.body.as_ref().is_some_and(BodyReader::ends_with_connection);
        by_close.then(|| Complete { reusable: false, ..self.complete(0) })
    }

    fn complete(&self, consumed: usize) -> Complete {
        let body_bytes = self.body.as_ref().map_or(0, |body| body.bytes);
        Complete { status: self.status, body_bytes, reusable: self.reusable, consumed }
    }

    /// Reads a head; `Some(bytes used)` when it is whole. After an interim answer another head follows.
    fn feed_head(&mut self, piece: &[u8]) -> Result<Option<usize>, Malformed> {
        let before = self.partial.len();
        let mut partial = std::mem::take(&mut self.partial);
        let bytes = if before == 0 {
            piece
        } else {
            partial.extend_from_slice(piece);
            partial.as_slice()
        };
        if let Some(length) = self.parse_head(bytes)? {
            return Ok(Some(length.saturating_sub(before)));
        }
        if bytes.len() > HEAD_MAX {
            return Err(Malformed("the head is larger than 64 KiB"));
        }
        if before == 0 {
            partial.extend_from_slice(piece);
        }
        self.partial = partial;
        Ok(None)
    }

    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed("the head is not HTTP/1.1")),
        };
        self.status = head.code.unwrap_or(0);
        if self.status == 101 {
            return Err(Malformed("an upgrade that was not asked for"));
        }
        if (100..200).contains(&self.status) {
            return Ok(Some(length));
        }
        self.reusable = head.version == Some(1);
        let (mut content_length, mut chunked, mut coded) = (None, false, false);
        for field in head.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                content_length = Some(decimal(field.value).ok_or(Malformed("content-length is no number"))?);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                coded = true;
                chunked = ends_with_token(field.value, b"chunked");
            } else if field.name.eq_ignore_ascii_case("connection") && has_token(field.value, b"close") {
                self.reusable = false;
            }
        }
        self.body = Some(if self.bodiless || self.status == 204 || self.status == 304 {
            BodyReader::length(0)
        } else if chunked {
            BodyReader::chunked()
        } else if let Some(length) = content_length.filter(|_| !coded) {
            BodyReader::length(length)
        } else {
            BodyReader::until_close()
        });
        Ok(Some(length))
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
