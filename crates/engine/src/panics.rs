//! A panic is a fault of ours that costs one request, connection or task and is never silent: it is counted, said with its
//! cause, and when there are many of them the process asks for no more work.

use crate::clock;
use crate::core::Core;
use crate::local;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

/// Panics within `WINDOW_NS` with which a process is no longer ready: one broken request an hour is an annoyance, this many
/// are a broken build or broken memory, and another process does better.
pub const UNREADY_AT: usize = 10;
/// A minute: what orchestrators look at before they act.
const WINDOW_NS: u64 = 60_000_000_000;

/// How many there were, and when the last ones.
#[derive(Debug, Default)]
pub struct Panics {
    count: AtomicU64,
    last: Mutex<[u64; UNREADY_AT]>,
}

impl Panics {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// One more.
    pub fn note(&self, now: u64) {
        let number = self.count.fetch_add(1, Relaxed) as usize;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(oldest) = last.get_mut(number % UNREADY_AT) {
            *oldest = now.max(1);
        }
    }

    /// Whether there were as many lately as make the process unready.
    pub fn are_too_many(&self, now: u64) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().all(|&at| at > 0 && now.saturating_sub(at) < WINDOW_NS)
    }
}

/// Runs `future`; a panic in it ends it alone, and `None` says so. It is dropped with its caller's own, not polled again.
pub async fn survive<F: Future + ?Sized>(
    core: &Core,
    what: &'static str,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(panic) => {
            note(core, what, &*panic);
            Poll::Ready(None)
        }
    })
    .await
}

/// Runs `future` beside the requests of this core; a panic in it is counted as one of theirs.
pub fn spawn(what: &'static str, future: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(async move {
        let future = std::pin::pin!(future);
        match local::core() {
            Some(core) => drop(survive(&core, what, future).await),
            None => future.await,
        }
    });
}

/// Counts a panic that was caught on a core and says what it cost.
pub fn note(core: &Core, what: &'static str, panic: &(dyn Any + Send)) {
    core.shared.panics.note(clock::now());
    tracing::error!(
        worker = core.index,
        cause = "internal",
        reason = reason(panic),
        "a panic ended a {what}"
    );
}

/// What was said at a panic.
pub fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not said")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn r3_ten_panics_in_a_minute_are_too_many_and_nine_are_not() {
        let panics = Panics::default();
        for n in 1..=9 {
            panics.note(n * SECOND);
            assert!(!panics.are_too_many(n * SECOND), "after {n}");
        }
        panics.note(10 * SECOND);
        assert!(panics.are_too_many(10 * SECOND));
        assert!(panics.are_too_many(60 * SECOND));
        assert!(!panics.are_too_many(61 * SECOND), "the first is a minute old");
        panics.note(62 * SECOND);
        assert!(!panics.are_too_many(62 * SECOND), "the second too");
        assert_eq!(panics.count(), 11);
    }
}
