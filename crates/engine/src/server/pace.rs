//! The pace at which a caller must send its content, and the most that a route takes of it, whatever the protocol.

use crate::clock;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Size};
use crate::limits::Bounds;
use crate::net::alarm::{Alarm, NEVER};
use std::task::{Context, Poll};

/// A caller's content, watched as it comes.
pub struct Paced {
    body: Body,
    alarm: Alarm,
    /// Bytes a second, averaged over the time that was spent waiting for them; 0 asks for none.
    rate_min: u64,
    /// Waiting that is forgiven.
    grace_ns: u64,
    /// How long it may be silent where no rate is asked for.
    silence_ns: u64,
    body_max: u64,
    taken: u64,
    waited_ns: u64,
    waiting_since: Option<u64>,
}

impl Paced {
    /// Watches `body`. `is_conversation` says that both sides speak when they like: such a stream has deadlines of its own, and may
    /// be silent for as long as a tunnel.
    pub fn watch(body: Body, bounds: &Bounds, body_max: Option<u64>, is_conversation: bool) -> Body {
        if !matches!(body, Body::Stream(_)) {
            return body;
        }
        Body::Stream(Box::new(Paced {
            body,
            alarm: Alarm::default(),
            rate_min: if is_conversation { 0 } else { bounds.body_rate_min },
            silence_ns: if is_conversation { bounds.tunnel_idle_timeout_ns } else { NEVER },
            grace_ns: bounds.body_rate_grace_ns,
            body_max: body_max.unwrap_or(u64::MAX),
            taken: 0,
            waited_ns: 0,
            waiting_since: None,
        }))
    }

    /// The longest wait at this point that still keeps the pace.
    fn patience_ns(&self) -> u64 {
        let earned = (u128::from(self.taken) * 1_000_000_000 / u128::from(self.rate_min.max(1))) as u64;
        self.grace_ns.saturating_add(earned).saturating_sub(self.waited_ns)
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.waiting_since.is_none() {
            let now = clock::now();
            self.waiting_since = Some(now);
            let patience_ns = if self.rate_min == 0 { self.silence_ns } else { self.patience_ns() };
            self.alarm.set(now.saturating_add(patience_ns));
        }
        self.alarm.poll(cx).map(|()| Some(Err(Error::CallerSlow)))
    }
}

impl Source for Paced {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let polled = self.body.poll_chunk(cx);
        if polled.is_pending() {
            return self.wait(cx);
        }
        if let Some(since) = self.waiting_since.take() {
            self.waited_ns += clock::now().saturating_sub(since);
        }
        if let Poll::Ready(Some(Ok(Chunk::Data(data)))) = &polled {
            self.taken += data.len() as u64;
            if self.taken > self.body_max {
                return Poll::Ready(Some(Err(Error::BodyTooLarge)));
            }
        }
        polled
    }

    fn size(&self) -> Size {
        self.body.size()
    }
}
