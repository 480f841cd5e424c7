//! Calls over HTTP/2: many streams share a connection, which is one task of this core.

use super::Lost;
use super::h1_body::BodyLimits;
use super::h2_shared::{InStream, Shared};
use super::leaving::{Hearing, Leaving};
use crate::clock;
use crate::core::Core;
use crate::error::Error;
use crate::exchange::{Exchange, Response};
use crate::fleet::Endpoint;
use crate::http::body::Source;
use crate::http::h2::convert;
use crate::http::{Body, Chunk, Scheme, Size};
use crate::net::alarm::{Alarm, NEVER};
use crate::plan::Upstream;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use unlag_record::Phase;

/// Sends the exchange as a stream and waits for the head of its answer.
pub async fn call(
    core: &Rc<Core>,
    upstream: &Upstream,
    shared: Rc<Shared>,
    exchange: &mut Exchange,
) -> Result<Box<Response>, Lost> {
    let Some(endpoint) = exchange.chosen.as_ref().map(|chosen| Arc::clone(chosen.endpoint())) else {
        return Err(Lost { error: Error::NoEndpoint, intact: false });
    };
    if exchange.upgrade.is_some() {
        return Err(Lost { error: Error::Upgrade, intact: true });
    }
    let (send, in_stream) = shared.begin(core, exchange.trace.enter(Phase::PoolWait));
    let mut send = match send.ready().await {
        Ok(send) => send,
        // Nothing was sent: whatever closed the connection did not touch this request.
        Err(_) => {
            shared.close();
            return Err(Lost { error: Error::RefusedStream, intact: true });
        }
    };
    exchange.trace.enter(Phase::Send);
    let scheme =
        if endpoint.url.scheme == unlag_config::Scheme::Https { Scheme::Https } else { Scheme::Http };
    let host = upstream.host_for(&endpoint, exchange.head.authority());
    let replica = exchange.body.replica();
    let intact = replica.is_some();
    let body = std::mem::replace(&mut exchange.body, replica.unwrap_or_default());
    let ends = matches!(body, Body::Empty);
    let length = match body.size() {
        Size::Exact(length) if !ends => Some(length),
        _ => None,
    };
    let lost = |error: Error, intact: bool| Lost { error, intact };
    let request =
        convert::request_out(&exchange.head, scheme, host, length).map_err(|error| lost(error, false))?;
    let (answer, stream) =
        send.send_request(request, ends).map_err(|error| lost(early_error(&error), intact))?;
    let mut leaving = Leaving::default();
    let mut call = Call {
        core,
        exchange,
        stream: leaving.hearing.insert(Waiting { answer, in_stream, endpoint }),
        upload: Upload { stream, body, chunk: Bytes::new(), over: ends, sent: 0 },
        alarm: Alarm::by(&exchange.trace.timer),
        waiting: &mut leaving.is_sent,
        interims: 0,
    };
    let mut patience = Patience { shared: &shared, deadline_ns: exchange.deadline_ns };
    let response = std::future::poll_fn(|cx| call.poll(cx)).await;
    let (upload, waiting) = (call.upload, leaving.end());
    let timed_out = matches!(response, Err(Error::AnswerTimeout));
    patience.deadline_ns = if timed_out { 0 } else { NEVER };
    let response = response.map_err(|error| lost(error, intact))?;
    shared.answered();
    let upload = (!upload.over).then_some(upload);
    let in_stream = waiting.ok_or(lost(Error::ClosedEarly, false))?.in_stream;
    finish(core, exchange, response, upload, in_stream).map_err(|error| lost(error, false))
}

/// A stream whose answer is still to come.
struct Waiting {
    answer: ResponseFuture,
    in_stream: InStream,
    endpoint: Arc<Endpoint>,
}

impl Hearing for Waiting {
    fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| answer.is_ok())
    }
}

