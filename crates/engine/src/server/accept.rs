//! Accepts connections on one core, keeps them within their bounds, and hands some to another core when this one has more
//! than its share.

use super::caller::Caller;
use super::{h1, h2};
use crate::connections::{self, Entry, Place, Slot};
use crate::core::Core;
use crate::fault;
use crate::http::Scheme;
use crate::limits::LAST_CALL;
use crate::listen::{Bound, begin_no_more};
use crate::net::io::{Io, Socket, tune};
use crate::panics;
use crate::shared::Handed;
use bytes::BytesMut;
use rustls::ServerConfig;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

/// A listening socket as one core has it.
pub enum Listener {
    /// TCP, with a socket of its own on every core (SO_REUSEPORT).
    Tcp(TcpListener),
    /// Unix, one socket shared by all cores.
    Unix(UnixListener),
}

/// Accepts until the core drains or the address is given up, and then those who are on their way.
pub async fn run(core: Rc<Core>, listener: Rc<Listener>, bound: Arc<Bound>) {
    let _accepting = Accepting::new(&core);
    let (drain, closed) = (core.shared.drained(), bound.closed());
    accept_until(&core, &listener, &bound, async {
        tokio::select! {
            () = drain => {}
            () = closed => {}
        }
    })
    .await;
    if let Listener::Tcp(listener) = &*listener
        && let Err(error) = begin_no_more(listener)
    {
        tracing::debug!(%error, "connections may be reset while the listener closes");
    }
    accept_until(&core, &listener, &bound, tokio::time::sleep(LAST_CALL)).await;
    take_the_rest(&core, &listener, &bound).await;
}

/// An accept loop, for as long as it runs: the core waits for it before it goes.
struct Accepting(Rc<Core>);

impl Accepting {
    fn new(core: &Rc<Core>) -> Accepting {
        core.accepting.set(core.accepting.get() + 1);
        Accepting(Rc::clone(core))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.accepting.set(self.0.accepting.get() - 1);
    }
}

