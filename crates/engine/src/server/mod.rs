//! The callers' side: accepts connections, reads requests, has them answered, writes the answers, records how it went.

pub mod accept;
pub mod answer;
mod asked;
pub mod caller;
mod continued;
pub mod forward;
pub mod grpc;
pub mod h1;
mod h1_answer;
mod h1_close;
pub mod h1_intake;
mod h1_receive;
pub mod h2;
pub mod h2_answer;
mod h2_early;
pub mod h2_intake;
pub mod h2_stream;
pub mod pace;
pub mod prepare;
pub mod recording;
pub mod tls;
pub mod trace_context;
pub mod tunnel;
