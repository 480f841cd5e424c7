//! Whether the peer of a shared HTTP/2 connection is still there. A connection that died without a word takes every request
//! that is put on it with it, for as long as each of them waits for its answer.
//!
//! ```text
//! streams open, nothing heard for 20 s ──► PING ──10 s──► nothing: the connection is given up
//! an answer did not come in time ────────► PING                pong: trusted again
//! at work, every 10 s ───────────────────► PING                pong: that is how far away the endpoint is
//! ```

use crate::clock;
use h2::PingPong;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Silence after which a connection with open streams is asked: longer than nearly all answers take.
const SILENCE: Duration = Duration::from_secs(20);
/// Silence after which it is asked again when all that it said was the answer to the last question: servers of gRPC end a
/// connection with `too_many_pings` when they are asked more often than every five minutes while they have nothing to send.
const SILENCE_AFTER_PONG: Duration = Duration::from_secs(310);
/// How often a connection at work is measured. It is not asked again before an answer has come: servers of gRPC count the pings
/// since they last sent something.
const MEASURE: Duration = Duration::from_secs(10);
/// How long the answer may take: several lost packets, not a dead peer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The shortest time between two looks, for a connection that is long silent because it is idle.
const LOOK: Duration = Duration::from_secs(1);

/// When the peer was last heard, and whether that is enough.
pub struct Ear {
    heard_ns: Cell<u64>,
    doubted_ns: Cell<u64>,
    answers: Cell<u64>,
    in_doubt: Notify,
}

impl Default for Ear {
    fn default() -> Ear {
        Ear {
            heard_ns: Cell::new(clock::now()),
            doubted_ns: Cell::new(0),
            answers: Cell::new(0),
            in_doubt: Notify::new(),
        }
    }
}

impl Ear {
    /// Whether something did not come in time and nothing was heard since.
    pub fn is_doubted(&self) -> bool {
        self.doubted_ns.get() > self.heard_ns.get()
    }

    /// An answer has begun.
    pub fn answered(&self) {
        self.answers.set(self.answers.get() + 1);
    }

    /// Something did not come in time.
    pub fn doubt(&self) {
        self.doubted_ns.set(clock::now().max(self.heard_ns.get() + 1));
        self.in_doubt.notify_one();
    }
}

/// Watches a connection with so many streams; returns when its peer is gone. An idle one is left alone. Round trips are told.
pub async fn watch(mut ping: PingPong, ear: &Ear, streams: &Cell<usize>, tell_trip_ns: impl Fn(u64)) {
    let mut patience = SILENCE;
    let (mut measure_at, mut answers) = (clock::now() + clock::ns(MEASURE), ear.answers.get());
    loop {
        let heard = ear.heard_ns.get();
        let due = heard + clock::ns(patience);
        let wait = Duration::from_nanos(due.min(measure_at).saturating_sub(clock::now())).max(LOOK);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = ear.in_doubt.notified() => {}
        }
        let spoke = ear.heard_ns.get() != heard;
        if spoke {
            patience = SILENCE;
        }
        let now = clock::now();
        let is_silent = !spoke && streams.get() > 0 && now >= due;
        let is_in_question = is_silent || ear.is_doubted();
        let is_measured = now >= measure_at && ear.answers.get() != answers;
        if now >= measure_at {
            measure_at = now + clock::ns(MEASURE);
        }
        if !is_in_question && !is_measured {
            continue;
        }
        answers = ear.answers.get();
        // One may still be on its way, then its answer is as good.
        let _ = ping.send_ping(h2::Ping::opaque());
        let pong = std::future::poll_fn(|cx| ping.poll_pong(cx));
        // One that was not in question is given the time that silence has.
        let limit = if is_in_question { PATIENCE } else { SILENCE + PATIENCE };
        if !matches!(tokio::time::timeout(limit, pong).await, Ok(Ok(_))) {
            return;
        }
        tell_trip_ns(clock::now() - now);
        if is_in_question {
            patience = SILENCE_AFTER_PONG;
        }
    }
}

/// A stream that notes when its peer speaks.
pub struct Heard<T> {
    io: T,
    ear: Rc<Ear>,
}

impl<T> Heard<T> {
    /// Listens for `ear`.
    pub fn new(io: T, ear: &Rc<Ear>) -> Heard<T> {
        Heard { io, ear: Rc::clone(ear) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.ear.heard_ns.set(clock::now());
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Watches a connection with `streams` streams for `limit`; whether it was given up, and how often the peer was heard.
    async fn watched(streams: usize, answers: bool, doubt: bool, limit: Duration) -> (bool, usize) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let ear = Rc::new(Ear::default());
        let serving = tokio::spawn(async move {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            while answers && server.accept().await.is_some() {}
            std::future::pending::<()>().await;
        });
        let (_send, mut connection) =
            h2::client::Builder::new().handshake::<_, Bytes>(Heard::new(ours, &ear)).await.unwrap();
        let ping = connection.ping_pong().unwrap();
        let heard = Cell::new(0);
        let counting = async {
            let mut last = ear.heard_ns.get();
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                if std::mem::replace(&mut last, ear.heard_ns.get()) != ear.heard_ns.get() {
                    heard.set(heard.get() + 1);
                }
            }
        };
        if doubt {
            ear.doubt();
        }
        let (streams, trips) = (Cell::new(streams), Cell::new(0));
        let given_up = tokio::select! {
            _ = connection => panic!("the connection ended by itself"),
            () = watch(ping, &ear, &streams, |_| trips.set(trips.get() + 1)) => true,
            () = counting => false,
            () = tokio::time::sleep(limit) => false,
        };
        serving.abort();
        (given_up, heard.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_falls_silent_under_open_streams_is_given_up_after_half_a_minute() {
        assert!(!watched(1, false, false, Duration::from_secs(28)).await.0);
        assert!(watched(1, false, false, Duration::from_secs(33)).await.0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_never_asked() {
        assert!(!watched(0, false, false, Duration::from_secs(3600)).await.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_but_has_nothing_to_say_is_asked_rarely_and_kept() {
        let (given_up, heard) = watched(1, true, false, Duration::from_secs(3600)).await;
        assert!(!given_up);
        // The settings, one answer, and then one each five minutes.
        assert!((10..=14).contains(&heard), "heard {heard} times in an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_doubt_is_asked_at_once() {
        assert!(watched(0, false, true, Duration::from_secs(12)).await.0);
        assert!(!watched(0, true, true, Duration::from_secs(60)).await.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_measured_every_ten_seconds_while_answers_come_and_not_after() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let ear = Rc::new(Ear::default());
        let serving = tokio::spawn(async move {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            while server.accept().await.is_some() {}
        });
        let (_send, mut connection) =
            h2::client::Builder::new().handshake::<_, Bytes>(Heard::new(ours, &ear)).await.unwrap();
        let ping = connection.ping_pong().unwrap();
        let (streams, trips) = (Cell::new(0), Cell::new(0));
        let minute = async {
            for _ in 0..60 {
                ear.answered();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let at_work = trips.get();
            tokio::time::sleep(Duration::from_secs(600)).await;
            (at_work, trips.get())
        };
        let (at_work, later) = tokio::select! {
            _ = connection => panic!("the connection ended by itself"),
            () = watch(ping, &ear, &streams, |_| trips.set(trips.get() + 1)) => panic!("given up"),
            counted = minute => counted,
        };
        serving.abort();
        assert!((5..=6).contains(&at_work), "{at_work} in a minute");
        assert!(later <= at_work + 1, "{later} in the end");
    }
}
