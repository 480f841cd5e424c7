//! The bounds of `[limits]` in the form that the data plane uses. What is not configured is a constant with its reason: here if
//! it is for several places, else beside what it bounds.

use crate::clock;
use crate::http::h1::parse::HeadLimits;
use std::time::Duration;
use unlag_config::Limits;

/// The bounds in force, with times in nanoseconds of [`clock::now`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented where they are configured: unlag_config::Limits")]
pub struct Bounds {
    pub head: HeadLimits,
    pub header_timeout_ns: u64,
    pub tls_handshake_timeout: Duration,
    pub idle_timeout_ns: u64,
    pub body_rate_min: u64,
    pub body_rate_grace_ns: u64,
    pub write_timeout_ns: u64,
    pub response_head_timeout_ns: u64,
    pub connections: usize,
    pub connections_per_peer: usize,
    pub pool_idle_per_endpoint: usize,
    /// Connections that each core keeps ready per endpoint at work.
    pub warm_connections: usize,
    pub upstream_idle_timeout: Duration,
    pub h2_streams: u32,
    pub h2_stream_window: u32,
    pub h2_connection_window: u32,
    pub h2_glitches: u32,
    pub interim_responses: usize,
    pub drain_timeout: Duration,
    pub tunnel_idle_timeout_ns: u64,
}

/// Input of a caller that is read ahead while its request is being answered: enough for pipelining and for an upload to keep
/// moving, little enough to hold for every connection.
pub const READ_AHEAD_BYTES: usize = 64 * 1024;

/// Content of a refused request that is read and thrown away so that the answer reaches the caller.
pub const DRAIN_BYTES: u64 = 256 * 1024;

/// How long a listener that is to close goes on accepting, after the kernel was told to begin no more connections: the round
/// trip of those whose handshake has begun, over most of the world.
pub const LAST_CALL: Duration = Duration::from_millis(200);

/// How long a new connection waits at the bound until the one that is asked to make room has gone: a task on another core has to
/// be woken, which takes microseconds unless that core is busy. Nobody else is accepted by this core meanwhile.
pub const ROOM_WAIT: Duration = Duration::from_millis(250);

/// Content of answers that waits to be written to an HTTP/2 caller, over all streams of its connection: enough for one download
/// at full speed. With the least piece of each of a hundred streams it stays below a MiB.
pub const ANSWER_BYTES_SHARED: usize = 512 * 1024;

/// What a stream of an HTTP/2 caller may take of its answer however much the others hold.
pub const ANSWER_PIECE_MIN: usize = 4 * 1024;

/// File descriptors that are not for connections: listeners, logs, state, admin.
pub const RESERVED_FDS: u64 = 64;

impl Bounds {
    /// From the configuration.
    pub fn new(limits: &Limits) -> Bounds {
        let fields = limits.fields;
        Bounds {
            head: HeadLimits { head: limits.head, fields, uri: limits.uri },
            header_timeout_ns: clock::ns(limits.header_timeout),
            tls_handshake_timeout: limits.tls_handshake_timeout,
            idle_timeout_ns: clock::ns(limits.idle_timeout),
            body_rate_min: limits.body_rate_min,
            body_rate_grace_ns: clock::ns(limits.body_rate_grace),
            write_timeout_ns: clock::ns(limits.write_timeout),
            response_head_timeout_ns: clock::ns(limits.response_head_timeout),
            connections: limits.connections,
            connections_per_peer: limits.connections_per_peer,
            pool_idle_per_endpoint: limits.pool_idle_per_endpoint,
            warm_connections: limits.warm_connections,
            upstream_idle_timeout: limits.upstream_idle_timeout,
            h2_streams: limits.h2_streams,
            h2_stream_window: limits.h2_stream_window,
            h2_connection_window: limits.h2_connection_window,
            h2_glitches: limits.h2_glitches,
            interim_responses: limits.interim_responses,
            drain_timeout: limits.drain_timeout,
            tunnel_idle_timeout_ns: clock::ns(limits.tunnel_idle_timeout),
        }
    }
}
