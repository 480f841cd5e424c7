//! One connection to one server, whatever it speaks: asks and writes that share it, in order. It never reconnects; whoever
//! owns it sees its driver end and opens another.

mod dial;
pub(crate) mod memcached;
pub mod meta;
pub(crate) mod metered;
pub(crate) mod redis;
pub(crate) mod tls;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::{Login, Server};
pub(crate) use dial::{LOOKUPS, Lookups};
use metered::{Metered, Received};

/// Moves the bytes of a connection; ends with it. Whoever drops it closes the connection.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a connection is made of: a socket, or TLS on one.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why a command had no useful answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection is gone.
    #[error("the connection is lost: {0}")]
    Lost(String),
    /// The server answers with an error.
    #[error("the server says: {0}")]
    Refused(String),
    /// The key is on another server of the cluster.
    #[error("another server has this key: {0}")]
    Moved(String),
}

/// How to reach a server.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) server: Server,
    pub(crate) speaks: Speaks,
    pub(crate) lookups: Lookups,
}

#[derive(Clone)]
pub(crate) enum Speaks {
    Redis { tls: Option<Arc<ClientConfig>>, login: Login, database: u32 },
    Memcached,
}

/// A write, ready to be sent; a removal without a value.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) lifetime: Duration,
}

/// What is stored under a name.
pub(crate) struct Held {
    pub(crate) value: Bytes,
    /// Until it expires, by the server's clock: the only one that all nodes share.
    pub(crate) left: Duration,
}

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) enum Wire {
    Redis(redis::Connection),
    Memcached(memcached::Connection),
}

/// Opens a connection and makes sure that the server answers on it: a frozen one accepts connections all the same.
pub(crate) async fn connect(target: &Target, timeout: Duration) -> io::Result<(Wire, Driver)> {
    let opening = async {
        let socket = dial::socket(&target.server, &target.lookups).await?;
        match &target.speaks {
            Speaks::Memcached => {
                let (connection, driver) = memcached::open(socket);
                settled(driver, async { connection.greet().await.map_err(io::Error::other) })
                    .await
                    .map(|((), driver)| (Wire::Memcached(connection), driver))
            }
            Speaks::Redis { tls, login, database } => {
                let socket = Metered { stream: socket, received: Received::default() };
                let received = socket.received.clone();
                let stream: Box<dyn Stream> = match tls {
                    None => Box::new(socket),
                    Some(config) => Box::new(tls::wrap(config, &target.server, socket).await?),
                };
                let (wire, driver) = redis::open(stream, received, login, *database).await?;
                Ok((Wire::Redis(wire), driver))
            }
        }
    };
    tokio::time::timeout(timeout, opening)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

/// Runs `first` while the driver runs.
async fn settled<T>(
    mut driver: Driver,
    first: impl Future<Output = io::Result<T>>,
) -> io::Result<(T, Driver)> {
    tokio::select! {
        done = first => Ok((done?, driver)),
        () = &mut driver => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the server")),
    }
}

impl Wire {
    /// What is stored under a name.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Held>, Failure> {
        match self {
            Wire::Redis(wire) => wire.get(name).await,
            Wire::Memcached(wire) => wire.get(name).await,
        }
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        match self {
            Wire::Redis(wire) => wire.received.bytes(),
            Wire::Memcached(wire) => wire.received.bytes(),
        }
    }

    /// Writes all in one go; a result for each.
    pub(crate) async fn put(&self, items: Vec<Item>) -> Result<Vec<Result<(), Failure>>, Failure> {
        match self {
            Wire::Redis(wire) => wire.put(&items).await,
            Wire::Memcached(wire) => wire.put(&items).await,
        }
    }
}
