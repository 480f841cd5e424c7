//! A timer with microsecond precision. The runtime's own timers round up to the next millisecond, which would
//! add up to 1 ms to every latency measured against an intended time.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

/// One sleeper at a time; reusable. Must be created inside a tokio runtime.
#[derive(Debug)]
pub struct Timer {
    #[cfg(target_os = "linux")]
    /// The kernel's timer. It reads like a pipe that gets eight bytes when the time has come, and the runtime's
    /// pipe is the one wrapper for foreign descriptors that needs no unsafe code.
    descriptor: tokio::net::unix::pipe::Receiver,
}

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer backed by a kernel high-resolution timer.
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { descriptor: tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(descriptor)? })
    }

    /// Sleeps until `at`; returns at once when that has passed.
    pub async fn sleep_until(&mut self, at: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &once)?;
            self.descriptor.readable().await?;
            // Reading clears the readiness; a spurious wake-up goes round the loop again.
            let mut expirations = [0; 8];
            let _ = self.descriptor.try_read(&mut expirations);
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer backed by the runtime's own, precise to a millisecond.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Sleeps until `at`; returns at once when that has passed.
    pub async fn sleep_until(&mut self, at: Instant) -> io::Result<()> {
        tokio::time::sleep_until(at.into()).await;
        Ok(())
    }
}

impl Timer {
    /// Sleeps for `duration`.
    pub async fn sleep(&mut self, duration: Duration) -> io::Result<()> {
        self.sleep_until(Instant::now() + duration).await
    }
}

/// Timers for many sleepers of one thread, each used again by whoever comes next: as many as ever slept at once.
#[derive(Debug, Default)]
pub struct Timers(RefCell<Vec<Timer>>);

impl Timers {
    /// Sleeps for `duration`.
    pub async fn sleep(&self, duration: Duration) -> io::Result<()> {
        if duration.is_zero() {
            return Ok(());
        }
        let until = Instant::now() + duration;
        let spare = self.0.borrow_mut().pop();
        let mut timer = spare.map_or_else(Timer::new, Ok)?;
        let slept = timer.sleep_until(until).await;
        self.0.borrow_mut().push(timer);
        slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_timer_never_wakes_early_and_can_be_used_again() {
        let mut timer = Timer::new().expect("a timer");
        for micros in [0, 150, 2_300] {
            let start = Instant::now();
            timer.sleep(Duration::from_micros(micros)).await.expect("sleeps");
            assert!(start.elapsed() >= Duration::from_micros(micros));
        }
    }
}
