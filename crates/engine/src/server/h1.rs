//! An HTTP/1.1 caller's connection: one request after the other, each answered before the next is looked at.

use super::answer::{self, Incoming};
use super::caller::Caller;
use super::h1_intake::{CallerBody, Intake};
use super::recording::Recording;
use super::{h2, tunnel};
use crate::clock;
use crate::connections::Slot;
use crate::core::Core;
use crate::error::{Error, Fault};
use crate::exchange::{Interim, Response, Trace};
use crate::http::h1::encode::{self, Connection};
use crate::http::h1::parse::{self, ParsedRequest};
use crate::http::h1::{Framing, framing};
use crate::http::{Body, Name, RequestHead, ResponseHead, Size, Version};
use crate::limits::{DRAIN_BYTES, READ_AHEAD_BYTES};
use crate::net::alarm::Alarm;
use crate::net::io::Io;
use crate::net::sender::Sender;
use crate::net::turn;
use crate::net::wire::{Wire, take};
use bytes::{Buf, Bytes, BytesMut};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use unlag_record::Phase;

/// What an HTTP/2 caller with prior knowledge begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that go out before the answer: interim heads.
#[derive(Debug)]
pub struct Out {
    pending: RefCell<Vec<u8>>,
    /// HTTP/1.0 has no interim answers.
    version: std::cell::Cell<Version>,
}

impl Interim for Out {
    fn send(&self, head: ResponseHead) {
        if self.version.get() == Version::Http11 {
            encode::response(&mut self.pending.borrow_mut(), &head, None, Connection::Default);
        }
    }
}

/// What came next on an idle connection.
enum Next {
    Request(ParsedRequest, u64),
    Http2,
    /// Not a request, since when something arrived.
    Refused(Error, u64),
    Gone,
}

/// What happens to the connection after an answer.
enum After {
    Keep,
    Close,
    /// The answer was cut: a reset says so, an orderly close could be taken for its end.
    Abort,
    Tunnel(Box<crate::exchange::Tunnel>, Recording),
}

/// How an answer is written.
#[derive(Clone, Copy)]
struct Manner {
    version: Version,
    close: bool,
    trailers: bool,
}

struct Driver {
    core: Rc<Core>,
    caller: Rc<Caller>,
    wire: Rc<Wire>,
    out: Rc<Out>,
    slot: Rc<Slot>,
    alarm: Alarm,
    first: bool,
    /// The caller said that this is its last request: when its side ends, it may still be listening.
    last_request: bool,
}

/// Serves a connection to its end.
pub async fn drive(core: Rc<Core>, io: Io, caller: Rc<Caller>, slot: Rc<Slot>) {
    let wire = Rc::new(Wire::new(io, BytesMut::new()));
    let out = Rc::new(Out { pending: RefCell::default(), version: std::cell::Cell::new(Version::Http11) });
    let mut driver =
        Driver { core, caller, wire, out, slot, alarm: Alarm::default(), first: true, last_request: false };
    let _reset = ResetOnPanic(Rc::downgrade(&driver.wire));
    loop {
        match driver.next().await {
            Next::Request(parsed, started) => match driver.serve(parsed, started).await {
                After::Keep => {}
                After::Close => return Box::pin(driver.close()).await,
                After::Abort => return driver.wire.reset_on_close(),
                After::Tunnel(tunnel, recording) => return driver.become_tunnel(*tunnel, recording).await,
            },
            Next::Http2 => return driver.become_http2().await,
            Next::Refused(error, started) => return Box::pin(driver.refuse(error, started)).await,
            Next::Gone => return,
        }
        driver.first = false;
    }
}

/// After a panic nobody may take the end of the connection for the end of an answer.
struct ResetOnPanic(std::rc::Weak<Wire>);

impl Drop for ResetOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(wire) = self.0.upgrade()
        {
            wire.reset_on_close();
        }
    }
}

impl Driver {
    /// Waits for the next head.
    async fn next(&mut self) -> Next {
        let limits = self.core.limits();
        let mut seen = 0;
        let mut started = None;
        let mut leaving = false;
        self.slot.idle_from(clock::now());
        if self.wire.input().is_empty() {
            self.wire.release();
            self.alarm.set(clock::now() + limits.idle_timeout_ns);
        } else {
            self.alarm.set(clock::now() + limits.header_timeout_ns);
        }
        let next = std::future::poll_fn(|cx| {
            loop {
                if let Some(next) = self.look(&mut seen, &mut started) {
                    return Poll::Ready(next);
                }
                match self.wire.poll_fill(cx) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        if started.is_none() {
                            let now = clock::now();
                            started = Some(now);
                            self.slot.busy();
                            self.alarm.set(now + limits.header_timeout_ns);
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(Next::Gone),
                    // Asked to go, it goes once nothing has arrived.
                    Poll::Pending if started.is_none() && !leaving && self.slot.should_close(cx) => {
                        if !self.first || self.slot.is_evicted() {
                            return Poll::Ready(Next::Gone);
                        }
                        // Whoever has just connected is about to ask.
                        leaving = true;
                        self.alarm.set(clock::now() + FIRST_REQUEST_NS);
                        ready!(self.alarm.poll(cx));
                        return Poll::Ready(Next::Gone);
                    }
                    Poll::Pending => {
                        ready!(self.alarm.poll(cx));
                        return Poll::Ready(match started {
                            Some(started) => Next::Refused(Error::HeadTimeout, started),
                            None => Next::Gone,
                        });
                    }
                }
            }
        })
        .await;
        self.slot.busy();
        self.alarm.clear();
        next
    }

