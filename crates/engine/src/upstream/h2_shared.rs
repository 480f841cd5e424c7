//! An HTTP/2 connection to an endpoint that the requests of this core share: what it grants, whether it can be trusted.

use super::h2_watch::{Ear, Heard, watch};
use super::peer::Peer;
use crate::clock;
use crate::core::Core;
use crate::error::Error;
use crate::fleet::Endpoint;
use crate::net::io::Io;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What we grant an upstream: enough for its answers to keep moving on a long path.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Streams that one connection gets at most, whatever the peer allows: what most servers allow, and what one loss of a packet
/// may hold up.
const STREAMS_MAX: usize = 100;
/// A connection without streams is kept for so long: an upstream that speaks HTTP/2 rarely closes by itself.
const IDLE_NS: u64 = 60_000_000_000;
/// How long a new connection waits for the peer's settings.
const SETTINGS_WAIT: Duration = Duration::from_secs(1);

/// A connection that requests share.
pub struct Shared {
    send: SendRequest<Bytes>,
    streams: Rc<Cell<usize>>,
    closed: Rc<Cell<bool>>,
    used_ns: Cell<u64>,
    ear: Rc<Ear>,
    peer: Peer,
}

impl Shared {
    /// Whether it has had no stream for long at `now`.
    pub fn is_idle(&self, now: u64) -> bool {
        self.streams.get() == 0 && now.saturating_sub(self.used_ns.get()) > IDLE_NS
    }

    /// Takes no more streams if its endpoint's name no longer leads where it does.
    pub fn close_if_left(&self, endpoint: &Endpoint, now: u64) {
        if self.peer.is_left(endpoint, now) {
            self.close();
        }
    }

    /// Whether it takes no more streams.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Takes no more streams.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// Streams in flight.
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Streams that it may have at once; the peer changes its mind at any time, down to none.
    fn allowed(&self) -> usize {
        match self.closed.get() || self.ear.is_doubted() {
            true => 0,
            false => self.send.current_max_send_streams().min(STREAMS_MAX),
        }
    }

    /// Whether another stream would not wait: below three quarters of what the peer allows.
    pub fn has_room(&self) -> bool {
        let allowed = self.allowed();
        self.streams.get() * 4 < (allowed * 3).max(4) && self.streams.get() < allowed
    }

    /// Whether there is a stream to be had at all.
    pub fn has_stream(&self) -> bool {
        self.streams.get() < self.allowed()
    }

    /// Whether the peer allows none although none is in use: another connection would get none either.
    pub fn is_barred(&self) -> bool {
        !self.closed.get() && !self.ear.is_doubted() && self.streams.get() == 0 && self.allowed() == 0
    }

    /// An answer did not come in time: no new request takes it unless its peer speaks again.
    pub fn doubt(&self) {
        self.ear.doubt();
    }

    /// An answer on it has begun.
    pub fn answered(&self) {
        self.ear.answered();
    }

    /// Counts a stream of it for as long as the guard lives, and the handle to send on.
    pub fn begin(&self, core: &Core, now: u64) -> (SendRequest<Bytes>, InStream) {
        self.used_ns.set(now);
        (self.send.clone(), InStream::new(&self.streams, &core.stream_ended))
    }
}

/// Counts a stream for as long as it lives.
pub struct InStream {
    streams: Rc<Cell<usize>>,
    ended: Rc<Notify>,
}

impl InStream {
    fn new(streams: &Rc<Cell<usize>>, ended: &Rc<Notify>) -> InStream {
        streams.set(streams.get() + 1);
        InStream { streams: Rc::clone(streams), ended: Rc::clone(ended) }
    }
}

impl Drop for InStream {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        self.ended.notify_waiters();
    }
}

/// Shakes hands on a stream that was just opened.
pub async fn start(core: &Rc<Core>, io: Io, endpoint: &Arc<Endpoint>) -> Result<Rc<Shared>, Error> {
    let (ear, peer) = (Rc::new(Ear::default()), Peer::of(&io));
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(core.limits().head.head as u32)
        .enable_push(false)
        .handshake::<_, Bytes>(Heard::new(io, &ear));
    let (send, mut connection) = handshake.await.map_err(|_| Error::Protocol)?;
    let ping = connection.ping_pong();
    let shared = Rc::new(Shared {
        send,
        streams: Rc::default(),
        closed: Rc::default(),
        used_ns: Cell::new(clock::now()),
        ear: Rc::clone(&ear),
        peer,
    });
    endpoint.count_connection(true);
    let (endpoint, closed, streams) =
        (Arc::clone(endpoint), Rc::clone(&shared.closed), Rc::clone(&shared.streams));
    let settled = Rc::new(Notify::new());
    let (settles, measured) = (Rc::clone(&settled), Arc::clone(&endpoint));
    tokio::task::spawn_local(async move {
        let watched = async {
            let Some(mut ping) = ping else { return std::future::pending().await };
            // Its answer comes after the peer's settings: until they are known, a burst would be refused for want of streams.
            let begun = clock::now();
            if let Ok(Ok(_)) = tokio::time::timeout(SETTINGS_WAIT, ping.ping(h2::Ping::opaque())).await {
                measured.note_round_trip(clock::now() - begun);
            }
            settles.notify_one();
            watch(ping, &ear, &streams, |trip_ns| measured.note_round_trip(trip_ns)).await;
        };
        tokio::select! {
            _ = connection => {}
            () = watched => {}
        }
        settles.notify_one();
        closed.set(true);
        endpoint.count_connection(false);
    });
    settled.notified().await;
    // It ended before it began: that was no HTTP/2.
    if shared.is_closed() { Err(Error::Protocol) } else { Ok(shared) }
}
