//! Opens connections: the addresses of an endpoint one after the other with a head start each (Happy Eyeballs, RFC 8305),
//! then TLS where it is wanted, then the protocol that both sides agreed on.

use super::h1;
use super::h2_shared::{self, Shared};
use crate::clock;
use crate::core::Core;
use crate::error::Error;
use crate::exchange::Trace;
use crate::fleet::Endpoint;
use crate::net::io::{Io, Socket, tune};
use crate::plan::Upstream;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use unlag_config::{Protocol, Scheme};
use unlag_record::Phase;

/// The head start of one address before the next is tried beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses tried for one connection: of those that are silent `connect_timeout` leaves time for four, and who has eight that
/// refuse is gone.
const ADDRESSES_MAX: usize = 8;

/// A connection that is ready for a request.
pub enum Connected {
    /// One request at a time.
    Http1(Box<h1::Conn>),
    /// Many streams.
    Http2(Rc<Shared>),
}

/// Opens a connection; if it is for an exchange, its phases go into the trace. `http1_only` is for what HTTP/2 cannot do.
pub async fn open(
    core: &Rc<Core>,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    trace: Option<&Trace>,
    http1_only: bool,
) -> Result<Connected, Error> {
    let enter = |phase| trace.map(|trace| trace.enter(phase));
    enter(Phase::Connect);
    let socket =
        timeout(upstream.connect_timeout, connect(endpoint)).await.map_err(|_| Error::ConnectTimeout)??;
    socket.give_up_after(Duration::from_nanos(core.limits().write_timeout_ns));
    if endpoint.url.scheme == Scheme::Https {
        enter(Phase::Tls);
    }
    let agreed = agree(upstream, endpoint, socket, http1_only);
    let patience = core.limits().tls_handshake_timeout;
    let (io, is_h2) = timeout(patience, agreed).await.map_err(|_| Error::TlsHandshake)??;
    if !http1_only {
        endpoint.note_http1_only(!is_h2);
    }
    if !is_h2 {
        enter(Phase::Overhead);
        return Ok(Connected::Http1(h1::Conn::new(io, endpoint)));
    }
    // Settings are part of connecting: the time is theirs, not ours.
    let shared = h2_shared::start(core, io, endpoint).await?;
    enter(Phase::Overhead);
    core.pools.share_h2(endpoint, &shared);
    Ok(Connected::Http2(shared))
}

/// Agrees with the endpoint on what is spoken: TLS where it is wanted, and whether it is HTTP/2.
pub async fn agree(
    upstream: &Upstream,
    endpoint: &Endpoint,
    socket: Socket,
    http1_only: bool,
) -> Result<(Io, bool), Error> {
    let (Scheme::Https, Some(tls)) = (endpoint.url.scheme, &upstream.tls) else {
        return Ok((Io::Plain(socket), upstream.protocol == Protocol::Http2));
    };
    let name = tls.name_for(&endpoint.server_name)?;
    let stream = tls.connector(http1_only).connect(name, socket).await.map_err(tls_error)?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    match upstream.protocol {
        Protocol::Http2 if !is_h2 => Err(Error::Protocol),
        _ => Ok((Io::Tls(Box::new(stream.into())), is_h2)),
    }
}

/// Connects to an endpoint, whatever kind of address it has.
pub async fn connect(endpoint: &Endpoint) -> Result<Socket, Error> {
    if endpoint.url.scheme == Scheme::Unix {
        let stream = UnixStream::connect(&endpoint.url.host).await.map_err(|error| connect_error(&error))?;
        return Ok(Socket::Unix(stream));
    }
    let addresses = endpoint.addresses.load_full();
    let connected = match addresses.as_slice() {
        [] => Err(Error::Unresolved),
        [only] => tcp(*only).await.map_err(|error| connect_error(&error)),
        _ => race_in_order(endpoint).await,
    };
    let (stream, took_ns) = connected?;
    endpoint.note_round_trip(took_ns);
    Ok(Socket::Tcp(stream))
}

/// An address that won against the one before it is tried first for a while; without one, names that stand for several machines
/// keep the order of their answers.
async fn race_in_order(endpoint: &Endpoint) -> Result<(TcpStream, u64), Error> {
    let order = endpoint.in_order(clock::now());
    let (stream, took_ns) = race(&order).await?;
    match stream.peer_addr() {
        Ok(won) if order.first() != Some(&won) => endpoint.note_won(won, clock::now()),
        _ => {}
    }
    Ok((stream, took_ns))
}

/// Connects to an address; how long it took, which is a round trip.
async fn tcp(address: SocketAddr) -> io::Result<(TcpStream, u64)> {
    let begun = clock::now();
    let stream = TcpStream::connect(address).await?;
    let took_ns = clock::now() - begun;
    tune(&stream)?;
    Ok((stream, took_ns))
}

/// The first of several addresses that answers. A refusal starts the next one at once.
async fn race(addresses: &[SocketAddr]) -> Result<(TcpStream, u64), Error> {
    let mut waiting = addresses.iter().copied().take(ADDRESSES_MAX);
    let mut running = JoinSet::new();
    let mut last = Error::Unreachable;
    start(&mut running, waiting.next());
    loop {
        let finished = timeout(ATTEMPT_DELAY, running.join_next()).await;
        match finished {
            Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
            Ok(Some(Ok(Err(error)))) => last = connect_error(&error),
            Ok(Some(Err(_))) => {}
            Ok(None) => return Err(last),
            Err(_) => {}
        }
        start(&mut running, waiting.next());
    }
}

/// Starts one more attempt, if there is an address left.
fn start(running: &mut JoinSet<io::Result<(TcpStream, u64)>>, address: Option<SocketAddr>) {
    if let Some(address) = address {
        running.spawn(tcp(address));
    }
}

fn connect_error(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Error::ConnectRefused,
        io::ErrorKind::AddrNotAvailable => Error::NoLocalPort,
        io::ErrorKind::TimedOut => Error::ConnectTimeout,
        _ if error.raw_os_error() == Some(libc::EMFILE) => Error::NoLocalPort,
        _ => Error::Unreachable,
    }
}

fn tls_error(error: io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Error::Certificate,
        _ => Error::TlsHandshake,
    }
}

/// An IPv6 address in brackets, anything else as it is.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_than_eight_addresses_are_tried_for_one_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        // The port is not open on other addresses of this machine.
        let mut addresses: Vec<SocketAddr> =
            (2..=8).map(|last| ([127, 0, 0, last], there.port()).into()).collect();
        addresses.push(there);
        assert!(race(&addresses).await.is_ok(), "the eighth answers");
        addresses.insert(0, ([127, 0, 0, 9], there.port()).into());
        assert_eq!(race(&addresses).await.err(), Some(Error::ConnectRefused));
    }
}
