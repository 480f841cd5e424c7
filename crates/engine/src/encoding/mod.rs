//! Content codings towards callers: which one to use, how to encode what passes, and what was encoded once and is kept.
//!
//! Encoding costs a core far more than everything else that is done to an answer. So what is at hand whole is encoded once, on
//! a thread of its own, and only what passes is encoded by the worker, a little at a time.

pub mod accept;
pub mod encoder;
mod jobs;
pub mod variants;

pub use accept::Wanted;
pub use encoder::{Effort, Encoder};
pub use variants::{Asked, Key, Variants};
