//! What is known of the peer at the other end of an accepted connection, in the form in which every request needs it.

use crate::http::Scheme;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A caller's connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its address; none over a unix socket.
    pub peer: Option<SocketAddr>,
    /// In clear or under TLS.
    pub scheme: Scheme,
    /// The name that it asked for in the TLS handshake.
    pub server_name: Option<Box<str>>,
    /// Its address as `X-Forwarded-For` has it; empty over a unix socket.
    pub address: Box<str>,
    /// The certificate that it showed, if it had to show one.
    pub certificate: Option<Rc<[u8]>>,
    /// The beginning of its `Forwarded` element (RFC 7239 §4).
    pub forwarded: Box<str>,
    /// Whether its listener has answers say how much is in flight here.
    pub report_load: Arc<AtomicBool>,
}

impl Caller {
    /// Puts into words what does not change from request to request.
    pub fn new(
        peer: Option<SocketAddr>,
        scheme: Scheme,
        server_name: Option<Box<str>>,
        report_load: Arc<AtomicBool>,
    ) -> Caller {
        let ip = peer.map(|peer| peer.ip().to_canonical());
        let node = match ip {
            Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            None => "unknown".into(),
        };
        let forwarded = format!("for={node};proto={}", scheme.text()).into();
        let address = ip.map(|ip| ip.to_string()).unwrap_or_default().into();
        Caller { peer, scheme, server_name, address, certificate: None, forwarded, report_load }
    }
}