    /// Looks at what has arrived.
    fn look(&self, seen: &mut usize, started: &mut Option<u64>) -> Option<Next> {
        let mut input = self.wire.input();
        if input.is_empty() {
            return None;
        }
        let started = *started.get_or_insert_with(clock::now);
        if self.first && input.starts_with(b"PRI ") {
            let len = input.len().min(PREFACE.len());
            if input.get(..len) == PREFACE.get(..len) {
                return (len == PREFACE.len()).then_some(Next::Http2);
            }
        }
        match parse::request(&input, seen, &self.core.head_limits()) {
            Ok(None) => None,
            Ok(Some(parsed)) => {
                input.advance(parsed.len);
                Some(Next::Request(parsed, started))
            }
            Err(error) => Some(Next::Refused(error.into(), started)),
        }
    }

    /// Has one request answered and writes the answer.
    async fn serve(&mut self, parsed: ParsedRequest, started: u64) -> After {
        let head = parsed.head;
        let version = head.version;
        self.out.version.set(version);
        let trace = Trace::new(started, &head, self.caller.peer);
        let recording = Recording::new(&self.core, trace, version);
        recording.trace.enter(Phase::Overhead);
        let framed = check_server_name(&head, &self.caller)
            .and_then(|()| framing::of_request(&head.fields, version).map_err(Error::from));
        let framing = match framed {
            Ok(framing) => framing,
            Err(error) => return Box::pin(self.refuse_recorded(recording, error)).await,
        };
        let expects = head.fields.has(Name::Expect) && version == Version::Http11;
        let (body, intake) = self.body(framing, expects);
        self.wire.release();
        let at_hand = intake.is_none();
        let incoming = Incoming { head, body, interim: Some(self.out.clone()) };
        let prepared = match answer::admit(&self.core, &self.caller, &recording, incoming) {
            Ok(prepared) => prepared,
            Err(error) => {
                let reusable = at_hand && matches!(error, Error::NoRoute | Error::Method | Error::Loop);
                return Box::pin(self.refuse_prepared(recording, error, version, reusable)).await;
            }
        };
        let asked_close =
            prepared.wishes.close || (version == Version::Http10 && !prepared.wishes.keep_alive);
        let asked_upgrade = prepared.wishes.upgrade.is_some();
        let trailers = prepared.wishes.trailers;
        self.last_request = asked_close && at_hand;
        let response = {
            let core = Rc::clone(&self.core);
            let caller = Rc::clone(&self.caller);
            let answering = answer::answer(&core, &caller, &recording, prepared);
            match self.attend(std::pin::pin!(answering)).await {
                Some(response) => response,
                None => {
                    // It may have ended its side only; an orderly end is all the same to one that has gone.
                    recording.failed(Error::CallerGone);
                    return After::Close;
                }
            }
        };
        // After a refused upgrade nobody can tell which protocol the bytes that follow were meant in.
        let close = asked_close
            || asked_upgrade
            || intake.is_some_and(|intake| !intake.is_done())
            || self.core.shared.is_draining();
        self.respond(recording, response, Manner { version, close, trailers }).await
    }

    /// The content as the pipeline sees it: at once if it is here already, else with what is known of its arrival.
    fn body(&self, framing: Framing, expects_continue: bool) -> (Body, Option<Rc<Intake>>) {
        match framing {
            Framing::None | Framing::UntilClose => (Body::Empty, None),
            Framing::Length(0) => (Body::Bytes(Bytes::new()), None),
            Framing::Length(length) if length <= self.wire.input().len() as u64 => {
                (Body::Bytes(take(&mut self.wire.input(), length as usize)), None)
            }
            Framing::Length(_) | Framing::Chunked => {
                let intake = Intake::new(&self.wire, &self.out, framing, expects_continue);
                (Body::Stream(Box::new(CallerBody(Rc::clone(&intake)))), Some(intake))
            }
        }
    }

