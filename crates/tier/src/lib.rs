//! The shared tier of the cache: what one node has learnt of an answer, others need not ask the origin for. It speaks to Redis
//! and Valkey, alone or as a cluster, and to Memcached; it knows nothing of HTTP.
//!
//! A shared cache is a bet: it is worth its round trip only while it answers fast. So nothing here ever makes a request wait
//! for long. [`Tier::get`] is ready within the caller's budget, and at once when the server is known to be in trouble; a frozen
//! server costs a bounded number of requests their wait, once. [`Tier::put`] never waits. [`Tier::announce`] keeps a purge until
//! the server has it, and says when it cannot. All network traffic is on one thread of its own, so that whoever asks shares no runtime with it.
//!
//! What one may rely on: a value that `get` brings was put under that key, whole, in the present [epoch](Tier::epoch), and every
//! purge that was in the log has been heard or will be heard with a higher [number](Tier::seq); while purges cannot be heard,
//! `get` brings nothing. A broken link is noticed within two seconds.
//!
//! Needed are Redis 6.2, any Valkey, or Memcached 1.6. Values are called `namespace:<hash>` there and expire; the log's keys are
//! called `namespace:{log}…` and do not. A Redis of limited memory shall therefore evict keys that expire
//! (`maxmemory-policy volatile-lru`): with `allkeys-lru` a log can be evicted, which costs all that is stored.

mod ask;
mod breaker;
mod cluster;
pub mod envelope;
mod figures;
mod health;
mod latency;
mod log;
mod name;
mod node;
mod puts;
mod settings;
mod shared;
mod tasks;
mod tier;
mod topology;
mod wire;
mod write;

use std::sync::{Mutex, MutexGuard, PoisonError};

use unlag_config::tier as address;

pub use address::{Address, AddressError, Login, Server};
pub use ask::Answer;
pub use breaker::State as BreakerState;
pub use figures::{Figures, NodeFigures};
pub use log::{Announced, Heard, MESSAGE_MAX};
pub use settings::Settings;
pub use tier::Tier;
pub use wire::meta;
pub use wire::redis::LIFETIME_MAX;

/// What a lock guards here is never left half changed, so a panic elsewhere does not make it unusable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that no other node draws, never zero.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32 | 1).max(1)
}
