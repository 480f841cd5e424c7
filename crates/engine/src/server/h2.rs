//! An HTTP/2 caller's connection: each stream is a task on this core, all share the connection's budget for glitches.

use super::caller::Caller;
use super::h2_answer::{Piece, Respond};
use super::h2_stream;
use crate::clock;
use crate::connections::Slot;
use crate::core::Core;
use crate::http::h2::glitches::{Budget, Counted};
use crate::limits::ANSWER_BYTES_SHARED;
use crate::net::alarm::{Alarm, NEVER};
use crate::net::io::Io;
use crate::panics;
use bytes::BytesMut;
use h2::server::{Builder, Connection};
use h2::{Reason, RecvStream};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

/// What the streams of a connection share.
pub struct Session {
    /// The core that it lives on.
    pub core: Rc<Core>,
    /// Whose connection it is.
    pub caller: Rc<Caller>,
    /// What its frames may cost.
    pub budget: Rc<Budget>,
    /// Bytes of answers that wait to be written.
    pub held: Rc<Cell<usize>>,
    streams: Cell<usize>,
}

impl Session {
    fn count(&self, change: isize) {
        self.streams.set(self.streams.get().saturating_add_signed(change));
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
        .max_send_buffer_size(ANSWER_BYTES_SHARED)
        .handshake::<_, Piece>(io);
    let patience = limits.tls_handshake_timeout;
    let Ok(Ok(conn)) = tokio::time::timeout(patience, handshake).await else { return };
    let (streams, held) = (Cell::new(0), Rc::default());
    let session = Rc::new(Session { core, caller, budget, held, streams });
    let mut driver = Driver::new(conn, Rc::clone(&session), slot);
    while let Some((request, respond)) = std::future::poll_fn(|cx| driver.poll_next(cx)).await {
        session.count(1);
        driver.slot.busy();
        let session = Rc::clone(&session);
        tokio::task::spawn_local(async move {
            panics::survive(
                &session.core,
                "stream",
                std::pin::pin!(h2_stream::serve(&session, request, respond)),
            )
            .await;
            session.count(-1);
        });
    }
}

type Stream = (http::Request<RecvStream>, Respond);

/// How long a connection that was asked to go may stay without streams.
const LEAVE_NS: u64 = 1_000_000_000;

/// Moves the frames of a connection and decides when it ends.
struct Driver {
    conn: Connection<Counted<Io>, Piece>,
    session: Rc<Session>,
    slot: Rc<Slot>,
    /// Fires when it has been without streams for too long.
    idle: Alarm,
    idle_since: u64,
    /// Bytes of answers that waited to be written when it was last looked at.
    held_before: usize,
    /// Fires when a head has been on its way for too long.
    head: Alarm,
    /// The caller was asked to open no more streams.
    leaving: bool,
    /// It was told that it is over.
    ended: bool,
}

impl Driver {
    fn new(conn: Connection<Counted<Io>, Piece>, session: Rc<Session>, slot: Rc<Slot>) -> Driver {
        let (idle, head) = (Alarm::default(), Alarm::default());
        Driver {
            conn,
            session,
            slot,
            idle,
            idle_since: NEVER,
            held_before: 0,
            head,
            leaving: false,
            ended: false,
        }
    }

    /// The next stream; none when the connection is over.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stream>> {
        if !self.leaving && self.slot.should_close(cx) {
            self.leave();
        }
        let polled = self.conn.poll_accept(cx);
        if !self.ended
            && let Some(reason) = self.offence(cx)
        {
            self.conn.abrupt_shutdown(reason);
            self.ended = true;
            self.idle.set(clock::now() + LEAVE_NS);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.leaving && self.session.budget.is_low() {
            self.leave();
            cx.waker().wake_by_ref();
        }
        match polled {
            Poll::Ready(Some(Err(error))) => {
                // Some floods are cut by the h2 crate, before they have cost our budget.
                if !self.ended && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    self.count_flood();
                }
                return Poll::Ready(None);
            }
            Poll::Ready(next) => return Poll::Ready(next.and_then(Result::ok)),
            Poll::Pending => {}
        }
        if self.ended {
            return self.idle.poll(cx).map(|()| None);
        }
        ready!(self.poll_idle(cx));
        if self.leaving {
            return Poll::Ready(None);
        }
        self.leave();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Asks the caller to open no more streams.
    fn leave(&mut self) {
        self.leaving = true;
        self.idle_since = NEVER;
        self.conn.graceful_shutdown();
    }

    fn count_flood(&self) {
        let shared = &self.session.core.shared;
        shared.floods.fetch_add(1, Relaxed);
        if let Some(times) = shared.lines.floods.due() {
            let caller = &self.session.caller.address;
            tracing::debug!(%caller, times, "an HTTP/2 connection is closed for flooding");
        }
    }

    /// Why the connection cannot go on, if it cannot.
    fn offence(&mut self, cx: &mut Context<'_>) -> Option<Reason> {
        let budget = &self.session.budget;
        if budget.is_spent(clock::now()) {
            self.count_flood();
            return Some(Reason::ENHANCE_YOUR_CALM);
        }
        match budget.head_since() {
            None => self.head.clear(),
            Some(since) => {
                self.head.set(since.saturating_add(self.session.core.limits().header_timeout_ns));
                if self.head.poll(cx).is_ready() {
                    return Some(Reason::ENHANCE_YOUR_CALM);
                }
            }
        }
        budget.offence()
    }

    /// Ready when there have been no streams for as long as may be.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let held = self.session.held.get();
        let is_moving = held < std::mem::replace(&mut self.held_before, held);
        if self.session.streams.get() > 0 || is_moving {
            self.idle_since = NEVER;
        }
        if self.session.streams.get() > 0 {
            return Poll::Pending;
        }
        if self.idle_since == NEVER {
            self.idle_since = clock::now();
            if held == 0 {
                self.slot.idle_from(self.idle_since);
            }
        }
        let limits = self.session.core.limits();
        let patience_ns = match held {
            // Somebody waits for its place, for less time than it may need to answer; the GOAWAY is written.
            0 if self.slot.is_evicted() => 0,
            0 if self.leaving => LEAVE_NS,
            0 => limits.idle_timeout_ns,
            // The end of an answer is still to be written.
            _ => limits.write_timeout_ns,
        };
        self.idle.set(self.idle_since.saturating_add(patience_ns));
        self.idle.poll(cx)
    }
}
