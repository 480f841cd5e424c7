//! One HTTP/1.1 connection of the load generator: write the request, read the answer, keep the connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until, timeout_at};

use super::report::Failure;
use super::request::Prepared;
use super::response::{Complete, ResponseReader};

/// One buffer for all connections of the thread: bytes never outlive the poll that read them.
pub(super) type Scratch = Rc<RefCell<Box<[u8]>>>;

/// A fresh [`Scratch`] of 128 KiB.
pub(super) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; 128 * 1024].into_boxed_slice()))
}

/// A connection that is opened again when it was closed.
pub(super) struct Http1 {
    address: SocketAddr,
    stream: Option<TcpStream>,
    reader: ResponseReader,
    scratch: Scratch,
    /// A numbered request is put together here.
    numbered: Vec<u8>,
    watchdog: Pin<Box<Sleep>>,
    /// Connections opened so far.
    pub(super) opened: u64,
}

/// How an attempt on a connection failed.
enum Broken {
    /// A kept connection that its peer had closed: nothing of an answer came.
    Stale,
    Failed(Failure),
}

impl Http1 {
    pub(super) fn new(address: SocketAddr, scratch: Scratch) -> Self {
        let watchdog = Box::pin(sleep_until(Instant::now().into()));
        let (reader, numbered) = (ResponseReader::new(), Vec::new());
        Self { address, stream: None, reader, scratch, numbered, watchdog, opened: 0 }
    }

    /// Opens the connection if there is none; true when it was open already.
    pub(super) async fn connect(&mut self, deadline: Instant) -> Result<bool, Failure> {
        if self.stream.is_some() {
            return Ok(true);
        }
        let connected = timeout_at(deadline.into(), TcpStream::connect(self.address)).await;
        let stream = connected.map_err(|_| Failure::Timeout)?.map_err(|_| Failure::Connect)?;
        stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
        self.stream = Some(stream);
        self.opened += 1;
        Ok(false)
    }

    /// Sends a request and reads its answer to the end. An idempotent request that met a stale kept connection
    /// goes out once more on a fresh one.
    pub(super) async fn exchange(
        &mut self,
        request: &Prepared,
        deadline: Instant,
    ) -> Result<Complete, Failure> {
        let reused = self.connect(deadline).await?;
        match self.attempt(request, reused, deadline).await {
            Ok(complete) => Ok(complete),
            Err(Broken::Stale) if request.idempotent => {
                self.connect(deadline).await?;
                self.attempt(request, false, deadline).await.map_err(Broken::into_failure)
            }
            Err(broken) => Err(broken.into_failure()),
        }
    }

    async fn attempt(
        &mut self,
        request: &Prepared,
        reused: bool,
        deadline: Instant,
    ) -> Result<Complete, Broken> {
        // Whatever ends this early leaves no connection behind.
        let Some(mut stream) = self.stream.take() else { return Err(Broken::Failed(Failure::Connect)) };
        let stale = if reused { Broken::Stale } else { Broken::Failed(Failure::Closed) };
        match write(&mut stream, request.wire_in(&mut self.numbered), deadline).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Broken::Failed(Failure::Timeout));
            }
            Err(_) => return Err(stale),
        }
        self.reader.start(request.bodiless);
        let mut fresh = true;
        let complete = poll_fn(|cx| self.poll_answer(&mut stream, deadline, &mut fresh, cx)).await;
        match complete {
            Ok(complete) => {
                if complete.reusable {
                    self.stream = Some(stream);
                }
                Ok(complete)
            }
            Err(Failure::Closed) if fresh => Err(stale),
            Err(failure) => Err(Broken::Failed(failure)),
        }
    }

    /// Reads on until the answer is whole. `fresh` stays true while nothing of it came.
    fn poll_answer(
        &mut self,
        stream: &mut TcpStream,
        deadline: Instant,
        fresh: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Complete, Failure>> {
        let scratch = Rc::clone(&self.scratch);
        let mut scratch = scratch.borrow_mut();
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => {
                    ready!(self.poll_deadline(deadline, cx));
                    return Poll::Ready(Err(Failure::Timeout));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::Closed)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(self.reader.end().ok_or(Failure::Closed));
                }
                Poll::Ready(Ok(())) => {}
            }
            *fresh = false;
            match self.reader.feed(buffer.filled()) {
                Ok(None) => {}
                Ok(Some(complete)) if complete.consumed == buffer.filled().len() => {
                    return Poll::Ready(Ok(complete));
                }
                // More than was asked for, or not HTTP.
                Ok(Some(_)) | Err(_) => return Poll::Ready(Err(Failure::Malformed)),
            }
        }
    }

    /// Ready once the deadline has passed. The sleep is moved only when it fires, about once a timeout, not
    /// with every request.
    fn poll_deadline(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.watchdog.deadline().into_std() > deadline {
            self.watchdog.as_mut().reset(deadline.into());
        }
        loop {
            ready!(self.watchdog.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.watchdog.as_mut().reset(deadline.into());
        }
    }
}

impl Broken {
    fn into_failure(self) -> Failure {
        match self {
            Self::Stale => Failure::Closed,
            Self::Failed(failure) => failure,
        }
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8], deadline: Instant) -> io::Result<()> {
    let written = match stream.try_write(bytes) {
        Ok(written) if written == bytes.len() => return Ok(()),
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    let rest = bytes.get(written..).unwrap_or_default();
    timeout_at(deadline.into(), stream.write_all(rest)).await.map_err(|_| io::ErrorKind::TimedOut)?
}
