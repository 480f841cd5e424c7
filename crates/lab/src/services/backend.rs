//! The lean service: prebuilt answers, one thread, as little work as HTTP/1.1 allows. It shares a core with the
//! load generator when proxies are compared, so what it saves goes into the load.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

use super::date::http_date;
use super::receive::{Persistence, RequestReader, Step};
use crate::cpu::ThreadCpu;

const BACKLOG: u32 = 4096;
/// Connections served at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 16_384;

/// A running backend on a loopback port; ends when dropped.
///
/// `GET /bytes/1024` and `GET /bytes/65536` answer that many bytes, `POST /sink` reads a body and answers 1 KiB,
/// `/healthz` answers `ok`; anything else is 404. Answers carry seven fields and are not cacheable.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its one thread's CPU time, where the system tells it.
    pub cpu: Option<ThreadCpu>,
    counted: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Small,
    Large,
    Sink,
    Healthy,
    Missing,
    Continue,
}

impl Page {
    const ALL: [Self; 6] =
        [Self::Small, Self::Large, Self::Sink, Self::Healthy, Self::Missing, Self::Continue];

    fn of(head: &httparse::Request<'_, '_>) -> Self {
        let path = head.path.unwrap_or("");
        match path.split('?').next().unwrap_or(path) {
            "/bytes/1024" => Self::Small,
            "/bytes/65536" => Self::Large,
            "/sink" => Self::Sink,
            "/healthz" => Self::Healthy,
            _ => Self::Missing,
        }
    }

    fn build(self, date: &str) -> Bytes {
        let (status, content_type, body) = match self {
            Self::Small | Self::Sink => ("200 OK", "application/octet-stream", filling(1024)),
            Self::Large => ("200 OK", "application/octet-stream", filling(65_536)),
            Self::Healthy => ("200 OK", "text/plain", b"ok\n".to_vec()),
            Self::Missing => ("404 Not Found", "text/plain", b"no such page\n".to_vec()),
            Self::Continue => return Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"),
        };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\ndate: {date}\r\nserver: lab\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n\
             x-served-by: backend-1\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        answer.into()
    }
}

fn filling(size: usize) -> Vec<u8> {
    b"0123456789abcdef".iter().copied().cycle().take(size).collect()
}

/// The answers, built again every second for their date.
struct Pages {
    built: RefCell<[Bytes; 6]>,
    counter: Arc<AtomicU64>,
}

impl Pages {
    fn new(counter: Arc<AtomicU64>) -> Self {
        let date = http_date(SystemTime::now());
        Self { built: RefCell::new(Page::ALL.map(|page| page.build(&date))), counter }
    }

    fn get(&self, page: Page) -> Bytes {
        if matches!(page, Page::Small | Page::Large | Page::Sink) {
            self.counter.fetch_add(1, Ordering::Relaxed);
        }
        self.built.borrow().get(page as usize).cloned().unwrap_or_default()
    }

    async fn keep_date(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let date = http_date(SystemTime::now());
            *self.built.borrow_mut() = Page::ALL.map(|page| page.build(&date));
        }
    }
}

impl Backend {
    /// Starts a backend on a free loopback port.
    pub fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts a backend on an address of the caller's choice.
    pub fn start_on(address: SocketAddr) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::sync_channel(1);
        let counted = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&counted);
        let thread = std::thread::Builder::new()
            .name("backend".into())
            .spawn(move || serve_until(address, counter, &ready, stopped))
            .context("backend: cannot start a thread")?;
        let (address, cpu) = started.recv().context("backend: its thread ended early")??;
        Ok(Self { address, cpu, counted, stop: Some(stop), thread: Some(thread) })
    }

    /// Requests received so far, health checks and unknown pages left out.
    pub fn requests(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Ready = mpsc::SyncSender<Result<(SocketAddr, Option<ThreadCpu>)>>;

fn serve_until(address: SocketAddr, counter: Arc<AtomicU64>, ready: &Ready, stopped: oneshot::Receiver<()>) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error.into()))),
    };
    runtime.block_on(async {
        let listener = match listen(address) {
            Ok(listener) => listener,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let bound = listener.local_addr().context("backend: no address");
        let _ = ready.send(bound.map(|bound| (bound, ThreadCpu::current())));
        let pages = Rc::new(Pages::new(counter));
        tokio::select! {
            () = accept(&listener, &pages) => {}
            () = pages.keep_date() => {}
            _ = stopped => {}
        }
    });
}

/// A listener with a backlog that takes thousands of callers at once.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.listen(BACKLOG)?)
}

async fn accept(listener: &TcpListener, pages: &Rc<Pages>) {
    let scratch: Rc<RefCell<Box<[u8]>>> = Rc::new(RefCell::new(vec![0; 64 * 1024].into()));
    let alive = Rc::new(());
    loop {
        match listener.accept().await {
            Ok((stream, _)) if Rc::strong_count(&alive) <= CONNECTIONS_MAX => {
                let (pages, scratch, alive) = (Rc::clone(pages), Rc::clone(&scratch), Rc::clone(&alive));
                tokio::task::spawn_local(async move {
                    let _ = serve(stream, &pages, &scratch).await;
                    drop(alive);
                });
            }
            Ok((refused, _)) => drop(refused),
            // Out of descriptors: some will be given back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, pages: &Pages, scratch: &RefCell<Box<[u8]>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection { reader: RequestReader::new(), answers: Vec::new(), open: true };
    while connection.open {
        connection.answers.clear();
        poll_fn(|cx| connection.poll_requests(&mut stream, &mut scratch.borrow_mut(), cx)).await?;
        for page in &connection.answers {
            write(&mut stream, &pages.get(*page)).await?;
        }
    }
    stream.shutdown().await
}

struct Connection {
    reader: RequestReader<Page>,
    answers: Vec<Page>,
    open: bool,
}

impl Connection {
    /// Reads once and notes the answers to every request that this completed.
    fn poll_requests(
        &mut self,
        stream: &mut TcpStream,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut buffer = ReadBuf::new(scratch);
        std::task::ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let piece = buffer.filled();
        self.open = !piece.is_empty();
        let mut at = 0;
        while at < piece.len() {
            let rest = piece.get(at..).unwrap_or_default();
            let Ok((used, step)) = self.reader.feed(rest, Page::of) else {
                self.open = false;
                break;
            };
            at += used;
            match step {
                Step::NeedMore => {}
                Step::Continue => self.answers.push(Page::Continue),
                Step::Request(page, persistence) => {
                    self.answers.push(page);
                    if persistence == Persistence::Close {
                        self.open = false;
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let written = match stream.try_write(bytes) {
        Ok(written) if written == bytes.len() => return Ok(()),
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    stream.write_all(bytes.get(written..).unwrap_or_default()).await
}
