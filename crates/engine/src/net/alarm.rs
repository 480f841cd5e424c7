//! A timer that costs nothing to push back.
//!
//! A request sets several limits and nearly always meets them. Arming a runtime timer for each would cost more than parsing
//! the request; instead one timer per task stays armed for the earliest moment it was ever asked for, and the limits are looked
//! at when it fires.

use crate::clock;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Sleep, sleep_until};

/// No limit.
pub const NEVER: u64 = u64::MAX;

thread_local! {
    /// Timers that have served a task and will serve another: making one anew costs more than parsing a request.
    static SPARE: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// Timers kept for later by a core, for as many tasks at one time; what a burst needed beyond is given back.
const SPARE_MAX: usize = 256;

/// The timer of a task, for all the limits that it keeps at one time: it runs to the earliest, and whoever keeps another is asked
/// again by then. Telling the runtime whom to wake, and no longer, takes a dozen locked instructions, so that it is done once
/// for all requests of a connection.
#[derive(Clone, Debug, Default)]
pub struct Timer(Rc<RefCell<Armed>>);

#[derive(Debug)]
struct Armed {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes: as long as it is who asks, it need not be told again.
    wakes: Option<Waker>,
    at: u64,
}

impl Default for Armed {
    fn default() -> Self {
        Armed { sleep: None, wakes: None, at: NEVER }
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let Some(sleep) = self.sleep.take() else { return };
        // At the end of a thread there is nobody to keep it for.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(sleep);
            }
        });
    }
}

impl Timer {
    /// Whether nobody else is woken by it: one timer wakes one task.
    fn is_for(&self, waker: &Waker) -> bool {
        self.0.borrow().wakes.as_ref().is_none_or(|known| known.will_wake(waker))
    }

    /// Ready once `due` has passed; wakes the task by then.
    fn poll(&self, due: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut armed = self.0.borrow_mut();
        if armed.at > due {
            let now = clock::now();
            if now >= due {
                // The timer ran for it, and has been set to another's limit since.
                return Poll::Ready(());
            }
            armed.arm(due, now);
        } else if armed.runs() {
            return Poll::Pending;
        }
        armed.wakes = Some(cx.waker().clone());
        loop {
            let Some(sleep) = armed.sleep.as_mut() else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                if !has_budget_remaining() {
                    // The task has used up its turn, so the runtime did not look at the timer: it wakes nobody yet.
                    armed.wakes = None;
                }
                return Poll::Pending;
            }
            let now = clock::now();
            if now >= due {
                armed.at = NEVER;
                // It ran for the other limits of the task as well: they are to be kept from here on.
                if Rc::strong_count(&self.0) > 1 {
                    cx.waker().wake_by_ref();
                }
                return Poll::Ready(());
            }
            armed.arm(due, now);
        }
    }
}

impl Armed {
    fn runs(&self) -> bool {
        self.wakes.is_some() && self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed())
    }

    fn arm(&mut self, due: u64, now: u64) {
        // A timer that fires a little late is looked at once, one that fires early twice.
        let wait = Duration::from_nanos(due.saturating_sub(now)) + Duration::from_micros(500);
        let at = clock::instant() + wait;
        let spare = || SPARE.with_borrow_mut(Vec::pop);
        match self.sleep.take().or_else(spare) {
            Some(mut sleep) => {
                sleep.as_mut().reset(at);
                self.sleep = Some(sleep);
            }
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
        self.at = due;
    }
}

/// A limit that somebody keeps.
#[derive(Debug)]
pub struct Alarm {
    timer: Option<Timer>,
    due: u64,
}

impl Default for Alarm {
    /// One with a timer of its own.
    fn default() -> Self {
        Alarm { timer: None, due: NEVER }
    }
}

impl Alarm {
    /// One that goes by the timer of its task.
    pub fn by(timer: &Timer) -> Alarm {
        Alarm { timer: Some(timer.clone()), due: NEVER }
    }

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

