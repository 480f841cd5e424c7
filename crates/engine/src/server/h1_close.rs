//! How an HTTP/1.1 caller's connection ends: closed so that the last answer arrives, or given to another protocol.

use super::h1::Driver;
use super::recording::Recording;
use super::{h2, tunnel};
use crate::clock;
use crate::exchange::Tunnel;
use crate::limits::DRAIN_BYTES;
use crate::net::wire::Wire;
use std::rc::Rc;
use std::task::Poll;

/// How long a closed connection is still read from.
const LINGER_NS: u64 = 2_000_000_000;

impl Driver {
    /// Ends the connection so that the last answer reaches the caller: a close with unread input would reset it.
    pub(super) async fn close(mut self) {
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

    pub(super) async fn become_http2(self) {
        let Driver { core, caller, wire, out, slot, .. } = self;
        drop(out);
        if let Ok(wire) = Rc::try_unwrap(wire) {
            let (io, input) = wire.into_parts();
            // Boxed, as all that is rare: an HTTP/1.1 connection carries no room for it.
            Box::pin(h2::drive(core, io, input, caller, slot)).await;
        }
    }

    pub(super) async fn become_tunnel(self, upstream: Tunnel, recording: Recording) {
        let Driver { core, wire, out, .. } = self;
        drop(out);
        // The request is over with its 101: how long both go on talking says nothing about the latency of the route.
        recording.complete();
        drop(recording);
        if let Ok(wire) = Rc::try_unwrap(wire) {
            let idle_ns = core.limits().tunnel_idle_timeout_ns;
            let _counted = (upstream.in_flight, upstream.open);
            let upstream = Wire::new(upstream.io, upstream.input);
            Box::pin(tunnel::relay(wire, upstream, idle_ns, &core)).await;
        }
    }
}
