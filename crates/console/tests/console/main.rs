//! The admin API from outside: every resource and every rule, over real sockets.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the functions that tests share fail like tests"
)]

mod api;
mod audit;
mod metrics;
mod security;
mod served;
