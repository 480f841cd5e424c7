//! The `Date` of responses that come without one (RFC 9110 §6.6.1), formatted at most once a second.

use crate::clock;
use std::cell::RefCell;

struct Cached {
    until_ns: u64,
    text: String,
}

thread_local! {
    static CACHED: RefCell<Cached> = const { RefCell::new(Cached { until_ns: 0, text: String::new() }) };
}

/// Hands the current date to `use_it`.
pub fn with_date<T>(now: u64, use_it: impl FnOnce(&[u8]) -> T) -> T {
    CACHED.with_borrow_mut(|cached| {
        if now >= cached.until_ns {
            let wall = clock::wall();
            let into_second = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            cached.until_ns = now + u64::from(1_000_000_000 - into_second.min(999_999_999));
            cached.text = httpdate::fmt_http_date(wall);
        }
        use_it(cached.text.as_bytes())
    })
}
