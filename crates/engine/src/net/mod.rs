//! Sockets as the rest of the engine sees them: one stream type, one buffered wire for HTTP/1.1, one lazy alarm.

pub mod alarm;
pub mod io;
pub mod sender;
pub mod turn;
pub mod wire;
