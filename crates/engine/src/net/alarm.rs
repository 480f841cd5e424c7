//! A timer that costs nothing to push back.
//!
//! A request sets several limits and nearly always meets them. Arming a runtime timer for each would cost more than parsing
//! the request; instead one timer per connection stays armed for the earliest moment it was ever asked for, and looks at the
//! true limit when it fires.

use crate::clock;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Sleep, sleep_until};

/// No limit.
pub const NEVER: u64 = u64::MAX;

thread_local! {
    /// Timers that have served an exchange and will serve another: arming one anew costs more than parsing a request.
    static SPARE: RefCell<Vec<Alarm>> = const { RefCell::new(Vec::new()) };
}

/// Timers kept for later by a core, for as many requests at one time; what a burst needed beyond is given back.
const SPARE_MAX: usize = 256;

/// An alarm for one exchange.
#[derive(Debug)]
pub struct Borrowed(Alarm);

impl Borrowed {
    /// Set to `due`.
    pub fn set_to(due: u64) -> Borrowed {
        let spare = if due == NEVER { None } else { SPARE.with_borrow_mut(Vec::pop) };
        let mut alarm = spare.unwrap_or_default();
        alarm.set(due);
        Borrowed(alarm)
    }

    /// Sets it to another moment.
    pub fn set(&mut self, due: u64) {
        if due != NEVER
            && self.0.sleep.is_none()
            && let Some(spare) = SPARE.with_borrow_mut(Vec::pop)
        {
            self.0 = spare;
        }
        self.0.set(due);
    }

    /// As [`Alarm::poll`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.0.sleep.is_some() {
            let mut alarm = std::mem::take(&mut self.0);
            alarm.wakes = None;
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_MAX {
                    spare.push(alarm);
                }
            });
        }
    }
}

/// One lazy timer.
#[derive(Debug)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes: as long as it is who asks, it need not be told again.
    wakes: Option<Waker>,
    armed_for: u64,
    due: u64,
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm { sleep: None, wakes: None, armed_for: NEVER, due: NEVER }
    }
}

impl Alarm {
    /// Sets the moment, in [`clock::now`] nanoseconds, at which [`Alarm::poll`] becomes ready.
    pub fn set(&mut self, due: u64) {
        self.due = due;
    }

    /// Takes the limit back.
    pub fn clear(&mut self) {
        self.due = NEVER;
    }

    /// The moment that it is set to.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Ready once the moment has passed; wakes the task by then.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.due == NEVER {
            return Poll::Pending;
        }
        if self.sleep.is_none() || self.armed_for > self.due {
            self.arm(clock::now());
        } else if self.is_armed(cx.waker()) {
            return Poll::Pending;
        }
        self.wakes = Some(cx.waker().clone());
        loop {
            let Some(sleep) = self.sleep.as_mut() else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                if !has_budget_remaining() {
                    // The task has used up its turn, so the runtime did not look at the timer: it wakes nobody yet.
                    self.wakes = None;
                }
                return Poll::Pending;
            }
            let now = clock::now();
            if now >= self.due {
                self.armed_for = NEVER;
                return Poll::Ready(());
            }
            self.arm(now);
        }
    }

    /// Whether the timer still runs and wakes `waker`.
    fn is_armed(&self, waker: &Waker) -> bool {
        let runs = self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed());
        runs && self.wakes.as_ref().is_some_and(|known| known.will_wake(waker))
    }

    fn arm(&mut self, now: u64) {
        // A timer that fires a little late is looked at once, one that fires early twice.
        let wait = Duration::from_nanos(self.due.saturating_sub(now)) + Duration::from_micros(500);
        let at = clock::instant() + wait;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
        self.armed_for = self.due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wait(alarm: &mut Alarm) {
        std::future::poll_fn(|cx| alarm.poll(cx)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_pushed_back_fires_at_its_last_moment() {
        let start = clock::now();
        let mut alarm = Alarm::default();
        alarm.set(start + 1_000_000_000);
        let early = tokio::time::timeout(Duration::from_millis(500), wait(&mut alarm)).await;
        assert!(early.is_err());
        alarm.set(start + 3_000_000_000);
        wait(&mut alarm).await;
        assert!((3_000..3_010).contains(&((clock::now() - start) / 1_000_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_brought_forward_fires_early() {
        let start = clock::now();
        let mut alarm = Alarm::default();
        alarm.set(start + 60_000_000_000);
        assert!(tokio::time::timeout(Duration::from_millis(1), wait(&mut alarm)).await.is_err());
        alarm.set(start + 2_000_000_000);
        wait(&mut alarm).await;
        assert!((2_000..2_010).contains(&((clock::now() - start) / 1_000_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_set_at_the_end_of_a_long_turn_fires_all_the_same() {
        let mut alarm = Alarm::default();
        alarm.set(clock::now() + 1_000_000_000);
        std::future::poll_fn(|cx| {
            while has_budget_remaining() {
                let _ = std::pin::pin!(tokio::task::consume_budget()).poll(cx);
            }
            assert!(alarm.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let fired = tokio::time::timeout(Duration::from_secs(5), wait(&mut alarm)).await;
        assert!(fired.is_ok(), "the alarm was forgotten");
    }
}