async fn accept_until(core: &Rc<Core>, listener: &Listener, bound: &Arc<Bound>, end: impl Future) {
    let mut spare = open_spare();
    let mut end = std::pin::pin!(end);
    loop {
        fault::point(&core.shared, "accept");
        let accepted = tokio::select! {
            biased;
            _ = &mut end => return,
            accepted = accept(listener) => accepted,
        };
        match accepted {
            Ok(socket) => admit(core, socket, bound).await,
            Err(error) if is_exhausted(&error) => {
                if let Some(times) = core.shared.lines.exhausted.due() {
                    tracing::warn!(%error, times, "no file descriptor or memory is left for another connection");
                }
                spare = turn_away(core, listener, bound, spare).await;
                connections::evict_oldest_idle(core);
            }
            // A connection that was gone before it was accepted.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Connections that the kernel has accepted already have callers who think that they are served: they are.
async fn take_the_rest(core: &Rc<Core>, listener: &Listener, bound: &Arc<Bound>) {
    let waiting = std::future::poll_fn(|cx| {
        let polled = match listener {
            Listener::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| Socket::Tcp(stream)),
            Listener::Unix(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| Socket::Unix(stream)),
        };
        match polled {
            Poll::Ready(Ok(socket)) => {
                match Place::take(&core.shared, core.index, core.limits().connections) {
                    Some(place) => start(core, socket, bound, place),
                    None => refuse(core, &socket, bound),
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(()),
        }
    });
    waiting.await;
}

async fn accept(listener: &Listener) -> io::Result<Socket> {
    match listener {
        Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
        Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
    }
}

/// Takes a connection in, or hands it to the core that has least to do.
async fn admit(core: &Rc<Core>, socket: Socket, bound: &Arc<Bound>) {
    let Some(place) = Place::take_or_make(core).await else { return refuse(core, &socket, bound) };
    let loads = core.shared.loads();
    let mine = core.shared.load(core.index).connections.load(Relaxed);
    let total: usize = loads.iter().map(|load| load.connections.load(Relaxed)).sum();
    // Four accepted here for every one elsewhere is chance; more than a quarter above the mean is work done twice as late.
    let share = total * 5 / (loads.len().max(1) * 4) + 1;
    if mine > share
        && let Some(other) =
            (0..loads.len()).min_by_key(|&index| loads.get(index).map(|load| load.connections.load(Relaxed)))
        && other != core.index
    {
        if let Some((socket, place)) = hand_over(core, socket, bound, place, other) {
            start(core, socket, bound, place);
        }
        return;
    }
    start(core, socket, bound, place);
}

/// Hands a connection over, or gives it back.
fn hand_over(
    core: &Rc<Core>,
    socket: Socket,
    bound: &Arc<Bound>,
    mut place: Place,
    other: usize,
) -> Option<(Socket, Place)> {
    place.move_to(other);
    let handed = match socket {
        Socket::Tcp(stream) => Handed::Tcp(stream.into_std().ok()?, Arc::clone(bound), place),
        Socket::Unix(stream) => Handed::Unix(stream.into_std().ok()?, Arc::clone(bound), place),
    };
    let (socket, mut place) = match core.shared.hand(other, handed).err()? {
        Handed::Tcp(stream, _, place) => (Socket::Tcp(TcpStream::from_std(stream).ok()?), place),
        Handed::Unix(stream, _, place) => (Socket::Unix(UnixStream::from_std(stream).ok()?), place),
        Handed::Listener(..) | Handed::MakeRoom => return None,
    };
    place.move_to(core.index);
    Some((socket, place))
}

/// What a caller is told who cannot be served now.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 29\r\nRetry-After: 1\r\nConnection: close\r\n\r\nunlag: too many connections\r\n";

/// Request bytes thrown away before a refused connection is closed: what is left unread would reset it, and the answer with it.
const REFUSED_BYTES_MAX: usize = 64 * 1024;

/// Turns a connection away, in clear with an answer. Nothing here waits, and nobody waits for it: the socket is used as it is,
/// since the runtime does not know yet that it can be written to. Under TLS an answer would cost a handshake: it is closed.
fn refuse(core: &Core, socket: &Socket, bound: &Bound) {
    core.shared.refused_connections.fetch_add(1, Relaxed);
    if let Some(times) = core.shared.lines.refused.due() {
        tracing::warn!(address = %bound.address, times, "connections were turned away at a bound");
    }
    if bound.tls.is_some() {
        return;
    }
    let socket = match socket {
        Socket::Tcp(stream) => SockRef::from(stream),
        Socket::Unix(stream) => SockRef::from(stream),
    };
    let _ = socket.send(NO_ROOM);
    let mut thrown_away = [std::mem::MaybeUninit::uninit(); 4096];
    for _ in 0..REFUSED_BYTES_MAX / thrown_away.len() {
        if !matches!(socket.recv(&mut thrown_away), Ok(1..)) {
            break;
        }
    }
}

/// Serves a connection on this core.
pub fn start(core: &Rc<Core>, socket: Socket, bound: &Arc<Bound>, place: Place) {
    let peer = match &socket {
        Socket::Tcp(stream) => {
            let _ = tune(stream);
            socket.give_up_after(Duration::from_nanos(core.limits().write_timeout_ns));
            stream.peer_addr().ok()
        }
        Socket::Unix(_) => None,
    };
    let Some((entry, slot)) = Entry::new(core, peer.map(|peer| peer.ip()), place) else {
        return refuse(core, &socket, bound);
    };
    let core = Rc::clone(core);
    let (tls, report_load) = (bound.tls.as_ref().map(|tls| tls.load_full()), Arc::clone(&bound.report_load));
    tokio::task::spawn_local(async move {
        let _entry = entry;
        let serving = Rc::clone(&core);
        let served = std::pin::pin!(async move {
            match tls {
                None => {
                    let caller = Caller::new(peer, Scheme::Http, None, report_load);
                    h1::drive(serving, Io::Plain(socket), Rc::new(caller), slot).await;
                }
                // Boxed: a connection in clear carries no room for a handshake.
                Some(config) => Box::pin(serve_tls(serving, socket, peer, (config, report_load), slot)).await,
            }
        });
        panics::survive(&core, "connection", served).await;
    });
}

/// Shakes hands, then serves what was agreed on.
async fn serve_tls(
    core: Rc<Core>,
    socket: Socket,
    peer: Option<SocketAddr>,
    (config, report_load): (Arc<ServerConfig>, Arc<AtomicBool>),
    slot: Rc<Slot>,
) {
    let patience = core.limits().tls_handshake_timeout;
    let handshake = tokio::time::timeout(patience, TlsAcceptor::from(config).accept(socket));
    let mut handshake = std::pin::pin!(handshake);
    let shaken = std::future::poll_fn(|cx| match slot.should_close(cx) && slot.is_evicted() {
        true => Poll::Ready(None),
        false => handshake.as_mut().poll(cx).map(Some),
    });
    let stream = match shaken.await {
        Some(Ok(Ok(stream))) => stream,
        Some(Ok(Err(error))) => return handshake_failed(&core, peer, &error.to_string()),
        Some(Err(_)) => return handshake_failed(&core, peer, "it was not complete in time"),
        None => return handshake_failed(&core, peer, "it made room for another connection"),
    };
    let session = stream.get_ref().1;
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    // Who has shown who it is may ask for any host: a node that is the gateway of a region passes on what its own callers ask.
    let server_name = match session.peer_certificates() {
        Some(_) => None,
        None => session.server_name().map(Into::into),
    };
    let certificate = session.peer_certificates().and_then(<[_]>::first).map(|leaf| Rc::from(leaf.as_ref()));
    let caller =
        Rc::new(Caller { certificate, ..Caller::new(peer, Scheme::Https, server_name, report_load) });
    let io = Io::Tls(Box::new(stream.into()));
    match is_h2 {
        true => h2::drive(core, io, BytesMut::new(), caller, slot).await,
        false => h1::drive(core, io, caller, slot).await,
    }
}

fn handshake_failed(core: &Core, peer: Option<SocketAddr>, reason: &str) {
    core.shared.failed_handshakes.fetch_add(1, Relaxed);
    if let Some(times) = core.shared.lines.handshakes.due() {
        let peer = peer.map(tracing::field::display);
        tracing::debug!(peer, reason, times, "a TLS handshake failed");
    }
}

/// No descriptor or memory is left for another connection.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn open_spare() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

/// Uses the spare descriptor to accept one connection, say no, and close it: otherwise the backlog would stay ready and the
/// loop would spin.
async fn turn_away(
    core: &Core,
    listener: &Listener,
    bound: &Bound,
    spare: Option<OwnedFd>,
) -> Option<OwnedFd> {
    drop(spare);
    let accepted = tokio::time::timeout(Duration::from_millis(10), accept(listener)).await;
    if let Ok(Ok(socket)) = &accepted {
        refuse(core, socket, bound);
    }
    drop(accepted);
    let spare = open_spare();
    if spare.is_none() {
        // Somebody else took it: look again in a while instead of at once.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    spare
}
