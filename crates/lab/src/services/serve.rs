//! What all services do: a thread of their own, a listener that takes thousands of callers at once, and the requests of a
//! connection answered one after another.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

use super::receive::{Persistence, RequestReader, Step};

const BACKLOG: u32 = 4_096;
/// Connections that a [`Service`] serves at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 4_096;

/// The thread of a service; ends when dropped.
#[derive(Debug)]
pub(super) struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Has a new thread open something, which tells where it is, and run it.
    pub(super) fn start<T: Send + 'static, R: Future<Output = ()>>(
        name: &'static str,
        open: impl FnOnce() -> Result<(T, R)> + Send + 'static,
    ) -> Result<(T, Self)> {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::sync_channel(1);
        let run = move || {
            let runtime =
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(ready.send(Err(error.into()))),
                };
            runtime.block_on(async {
                let (opened, running) = match open() {
                    Ok(opened) => opened,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                let _ = ready.send(Ok(opened));
                tokio::select! {
                    () = running => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        let thread = thread.with_context(|| format!("{name}: cannot start a thread"))?;
        let opened = started.recv().with_context(|| format!("{name}: its thread ended early"))?;
        Ok((opened.context(name)?, Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A free loopback port.
pub(super) const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A listener, and where it listens.
pub(super) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves each connection in a task of its own; one more than the bound is closed at once.
pub(super) async fn accept<S: Future<Output = io::Result<()>> + 'static>(
    listener: TcpListener,
    connections_max: usize,
    serve: impl Fn(TcpStream) -> S,
) {
    let alive = Rc::new(());
    loop {
        match listener.accept().await {
            Ok((stream, _)) if Rc::strong_count(&alive) <= connections_max => {
                let (served, alive) = (serve(stream), Rc::clone(&alive));
                tokio::task::spawn_local(async move {
                    let _ = served.await;
                    drop(alive);
                });
            }
            Ok((refused, _)) => drop(refused),
            // Out of descriptors: some will be given back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// What answers requests.
pub(super) trait Service: 'static {
    /// What it reads of a head.
    type Asked;

    fn read(head: &httparse::Request<'_, '_>) -> Self::Asked;

    async fn answer(&self, to: &mut TcpStream, asked: Self::Asked) -> io::Result<()>;
}

/// Serves a listener until dropped.
pub(super) async fn serve<S: Service>(service: S, listener: TcpListener) {
    let service = Rc::new(service);
    accept(listener, CONNECTIONS_MAX, |stream| connection(Rc::clone(&service), stream)).await;
}

async fn connection<S: Service>(service: Rc<S>, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = RequestReader::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        let mut piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            return Ok(());
        }
        while !piece.is_empty() {
            let Ok((used, step)) = reader.feed(piece, S::read) else { return Ok(()) };
            piece = piece.get(used..).unwrap_or_default();
            match step {
                Step::NeedMore => {}
                Step::Continue => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
                Step::Request(asked, persistence) => {
                    service.answer(&mut stream, asked).await?;
                    if persistence == Persistence::Close {
                        return stream.shutdown().await;
                    }
                }
            }
        }
    }
}
