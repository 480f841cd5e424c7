//! HTTP itself: heads, fields, targets, bodies, and the two wire formats. One strict head parser and one body codec serve
//! both the caller's half and the upstream's half of HTTP/1.1.

pub mod body;
pub mod conditions;
pub mod date;
pub mod fields;
pub mod h1;
pub mod h2;
pub mod head;
pub mod media;
pub mod name;
pub mod quoted;
pub mod range;
pub mod target;
pub mod time;

pub use body::{Body, Chunk, Size};
pub use fields::{Fields, Span};
pub use head::{RequestHead, ResponseHead, Scheme, Version};
pub use name::{Name, NameSet};
