//! An HTTP/1.1 message on its way out, either way: head and content, gathered into as few writes as what is at hand allows.

use super::wire::Wire;
use crate::error::Error;
use crate::http::h1::{Framing, chunked};
use crate::http::{Body, Chunk, Fields};
use bytes::{Buf, Bytes};
use std::task::{Context, Poll};

/// Content up to this size is copied behind the head, so that one write sends both; more is written from where it lies.
const GATHER_BYTES: usize = 16 * 1024;

/// A message being sent.
pub struct Sender {
    out: Vec<u8>,
    sent: usize,
    large: Bytes,
    body: Body,
    framing: Framing,
    content_bytes: u64,
    /// All content has been put into `out`.
    complete: bool,
    /// The content waits for a `100 Continue`.
    held: bool,
    /// Writing failed; what the peer said may still be there to be read.
    broken: bool,
    /// All is sent, or cannot be.
    over: bool,
    drops_trailers: bool,
    waits_for_source: bool,
    progress: bool,
    begun: bool,
}

impl Sender {
    /// `out` holds the head.
    pub fn new(out: Vec<u8>, body: Body, framing: Framing) -> Sender {
        Sender {
            out,
            sent: 0,
            large: Bytes::new(),
            complete: matches!(framing, Framing::None | Framing::Length(0)),
            body,
            framing,
            content_bytes: 0,
            held: false,
            broken: false,
            over: false,
            drops_trailers: false,
            waits_for_source: false,
            progress: true,
            begun: false,
        }
    }

    /// Holds the content back until [`Sender::go_on`].
    pub fn hold(mut self, hold: bool) -> Sender {
        self.held = hold && !self.complete;
        self
    }

    /// Leaves trailers out: the peer has not said that it understands them.
    pub fn without_trailers(mut self, without: bool) -> Sender {
        self.drops_trailers = without;
        self
    }

    /// Whether nothing more will be written. What TLS still holds is not written yet.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether it ended because the peer does not take it.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the next thing to happen is up to where the content comes from.
    pub fn waits_for_source(&self) -> bool {
        self.waits_for_source
    }

    /// Whether bytes were written since the last call.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Whether the peer has been sent anything yet.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Content bytes taken from the body so far.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Whether the content waits for a `100 Continue`.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Lets the content go.
    pub fn go_on(&mut self) {
        self.held = false;
    }

    fn is_flushed(&self) -> bool {
        self.sent == self.out.len() && self.large.is_empty()
    }

    /// Sends as much as possible. Ready when all is sent, or cannot be (see [`Sender::is_broken`]); an error is the body's.
    pub fn poll(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.waits_for_source = false;
            if self.is_flushed() {
                self.out.clear();
                self.sent = 0;
            }
            while !self.complete && !self.held && self.large.is_empty() && self.out.len() < GATHER_BYTES {
                match self.body.poll_chunk(cx) {
                    Poll::Ready(chunk) => self.gather(chunk.transpose()?),
                    Poll::Pending => {
                        self.waits_for_source = true;
                        break;
                    }
                }
            }
            if self.is_flushed() {
                let flushed = wire.poll_flush(cx);
                if !self.complete {
                    return Poll::Pending;
                }
                return flushed.map(|flushed| {
                    self.broken = flushed.is_err();
                    self.over = true;
                    Ok(())
                });
            }
            match self.poll_write(wire, cx) {
                Poll::Ready(Ok(())) => {
                    self.progress = true;
                    self.begun = true;
                }
                Poll::Ready(Err(_)) => {
                    self.broken = true;
                    self.over = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    self.waits_for_source = false;
                    self.let_go();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Holds nothing for a peer that does not take it, if it can be had again: thousands may stall. What has a length is not framed.
    fn let_go(&mut self) {
        let bytes = self.large.len();
        if bytes > 0 && matches!(self.framing, Framing::Length(_)) && self.body.take_back(bytes) {
            self.large = Bytes::new();
            self.content_bytes -= bytes as u64;
            self.complete = false;
        }
    }

    fn gather(&mut self, chunk: Option<Chunk>) {
        match chunk {
            Some(Chunk::Data(data)) => {
                self.content_bytes += data.len() as u64;
                let chunked = self.framing == Framing::Chunked;
                if chunked {
                    chunked::write_size(&mut self.out, data.len());
                }
                if data.len() < GATHER_BYTES {
                    self.out.extend_from_slice(&data);
                    if chunked {
                        self.out.extend_from_slice(b"\r\n");
                    }
                } else {
                    self.large = data;
                }
                // What has a length is over with its last byte; asking the body once more would cost a wake-up.
                self.complete =
                    matches!(self.framing, Framing::Length(length) if self.content_bytes >= length);
            }
            Some(Chunk::Trailers(trailers)) => self.end(Some(&trailers)),
            None => self.end(None),
        }
    }

    fn end(&mut self, trailers: Option<&Fields>) {
        self.complete = true;
        if self.framing == Framing::Chunked {
            chunked::write_end(&mut self.out, trailers.filter(|_| !self.drops_trailers));
        }
    }

    fn poll_write(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let rest = self.out.get(self.sent..).unwrap_or_default();
        let mut written = std::task::ready!(wire.poll_write_both(cx, rest, &self.large))?;
        if written == 0 {
            return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
        }
        let of_out = written.min(rest.len());
        self.sent += of_out;
        written -= of_out;
        if written > 0 {
            self.large.advance(written);
            if self.large.is_empty() {
                // Even an empty piece would keep the buffer that it was cut from.
                self.large = Bytes::new();
                if self.framing == Framing::Chunked {
                    self.out.clear();
                    self.sent = 0;
                    self.out.extend_from_slice(b"\r\n");
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the output buffer back for another message.
    pub fn into_buffer(self) -> Vec<u8> {
        self.out
    }
}
