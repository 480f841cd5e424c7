//! One call over HTTP/1.1: sends the request, passes interim answers on, reads the head of the final one.

use super::Lost;
use super::h1_body::{BodyLimits, Decode, UpstreamBody};
use super::leaving::{Hearing, Leaving};
use super::peer::Peer;
use crate::clock;
use crate::core::Core;
use crate::error::Error;
use crate::exchange::{Exchange, Response, Tunnel};
use crate::fleet::{Endpoint, Open};
use crate::http::fields::members;
use crate::http::h1::{Framing, encode, framing, parse};
use crate::http::head::{ResponseHead, Version};
use crate::http::{Body, Name, Size};
use crate::net::alarm::Alarm;
use crate::net::io::Io;
use crate::net::sender::Sender;
use crate::net::wire::{Disturbance, Wire, take};
use crate::plan::Upstream;
use bytes::{Buf, BytesMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use unlag_record::Phase;

/// A connection to an endpoint. Idle, it owns no buffer.
pub struct Conn {
    pub(super) wire: Wire,
    pub(super) alarm: Alarm,
    open: Open,
    peer: Peer,
}

impl Conn {
    /// Wraps a stream that was just opened.
    pub fn new(io: Io, endpoint: &Arc<Endpoint>) -> Box<Conn> {
        let (open, peer) = (Open::to(endpoint), Peer::of(&io));
        Box::new(Conn { wire: Wire::new(io, BytesMut::new()), alarm: Alarm::default(), open, peer })
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.open.endpoint()
    }

    /// Why an idle connection is never used again, if something happened on it.
    pub fn disturbance(&self) -> Option<Disturbance> {
        self.wire.disturbance()
    }

    /// Whether its endpoint's name no longer leads where it does.
    pub fn is_left(&self, now: u64) -> bool {
        self.peer.is_left(self.endpoint(), now)
    }

    /// Lets go of what it needs for requests only, before it waits for one: memory, and the timer of the task that used it.
    pub fn rest(&mut self) {
        self.alarm = Alarm::default();
        self.wire.release();
    }
}

impl Hearing for Box<Conn> {
    fn endpoint(&self) -> &Arc<Endpoint> {
        Conn::endpoint(self)
    }

    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.wire.poll_fill(cx).map(|read| read.is_ok_and(|bytes| bytes > 0))
    }
}

/// How long content is held back for a `100 Continue` (RFC 9110 §10.1.1 asks not to wait for ever).
const CONTINUE_NS: u64 = 1_000_000_000;

/// The longest idle time that an upstream's word is taken for: something on the way may forget the connection sooner, and telling
/// that from a close costs a request.
const DECLARED_IDLE_S_MAX: u64 = 600;

/// What is known after the final head.
struct Answer {
    head: ResponseHead,
    framing: Framing,
    persistent: bool,
}

/// A call until its final head.
struct Call<'a> {
    core: &'a Core,
    conn: &'a mut Conn,
    exchange: &'a Exchange,
    upload: Sender,
    seen: usize,
    interims: usize,
    head_timeout_ns: u64,
    waiting: &'a mut bool,
}

/// Sends the exchange on `conn` and waits for the head of its answer.
pub async fn call(
    core: &Rc<Core>,
    upstream: &Upstream,
    mut conn: Box<Conn>,
    exchange: &mut Exchange,
) -> Result<Box<Response>, Lost> {
    let replica = exchange.body.replica();
    let intact = replica.is_some();
    let body = std::mem::replace(&mut exchange.body, replica.unwrap_or_default());
    exchange.trace.enter(Phase::Send);
    conn.alarm = Alarm::by(&exchange.trace.timer);
    let mut out = core.buffers.take();
    let framing = request_framing(exchange, &body);
    let host = upstream.host_for(conn.endpoint(), exchange.head.authority());
    encode::request(&mut out, &exchange.head, host, framing, exchange.upgrade.as_deref());
    let upload = Sender::new(out, body, framing).hold(exchange.expects_continue);
    let head_timeout_ns = exchange.route.head_timeout_ns;
    let mut leaving = Leaving::<Box<Conn>>::default();
    let mut call = Call {
        core,
        conn: leaving.hearing.insert(conn),
        exchange,
        upload,
        seen: 0,
        interims: 0,
        head_timeout_ns,
        waiting: &mut leaving.is_sent,
    };
    let answer = std::future::poll_fn(|cx| call.poll(cx)).await;
    let (upload, conn) = (call.upload, leaving.end());
    // An answer that cannot be trusted is never a reason to ask again.
    let answer = answer.map_err(|error| Lost { error, intact })?;
    exchange.trace.enter(Phase::Overhead);
    let lost = |error| Lost { error, intact: false };
    finish(core, conn.ok_or(lost(Error::ClosedEarly))?, exchange, upload, answer).map_err(lost)
}