    /// Waits for the answer while it sends interim heads, reads ahead, and notices when the caller leaves.
    async fn attend(
        &mut self,
        mut answering: std::pin::Pin<&mut impl Future<Output = Response>>,
    ) -> Option<Response> {
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                    return Poll::Ready(Some(response));
                }
                if ready!(self.poll_meanwhile(cx)).is_err() {
                    return Poll::Ready(None);
                }
            }
        })
        .await
    }

    /// Ready when the pipeline should look again, or with an error when the caller has left.
    fn poll_meanwhile(&self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.flush_interim(cx)?;
        if self.wire.input().len() >= READ_AHEAD_BYTES {
            return Poll::Pending;
        }
        match ready!(self.wire.poll_fill(cx)) {
            Ok(n) if n > 0 => Poll::Ready(Ok(())),
            Ok(_) if self.last_request => Poll::Pending,
            _ => Poll::Ready(Err(())),
        }
    }

    fn flush_interim(&self, cx: &mut Context<'_>) -> Result<(), ()> {
        let mut pending = self.out.pending.borrow_mut();
        while !pending.is_empty() {
            match self.wire.poll_write(cx, &pending) {
                Poll::Ready(Ok(n)) if n > 0 => drop(pending.drain(..n)),
                Poll::Ready(_) => return Err(()),
                Poll::Pending => break,
            }
        }
        let _ = self.wire.poll_flush(cx);
        Ok(())
    }

    /// Writes an answer and says what becomes of the connection.
    async fn respond(&mut self, recording: Recording, mut response: Response, manner: Manner) -> After {
        turn::after_the_others().await;
        recording.trace.enter(Phase::Transfer);
        let head = &mut response.head;
        recording.status.set(head.status);
        let mut out = self.core.buffers.take();
        out.append(&mut self.out.pending.borrow_mut());
        if let Some(tunnel) = response.tunnel.take() {
            encode::response(&mut out, head, None, Connection::Upgrade(&tunnel.protocol));
            return match self.send(&recording, Sender::new(out, Body::Empty, Framing::None)).await {
                Sent::Whole => After::Tunnel(tunnel, recording),
                Sent::Cut | Sent::Nothing(_) => After::Abort,
            };
        }
        let framing = response_framing(&response, &recording.trace.method, manner.version);
        let close = manner.close || framing == Framing::UntilClose;
        let connection = match (close, manner.version) {
            (true, _) => Connection::Close,
            (false, Version::Http10) => Connection::KeepAlive,
            (false, _) => Connection::Default,
        };
        encode::response(&mut out, &response.head, Some(framing), connection);
        let body = std::mem::take(&mut response.body);
        let sender = Sender::new(out, body, framing).without_trailers(!manner.trailers);
        match self.send(&recording, sender).await {
            Sent::Whole if close => After::Close,
            Sent::Whole => After::Keep,
            Sent::Cut => After::Abort,
            // The answer failed before a byte of it was passed on: the caller may as well hear why.
            Sent::Nothing(error) => {
                let response = answer::refuse(&recording, error);
                recording.status.set(response.head.status);
                Box::pin(self.send_whole(&recording, response)).await
            }
        }
    }

    /// Sends an answer of our own instead of one that failed.
    async fn send_whole(&mut self, recording: &Recording, response: Response) -> After {
        let mut out = self.core.buffers.take();
        let framing = response_framing(&response, &recording.trace.method, Version::Http11);
        encode::response(&mut out, &response.head, Some(framing), Connection::Close);
        match self.send(recording, Sender::new(out, response.body, framing)).await {
            Sent::Whole => After::Close,
            Sent::Cut | Sent::Nothing(_) => After::Abort,
        }
    }

    /// Sends a message.
    async fn send(&mut self, recording: &Recording, mut sender: Sender) -> Sent {
        let patience_ns = self.core.limits().write_timeout_ns;
        let result = std::future::poll_fn(|cx| self.poll_send(cx, recording, &mut sender, patience_ns)).await;
        self.alarm.clear();
        let result = match result {
            Ok(()) if sender.is_broken() => Err(Error::CallerGone),
            other => other,
        };
        let begun = sender.has_begun();
        self.core.buffers.give(sender.into_buffer());
        match result {
            Ok(()) => {
                recording.complete();
                Sent::Whole
            }
            Err(error) if !begun && error.fault() == Fault::Upstream => Sent::Nothing(error),
            Err(error) => {
                recording.failed(error);
                Sent::Cut
            }
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        recording: &Recording,
        sender: &mut Sender,
        patience_ns: u64,
    ) -> Poll<Result<(), Error>> {
        crate::fault::point(&self.core.shared, "content");
        let polled = sender.poll(&self.wire, cx);
        recording.trace.bytes_out.set(sender.content_bytes());
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result);
        }
        // The caller may leave while the upstream is silent: nothing is being written then, so it is the input that tells.
        while self.wire.input().len() < READ_AHEAD_BYTES {
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(n)) if n > 0 => cx.waker().wake_by_ref(),
                Poll::Ready(Ok(_)) if self.last_request => break,
                Poll::Ready(_) => return Poll::Ready(Err(Error::CallerGone)),
                Poll::Pending => break,
            }
        }
        if sender.waits_for_source() {
            return Poll::Pending;
        }
        if sender.take_progress() {
            self.alarm.set(clock::now() + patience_ns);
        }
        self.alarm.poll(cx).map(|()| Err(Error::CallerStalled))
    }

    /// Answers a head that could not be read, and closes.
    async fn refuse(mut self, error: Error, started: u64) {
        let head = RequestHead {
            method: http::Method::GET,
            path: Default::default(),
            query: None,
            authority: Default::default(),
            version: Version::Http11,
            fields: Default::default(),
        };
        let recording =
            Recording::new(&self.core, Trace::new(started, &head, self.caller.peer), Version::Http11);
        self.refuse_recorded(recording, error).await;
        self.close().await;
    }

    async fn refuse_recorded(&mut self, recording: Recording, error: Error) -> After {
        let response = answer::refuse_unread(&self.core, &recording, error);
        let manner = Manner { version: Version::Http11, close: true, trailers: false };
        self.respond(recording, response, manner).await
    }

    async fn refuse_prepared(
        &mut self,
        recording: Recording,
        error: Error,
        version: Version,
        reusable: bool,
    ) -> After {
        let response = answer::refuse_unread(&self.core, &recording, error);
        let close = !reusable || version == Version::Http10;
        self.respond(recording, response, Manner { version, close, trailers: false }).await
    }

    /// Ends the connection so that the last answer reaches the caller: a close with unread input would reset it.
    async fn close(mut self) {
        self.alarm.set(clock::now() + LINGER_NS);
        let mut drained = 0;
        std::future::poll_fn(|cx| match self.wire.poll_shutdown(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.alarm.poll(cx),
        })
        .await;
        std::future::poll_fn(|cx| {
            loop {
                self.wire.input().clear();
                match self.wire.poll_fill(cx) {
                    Poll::Ready(Ok(n)) if n > 0 && drained < DRAIN_BYTES => drained += n as u64,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.alarm.poll(cx),
                }
            }
        })
        .await;
    }

    async fn become_http2(self) {
        let Driver { core, caller, wire, out, slot, .. } = self;
        drop(out);
        if let Ok(wire) = Rc::try_unwrap(wire) {
            let (io, input) = wire.into_parts();
            // Boxed, as all that is rare: an HTTP/1.1 connection carries no room for it.
            Box::pin(h2::drive(core, io, input, caller, slot)).await;
        }
    }

    async fn become_tunnel(self, upstream: crate::exchange::Tunnel, recording: Recording) {
        let Driver { core, wire, out, .. } = self;
        drop(out);
        if let Ok(wire) = Rc::try_unwrap(wire) {
            let idle_ns = core.limits().tunnel_idle_timeout_ns;
            let _in_flight = upstream.in_flight;
            let upstream = Wire::new(upstream.io, upstream.input);
            Box::pin(tunnel::relay(wire, upstream, idle_ns, &core, &recording)).await;
        }
    }
}

