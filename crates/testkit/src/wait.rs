//! Waiting for a condition with a deadline, so that no test guesses how long something takes.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen: far longer than it takes on a loaded two-core machine.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Lets `duration` pass: the distance between two looks at a condition, or between two bytes of a slow peer.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that lets time pass, behind conditions and drips"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Looks at `condition` until it holds; panics with `what` when it does not within [`DEADLINE`].
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, condition), "not within {DEADLINE:?}: {what}");
}

/// Whether `condition` holds within `limit`; returns as soon as it does.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() > limit {
            return false;
        }
        pause(Duration::from_millis(2));
    }
}

/// A gate between a test and a scripted peer: closed until [`Gate::open`], then open for good.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Opens it and lets every waiter through.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open; `false` when that takes longer than twice [`DEADLINE`].
    pub fn pass(&self) -> bool {
        let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(guard, DEADLINE * 2, |open| !*open);
        waited.map(|(open, _)| *open).unwrap_or(false)
    }

    /// Whether it has been opened.
    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
