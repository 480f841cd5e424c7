//! How an HTTP/1.1 caller gets its answer: written as it arrives, cut visibly when it fails in the middle, and said what becomes
//! of the connection.

use super::answer;
use super::h1::{After, Driver};
use super::recording::Recording;
use crate::clock;
use crate::error::{Error, Fault};
use crate::exchange::{Response, TARGET_RECORDED_MAX, Trace};
use crate::http::h1::Framing;
use crate::http::h1::encode::{self, Connection};
use crate::http::{Body, Fields, RequestHead, Size, Version};
use crate::limits::READ_AHEAD_BYTES;
use crate::net::sender::Sender;
use crate::net::turn;
use http::Method;
use std::task::{Context, Poll};
use unlag_record::Phase;

/// How an answer is written.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub(super) version: Version,
    pub(super) close: bool,
    pub(super) trailers: bool,
}

/// How sending ended.
enum Sent {
    Whole,
    /// The caller has part of it.
    Cut,
    /// The body failed before anything was sent.
    Nothing(Error),
}

impl Driver {
    /// Writes an answer and says what becomes of the connection.
    pub(super) async fn respond(
        &mut self,
        recording: Recording,
        mut response: Box<Response>,
        manner: Manner,
    ) -> After {
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
    async fn send_whole(&mut self, recording: &Recording, response: Box<Response>) -> After {
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
    pub(super) async fn refuse(mut self, error: Error, started: u64) {
        let head = as_far_as_known(&self.wire.input());
        let trace = Trace::new(started, &head, self.caller.peer, &self.timer);
        let recording = Recording::new(&self.core, &self.caller, trace, Version::Http11);
        self.refuse_recorded(recording, error).await;
        self.close().await;
    }

    pub(super) async fn refuse_recorded(&mut self, recording: Recording, error: Error) -> After {
        let response = answer::refuse_unread(&self.core, &recording, error);
        let manner = Manner { version: Version::Http11, close: true, trailers: false };
        self.respond(recording, response, manner).await
    }

    pub(super) async fn refuse_prepared(
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
}

/// A head that could not be read, for the record: its first line says what was asked, if it says anything.
fn as_far_as_known(input: &[u8]) -> RequestHead {
    let line = input.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().filter(|word| word.len() <= METHOD_BYTES_MAX);
    let method = method.and_then(|word| Method::from_bytes(word).ok());
    let mut fields = Fields::default();
    let target = words.next().unwrap_or_default();
    let path = fields.store(target.get(..TARGET_RECORDED_MAX).unwrap_or(target));
    RequestHead {
        method: method.or_else(|| Method::from_bytes(b"-").ok()).unwrap_or_default(),
        path,
        query: None,
        authority: Default::default(),
        version: Version::Http11,
        fields,
    }
}

/// Longer words are no method that anybody has registered.
const METHOD_BYTES_MAX: usize = 20;

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
