//! Memcached's meta protocol on one connection: requests in order, answers in order. A request whose asker is gone keeps its
//! place, and its answer is read and thrown away.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::meta::{self, Reply};
use super::metered::Received;
use super::redis::LIFETIME_MAX;
use super::{Driver, Failure, Held, Item};
use crate::lock;

/// Requests that wait for the socket; how many are out is bounded before they come here.
const WAITING: usize = 512;

/// What one turn of the writer puts together, so that small requests share a packet.
const TOGETHER_BYTES: usize = 64 << 10;

struct Request {
    bytes: Vec<u8>,
    expected: usize,
    reply: oneshot::Sender<Vec<Reply>>,
}

/// Answers that are due, oldest first.
type Due = Arc<Mutex<VecDeque<(usize, Vec<Reply>, oneshot::Sender<Vec<Reply>>)>>>;

#[derive(Clone)]
pub(crate) struct Connection {
    requests: mpsc::Sender<Request>,
    pub(super) received: Received,
}

/// A connection over a socket, and what moves its bytes.
pub(super) fn open(socket: TcpStream) -> (Connection, Driver) {
    let (sender, requests) = mpsc::channel(WAITING);
    let (read, write) = socket.into_split();
    let (due, received) = (Due::default(), Received::default());
    let connection = Connection { requests: sender, received: received.clone() };
    let driver = async move {
        // Both advance on their own: a server that stops reading until it has been read from stops neither.
        tokio::select! {
            _ = reader(read, due.clone(), received) => {}
            _ = writer(write, requests, due.clone()) => {}
        }
        // Whoever still waits learns that the connection is gone.
        lock(&due).clear();
    };
    (connection, Box::pin(driver))
}

async fn writer(
    mut socket: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Request>,
    due: Due,
) -> io::Result<()> {
    while let Some(first) = requests.recv().await {
        let mut bytes = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            // Nobody waits for it any more, and it has not been sent.
            if !request.reply.is_closed() {
                bytes.extend_from_slice(&request.bytes);
                lock(&due).push_back((request.expected, Vec::new(), request.reply));
            }
            next = if bytes.len() < TOGETHER_BYTES { requests.try_recv().ok() } else { None };
        }
        socket.write_all(&bytes).await?;
    }
    Ok(())
}

async fn reader(mut socket: OwnedReadHalf, due: Due, received: Received) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(16 << 10);
    loop {
        while let Some(reply) = meta::parse(&mut buffer).map_err(io::Error::other)? {
            let mut due = lock(&due);
            let Some((expected, replies, _)) = due.front_mut() else {
                return Err(io::Error::other("an answer that nobody asked for"));
            };
            replies.push(reply);
            if replies.len() >= *expected
                && let Some((_, replies, asker)) = due.pop_front()
            {
                // The asker may be gone.
                let _ = asker.send(replies);
            }
        }
        match socket.read_buf(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => received.add(more),
        }
    }
}

impl Connection {
    /// Makes sure that the server speaks the meta protocol (memcached 1.6 and later).
    pub(super) async fn greet(&self) -> Result<(), Failure> {
        match self.one(b"mn\r\n".to_vec()).await? {
            Reply::Nothing => Ok(()),
            other => {
                Err(Failure::Refused(format!("memcached 1.6 or later is needed, this one answers {other:?}")))
            }
        }
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Held>, Failure> {
        match self.one(format!("mg {name} t v\r\n").into_bytes()).await? {
            Reply::Value { value, left_s } => {
                let left = Duration::from_secs(left_s.map_or(0, u64::from));
                Ok(Some(Held { value, left }))
            }
            Reply::Absent => Ok(None),
            other => Err(refused(other)),
        }
    }

    pub(super) async fn put(&self, items: &[Item]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mut bytes = Vec::new();
        for item in items {
            match &item.value {
                Some(value) => set(&mut bytes, &item.name, value, Some(item.lifetime), false),
                None => bytes.extend_from_slice(format!("md {}\r\n", item.name).as_bytes()),
            }
        }
        let replies = self.all(bytes, items.len()).await?;
        let done = |(item, reply): (&Item, Reply)| match reply {
            Reply::Done => Ok(()),
            Reply::Absent if item.value.is_none() => Ok(()),
            other => Err(refused(other)),
        };
        Ok(items.iter().zip(replies).map(done).collect())
    }

    /// One request with one answer.
    pub(crate) async fn one(&self, bytes: Vec<u8>) -> Result<Reply, Failure> {
        let mut replies = self.all(bytes, 1).await?;
        replies.pop().ok_or_else(|| Failure::Lost("no answer".into()))
    }

    /// Several requests with one answer each.
    pub(crate) async fn all(&self, bytes: Vec<u8>, expected: usize) -> Result<Vec<Reply>, Failure> {
        let (reply, replies) = oneshot::channel();
        let gone = || Failure::Lost("closed".into());
        self.requests.send(Request { bytes, expected, reply }).await.map_err(|_| gone())?;
        replies.await.map_err(|_| gone())
    }
}

/// Appends a request to store a value, for ever without a lifetime; with `add` only where there is none.
pub(crate) fn set(into: &mut Vec<u8>, name: &str, value: &[u8], lifetime: Option<Duration>, add: bool) {
    // Seconds, rounded up, for zero means for ever; whoever reads judges by a finer clock.
    let seconds = lifetime.map_or(0, |lifetime| lifetime.min(LIFETIME_MAX).as_millis().div_ceil(1000).max(1));
    let mode = if add { " ME" } else { "" };
    into.extend_from_slice(format!("ms {name} {} T{seconds}{mode}\r\n", value.len()).as_bytes());
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

fn refused(reply: Reply) -> Failure {
    match reply {
        Reply::Error(text) => Failure::Refused(text),
        other => Failure::Refused(format!("an unexpected answer: {other:?}")),
    }
}
