//! HTTP/2 where it differs from what the `h2` crate does for us: heads to and from our own form, and the budget for frames that
//! only cost.

pub mod convert;
pub mod glitches;
