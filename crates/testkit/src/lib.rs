//! Malformed bytes and the peers that send them: raw callers and scripted origins for the black-box tests of the
//! binary, a strict response reader that shares no code with it, HTTP/2 peers down to single frames, the smuggling
//! payloads, and real servers (Redis, Memcached) that a test may freeze and kill. Only ever a dev-dependency; it reports by panicking, as a test does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test kit reports what went wrong by panicking in the test that uses it"
)]

pub mod client;
pub mod daemon;
pub mod dns;
pub mod encoding;
pub mod h2;
pub mod log;
pub mod memcached;
pub mod namespace;
pub mod origin;
pub mod ports;
pub mod process;
pub mod redis;
pub mod response;
pub mod setup;
pub mod skip;
pub mod smuggle;
pub mod stream;
pub mod tls;
pub mod wait;

pub use client::RawClient;
pub use memcached::Memcached;
pub use origin::{RawOrigin, Request, Script};
pub use process::Unlag;
pub use redis::{Redis, RedisCluster};
pub use response::{ReadError, Response};
pub use setup::Setup;
pub use wait::{DEADLINE, Gate, wait_until};
