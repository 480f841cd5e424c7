//! A connection after a change of protocol (WebSocket and others): bytes both ways until one side ends and the other has
//! followed, or nothing moves for long.

use crate::clock;
use crate::core::Core;
use crate::net::alarm::Alarm;
use crate::net::wire::Wire;
use crate::shared::Stage;
use bytes::Buf;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes read ahead of the other side.
const WINDOW_BYTES: usize = 64 * 1024;

/// One direction.
#[derive(Default)]
struct Direction {
    ended: bool,
    shut: bool,
}

impl Direction {
    /// Moves bytes; `Ok(true)` when something moved, an error when a side is gone.
    fn poll(&mut self, cx: &mut Context<'_>, from: &Wire, to: &Wire) -> Result<bool, ()> {
        let mut moved = false;
        loop {
            let mut again = false;
            if !self.ended && from.input().len() < WINDOW_BYTES {
                match from.poll_fill(cx) {
                    Poll::Ready(Ok(0)) => self.ended = true,
                    Poll::Ready(Ok(_)) => again = true,
                    Poll::Ready(Err(_)) => return Err(()),
                    Poll::Pending => {}
                }
            }
            let mut input = from.input();
            if !input.is_empty() {
                match to.poll_write(cx, &input) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        input.advance(n);
                        again = true;
                    }
                    Poll::Ready(_) => return Err(()),
                    Poll::Pending => {}
                }
            }
            let _ = to.poll_flush(cx);
            if self.ended && !self.shut && input.is_empty() {
                self.shut = to.poll_shutdown(cx).is_ready();
            }
            if !again {
                return Ok(moved);
            }
            moved = true;
        }
    }
}

/// Relays until both directions have ended, one side fails, nothing moved for `idle_ns`, or the process has drained for as long
/// as it may: a WebSocket has no end that could be waited for, but its callers use the time to come back elsewhere.
pub async fn relay(caller: Wire, upstream: Wire, idle_ns: u64, core: &Rc<Core>) {
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut alarm = Alarm::default();
    alarm.set(clock::now() + idle_ns);
    let mut over = std::pin::pin!(core.shared.reached(Stage::Over));
    std::future::poll_fn(|cx| {
        crate::fault::point(&core.shared, "tunnel");
        let moved = match (up.poll(cx, &caller, &upstream), down.poll(cx, &upstream, &caller)) {
            (Ok(up), Ok(down)) => up || down,
            _ => return Poll::Ready(()),
        };
        if up.shut && down.shut {
            return Poll::Ready(());
        }
        if moved {
            alarm.set(clock::now() + idle_ns);
        }
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        alarm.poll(cx)
    })
    .await;
}