/// Doubts the connection when a call ends, or is given up from outside, after its time.
struct Patience<'a> {
    shared: &'a Shared,
    deadline_ns: u64,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if clock::now() >= self.deadline_ns {
            self.shared.doubt();
        }
    }
}

/// Hands the answer over, with a body that goes on reading.
fn finish(
    core: &Core,
    exchange: &mut Exchange,
    response: http::Response<RecvStream>,
    upload: Option<Upload>,
    in_stream: InStream,
) -> Result<Box<Response>, Error> {
    exchange.trace.enter(Phase::Overhead);
    let (parts, recv) = response.into_parts();
    let mut head = convert::response_in(&parts, core.limits().head.fields)?;
    head.strip(&exchange.head.method);
    let body = match recv.is_end_stream() {
        true => Body::Empty,
        false => {
            let limits = BodyLimits {
                idle_timeout_ns: exchange.route.idle_timeout_ns,
                deadline_ns: exchange.deadline_ns,
            };
            let write_timeout_ns = core.limits().write_timeout_ns;
            let trace = Rc::clone(&exchange.trace);
            let declared = parts.headers.get(http::header::CONTENT_LENGTH);
            let declared =
                declared.and_then(|value| crate::http::h1::framing::parse_length(value.as_bytes()));
            Body::Stream(Box::new(StreamBody {
                recv,
                upload,
                declared,
                owed: 0,
                data_ended: false,
                alarm: Alarm::by(&trace.timer),
                limits,
                write_timeout_ns,
                trace,
                _in_stream: in_stream,
            }))
        }
    };
    let mut response = Response::new(head, body);
    response.in_flight = exchange.chosen.take();
    Ok(response)
}

/// A call until the head of its answer.
struct Call<'a> {
    core: &'a Core,
    exchange: &'a Exchange,
    stream: &'a mut Waiting,
    upload: Upload,
    alarm: Alarm,
    waiting: &'a mut bool,
    interims: usize,
}

impl Call<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::Response<RecvStream>, Error>> {
        self.exchange.lend();
        if !self.upload.over {
            let before = self.upload.sent;
            let sent = self.upload.poll(cx);
            self.exchange.trace.received(self.upload.sent);
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error));
            }
            // Only a window that stays closed is the upstream's doing; while the caller is slow, the caller's own limits apply.
            if self.upload.sent != before || !self.upload.is_blocked() {
                self.alarm.clear();
            }
            if self.upload.is_blocked() && self.alarm.due() == NEVER {
                self.alarm.set(clock::now() + self.core.limits().write_timeout_ns);
            }
        }
        if self.upload.over && !*self.waiting {
            *self.waiting = true;
            let now = self.exchange.trace.enter(Phase::Wait);
            self.alarm.set(now + self.exchange.route.head_timeout_ns);
        }
        while let Poll::Ready(Some(Ok(interim))) = self.stream.answer.poll_informational(cx) {
            self.interims += 1;
            if self.interims > self.core.limits().interim_responses {
                return Poll::Ready(Err(Error::TooManyInterim));
            }
            let parts = interim.into_parts().0;
            let mut interim = match convert::response_in(&parts, self.core.limits().head.fields) {
                Ok(interim) => interim,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if let Some(caller) = &self.exchange.interim
                && interim.status != 100
            {
                interim.strip(&self.exchange.head.method);
                caller.send(interim);
            }
        }
        if let Poll::Ready(answer) = Pin::new(&mut self.stream.answer).poll(cx) {
            return Poll::Ready(answer.map_err(|error| early_error(&error)));
        }
        let error = if *self.waiting { Error::AnswerTimeout } else { Error::UpstreamStalled };
        self.alarm.poll(cx).map(|()| Err(error))
    }
}

/// The request's content on its way into the stream.
struct Upload {
    stream: SendStream<Bytes>,
    body: Body,
    chunk: Bytes,
    over: bool,
    sent: u64,
}