/// How sending ended.
enum Sent {
    Whole,
    /// The caller has part of it.
    Cut,
    /// The body failed before anything was sent.
    Nothing(Error),
}

/// How long a connection that is asked to go waits for its first request.
const FIRST_REQUEST_NS: u64 = 250_000_000;

/// How long a closed connection is still read from.
const LINGER_NS: u64 = 2_000_000_000;

/// How the answer is delimited for this caller.
fn response_framing(response: &Response, method: &http::Method, version: Version) -> Framing {
    if response.head.is_bodiless(method) {
        return Framing::None;
    }
    match (response.body.size(), version) {
        (Size::Exact(length), _) => Framing::Length(length),
        (Size::Unknown, Version::Http10) => Framing::UntilClose,
        (Size::Unknown, _) => Framing::Chunked,
    }
}

/// Under TLS, a request belongs to the name that the connection was opened for: anything else is sent to where its own
/// certificate is (RFC 9110 §7.4). Callers without SNI have made no statement.
pub fn check_server_name(head: &RequestHead, caller: &Caller) -> Result<(), Error> {
    let Some(name) = &caller.server_name else { return Ok(()) };
    let (host, _) = crate::http::target::split_port(head.authority());
    let same = host.is_empty() || host.eq_ignore_ascii_case(name.as_bytes());
    if same { Ok(()) } else { Err(Error::Misdirected) }
}
