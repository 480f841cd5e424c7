//! An answer to an upload that has not ended. Some callers stop sending when they see its head, short of the length that they
//! declared; that is an error of the stream, and ends the answer with it. So a refusal that is small is held until all of it is
//! here, and leaves in one piece.

use crate::clock;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Size};
use crate::net::alarm::Alarm;
use bytes::{Bytes, BytesMut};
use std::task::{Context, Poll};

/// A refusal that is larger goes out as it comes.
const SMALL_BYTES: usize = 16 * 1024;
/// And so does one that takes its time.
const PATIENCE_NS: u64 = 500_000_000;

/// Waits for the rest of a small body.
pub(super) async fn whole(mut body: Body) -> Body {
    if !matches!(body, Body::Stream(_))
        || matches!(body.size(), Size::Exact(length) if length > SMALL_BYTES as u64)
    {
        return body;
    }
    let mut alarm = Alarm::default();
    alarm.set(clock::now() + PATIENCE_NS);
    let mut first = BytesMut::new();
    let next = std::future::poll_fn(|cx| {
        loop {
            match body.poll_chunk(cx) {
                Poll::Ready(Some(Ok(Chunk::Data(data)))) => {
                    first.extend_from_slice(&data);
                    if body.size() == Size::Exact(0) {
                        return Poll::Ready(Some(None));
                    }
                    if first.len() > SMALL_BYTES {
                        return Poll::Ready(None);
                    }
                }
                Poll::Ready(end) => return Poll::Ready(Some(end)),
                Poll::Pending => return alarm.poll(cx).map(|()| None),
            }
        }
    })
    .await;
    match next {
        Some(None) => Body::Bytes(first.freeze()),
        next => Body::Stream(Box::new(Begun { first: first.freeze(), next, body })),
    }
}

/// A body of which some is here already, and maybe its end.
struct Begun {
    first: Bytes,
    next: Option<Option<Result<Chunk, Error>>>,
    body: Body,
}

impl Source for Begun {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Chunk::Data(std::mem::take(&mut self.first)))));
        }
        match self.next.take() {
            Some(next) => Poll::Ready(next),
            None => self.body.poll_chunk(cx),
        }
    }

    fn size(&self) -> Size {
        match self.body.size() {
            Size::Exact(left) => Size::Exact(left + self.first.len() as u64),
            Size::Unknown => Size::Unknown,
        }
    }
}
