//! The content of a request over HTTP/2, as the pipeline asks for it.

use super::pace::Paced;
use crate::clock;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::h2::convert;
use crate::http::{Body, Chunk, Size};
use crate::limits::Bounds;
use crate::net::alarm::Alarm;
use bytes::Bytes;
use h2::{Reason, RecvStream};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// The receiving half of a stream, shared by the connection's side, which keeps it to the end, and the body.
pub type Recv = Rc<RefCell<RecvStream>>;

/// How long a caller may go on sending after its answer: some stop by themselves when they see it, and take a reset for a
/// failure.
const LINGER_NS: u64 = 1_000_000_000;

/// Lets a caller that is still sending find out that it has been answered. Its window stays as it is, so little comes.
pub async fn linger(recv: &Recv) {
    if recv.borrow().is_end_stream() {
        return;
    }
    let mut alarm = Alarm::default();
    alarm.set(clock::now() + LINGER_NS);
    std::future::poll_fn(|cx| {
        while let Poll::Ready(next) = recv.borrow_mut().poll_data(cx) {
            if !matches!(next, Some(Ok(_))) {
                return Poll::Ready(());
            }
        }
        alarm.poll(cx)
    })
    .await;
}

/// The content of a stream; what is taken opens its window again.
struct CallerBody {
    recv: Recv,
    /// What is left of the declared length.
    declared: Option<u64>,
    /// The last byte of the declared length: it makes the request whole at the upstream, so it waits until the caller has said
    /// that nothing follows.
    last: Bytes,
    owed: usize,
    data_ended: bool,
}

impl CallerBody {
    fn new(recv: &Recv, parts: &http::request::Parts) -> CallerBody {
        let declared = declared(parts);
        CallerBody { recv: Rc::clone(recv), declared, last: Bytes::new(), owed: 0, data_ended: false }
    }

    /// What may be passed on of `data`.
    fn hold_back(&mut self, mut data: Bytes) -> Bytes {
        self.declared = self.declared.map(|left| left.saturating_sub(data.len() as u64));
        if self.declared == Some(0) && !self.recv.borrow().is_end_stream() {
            self.last = data.split_off(data.len() - 1);
        }
        data
    }
}

fn declared(parts: &http::request::Parts) -> Option<u64> {
    let declared = parts.headers.get(http::header::CONTENT_LENGTH)?;
    crate::http::h1::framing::parse_length(declared.as_bytes())
}

/// The content of a stream. One that was declared to be empty, but did not end with its head, is waited for here: the request
/// would be whole at the upstream before the caller has said that nothing follows.
pub async fn receive(recv: &Recv, parts: &http::request::Parts, bounds: &Bounds) -> Result<Body, Error> {
    if recv.borrow().is_end_stream() {
        return Ok(Body::Empty);
    }
    let body = Body::Stream(Box::new(CallerBody::new(recv, parts)));
    if declared(parts) != Some(0) {
        return Ok(body);
    }
    Paced::watch(body, bounds, None, false).chunk().await.transpose().map(|_| Body::Empty)
}

impl Source for CallerBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.owed > 0 {
            let _ = self.recv.borrow_mut().flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
        while !self.data_ended {
            let next = ready!(self.recv.borrow_mut().poll_data(cx));
            match next {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.owed = data.len();
                    let data = self.hold_back(data);
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Chunk::Data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(stream_error(&error)))),
                None => self.data_ended = true,
            }
        }
        if !self.last.is_empty() {
            return Poll::Ready(Some(Ok(Chunk::Data(std::mem::take(&mut self.last)))));
        }
        match ready!(self.recv.borrow_mut().poll_trailers(cx)) {
            Ok(Some(trailers)) => {
                let mut fields = convert::fields_in(&trailers);
                fields.retain(|field| field.may_trail());
                Poll::Ready(Some(Ok(Chunk::Trailers(fields))))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(stream_error(&error)))),
        }
    }

    fn size(&self) -> Size {
        self.declared.map_or(Size::Unknown, Size::Exact)
    }
}

fn stream_error(error: &h2::Error) -> Error {
    match error.reason() {
        Some(Reason::PROTOCOL_ERROR) => Error::LengthMismatch,
        _ => Error::CallerGone,
    }
}
