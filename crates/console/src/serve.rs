//! The listener's loop: accept, bound, serve. Stuck or slow viewers cost a place among a few, and the oldest of
//! them loses it first.

use crate::guard::Link;
use crate::limits::{CONNECTION_AGE, CONNECTIONS, HEAD_BYTES, HEAD_TIMEOUT, LAST_ANSWER};
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Where the API is reached.
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Socket {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Link)> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Link::Tcp { local, peer }))
            }
            Socket::Unix(listener) => Ok((Box::new(listener.accept().await?.0), Link::Unix)),
        }
    }
}

/// How long to wait after a failure to accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` changes, then lets the answers under way end.
pub(crate) async fn serve(socket: Socket, router: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => {
                by_age.retain(|connection| !connection.is_finished());
                continue;
            }
            _ = stop.changed() => break,
        };
        let (stream, link) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while by_age.len() >= CONNECTIONS {
            if let Some(oldest) = by_age.pop_front() {
                oldest.abort();
            }
        }
        by_age.push_back(connections.spawn(connection(stream, link, router.clone(), stop.clone())));
    }
    drop(socket);
    let _ = timeout(LAST_ANSWER, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(stream: Box<dyn Stream>, link: Link, router: Router, mut stop: watch::Receiver<bool>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(link);
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(CONNECTION_AGE) => {}
        _ = stop.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_ANSWER, connection).await;
}
