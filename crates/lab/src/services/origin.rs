//! The service behind a cache: a delay of its own for every request, the freshness that its path asks for, a count of
//! what it was asked, failure on demand.
//!
//! What it answers follows from the path alone, so whoever asked can tell whether the whole of the right answer came:
//!
//! ```text
//! /ROUTE/POLICY/DELAY_MS/BYTES/KEY        /cold/fresh/200/1024/7
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::date::http_date;
use super::serve::{ANYWHERE, Service, Thread, listen, serve};
use crate::timer::Timers;

/// Paths counted one by one. Those beyond are in the total only: a million small objects are not looked at singly.
const COUNTED_MAX: usize = 10_000;
/// Bounds on what a path may ask for.
const DELAY_MAX: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 1 << 20;
/// Pieces of a stream, evenly spaced over its delay, the first at once.
const STREAM_PIECES: usize = 18;
/// A failure is found out this fast.
const FAILURE_DELAY: Duration = Duration::from_millis(20);

/// What an answer says of its freshness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Fresh for an hour, for everybody.
    Fresh,
    /// Fresh for a second, and nothing said of later.
    Short,
    /// Fresh for a second, then to be served for a minute while it is fetched again.
    WhileRevalidate,
    /// Fresh for a second, then to be served for ten minutes when the service fails.
    IfError,
    /// About one caller.
    Private,
    /// Not to be kept.
    NoStore,
    /// Nothing is said, and there is nothing to validate by.
    Silent,
    /// As fresh, in pieces over the delay.
    Stream,
}

impl Policy {
    const ALL: [Self; 8] = [
        Self::Fresh,
        Self::Short,
        Self::WhileRevalidate,
        Self::IfError,
        Self::Private,
        Self::NoStore,
        Self::Silent,
        Self::Stream,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Short => "short",
            Self::WhileRevalidate => "while-revalidate",
            Self::IfError => "if-error",
            Self::Private => "private",
            Self::NoStore => "no-store",
            Self::Silent => "silent",
            Self::Stream => "stream",
        }
    }

    fn cache_control(self) -> Option<&'static str> {
        match self {
            Self::Fresh | Self::Stream => Some("public, max-age=3600"),
            Self::Short => Some("max-age=1"),
            Self::WhileRevalidate => Some("max-age=1, stale-while-revalidate=60"),
            Self::IfError => Some("max-age=1, stale-if-error=600"),
            Self::Private => Some("private, max-age=0"),
            Self::NoStore => Some("no-store"),
            Self::Silent => None,
        }
    }

    fn has_validator(self) -> bool {
        !matches!(self, Self::Private | Self::NoStore | Self::Silent)
    }
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// First segment, for proxies that learn by route.
    pub route: String,
    /// Its freshness.
    pub policy: Policy,
    /// Until the answer, or over a stream's pieces. At most 10 s.
    pub delay: Duration,
    /// Size of the answer. At most 1 MiB.
    pub bytes: usize,
    /// Tells it from others of the route.
    pub key: String,
}

impl Resource {
    /// Where it is.
    pub fn path(&self) -> String {
        let Self { route, policy, delay, bytes, key } = self;
        format!("/{route}/{}/{}/{bytes}/{key}", policy.name(), delay.as_millis())
    }

    /// The content of the answer to a path: the path over and over.
    pub fn content(path: &str, bytes: usize) -> Vec<u8> {
        path.bytes().chain([b' ']).cycle().take(bytes).collect()
    }

    /// What a path names; `None` for one that names nothing, or too much.
    fn read(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.splitn(5, '/');
        let mut next = || segments.next().filter(|segment| !segment.is_empty());
        let route = next()?.to_owned();
        let policy = next()?;
        let policy = Policy::ALL.into_iter().find(|known| known.name() == policy)?;
        let delay = Duration::from_millis(next()?.parse().ok()?);
        let bytes: usize = next()?.parse().ok()?;
        let key = next()?.to_owned();
        let is_bounded = delay <= DELAY_MAX && bytes <= BYTES_MAX;
        is_bounded.then_some(Self { route, policy, delay, bytes, key })
    }
}

/// A running origin on a loopback port; ends when dropped. `/healthz` answers `ok`, and is not counted.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    by_path: Mutex<HashMap<String, u64>>,
    total: AtomicU64,
    failing: AtomicBool,
}

impl Shared {
    fn by_path(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, path: &str) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut by_path = self.by_path();
        if let Some(count) = by_path.get_mut(path) {
            *count += 1;
        } else if by_path.len() < COUNTED_MAX {
            by_path.insert(path.to_owned(), 1);
        }
    }
}