fn request_framing(exchange: &Exchange, body: &Body) -> Framing {
    match (body, body.size()) {
        // A method that usually carries content says so even when it carries none (RFC 9110 §8.6).
        (Body::Empty, _)
            if exchange.head.method == http::Method::POST || exchange.head.method == http::Method::PUT =>
        {
            Framing::Length(0)
        }
        (Body::Empty, _) => Framing::None,
        (_, Size::Exact(length)) => Framing::Length(length),
        (_, Size::Unknown) => Framing::Chunked,
    }
}

impl Call<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        self.exchange.lend();
        if !self.upload.is_over() {
            let sent = self.upload.poll(&self.conn.wire, cx);
            self.exchange.trace.received(self.upload.content_bytes());
            match sent {
                Poll::Ready(result) => result?,
                Poll::Pending if self.upload.take_progress() => {
                    let patience =
                        if self.upload.is_held() { CONTINUE_NS } else { self.core.limits().write_timeout_ns };
                    self.conn.alarm.set(clock::now() + patience);
                }
                Poll::Pending => {}
            }
        }
        if self.upload.is_over() && !*self.waiting {
            *self.waiting = true;
            let now = self.exchange.trace.enter(Phase::Wait);
            self.conn.alarm.set(now + self.head_timeout_ns);
        }
        let was_held = self.upload.is_held();
        if let Poll::Ready(result) = self.poll_head(cx) {
            return Poll::Ready(result);
        }
        if was_held && !self.upload.is_held() {
            // A 100 came: what it was waited for goes at once.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.upload.waits_for_source() {
            // The caller's own limits apply while it is the caller that we wait for.
            return Poll::Pending;
        }
        ready!(self.conn.alarm.poll(cx));
        if self.upload.is_held() {
            self.upload.go_on();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(if *self.waiting { Error::AnswerTimeout } else { Error::UpstreamStalled }))
    }

    /// Reads heads until the final one.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        loop {
            let parsed = {
                let mut input = self.conn.wire.input();
                let parsed = if input.is_empty() {
                    None
                } else {
                    parse::response(&input, &mut self.seen, &self.core.limits().head)
                        .map_err(Error::BadAnswer)?
                };
                if let Some((_, _, len)) = &parsed {
                    input.advance(*len);
                }
                parsed
            };
            if let Some((head, version, _)) = parsed {
                self.seen = 0;
                match self.judge(head, version)? {
                    Some(answer) => return Poll::Ready(Ok(answer)),
                    None => continue,
                }
            }
            match ready!(self.conn.wire.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(self.ended())),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(Error::ResetEarly)),
            }
        }
    }

    /// The connection ended before the final head.
    fn ended(&self) -> Error {
        match self.conn.wire.input().is_empty() && self.interims == 0 {
            true => Error::ClosedEarly,
            false => Error::BadAnswer(parse::HeadError::Syntax),
        }
    }

    /// Takes a head; `None` if it was an interim one.
    fn judge(&mut self, mut head: ResponseHead, version: Version) -> Result<Option<Answer>, Error> {
        if head.status == 101 {
            let named = head.fields.get(Name::Upgrade);
            return match &self.exchange.upgrade {
                Some(asked) if named.is_some_and(|named| named.eq_ignore_ascii_case(asked)) => {
                    Ok(Some(Answer { head, framing: Framing::None, persistent: false }))
                }
                _ => Err(Error::UnaskedUpgrade),
            };
        }
        if head.is_interim() {
            self.interims += 1;
            if self.interims > self.core.limits().interim_responses {
                return Err(Error::TooManyInterim);
            }
            if head.status == 100 {
                self.upload.go_on();
            } else if let Some(caller) = &self.exchange.interim {
                head.strip(&self.exchange.head.method);
                caller.send(head);
            }
            return Ok(None);
        }
        let bodiless = head.is_bodiless(&self.exchange.head.method);
        let framing =
            framing::of_response(&head.fields, version, bodiless).map_err(Error::BadAnswerFraming)?;
        let persistent = is_persistent(&head, version) && framing != Framing::UntilClose;
        if let Some(seconds) = keep_alive_timeout_s(&head) {
            self.conn.endpoint().declare_idle_limit(seconds.min(DECLARED_IDLE_S_MAX) * 1_000_000_000);
        }
        head.strip(&self.exchange.head.method);
        Ok(Some(Answer { head, framing, persistent }))
    }
}

