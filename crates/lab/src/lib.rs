//! The lab: everything that measures unlag from outside.
//!
//! - [`load`] sends requests, open loop (a request's clock starts at its intended time) or closed loop.
//! - [`services`] answers them: a lean backend, and the shop of slow services with faults to switch on.
//! - [`mod@bench`] is `unlag bench`: one address, or two of them interleaved.
//! - [`demo`] is `unlag demo` without the proxy: acts, a live table, a summary in words.
//! - [`peers`] measures unlag beside HAProxy, nginx, Envoy, Traefik and Caddy, and as a cache beside nginx, Varnish and
//!   HAProxy: [`peers::stampede`] many callers at once, [`peers::stored`] what is stored.
//! - [`tail`] measures latency beside them where replicas are slow, freeze, fail or are far away.
//! - [`training`] sends everyday traffic through a build that counts what it does.
//! - [`sim`] is where balancing and hedging are designed: seeded worlds in simulated time.
//!
//! Apart from [`sim`], which runs the decisions of the engine, the lab knows nothing of it: it speaks HTTP to an address.

pub mod bench;
pub mod cpu;
pub mod demo;
mod framing;
pub mod histogram;
pub mod load;
pub mod peers;
pub mod random;
pub mod services;
pub mod sim;
pub mod stats;
pub mod tail;
pub mod timer;
pub mod training;
