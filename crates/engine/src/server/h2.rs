//! An HTTP/2 caller's connection: each stream is a task on this core, all share the connection's budget for glitches.

use super::answer::{self, Incoming};
use super::caller::Caller;
use super::h2_intake::{self, Recv};
use super::recording::Recording;
use crate::clock;
use crate::connections::Slot;
use crate::core::Core;
use crate::error::Error;
use crate::exchange::{Interim, Response, Trace};
use crate::http::h1::parse::HeadError;
use crate::http::h2::convert;
use crate::http::h2::glitches::{Budget, Counted};
use crate::http::{Body, Chunk, RequestHead, ResponseHead, Size, Version};
use crate::net::alarm::Alarm;
use crate::net::io::Io;
use crate::panics;
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use unlag_record::Phase;

/// A body up to this size goes out as one piece as soon as it is whole.
const WHOLE_BYTES: usize = 16 * 1024;

type Conn = Connection<Counted<Io>, Bytes>;

/// What the streams of a connection share.
struct Session {
    core: Rc<Core>,
    caller: Rc<Caller>,
    budget: Rc<Budget>,
    streams: Cell<usize>,
    ended: Cell<bool>,
}

impl Session {
    fn count(&self, change: isize) {
        self.streams.set(self.streams.get().saturating_add_signed(change));
        let all = &self.core.shared.load(self.core.index).streams;
        all.store(all.load(Relaxed).saturating_add_signed(change), Relaxed);
    }
}

/// Serves a connection to its end.
pub async fn drive(core: Rc<Core>, io: Io, input: BytesMut, caller: Rc<Caller>, slot: Rc<Slot>) {
    let limits = core.limits();
    let budget = Rc::new(Budget::new(limits.h2_glitches));
    let io = Counted::new(input, io, &budget);
    let handshake = Builder::new()
        .max_concurrent_streams(limits.h2_streams)
        .initial_window_size(limits.h2_stream_window)
        .initial_connection_window_size(limits.h2_connection_window)
        .max_header_list_size(limits.head.head as u32)
        .max_send_buffer_size(limits.h2_connection_window as usize)
        .handshake::<_, Bytes>(io);
    let patience = limits.tls_handshake_timeout;
    let Ok(Ok(mut conn)) = tokio::time::timeout(patience, handshake).await else { return };
    let session = Rc::new(Session { core, caller, budget, streams: Cell::new(0), ended: Cell::new(false) });
    let mut alarm = Alarm::default();
    let mut leaving = false;
    loop {
        let next =
            std::future::poll_fn(|cx| poll_next(cx, &mut conn, &session, &slot, &mut alarm, &mut leaving))
                .await;
        let Some((request, respond)) = next else { return };
        session.count(1);
        slot.busy();
        let session = Rc::clone(&session);
        tokio::task::spawn_local(async move {
            panics::survive(&session.core, "stream", std::pin::pin!(serve(&session, request, respond))).await;
            session.count(-1);
        });
    }
}

type Stream = (http::Request<RecvStream>, SendResponse<Bytes>);