impl Origin {
    /// Starts an origin on a free loopback port.
    pub fn start() -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let answers = Answers { shared: Arc::clone(&shared), timers: Timers::default() };
        let (address, thread) = Thread::start("origin", || {
            let (listener, address) = listen(ANYWHERE)?;
            Ok((address, serve(answers, listener)))
        })?;
        Ok(Self { address, shared, _thread: thread })
    }

    /// How often a path was asked for since [`Origin::forget`].
    pub fn requests_for(&self, path: &str) -> u64 {
        self.shared.by_path().get(path).copied().unwrap_or(0)
    }

    /// Requests so far, of all paths.
    pub fn requests(&self) -> u64 {
        self.shared.total.load(Ordering::Relaxed)
    }

    /// Forgets the counts of single paths.
    pub fn forget(&self) {
        self.shared.by_path().clear();
    }

    /// While this is set, everything is answered with 503.
    pub fn fail(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }
}

/// What is read of a request's head.
struct Asked {
    path: String,
    /// The caller has an answer and asks whether it still holds. It does: an answer follows from the path.
    has_answer: bool,
}

impl Asked {
    fn read(head: &httparse::Request<'_, '_>) -> Self {
        let has_answer = head.headers.iter().any(|field| {
            field.name.eq_ignore_ascii_case("if-none-match") && field.value.trim_ascii() == ETAG.as_bytes()
        });
        Self { path: head.path.unwrap_or("").to_owned(), has_answer }
    }
}

/// The one validator: no answer ever changes.
const ETAG: &str = "\"1\"";

/// What the connections share on their thread.
struct Answers {
    shared: Arc<Shared>,
    timers: Timers,
}

impl Service for Answers {
    type Asked = Asked;

    fn read(head: &httparse::Request<'_, '_>) -> Asked {
        Asked::read(head)
    }

    async fn answer(&self, stream: &mut TcpStream, asked: Asked) -> std::io::Result<()> {
        let path = asked.path.as_str();
        if path == "/healthz" {
            return stream.write_all(&plain("200 OK", "cache-control: no-store\r\n", b"ok\n")).await;
        }
        self.shared.count(path);
        if self.shared.failing.load(Ordering::Relaxed) {
            self.timers.sleep(FAILURE_DELAY).await?;
            return stream.write_all(&plain("503 Service Unavailable", "", b"failing\n")).await;
        }
        let Some(resource) = Resource::read(path) else {
            return stream.write_all(&plain("404 Not Found", "", b"no such path\n")).await;
        };
        if resource.policy == Policy::Stream {
            return self.stream(stream, &resource, path).await;
        }
        self.timers.sleep(resource.delay).await?;
        let fields = fields(resource.policy);
        if asked.has_answer && resource.policy.has_validator() {
            let date = http_date(SystemTime::now());
            return stream
                .write_all(format!("HTTP/1.1 304 Not Modified\r\ndate: {date}\r\n{fields}\r\n").as_bytes())
                .await;
        }
        stream.write_all(&plain("200 OK", &fields, &Resource::content(path, resource.bytes))).await
    }
}

impl Answers {
    /// The content in chunks, evenly spaced, the first at once.
    async fn stream(&self, stream: &mut TcpStream, resource: &Resource, path: &str) -> std::io::Result<()> {
        let (date, fields) = (http_date(SystemTime::now()), fields(resource.policy));
        let head = format!(
            "HTTP/1.1 200 OK\r\ndate: {date}\r\nserver: lab\r\ncontent-type: text/plain\r\n\
             transfer-encoding: chunked\r\n{fields}\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let content = Resource::content(path, resource.bytes);
        for (number, piece) in content.chunks(resource.bytes.div_ceil(STREAM_PIECES).max(1)).enumerate() {
            if number > 0 {
                self.timers.sleep(resource.delay / STREAM_PIECES as u32).await?;
            }
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&chunk).await?;
        }
        stream.write_all(b"0\r\n\r\n").await
    }
}

fn fields(policy: Policy) -> String {
    let mut fields = String::new();
    if let Some(cache_control) = policy.cache_control() {
        let _ = write!(fields, "cache-control: {cache_control}\r\n");
    }
    if policy.has_validator() {
        let _ = write!(fields, "etag: {ETAG}\r\n");
    }
    fields
}

fn plain(status: &str, fields: &str, content: &[u8]) -> Vec<u8> {
    let date = http_date(SystemTime::now());
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ndate: {date}\r\nserver: lab\r\ncontent-type: text/plain\r\n\
         content-length: {}\r\n{fields}\r\n",
        content.len()
    )
    .into_bytes();
    answer.extend_from_slice(content);
    answer
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;
