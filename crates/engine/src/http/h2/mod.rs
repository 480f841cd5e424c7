//! HTTP/2 where it differs from what the `h2` crate does for us: heads to and from our own form, the budget for frames that only
//! cost, and the offences that deserve their own name.

pub mod convert;
pub mod glitches;
pub mod guard;
pub mod resets;
