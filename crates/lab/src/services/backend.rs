//! The lean service: prebuilt answers, one thread, as little work as HTTP/1.1 allows. It shares a core with the
//! load generator when proxies are compared, so what it saves goes into the load.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::date::http_date;
use super::receive::{Persistence, RequestReader, Step};
use super::serve::{ANYWHERE, Thread, accept, listen};
use crate::cpu::ThreadCpu;

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
    /// Everywhere it listens: one service that looks like several endpoints.
    pub doors: Vec<SocketAddr>,
    /// Its one thread's CPU time, where the system tells it.
    pub cpu: Option<ThreadCpu>,
    counted: Arc<AtomicU64>,
    _thread: Thread,
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
        Self::start_on(ANYWHERE)
    }

    /// Starts a backend on an address of the caller's choice.
    pub fn start_on(address: SocketAddr) -> Result<Self> {
        Self::open(&[address])
    }

    /// Starts a backend that listens on so many free loopback ports, with one thread behind all of them.
    pub fn with_doors(doors: usize) -> Result<Self> {
        Self::open(&vec![ANYWHERE; doors])
    }

    fn open(addresses: &[SocketAddr]) -> Result<Self> {
        let addresses = addresses.to_vec();
        let counted = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&counted);
        let ((doors, cpu), thread) = Thread::start("backend", move || {
            let opened = addresses.into_iter().map(listen).collect::<Result<Vec<_>>>()?;
            let doors: Vec<SocketAddr> = opened.iter().map(|(_, address)| *address).collect();
            let (pages, scratch) =
                (Rc::new(Pages::new(counter)), Scratch::new(RefCell::new(vec![0; 64 * 1024].into())));
            let run = async move {
                let mut accepting = JoinSet::new();
                for (listener, _) in opened {
                    let (serving, scratch) = (Rc::clone(&pages), Rc::clone(&scratch));
                    accepting.spawn_local(accept(listener, CONNECTIONS_MAX, move |stream| {
                        serve(stream, Rc::clone(&serving), Rc::clone(&scratch))
                    }));
                }
                tokio::select! {
                    _ = accepting.join_next() => {}
                    () = pages.keep_date() => {}
                }
            };
            Ok(((doors, ThreadCpu::current()), run))
        })?;
        let address = *doors.first().context("a backend needs an address")?;
        Ok(Self { address, doors, cpu, counted, _thread: thread })
    }

    /// Requests received so far, health checks and unknown pages left out.
    pub fn requests(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

/// Where connections read to, one after another.
type Scratch = Rc<RefCell<Box<[u8]>>>;

async fn serve(mut stream: TcpStream, pages: Rc<Pages>, scratch: Scratch) -> std::io::Result<()> {
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