impl Upload {
    /// Whether there is content that the upstream's window has no room for.
    fn is_blocked(&self) -> bool {
        !self.over && !self.chunk.is_empty()
    }

    /// Ready when all is sent or the upstream wants no more; an error is the caller's.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.over {
            if self.chunk.is_empty() {
                match ready!(self.body.poll_chunk(cx)) {
                    Some(Ok(Chunk::Data(data))) => self.chunk = data,
                    Some(Ok(Chunk::Trailers(trailers))) => {
                        self.over = true;
                        let _ = self.stream.send_trailers(convert::fields_out(&trailers));
                        break;
                    }
                    Some(Err(error)) => {
                        self.stream.send_reset(Reason::CANCEL);
                        return Poll::Ready(Err(error));
                    }
                    None => {
                        self.over = true;
                        let _ = self.stream.send_data(Bytes::new(), true);
                        break;
                    }
                }
            }
            self.stream.reserve_capacity(self.chunk.len());
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(room)) => {
                    let piece = self.chunk.split_to(room.min(self.chunk.len()));
                    self.sent += piece.len() as u64;
                    if !piece.is_empty() && self.stream.send_data(piece, false).is_err() {
                        self.over = true;
                    }
                }
                // The upstream has heard enough; what it answers is another matter.
                _ => self.over = true,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The content of an answer.
struct StreamBody {
    recv: RecvStream,
    upload: Option<Upload>,
    declared: Option<u64>,
    owed: usize,
    data_ended: bool,
    alarm: Alarm,
    limits: BodyLimits,
    write_timeout_ns: u64,
    trace: Rc<crate::exchange::Trace>,
    _in_stream: InStream,
}

impl StreamBody {
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.owed > 0 {
            let _ = self.recv.flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
        while !self.data_ended {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.owed = data.len();
                    self.declared = self.declared.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Chunk::Data(data))));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Error::Truncated))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.recv.poll_trailers(cx)) {
            Ok(Some(trailers)) => {
                let mut fields = convert::fields_in(&trailers);
                fields.retain(|field| field.may_trail());
                Poll::Ready(Some(Ok(Chunk::Trailers(fields))))
            }
            Ok(None) => Poll::Ready(None),
            Err(_) => Poll::Ready(Some(Err(Error::Truncated))),
        }
    }
}

impl Source for StreamBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if let Some(upload) = &mut self.upload {
            let before = (upload.sent, upload.is_blocked());
            let sent = upload.poll(cx);
            self.trace.received(upload.sent);
            // It moved, or it is somebody else's turn: what is waited for now is waited for from now on.
            if sent.is_ready() || before != (upload.sent, upload.is_blocked()) {
                self.alarm.clear();
            }
            match sent {
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(())) => self.upload = None,
                Poll::Pending => {}
            }
        }
        let polled = self.poll_inner(cx);
        if polled.is_ready() {
            self.alarm.clear();
            return polled;
        }
        if self.alarm.due() == NEVER {
            let now = clock::now();
            let due = self.limits.due(now);
            self.alarm.set(match &self.upload {
                None => due,
                Some(upload) if upload.is_blocked() => due.min(now + self.write_timeout_ns),
                // While the caller is still sending, it is not the upstream's turn; the deadline holds all the same.
                Some(_) => self.limits.deadline_ns,
            });
        }
        ready!(self.alarm.poll(cx));
        Poll::Ready(Some(Err(self.limits.error(clock::now()))))
    }

    fn size(&self) -> Size {
        self.declared.map_or(Size::Unknown, Size::Exact)
    }

    fn may_trail(&self) -> bool {
        !self.recv.is_end_stream()
    }
}

/// What a stream's failure before its answer means.
fn early_error(error: &h2::Error) -> Error {
    let untouched = error.reason() == Some(Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR));
    if untouched {
        Error::RefusedStream
    } else if error.is_reset() {
        Error::StreamReset
    } else {
        Error::ClosedEarly
    }
}
