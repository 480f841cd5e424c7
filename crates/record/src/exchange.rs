//! What the engine hands over when a request is done.

use crate::{EndpointId, RequestId, RouteId, Timeline};
use std::net::SocketAddr;

/// How a request ended; latencies of failures are kept apart, because a fast 500 flatters the average.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// A status below 400.
    Ok,
    /// A status of 400 to 499.
    ClientError,
    /// A status of 500 and above.
    ServerError,
    /// The caller left before the answer was complete.
    Cancelled,
}

impl Outcome {
    /// How many outcomes there are.
    pub const COUNT: usize = 4;

    /// Every outcome.
    pub const ALL: [Outcome; Self::COUNT] =
        [Outcome::Ok, Outcome::ClientError, Outcome::ServerError, Outcome::Cancelled];

    /// The outcome that a status stands for, when the caller stayed to the end.
    pub const fn of_status(status: u16) -> Outcome {
        match status {
            0..400 => Outcome::Ok,
            400..500 => Outcome::ClientError,
            _ => Outcome::ServerError,
        }
    }

    /// The name used in metrics labels, logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ClientError => "client_error",
            Outcome::ServerError => "server_error",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// The position in [`Outcome::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What the cache had for a request that it looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CacheUse {
    /// An answer.
    Hit,
    /// An answer past its lifetime, which may be served.
    Stale,
    /// An answer that the origin was asked about, and that still held.
    Revalidated,
    /// The answer to the fetch of another request.
    Collapsed,
    /// Nothing that would do.
    Miss,
}

impl CacheUse {
    /// The name used in logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            CacheUse::Hit => "hit",
            CacheUse::Stale => "stale",
            CacheUse::Revalidated => "revalidated",
            CacheUse::Collapsed => "collapsed",
            CacheUse::Miss => "miss",
        }
    }
}

/// The protocol that the caller spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// The name used in logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// One finished request. Borrowed, because recording copies only what its bounds allow.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The trace id.
    pub id: RequestId,
    /// `x-request-id` as honoured or created.
    pub request_id: &'a [u8],
    /// The route that answered, or [`RouteId::OTHER`].
    pub route: RouteId,
    /// The endpoint that answered or was tried last; `None` if no upstream was asked.
    pub endpoint: Option<EndpointId>,
    /// The status sent to the caller; 0 if none was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Why unlag itself answered or gave up, as a fixed word such as `connect_timeout`.
    pub cause: Option<&'static str>,
    /// What the cache had for it; `None` if it was not looked up.
    pub cache: Option<CacheUse>,
    /// The request method.
    pub method: &'a str,
    /// The request target as received.
    pub target: &'a [u8],
    /// What the caller spoke.
    pub protocol: Protocol,
    /// The caller's address; `None` on a Unix socket.
    pub caller: Option<SocketAddr>,
    /// Body bytes received from the caller.
    pub bytes_in: u64,
    /// Body bytes sent to the caller.
    pub bytes_out: u64,
    /// How many times an upstream was tried.
    pub attempts: u8,
    /// Whether the last attempt went over a connection that had been used before.
    pub reused: bool,
    /// When it began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// Its phases, finished.
    pub timeline: &'a Timeline,
}
