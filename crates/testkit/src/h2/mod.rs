//! HTTP/2 peers: single frames for what no library would send, the `h2` crate for what is well-formed.

pub mod call;
pub mod frame;
pub mod origin;
pub mod raw;

pub use call::{Answer, Call};
pub use frame::{Frame, kind};
pub use origin::{H2Origin, Plan};
pub use raw::RawH2;
