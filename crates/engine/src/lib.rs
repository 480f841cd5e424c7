//! The data plane: one runtime per core, nothing shared on the way of a request but counters.
//!
//! **How a request flows.** `server` accepts a connection and gives it to one core, where it stays. It parses a request into an
//! [`exchange::Exchange`] under [`limits`] and starts its timeline. The router finds the route in the [`plan`]; the exchange
//! passes the stages of [`pipeline`], outermost first, each of which answers or calls `next`; the innermost is `upstream`, which
//! sends the request on a pooled connection. The response streams back the same way. Whatever happened, a drop guard in
//! `server::recording` closes the timeline and records it once.

pub mod clock;
pub mod connections;
pub mod core;
pub mod deadline;
pub mod encoding;
pub mod engine;
pub mod error;
pub mod exchange;
pub mod fault;
pub mod fleet;
pub mod holdout;
pub mod http;
pub mod limits;
pub mod listen;
pub mod local;
pub mod marker;
pub mod net;
pub mod panics;
pub mod pipeline;
pub mod plan;
pub mod router;
pub mod seldom;
pub mod server;
pub mod shared;
pub mod techniques;
pub mod tempo;
pub mod upstream;
pub mod worker;

pub use engine::{Engine, EngineError};
