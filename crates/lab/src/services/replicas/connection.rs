//! A connection to a replica: requests one after another, and a caller that may go while its request is held.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::asked::Asked;
use super::replica::{Answer, Replica};
use crate::services::receive::{Persistence, RequestReader, Step};

/// Connections to one replica at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 8_192;
/// What a caller may send ahead while its request is held; beyond that it is not read.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Between the pieces of a streamed answer.
const PIECE_GAP: Duration = Duration::from_millis(2);

/// Serves a replica's listener until dropped.
pub(super) async fn serve(replica: Rc<Replica>, listener: TcpListener) {
    let alive = Rc::new(());
    loop {
        // A frozen process accepts nothing; the kernel does until its backlog is full.
        if replica.thaw().await.is_err() {
            return;
        }
        match listener.accept().await {
            Ok((stream, _)) if Rc::strong_count(&alive) <= CONNECTIONS_MAX => {
                let (replica, alive) = (Rc::clone(&replica), Rc::clone(&alive));
                tokio::task::spawn_local(async move {
                    let _ = connection(stream, &replica).await;
                    drop(alive);
                });
            }
            Ok((refused, _)) => drop(refused),
            // Out of descriptors: some will be given back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

struct Caller<'a> {
    stream: TcpStream,
    reader: RequestReader<Asked>,
    /// Read and not yet used.
    ahead: Vec<u8>,
    replica: &'a Replica,
}

thread_local! {
    /// Where all connections read to, one after another.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into());
}

async fn connection(stream: TcpStream, replica: &Replica) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut caller = Caller { stream, reader: RequestReader::new(), ahead: Vec::new(), replica };
    let drops = replica.service.spec.drop_cancelled;
    while let Some((asked, persistence)) = caller.next().await? {
        replica.thaw().await?;
        let answered = tokio::select! {
            biased;
            answered = replica.answer(&asked) => answered?,
            gone = caller.gone(), if drops => return gone,
        };
        replica.thaw().await?;
        let Some(answer) = answered else { return caller.stream.set_zero_linger() };
        caller.write(&asked, &answer, persistence).await?;
        if persistence == Persistence::Close {
            return caller.stream.shutdown().await;
        }
    }
    Ok(())
}

impl Caller<'_> {
    /// The next request, its body read to the end; `None` when there is none to come.
    async fn next(&mut self) -> io::Result<Option<(Asked, Persistence)>> {
        loop {
            while !self.ahead.is_empty() {
                let Ok((used, step)) = self.reader.feed(&self.ahead, Asked::read) else { return Ok(None) };
                self.ahead.drain(..used);
                match step {
                    Step::NeedMore => {}
                    Step::Continue => self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
                    Step::Request(asked, persistence) => return Ok(Some((asked, persistence))),
                }
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads once.
    async fn read(&mut self) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            self.replica.thaw().await?;
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let length = self.stream.try_read(scratch)?;
                self.ahead.extend_from_slice(scratch.get(..length).unwrap_or_default());
                Ok(length)
            });
            match read {
                Err(error) if io::Error::kind(&error) == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Returns when the caller has closed.
    async fn gone(&mut self) -> io::Result<()> {
        while self.ahead.len() < AHEAD_BYTES_MAX {
            if self.read().await? == 0 {
                return Ok(());
            }
        }
        std::future::pending().await
    }

    async fn write(&mut self, asked: &Asked, answer: &Answer, persistence: Persistence) -> io::Result<()> {
        let bytes = if answer.status == 200 && asked.id.is_some() { asked.bytes } else { 3 };
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nserver: lab\r\ncontent-type: application/octet-stream\r\n\
             cache-control: no-store\r\nx-served-by: {}\r\n",
            answer.status,
            reason(answer.status),
            self.replica.number
        );
        if let Some(seconds) = answer.retry_after {
            head.push_str(&format!("retry-after: {seconds}\r\n"));
        }
        if let Some(version) = answer.version {
            head.push_str(&format!("x-version: {version}\r\n"));
        }
        if answer.to_primary {
            head.push_str("x-replay: role=primary\r\n");
        }
        if self.replica.service.spec.reports_load {
            head.push_str(&format!("x-lb-rif: {}\r\n", self.replica.load()));
        }
        if persistence == Persistence::Close {
            head.push_str("connection: close\r\n");
        }
        match asked.pieces.filter(|_| answer.status == 200) {
            Some(pieces) => self.write_pieces(head, bytes.div_ceil(pieces), pieces).await,
            None => {
                head.push_str(&format!("content-length: {bytes}\r\n\r\n"));
                let mut whole = head.into_bytes();
                whole.resize(whole.len() + bytes, b'x');
                self.stream.write_all(&whole).await
            }
        }
    }

    async fn write_pieces(&mut self, mut head: String, size: usize, pieces: usize) -> io::Result<()> {
        head.push_str("transfer-encoding: chunked\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        let piece = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        for _ in 0..pieces {
            self.replica.thaw().await?;
            self.stream.write_all(piece.as_bytes()).await?;
            self.replica.service.timers.sleep(PIECE_GAP).await?;
        }
        self.stream.write_all(b"0\r\n\r\n").await
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        _ => "Service Unavailable",
    }
}
