//! What the engine hands over when a request is done.

use crate::{EndpointId, RequestId, RouteId, Timeline, Trials, Why};
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

/// What became of sending a second copy of a request, once that was considered: why, and with what success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hedge {
    /// What made it worth considering.
    pub trigger: Trigger,
    /// What became of it.
    pub fate: Fate,
}

/// What makes a second copy worth considering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The endpoint has been silent for longer than it ever is.
    Stall,
    /// The request takes longer than nearly all of its route.
    Quantile,
}

/// What became of a second copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The caller got its answer.
    Won,
    /// The first request was answered sooner, or the copy was not answered well.
    Lost,
    /// It was not sent: the work that copies may cost is used up.
    NoBudget,
    /// It was not sent: no other endpoint has room and answers well.
    NoAlternative,
    /// It was not sent: the upstream has more to do than it can.
    Overload,
}

impl Trigger {
    /// The name used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::Stall => "stall",
            Trigger::Quantile => "quantile",
        }
    }
}

impl Fate {
    /// The name used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Fate::Won => "won",
            Fate::Lost => "lost",
            Fate::NoBudget => "no_budget",
            Fate::NoAlternative => "no_alternative",
            Fate::Overload => "overload",
        }
    }
}

impl Hedge {
    /// The name used in logs and the API.
    pub const fn name(self) -> &'static str {
        match (self.trigger, self.fate) {
            (Trigger::Stall, Fate::Won) => "stall_won",
            (Trigger::Stall, Fate::Lost) => "stall_lost",
            (Trigger::Stall, Fate::NoBudget) => "stall_no_budget",
            (Trigger::Stall, Fate::NoAlternative) => "stall_no_alternative",
            (Trigger::Stall, Fate::Overload) => "stall_overload",
            (Trigger::Quantile, Fate::Won) => "quantile_won",
            (Trigger::Quantile, Fate::Lost) => "quantile_lost",
            (Trigger::Quantile, Fate::NoBudget) => "quantile_no_budget",
            (Trigger::Quantile, Fate::NoAlternative) => "quantile_no_alternative",
            (Trigger::Quantile, Fate::Overload) => "quantile_overload",
        }
    }

    /// Whether a copy was sent.
    pub const fn is_sent(self) -> bool {
        matches!(self.fate, Fate::Won | Fate::Lost)
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
    /// What became of a second copy; `None` if none was considered.
    pub hedge: Option<Hedge>,
    /// The techniques that are measured on it, and those that it was held out of.
    pub trials: Trials,
    /// Why it went where it went.
    pub why: &'a Why,
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
