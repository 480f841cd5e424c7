//! Accepts connections on one core, keeps them within their bounds, and hands some to another core when this one has more
//! than its share.

use super::caller::Caller;
use super::{h1, h2};
use crate::connections::{Entry, Slot};
use crate::core::Core;
use crate::http::Scheme;
use crate::listen::Bound;
use crate::net::io::{Io, Socket, tune};
use crate::shared::Handed;
use bytes::BytesMut;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
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

/// Accepts until the core drains.
pub async fn run(core: Rc<Core>, listener: Rc<Listener>, bound: Arc<Bound>) {
    let mut spare = open_spare();
    let mut drain = std::pin::pin!(core.shared.drained());
    let mut closed = std::pin::pin!(bound.closed());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drain => return take_the_rest(&core, &listener, &bound).await,
            () = &mut closed => return take_the_rest(&core, &listener, &bound).await,
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok(socket) => admit(&core, socket, &bound),
            Err(error) if is_exhausted(&error) => {
                core.shared.refused_connections.fetch_add(1, Relaxed);
                spare = turn_away(&listener, spare).await;
                core.connections.close_oldest_idle();
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
                start(core, socket, bound);
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
fn admit(core: &Rc<Core>, socket: Socket, bound: &Arc<Bound>) {
    let limit = core.limits().connections;
    if core.shared.connections.load(Relaxed) >= limit && !core.connections.close_oldest_idle() {
        core.shared.refused_connections.fetch_add(1, Relaxed);
        return;
    }
    let loads = core.shared.loads();
    let mine = loads.get(core.index).map_or(0, |load| load.connections.load(Relaxed));
    let total: usize = loads.iter().map(|load| load.connections.load(Relaxed)).sum();
    // Four accepted here for every one elsewhere is chance; more than a quarter above the mean is work done twice as late.
    let share = total * 5 / (loads.len().max(1) * 4) + 1;
    if mine >= share
        && let Some(other) =
            (0..loads.len()).min_by_key(|&index| loads.get(index).map(|load| load.connections.load(Relaxed)))
        && other != core.index
    {
        match hand_over(core, socket, bound, other) {
            Ok(()) => return,
            Err(Some(socket)) => return start(core, socket, bound),
            Err(None) => return,
        }
    }
    start(core, socket, bound);
}

/// Hands a connection over, or gives it back.
fn hand_over(
    core: &Rc<Core>,
    socket: Socket,
    bound: &Arc<Bound>,
    other: usize,
) -> Result<(), Option<Socket>> {
    let handed = match socket {
        Socket::Tcp(stream) => Handed::Tcp(stream.into_std().map_err(|_| None)?, Arc::clone(bound)),
        Socket::Unix(stream) => Handed::Unix(stream.into_std().map_err(|_| None)?, Arc::clone(bound)),
    };
    core.shared.hand(other, handed).map_err(|handed| match handed {
        Handed::Tcp(stream, _) => TcpStream::from_std(stream).map(Socket::Tcp).ok(),
        Handed::Unix(stream, _) => UnixStream::from_std(stream).map(Socket::Unix).ok(),
        Handed::Listener(..) => None,
    })
}

/// Serves a connection on this core.
pub fn start(core: &Rc<Core>, socket: Socket, bound: &Arc<Bound>) {
    let peer = match &socket {
        Socket::Tcp(stream) => {
            let _ = tune(stream);
            stream.peer_addr().ok()
        }
        Socket::Unix(_) => None,
    };
    let Some((entry, slot)) = Entry::new(core, peer.map(|peer| peer.ip())) else { return };
    let core = Rc::clone(core);
    let tls = bound.tls.as_ref().map(|tls| tls.load_full());
    tokio::task::spawn_local(async move {
        let _entry = entry;
        match tls {
            None => {
                let caller = Caller::new(peer, Scheme::Http, None);
                h1::drive(core, Io::Plain(socket), Rc::new(caller), slot).await;
            }
            // Boxed: a connection in clear carries no room for a handshake.
            Some(config) => Box::pin(serve_tls(core, socket, peer, config, slot)).await,
        }
    });
}

/// Shakes hands, then serves what was agreed on.
async fn serve_tls(
    core: Rc<Core>,
    socket: Socket,
    peer: Option<SocketAddr>,
    config: Arc<ServerConfig>,
    slot: Rc<Slot>,
) {
    let patience = core.limits().tls_handshake_timeout;
    let handshake = TlsAcceptor::from(config).accept(socket);
    let Ok(Ok(stream)) = tokio::time::timeout(patience, handshake).await else {
        core.shared.failed_handshakes.fetch_add(1, Relaxed);
        return;
    };
    let session = stream.get_ref().1;
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let server_name = session.server_name().map(Into::into);
    let caller = Rc::new(Caller::new(peer, Scheme::Https, server_name));
    let io = Io::Tls(Box::new(stream.into()));
    match is_h2 {
        true => h2::drive(core, io, BytesMut::new(), caller, slot).await,
        false => h1::drive(core, io, caller, slot).await,
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
async fn turn_away(listener: &Listener, spare: Option<OwnedFd>) -> Option<OwnedFd> {
    drop(spare);
    let accepted = tokio::time::timeout(Duration::from_millis(10), accept(listener)).await;
    if let Ok(Ok(Socket::Tcp(stream))) = &accepted {
        let _ = stream.try_write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n");
    }
    drop(accepted);
    let spare = open_spare();
    if spare.is_none() {
        // Somebody else took it: look again in a while instead of at once.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    spare
}
