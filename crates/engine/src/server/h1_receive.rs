//! What comes next on an HTTP/1.1 caller's connection: a request, the preface of HTTP/2, something that is neither, or its end.

use super::h1::Driver;
use crate::clock;
use crate::error::Error;
use crate::http::h1::parse::{self, ParsedRequest};
use crate::local;
use bytes::Buf;
use std::task::{Poll, ready};

/// What an HTTP/2 caller with prior knowledge begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What came next on an idle connection.
pub(super) enum Next {
    Request(ParsedRequest, u64),
    Http2,
    /// Not a request, since when something arrived.
    Refused(Error, u64),
    Gone,
}

impl Driver {
    /// Waits for the next head.
    pub(super) async fn next(&mut self) -> Next {
        let limits = self.core.limits();
        let mut seen = 0;
        let mut started = None;
        let mut leaving = false;
        if self.wire.input().is_empty() {
            self.wire.release();
            let now = clock::now();
            self.slot.idle_from(now);
            self.alarm.set(now + limits.idle_timeout_ns);
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
        local::notice(&self.core);
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
}

/// How long a connection that is asked to go waits for its first request.
const FIRST_REQUEST_NS: u64 = 250_000_000;
