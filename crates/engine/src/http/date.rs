//! The `Date` of responses that come without one (RFC 9110 §6.6.1), formatted at most once a second.

use crate::clock;
use std::cell::RefCell;

struct Cached {
    until_ns: u64,
    /// Unix time in milliseconds at monotonic zero.
    base_ms: u64,
    text: String,
}

thread_local! {
    static CACHED: RefCell<Cached> = const { RefCell::new(Cached { until_ns: 0, base_ms: 0, text: String::new() }) };
}

impl Cached {
    /// Asks the wall clock at the turn of a second.
    fn refresh(&mut self, now: u64) {
        if now >= self.until_ns {
            let wall = clock::wall();
            let since_epoch = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            self.until_ns = now + u64::from(1_000_000_000 - since_epoch.subsec_nanos().min(999_999_999));
            self.base_ms = (since_epoch.as_millis() as u64).saturating_sub(now / 1_000_000);
            self.text = httpdate::fmt_http_date(wall);
        }
    }
}

/// Hands the current date to `use_it`.
pub fn with_date<T>(now: u64, use_it: impl FnOnce(&[u8]) -> T) -> T {
    CACHED.with_borrow_mut(|cached| {
        cached.refresh(now);
        use_it(cached.text.as_bytes())
    })
}

/// Unix time in milliseconds at `now`.
pub fn unix_ms(now: u64) -> u64 {
    CACHED.with_borrow_mut(|cached| {
        cached.refresh(now);
        cached.base_ms + now / 1_000_000
    })
}