    /// Ready once the moment has passed; wakes the task by then. Another task than its timer's may ask as well.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.due == NEVER {
            return Poll::Pending;
        }
        let timer = match &self.timer {
            Some(timer) if timer.is_for(cx.waker()) => timer,
            _ => self.timer.insert(Timer::default()),
        };
        timer.poll(self.due, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms_since(start: u64) -> u64 {
        (clock::now() - start) / 1_000_000
    }

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
        assert!((3_000..3_010).contains(&ms_since(start)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_brought_forward_fires_early() {
        let start = clock::now();
        let mut alarm = Alarm::default();
        alarm.set(start + 60_000_000_000);
        assert!(tokio::time::timeout(Duration::from_millis(1), wait(&mut alarm)).await.is_err());
        alarm.set(start + 2_000_000_000);
        wait(&mut alarm).await;
        assert!((2_000..2_010).contains(&ms_since(start)));
    }

    /// Waits for one alarm in the way of a task that keeps both.
    async fn wait_for_one(one: &mut Alarm, other: &mut Alarm) {
        std::future::poll_fn(|cx| match one.poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => {
                let _ = other.poll(cx);
                Poll::Pending
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_limits_of_a_task_are_all_kept_by_one_timer_in_any_order() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 2]] {
            let (start, timer) = (clock::now(), Timer::default());
            let mut alarms = order.map(|seconds| (seconds, Alarm::by(&timer)));
            alarms.iter_mut().for_each(|(seconds, alarm)| alarm.set(start + *seconds * 1_000_000_000));
            let mut fired = Vec::new();
            std::future::poll_fn(|cx| {
                for (seconds, alarm) in &mut alarms {
                    if alarm.poll(cx).is_ready() {
                        alarm.clear();
                        fired.push((*seconds, ms_since(start) / 10));
                    }
                }
                if fired.len() == 3 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert_eq!(fired, [(1, 100), (2, 200), (3, 300)], "{order:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_set_again_when_it_is_reached_does_not_put_the_others_off() {
        let (start, timer) = (clock::now(), Timer::default());
        let (mut looks, mut limit) = (Alarm::by(&timer), Alarm::by(&timer));
        looks.set(start + 1_000_000_000);
        limit.set(start + 2_000_000_000);
        std::future::poll_fn(|cx| {
            if limit.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            while looks.poll(cx).is_ready() {
                looks.set(start + 60_000_000_000);
            }
            Poll::Pending
        })
        .await;
        assert!((2_000..2_010).contains(&ms_since(start)), "{}", ms_since(start));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_wakes_one_task_is_left_to_it_by_another() {
        let (start, timer) = (clock::now(), Timer::default());
        let (mut mine, mut lent) = (Alarm::by(&timer), Alarm::by(&timer));
        mine.set(start + 2_000_000_000);
        lent.set(start + 1_000_000_000);
        let other = tokio::task::LocalSet::new();
        let lent = other.spawn_local(async move {
            wait(&mut lent).await;
            ms_since(start)
        });
        let both = async { tokio::join!(wait(&mut mine), lent).1 };
        let lent = other.run_until(both).await.unwrap();
        assert!((1_000..1_010).contains(&lent), "{lent}");
        assert!((2_000..2_010).contains(&ms_since(start)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_shares_a_timer_and_leaves_takes_nothing_from_the_others() {
        let (start, timer) = (clock::now(), Timer::default());
        let (mut one, mut other) = (Alarm::by(&timer), Alarm::by(&timer));
        other.set(start + 1_000_000_000);
        one.set(start + 3_000_000_000);
        let early = tokio::time::timeout(Duration::from_millis(10), wait_for_one(&mut one, &mut other)).await;
        assert!(early.is_err());
        drop((other, timer));
        wait(&mut one).await;
        assert!((3_000..3_010).contains(&ms_since(start)));
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
