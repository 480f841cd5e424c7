//! The content of a request, read from the caller's connection while the pipeline asks for it. The connection's driver keeps
//! the other end: it reads ahead within a bound, and knows at the end whether all of it was taken.

use crate::error::Error;
use crate::http::body::Source;
use crate::http::h1::Framing;
use crate::http::h1::chunked::{Decoded, Decoder};
use crate::http::{Chunk, Size};
use crate::net::wire::{BODY_READ_BYTES, Wire};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

enum Decode {
    Length(u64),
    Chunked(Decoder),
}

/// What driver and body share.
pub struct Intake {
    wire: Rc<Wire>,
    decode: RefCell<Decode>,
    done: Cell<bool>,
}

impl Intake {
    /// For content framed so.
    pub fn new(wire: &Rc<Wire>, framing: Framing) -> Rc<Intake> {
        let decode = match framing {
            Framing::Chunked => Decode::Chunked(Decoder::default()),
            Framing::Length(length) => Decode::Length(length),
            Framing::None | Framing::UntilClose => Decode::Length(0),
        };
        let done = Cell::new(matches!(decode, Decode::Length(0)));
        let decode = RefCell::new(decode);
        Rc::new(Intake { wire: Rc::clone(wire), decode, done })
    }

    /// Whether all of the content has been taken.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.done.get() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(found) = self.decode_some() {
                return Poll::Ready(found);
            }
            if self.wire.has_ended() {
                return Poll::Ready(Some(Err(Error::CallerGone)));
            }
            let left = match &*self.decode.borrow() {
                Decode::Length(left) => *left,
                Decode::Chunked(_) => u64::MAX,
            };
            match std::task::ready!(self.wire.poll_fill_body(cx, left, BODY_READ_BYTES)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(Some(Err(Error::CallerGone))),
            }
        }
    }

    /// Takes what is at hand; `None` when more must be read.
    #[expect(clippy::option_option, reason = "more to read, the end, or a piece")]
    fn decode_some(&self) -> Option<Option<Result<Chunk, Error>>> {
        let mut input = self.wire.input();
        match &mut *self.decode.borrow_mut() {
            Decode::Length(left) => {
                if input.is_empty() {
                    return None;
                }
                let take = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= take as u64;
                self.done.set(*left == 0);
                Some(Some(Ok(Chunk::Data(input.split_to(take).freeze()))))
            }
            Decode::Chunked(decoder) => match decoder.decode(&mut input) {
                Ok(Decoded::Data(data)) => Some(Some(Ok(Chunk::Data(data)))),
                Ok(Decoded::End(trailers)) => {
                    self.done.set(true);
                    Some(trailers.map(|trailers| Ok(Chunk::Trailers(trailers))))
                }
                Ok(Decoded::More) => None,
                Err(error) => Some(Some(Err(Error::CallerChunk(error)))),
            },
        }
    }

    fn size(&self) -> Size {
        match &*self.decode.borrow() {
            Decode::Length(left) => Size::Exact(*left),
            Decode::Chunked(_) => Size::Unknown,
        }
    }
}

/// The pipeline's end.
pub struct CallerBody(pub Rc<Intake>);

impl Source for CallerBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        self.0.poll_chunk(cx)
    }

    fn size(&self) -> Size {
        self.0.size()
    }
}
