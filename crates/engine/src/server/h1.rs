//! An HTTP/1.1 caller's connection: one request after the other, each answered before the next is looked at.

use super::answer::{self, Incoming};
use super::caller::Caller;
use super::h1_answer::Manner;
use super::h1_intake::{CallerBody, Intake};
use super::h1_receive::Next;
use super::recording::Recording;
use crate::connections::Slot;
use crate::core::Core;
use crate::error::Error;
use crate::exchange::{Interim, Response, Trace};
use crate::http::h1::encode::{self, Connection};
use crate::http::h1::parse::ParsedRequest;
use crate::http::h1::{Framing, framing};
use crate::http::{Body, RequestHead, ResponseHead, Version};
use crate::limits::READ_AHEAD_BYTES;
use crate::net::alarm::{Alarm, Timer};
use crate::net::io::Io;
use crate::net::turn;
use crate::net::wire::{Wire, take};
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use unlag_record::Phase;

/// Bytes that go out before the answer: interim heads.
#[derive(Debug)]
pub struct Out {
    pub(super) pending: RefCell<Vec<u8>>,
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

/// What happens to the connection after an answer.
pub(super) enum After {
    Keep,
    Close,
    /// The answer was cut: a reset says so, an orderly close could be taken for its end.
    Abort,
    Tunnel(Box<crate::exchange::Tunnel>, Recording),
}

/// A connection, and what its parts need of each other: receiving ([`super::h1_receive`]), answering ([`super::h1_answer`]),
/// ending ([`super::h1_close`]).
pub(super) struct Driver {
    pub(super) core: Rc<Core>,
    pub(super) caller: Rc<Caller>,
    pub(super) wire: Rc<Wire>,
    pub(super) out: Rc<Out>,
    pub(super) slot: Rc<Slot>,
    pub(super) alarm: Alarm,
    /// What wakes this task.
    pub(super) timer: Timer,
    pub(super) first: bool,
    /// The caller said that this is its last request: when its side ends, it may still be listening.
    pub(super) last_request: bool,
}

/// Serves a connection to its end.
pub async fn drive(core: Rc<Core>, io: Io, caller: Rc<Caller>, slot: Rc<Slot>) {
    let wire = Rc::new(Wire::new(io, BytesMut::new()));
    let out = Rc::new(Out { pending: RefCell::default(), version: std::cell::Cell::new(Version::Http11) });
    let timer = Timer::default();
    let alarm = Alarm::by(&timer);
    let mut driver = Driver { core, caller, wire, out, slot, alarm, timer, first: true, last_request: false };
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
    /// Has one request answered and writes the answer.
    async fn serve(&mut self, parsed: ParsedRequest, started: u64) -> After {
        let head = parsed.head;
        let version = head.version;
        self.out.version.set(version);
        let trace = Trace::new(started, &head, self.caller.peer, &self.timer);
        let recording = Recording::new(&self.core, &self.caller, trace, version);
        recording.trace.enter(Phase::Overhead);
        let framed = check_server_name(&head, &self.caller)
            .and_then(|()| framing::of_request(&head.fields, version).map_err(Error::from));
        let framing = match framed {
            Ok(framing) => framing,
            Err(error) => return Box::pin(self.refuse_recorded(recording, error)).await,
        };
        let (body, intake) = self.body(framing);
        let content_has_begun = !self.wire.input().is_empty();
        self.wire.release();
        let at_hand = intake.is_none();
        // Before anything is taken for it: room, connection and buffer are those that were used last.
        turn::after_the_others().await;
        let incoming = Incoming { head, body, interim: Some(self.out.clone()), content_has_begun };
        let prepared = match answer::admit(&self.core, &self.caller, &recording, incoming) {
            Ok(prepared) => prepared,
            Err(error) => {
                let is_about_the_request = matches!(error, Error::NoRoute | Error::Method | Error::Loop);
                let reusable = at_hand && is_about_the_request && !recording.is_last.get();
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
            let answering = answer::answer(&core, &recording, prepared);
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
    fn body(&self, framing: Framing) -> (Body, Option<Rc<Intake>>) {
        match framing {
            Framing::None | Framing::UntilClose => (Body::Empty, None),
            Framing::Length(0) => (Body::Bytes(Bytes::new()), None),
            Framing::Length(length) if length <= self.wire.input().len() as u64 => {
                (Body::Bytes(take(&mut self.wire.input(), length as usize)), None)
            }
            Framing::Length(_) | Framing::Chunked => {
                let intake = Intake::new(&self.wire, framing);
                (Body::Stream(Box::new(CallerBody(Rc::clone(&intake)))), Some(intake))
            }
        }
    }

    /// Waits for the answer while it sends interim heads, reads ahead, and notices when the caller leaves.
    async fn attend(
        &mut self,
        mut answering: std::pin::Pin<&mut impl Future<Output = Box<Response>>>,
    ) -> Option<Box<Response>> {
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
}

/// Under TLS, a request belongs to the name that the connection was opened for: anything else is sent to where its own
/// certificate is (RFC 9110 §7.4). Callers without SNI have made no statement.
pub fn check_server_name(head: &RequestHead, caller: &Caller) -> Result<(), Error> {
    let Some(name) = &caller.server_name else { return Ok(()) };
    let (host, _) = crate::http::target::split_port(head.authority());
    let same = host.is_empty() || host.eq_ignore_ascii_case(name.as_bytes());
    if same { Ok(()) } else { Err(Error::Misdirected) }
}