/// The next stream; none when the connection is over.
fn poll_next(
    cx: &mut Context<'_>,
    conn: &mut Conn,
    session: &Session,
    slot: &Slot,
    alarm: &mut Alarm,
    leaving: &mut bool,
) -> Poll<Option<Stream>> {
    let limits = session.core.limits();
    if !*leaving && slot.should_close(cx) {
        *leaving = true;
        alarm.clear();
        conn.graceful_shutdown();
    }
    let polled = conn.poll_accept(cx);
    let now = clock::now();
    let spent = session.budget.is_spent(now).then_some(Reason::ENHANCE_YOUR_CALM);
    if let Some(reason) = session.budget.offence().or(spent)
        && !session.ended.replace(true)
    {
        if spent.is_some() {
            session.core.shared.floods.fetch_add(1, Relaxed);
        }
        conn.abrupt_shutdown(reason);
        *leaving = true;
        alarm.set(now + LEAVE_NS);
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    if let Poll::Ready(next) = polled {
        return Poll::Ready(next.and_then(Result::ok));
    }
    if session.ended.get() {
        return alarm.poll(cx).map(|()| None);
    }
    if session.streams.get() > 0 {
        alarm.clear();
        return Poll::Pending;
    }
    if alarm.due() == crate::net::alarm::NEVER {
        slot.idle_from(now);
        alarm.set(now + if *leaving { LEAVE_NS } else { limits.idle_timeout_ns });
    }
    ready!(alarm.poll(cx));
    if std::mem::replace(leaving, true) {
        return Poll::Ready(None);
    }
    conn.graceful_shutdown();
    alarm.set(now + LEAVE_NS);
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// How long a connection that was asked to go may stay without streams.
const LEAVE_NS: u64 = 1_000_000_000;

/// Has one stream answered.
async fn serve(session: &Session, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    let started = clock::now();
    let (parts, recv) = request.into_parts();
    let head =
        convert::request_in(&parts, session.core.head_limits().fields).and_then(|head| check(head, session));
    let out = Rc::new(Out { respond: RefCell::new(respond) });
    let (head, refused) = match head {
        Ok(head) => (head, None),
        Err(error) => (unread(&parts), Some(error)),
    };
    let recording =
        Recording::new(&session.core, Trace::new(started, &head, session.caller.peer), Version::Http2);
    recording.trace.enter(Phase::Overhead);
    let recv: Recv = Rc::new(RefCell::new(recv));
    let received = match refused {
        Some(error) => Err(error),
        None => h2_intake::receive(&recv, &parts, &session.core.limits()).await,
    };
    let response = match received {
        Err(Error::CallerGone) => return recording.failed(Error::CallerGone),
        Err(error) if is_malformed(error) => {
            // RFC 9113 §8.1.1: a malformed request is a stream error.
            answer::refuse_unread(&session.core, &recording, error);
            recording.status.set(error.status());
            return out.respond.borrow_mut().send_reset(Reason::PROTOCOL_ERROR);
        }
        Err(error) => answer::refuse_unread(&session.core, &recording, error),
        Ok(body) => {
            let incoming = Incoming { head, body, interim: Some(out.clone()) };
            match answer::admit(&session.core, &session.caller, &recording, incoming) {
                Err(error) => answer::refuse_unread(&session.core, &recording, error),
                Ok(prepared) => {
                    let answering = answer::answer(&session.core, &session.caller, &recording, prepared);
                    match attend(std::pin::pin!(answering), &out).await {
                        Some(response) => response,
                        None => return recording.failed(Error::CallerGone),
                    }
                }
            }
        }
    };
    if respond_with(session, &recording, response, &out).await {
        session.budget.earn();
        h2_intake::linger(&recv).await;
    }
}

/// Bounds that the `h2` crate does not know, and the name of the connection's certificate.
fn check(head: RequestHead, session: &Session) -> Result<RequestHead, Error> {
    let uri = head.path().len() + head.query().map_or(0, |query| query.len() + 1);
    if uri > session.core.head_limits().uri {
        return Err(HeadError::UriTooLong.into());
    }
    super::h1::check_server_name(&head, &session.caller)?;
    Ok(head)
}

fn is_malformed(error: Error) -> bool {
    matches!(
        error,
        Error::Head(HeadError::Syntax | HeadError::HostMismatch | HeadError::Host) | Error::LengthMismatch
    )
}

/// A head to record a request by that could not be read.
fn unread(parts: &http::request::Parts) -> RequestHead {
    let mut fields = crate::http::Fields::default();
    let path = fields.store(parts.uri.path().as_bytes());
    let authority = Default::default();
    RequestHead {
        method: parts.method.clone(),
        path,
        query: None,
        authority,
        version: Version::Http2,
        fields,
    }
}

/// Waits for the answer and notices when the caller resets the stream.
async fn attend(
    mut answering: std::pin::Pin<&mut impl Future<Output = Response>>,
    out: &Out,
) -> Option<Response> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = answering.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        out.respond.borrow_mut().poll_reset(cx).map(|_| None)
    })
    .await
}

