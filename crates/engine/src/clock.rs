//! The one clock: monotonic nanoseconds since the process started, and the wall clock for dates and logs.
//!
//! A reading costs about 10 ns (the processor's time-stamp counter through `quanta`); in tests it is tokio's clock, so that a
//! paused runtime moves it.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// Monotonic nanoseconds. Zero is some moment before the first reading.
#[cfg(not(test))]
pub fn now() -> u64 {
    static CLOCK: OnceLock<(quanta::Clock, u64)> = OnceLock::new();
    let (clock, start) = CLOCK.get_or_init(|| {
        let clock = quanta::Clock::new();
        let start = clock.raw();
        (clock, start)
    });
    clock.delta_as_nanos(*start, clock.raw())
}

/// Monotonic nanoseconds of tokio's clock.
#[cfg(test)]
pub fn now() -> u64 {
    static START: OnceLock<tokio::time::Instant> = OnceLock::new();
    tokio::time::Instant::now()
        .saturating_duration_since(*START.get_or_init(tokio::time::Instant::now))
        .as_nanos() as u64
}

/// The wall clock.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// A duration in nanoseconds, at most 584 years.
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The present as the runtime's timers count it.
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
