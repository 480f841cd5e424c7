//! An answer that is stored while it passes: kept once it is whole, forgotten when it is cut, too large, or ends in trailers.

use crate::error::Error;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Size};
use bytes::Bytes;
use std::task::{Context, Poll};

/// Larger answers are not kept in memory.
pub const OBJECT_BYTES_MAX: u64 = 1024 * 1024;

/// What keeps a whole body.
type Keep = Box<dyn FnOnce(Bytes)>;

/// A body on its way to the caller and into the store.
pub struct Fill {
    body: Body,
    so_far: Vec<u8>,
    /// With its last byte a body of known length is whole: nobody asks for its end.
    length: Option<u64>,
    keep: Option<Keep>,
}

impl Fill {
    /// Has `keep` take the body once all of it has passed.
    pub fn through(body: Body, keep: Keep) -> Body {
        match body {
            Body::Empty => {
                keep(Bytes::new());
                Body::Empty
            }
            Body::Bytes(bytes) => {
                // Of its own: a piece would hold on to all of the buffer that it was cut from.
                keep(Bytes::copy_from_slice(&bytes));
                Body::Bytes(bytes)
            }
            body @ Body::Stream(_) => {
                let length = match body.size() {
                    Size::Exact(length) => Some(length),
                    Size::Unknown => None,
                };
                Body::Stream(Box::new(Fill { body, so_far: Vec::new(), length, keep: Some(keep) }))
            }
        }
    }

    fn keep(&mut self) {
        if let Some(keep) = self.keep.take() {
            keep(std::mem::take(&mut self.so_far).into());
        }
    }

    fn give_up(&mut self) {
        self.keep = None;
        self.so_far = Vec::new();
    }
}

impl Source for Fill {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let polled = self.body.poll_chunk(cx);
        if self.keep.is_none() {
            return polled;
        }
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(Chunk::Data(data)))) => {
                if (self.so_far.len() + data.len()) as u64 > OBJECT_BYTES_MAX {
                    self.give_up();
                } else {
                    self.so_far.extend_from_slice(data);
                }
                if self.length == Some(self.so_far.len() as u64) {
                    self.keep();
                }
            }
            Poll::Ready(None) => self.keep(),
            Poll::Ready(Some(Ok(Chunk::Trailers(_)) | Err(_))) => self.give_up(),
        }
        polled
    }

    fn size(&self) -> Size {
        self.body.size()
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.body.take_at_most(bytes);
    }
}