/// Sends an answer; `false` when it was cut.
async fn respond_with(session: &Session, recording: &Recording, mut response: Response, out: &Out) -> bool {
    recording.trace.enter(Phase::Transfer);
    recording.status.set(response.head.status);
    let bodiless = response.head.is_bodiless(&recording.trace.method);
    let mut body = std::mem::take(&mut response.body);
    let length = match body.size() {
        Size::Exact(length) if !bodiless => Some(length),
        _ => None,
    };
    let ends = bodiless || matches!(body, Body::Empty);
    let length = length.filter(|_| !matches!(body, Body::Empty));
    let head = convert::response_out(&response.head, length);
    let Ok(mut stream) = out.respond.borrow_mut().send_response(head, ends) else {
        recording.failed(Error::CallerGone);
        return false;
    };
    let result = match (ends, body) {
        (true, _) => Ok(()),
        (false, Body::Bytes(bytes)) if bytes.len() <= WHOLE_BYTES => {
            recording.trace.bytes_out.set(bytes.len() as u64);
            stream.send_data(bytes, true).map_err(|_| Error::CallerGone)
        }
        (false, rest) => {
            body = rest;
            let patience_ns = session.core.limits().write_timeout_ns;
            let mut pump =
                Pump { stream: &mut stream, body: &mut body, chunk: Bytes::new(), alarm: Alarm::default() };
            std::future::poll_fn(|cx| pump.poll(cx, recording, patience_ns)).await
        }
    };
    match result {
        Ok(()) => recording.complete(),
        Err(error) => {
            recording.failed(error);
            stream.send_reset(if error == Error::CallerGone {
                Reason::CANCEL
            } else {
                Reason::INTERNAL_ERROR
            });
        }
    }
    result.is_ok()
}

/// Moves a body into a stream as its window opens.
struct Pump<'a> {
    stream: &'a mut SendStream<Bytes>,
    body: &'a mut Body,
    chunk: Bytes,
    alarm: Alarm,
}

impl Pump<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        recording: &Recording,
        patience_ns: u64,
    ) -> Poll<Result<(), Error>> {
        loop {
            if self.chunk.is_empty() {
                self.alarm.clear();
                let next = match self.body.poll_chunk(cx) {
                    Poll::Ready(next) => next,
                    Poll::Pending => return self.stream.poll_reset(cx).map(|_| Err(Error::CallerGone)),
                };
                match next.transpose()? {
                    Some(Chunk::Data(data)) => self.chunk = data,
                    Some(Chunk::Trailers(trailers)) => {
                        let sent = self.stream.send_trailers(convert::fields_out(&trailers));
                        return Poll::Ready(sent.map_err(|_| Error::CallerGone));
                    }
                    None => {
                        let sent = self.stream.send_data(Bytes::new(), true);
                        return Poll::Ready(sent.map_err(|_| Error::CallerGone));
                    }
                }
            }
            self.stream.reserve_capacity(self.chunk.len());
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(room))) => {
                    let piece = self.chunk.split_to(room.min(self.chunk.len()));
                    let sent = recording.trace.bytes_out.get() + piece.len() as u64;
                    recording.trace.bytes_out.set(sent);
                    if !piece.is_empty() && self.stream.send_data(piece, false).is_err() {
                        return Poll::Ready(Err(Error::CallerGone));
                    }
                    self.alarm.clear();
                }
                Poll::Ready(_) => return Poll::Ready(Err(Error::CallerGone)),
                Poll::Pending => {
                    if self.alarm.due() == crate::net::alarm::NEVER {
                        self.alarm.set(clock::now() + patience_ns);
                    }
                    if self.stream.poll_reset(cx).is_ready() {
                        return Poll::Ready(Err(Error::CallerGone));
                    }
                    return self.alarm.poll(cx).map(|()| Err(Error::CallerStalled));
                }
            }
        }
    }
}

/// Where interim answers and the final one go.
struct Out {
    respond: RefCell<SendResponse<Bytes>>,
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Out")
    }
}

impl Interim for Out {
    fn send(&self, head: ResponseHead) {
        let _ = self.respond.borrow_mut().send_informational(convert::response_out(&head, None));
    }
}
