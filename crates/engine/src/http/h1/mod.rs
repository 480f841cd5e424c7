//! HTTP/1.1 on the wire, for both halves: one strict head parser, one rule set for framing, one body codec. Everything here
//! works on bytes in memory; sockets are elsewhere.

pub mod chunked;
pub mod encode;
pub mod framing;
pub mod lines;
pub mod parse;
mod scan;

pub use framing::Framing;
