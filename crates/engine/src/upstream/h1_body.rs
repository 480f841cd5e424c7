//! The content of an answer, read from an HTTP/1.1 connection as the caller takes it. Only a body that was read to its
//! declared end gives the connection back; everything else closes it, and a body cut short is an error, never an end.

use super::h1::Conn;
use crate::clock;
use crate::core::Core;
use crate::error::Error;
use crate::exchange::Trace;
use crate::http::body::Source;
use crate::http::h1::Framing;
use crate::http::h1::chunked::{Decoded, Decoder};
use crate::http::{Chunk, Size};
use crate::net::sender::Sender;
use crate::net::wire::BODY_READ_BYTES;
use bytes::BytesMut;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Where the content ends.
#[derive(Debug)]
#[expect(missing_docs, reason = "as in `Framing`")]
pub enum Decode {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

impl Decode {
    /// For a framing.
    pub fn new(framing: Framing) -> Decode {
        match framing {
            Framing::None => Decode::Length(0),
            Framing::Length(length) => Decode::Length(length),
            Framing::Chunked => Decode::Chunked(Decoder::default()),
            Framing::UntilClose => Decode::UntilClose,
        }
    }

    /// Takes what is at hand out of `input`: the outer `None` means that more must be read.
    fn next(
        &mut self,
        input: &mut BytesMut,
        ended: bool,
        most: usize,
    ) -> Result<Option<Option<Chunk>>, Error> {
        match self {
            Decode::Length(0) => Ok(Some(None)),
            Decode::Length(_) | Decode::UntilClose if !input.is_empty() => {
                let mut take = input.len().min(most);
                if let Decode::Length(left) = self {
                    take = take.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= take as u64;
                }
                Ok(Some(Some(Chunk::Data(input.split_to(take).freeze()))))
            }
            Decode::UntilClose if ended => Ok(Some(None)),
            Decode::Length(_) | Decode::UntilClose => Ok(None),
            Decode::Chunked(decoder) => match decoder.decode(input).map_err(Error::UpstreamChunk)? {
                Decoded::Data(data) => Ok(Some(Some(Chunk::Data(data)))),
                Decoded::End(Some(trailers)) => Ok(Some(Some(Chunk::Trailers(trailers)))),
                Decoded::End(None) => Ok(Some(None)),
                Decoded::More => Ok(None),
            },
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Decode::Length(left) => *left == 0,
            Decode::Chunked(decoder) => decoder.is_done(),
            Decode::UntilClose => false,
        }
    }

    fn left(&self) -> u64 {
        match self {
            Decode::Length(left) => *left,
            _ => u64::MAX,
        }
    }
}

/// A body in arrival.
pub struct UpstreamBody {
    core: Rc<Core>,
    conn: Option<Box<Conn>>,
    decode: Decode,
    /// The rest of the request, while an eager upstream answers already.
    upload: Option<Sender>,
    persistent: bool,
    /// The largest piece that is wanted.
    most: usize,
    limits: BodyLimits,
    trace: Rc<Trace>,
}

/// How long an answer's content may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Without a byte.
    pub idle_timeout_ns: u64,
    /// The moment after which nobody waits for the rest.
    pub deadline_ns: u64,
}

impl BodyLimits {
    /// The next moment at which it has taken too long.
    pub fn due(&self, now: u64) -> u64 {
        now.saturating_add(self.idle_timeout_ns).min(self.deadline_ns)
    }

    /// What it is to be too late at `now`.
    pub fn error(&self, now: u64) -> Error {
        if now >= self.deadline_ns { Error::Deadline } else { Error::BodyTimeout }
    }
}

impl UpstreamBody {
    /// Reads from `conn`.
    pub fn new(
        core: &Rc<Core>,
        conn: Box<Conn>,
        decode: Decode,
        upload: Option<Sender>,
        persistent: bool,
        limits: BodyLimits,
        trace: Rc<Trace>,
    ) -> UpstreamBody {
        let most = BODY_READ_BYTES;
        UpstreamBody {
            core: Rc::clone(core),
            conn: Some(conn),
            decode,
            upload,
            persistent,
            most,
            limits,
            trace,
        }
    }

    /// The body is whole; the connection may serve again if nothing else is on it.
    fn complete(&mut self) {
        if let Some(conn) = self.conn.take()
            && self.persistent
            && self.upload.is_none()
            && conn.wire.input().is_empty()
        {
            self.core.pools.put(conn);
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let (Some(upload), Some(conn)) = (&mut self.upload, &self.conn) else { return Ok(()) };
        let sent = upload.poll(&conn.wire, cx);
        self.trace.received(upload.content_bytes());
        if let Poll::Ready(result) = sent {
            result?;
            self.persistent &= !upload.is_broken();
            self.upload = None;
        }
        Ok(())
    }
}

impl Source for UpstreamBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if let Err(error) = self.poll_upload(cx) {
            self.conn = None;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let Some(conn) = &mut self.conn else { return Poll::Ready(None) };
            let next = self.decode.next(&mut conn.wire.input(), conn.wire.has_ended(), self.most);
            match next {
                Ok(Some(None)) => {
                    self.complete();
                    return Poll::Ready(None);
                }
                Ok(Some(Some(chunk))) => {
                    conn.alarm.clear();
                    if self.decode.is_over() {
                        self.complete();
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Ok(None) => {}
                Err(error) => {
                    self.conn = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let read = match conn.wire.poll_fill_body(cx, self.decode.left(), self.most) {
                Poll::Ready(read) => read,
                Poll::Pending => {
                    if conn.alarm.due() == crate::net::alarm::NEVER {
                        conn.alarm.set(self.limits.due(clock::now()));
                    }
                    std::task::ready!(conn.alarm.poll(cx));
                    self.conn = None;
                    return Poll::Ready(Some(Err(self.limits.error(clock::now()))));
                }
            };
            let cut = match read {
                Ok(0) => !matches!(self.decode, Decode::UntilClose),
                Ok(_) => false,
                Err(_) => true,
            };
            if cut {
                self.conn = None;
                return Poll::Ready(Some(Err(Error::Truncated)));
            }
        }
    }

    fn size(&self) -> Size {
        match &self.decode {
            Decode::Length(left) => Size::Exact(*left),
            _ => Size::Unknown,
        }
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.most = bytes;
    }
}
