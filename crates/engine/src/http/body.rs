//! Content in motion: nothing, bytes at hand, or a stream that is polled. Every wire format and every technique that looks at
//! content speaks this.

use super::fields::Fields;
use crate::error::Error;
use bytes::Bytes;
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// A piece of content, or its end with trailers.
#[derive(Debug)]
pub enum Chunk {
    /// Some bytes, never none.
    Data(Bytes),
    /// Trailer fields; nothing follows.
    Trailers(Fields),
}

/// What is known of a body's size before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Exactly so many bytes.
    Exact(u64),
    /// It ends when it ends.
    Unknown,
}

/// A stream of content. After `None` or an error it is not polled again.
pub trait Source {
    /// The next piece.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>>;
    /// What is left, as far as it is known.
    fn size(&self) -> Size;
    /// Whether trailers may come after content whose size is known.
    fn may_trail(&self) -> bool {
        false
    }
    /// Asks for pieces of at most so many bytes from now on. A source whose pieces have a size of their own gives those.
    fn take_at_most(&mut self, _bytes: usize) {}
    /// Takes back the last so many bytes of what it gave, to give them again: whoever waits for a slow peer need not hold them.
    /// False if it cannot.
    fn take_back(&mut self, _bytes: usize) -> bool {
        false
    }
}

/// The content of a message.
#[derive(Default)]
pub enum Body {
    /// None at all: the message has no content.
    #[default]
    Empty,
    /// All of it, at hand: may be sent any number of times.
    Bytes(Bytes),
    /// As it arrives.
    Stream(Box<dyn Source>),
}

impl Body {
    /// The next piece.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        match self {
            Body::Empty => Poll::Ready(None),
            Body::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Chunk::Data(bytes))))
            }
            Body::Stream(source) => source.poll_chunk(cx),
        }
    }

    /// The next piece, awaited.
    pub async fn chunk(&mut self) -> Option<Result<Chunk, Error>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// What is known of its size.
    pub fn size(&self) -> Size {
        match self {
            Body::Empty => Size::Exact(0),
            Body::Bytes(bytes) => Size::Exact(bytes.len() as u64),
            Body::Stream(source) => source.size(),
        }
    }

    /// As [`Source::may_trail`].
    pub fn may_trail(&self) -> bool {
        matches!(self, Body::Stream(source) if source.may_trail())
    }

    /// As [`Source::take_at_most`].
    pub fn take_at_most(&mut self, bytes: usize) {
        if let Body::Stream(source) = self {
            source.take_at_most(bytes);
        }
    }

    /// As [`Source::take_back`].
    pub fn take_back(&mut self, bytes: usize) -> bool {
        match self {
            Body::Stream(source) => source.take_back(bytes),
            Body::Empty | Body::Bytes(_) => false,
        }
    }

    /// Whether the message has no content.
    pub fn is_empty(&self) -> bool {
        matches!(self, Body::Empty)
    }

    /// The same with the trailers that `end` makes of its own, which may be none. It is called once, when all content has passed.
    pub fn ending(self, end: impl FnOnce(Option<Fields>) -> Option<Fields> + Unpin + 'static) -> Body {
        Body::Stream(Box::new(Ending { body: self, end: Some(end) }))
    }

    /// The same with something put in front that was taken from it before: bytes, and what came after them.
    pub fn after(self, taken: Bytes, last: Result<Chunk, Error>) -> Body {
        let taken = (!taken.is_empty()).then_some(Ok(Chunk::Data(taken)));
        Body::Stream(Box::new(After { taken: taken.into_iter().chain([last]).collect(), rest: self }))
    }

    /// The same content again, if it is at hand. A stream cannot be sent twice.
    pub fn replica(&self) -> Option<Body> {
        match self {
            Body::Empty => Some(Body::Empty),
            Body::Bytes(bytes) => Some(Body::Bytes(bytes.clone())),
            Body::Stream(_) => None,
        }
    }
}

/// A body whose end is looked at, and may get other trailers. Its length is not told: a message with a length has no trailers.
struct Ending<E> {
    body: Body,
    /// None once it has come.
    end: Option<E>,
}

impl<E: FnOnce(Option<Fields>) -> Option<Fields> + Unpin> Source for Ending<E> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.end.is_none() {
            return Poll::Ready(None);
        }
        let trailers = match std::task::ready!(self.body.poll_chunk(cx)) {
            Some(Ok(Chunk::Trailers(trailers))) => Some(trailers),
            None => None,
            other => return Poll::Ready(other),
        };
        let trailers = self.end.take().and_then(|end| end(trailers));
        Poll::Ready(trailers.map(|trailers| Ok(Chunk::Trailers(trailers))))
    }

    fn size(&self) -> Size {
        Size::Unknown
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.body.take_at_most(bytes);
    }
}

/// A body of which something was taken, with that put in front of it again.
struct After {
    taken: VecDeque<Result<Chunk, Error>>,
    rest: Body,
}

impl Source for After {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        match self.taken.pop_front() {
            Some(taken) => Poll::Ready(Some(taken)),
            None => self.rest.poll_chunk(cx),
        }
    }

    fn size(&self) -> Size {
        let taken = self.taken.iter().map(|chunk| match chunk {
            Ok(Chunk::Data(data)) => data.len() as u64,
            _ => 0,
        });
        match self.rest.size() {
            Size::Exact(rest) => Size::Exact(rest + taken.sum::<u64>()),
            Size::Unknown => Size::Unknown,
        }
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.rest.take_at_most(bytes);
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({:?})", self.size())
    }
}