/// Hands the answer over: at once if all of it is here, else with a body that goes on reading.
fn finish(
    core: &Rc<Core>,
    conn: Box<Conn>,
    exchange: &mut Exchange,
    upload: Sender,
    answer: Answer,
) -> Result<Box<Response>, Error> {
    let Answer { head, framing, persistent } = answer;
    let in_flight = exchange.chosen.take();
    if head.status == 101 {
        return Ok(upgrade(*conn, head, in_flight));
    }
    let mut conn = conn;
    let over = upload.is_over() && !upload.is_broken();
    let upload = match over {
        true => {
            core.buffers.give(upload.into_buffer());
            None
        }
        false => Some(upload),
    };
    // An early refusal: whoever answers like that does not want the rest of the upload.
    let upload = upload.filter(|upload| head.status < 400 && !upload.is_broken());
    let persistent = persistent && (over || upload.is_some());
    let at_hand = match framing {
        Framing::None => Some(Body::Empty),
        Framing::Length(length) if over => {
            let mut input = conn.wire.input();
            match usize::try_from(length) {
                Ok(0) => Some(Body::Bytes(bytes::Bytes::new())),
                Ok(length) if input.len() >= length => Some(Body::Bytes(take(&mut input, length))),
                _ => None,
            }
        }
        _ => None,
    };
    let body = match at_hand {
        Some(body) if over || !persistent => {
            if persistent && conn.wire.input().is_empty() {
                core.pools.put(conn);
            }
            body
        }
        _ => {
            conn.alarm.clear();
            let decode = Decode::new(framing);
            let limits = BodyLimits {
                idle_timeout_ns: exchange.route.idle_timeout_ns,
                deadline_ns: exchange.deadline_ns,
            };
            let trace = Rc::clone(&exchange.trace);
            Body::Stream(Box::new(UpstreamBody::new(core, conn, decode, upload, persistent, limits, trace)))
        }
    };
    let mut response = Response::new(head, body);
    response.in_flight = in_flight;
    Ok(response)
}

fn upgrade(conn: Conn, mut head: ResponseHead, in_flight: Option<crate::fleet::InFlight>) -> Box<Response> {
    let protocol = head.fields.get(Name::Upgrade).unwrap_or_default().into();
    head.strip_hop();
    let (io, input) = conn.wire.into_parts();
    let mut response = Response::new(head, Body::Empty);
    response.tunnel = Some(Box::new(Tunnel { io, input, protocol, in_flight, open: conn.open }));
    response
}

/// Whether the upstream keeps the connection (RFC 9112 §9.3).
fn is_persistent(head: &ResponseHead, version: Version) -> bool {
    let says = |option: &[u8]| {
        head.fields.all(Name::Connection).flat_map(members).any(|member| member.eq_ignore_ascii_case(option))
    };
    match version {
        Version::Http10 => says(b"keep-alive"),
        _ => !says(b"close"),
    }
}

/// `Keep-Alive: timeout=N`.
fn keep_alive_timeout_s(head: &ResponseHead) -> Option<u64> {
    let value = head.fields.get(Name::KeepAlive)?;
    let member = members(value).find_map(|member| member.strip_prefix(b"timeout="))?;
    std::str::from_utf8(member).ok()?.parse().ok().filter(|&seconds| seconds > 0)
}
