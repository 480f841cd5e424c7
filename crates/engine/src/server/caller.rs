//! What is known of the peer at the other end of an accepted connection.

use crate::http::Scheme;
use std::net::SocketAddr;

/// A caller's connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its address; none over a unix socket.
    pub peer: Option<SocketAddr>,
    /// In clear or under TLS.
    pub scheme: Scheme,
    /// The name that it asked for in the TLS handshake.
    pub server_name: Option<Box<str>>,
}
