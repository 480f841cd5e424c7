//! The content of a request over HTTP/2, as the pipeline asks for it.

use crate::clock;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::h2::convert;
use crate::http::{Chunk, Size};
use crate::net::alarm::Alarm;
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
pub struct CallerBody {
    recv: Recv,
    declared: Option<u64>,
    owed: usize,
    data_ended: bool,
}

impl CallerBody {
    /// The body of `recv`.
    pub fn new(recv: &Recv, parts: &http::request::Parts) -> CallerBody {
        let declared = parts.headers.get(http::header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| crate::http::h1::framing::parse_length(value.as_bytes()));
        CallerBody { recv: Rc::clone(recv), declared, owed: 0, data_ended: false }
    }
}

impl Source for CallerBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.owed > 0 {
            let _ = self.recv.borrow_mut().flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
        while !self.data_ended {
            match ready!(self.recv.borrow_mut().poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.owed = data.len();
                    self.declared = self.declared.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Chunk::Data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(stream_error(&error)))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.recv.borrow_mut().poll_trailers(cx)) {
            Ok(Some(trailers)) => {
                let mut fields = convert::fields_in(&trailers);
                fields.retain(|field| !field.known.is_forbidden_in_trailers());
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
