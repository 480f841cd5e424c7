//! Content that is still on its way, read by everybody who wants it while it arrives: the caller for whom it was fetched, those
//! who waited with it, and those who find it in the store before it is whole. It is taken in as fast as the origin sends it, so
//! that no reader has to wait for a slower one.
//!
//! Only what turns out to be too large to keep is taken in no faster than it is read. Then a reader that holds the others up
//! for long is cut off; alone it may take its time.

use super::patience::Patience;
use crate::clock;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Fields, Size};
use bytes::Bytes;
use slab::Slab;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Larger answers are not kept in memory.
pub const OBJECT_BYTES_MAX: u64 = 1024 * 1024;
/// What is too large to be kept is held no more of than this, for its slowest reader.
pub const PASSING_BYTES_MAX: u64 = 64 * 1024;
/// Nobody joins content of which nothing has come for so long: its origin may have more luck with another fetch.
const SILENCE_NS: u64 = 3_000_000_000;
/// How often it is looked at who holds up whom.
const LOOK: Duration = Duration::from_secs(1);
/// How long content is taken in that nobody reads: whoever comes next may still find it.
const UNREAD: Duration = Duration::from_secs(3);
/// Smaller pieces are put together: each costs more than it holds.
const PIECE_BYTES_MIN: usize = 4 * 1024;
/// Content in more pieces than this takes much more memory than it has bytes, and is not kept.
const PIECES_MAX: usize = 8 * 1024;

/// Content that has come to its end.
#[derive(Clone, Debug)]
pub struct Whole {
    /// All of it.
    pub content: Bytes,
    /// What came after it.
    pub trailers: Option<Fields>,
}

/// How content ended.
#[derive(Clone, Debug)]
enum End {
    Whole,
    Trailers(Fields),
    Failed(Error),
}

/// Content on its way. Any core may read it, one takes it in.
#[derive(Debug)]
pub struct Arrival {
    length: Option<u64>,
    /// Whether trailers may come after content of this length.
    may_trail: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is still held.
    pieces: VecDeque<Bytes>,
    /// How many pieces were let go of before the first of them.
    gone: u64,
    bytes: u64,
    /// When something came last.
    came_ns: u64,
    end: Option<End>,
    readers: Slab<Seat>,
    /// Who takes it in, while there is no room.
    intake: Option<Waker>,
}

#[derive(Debug, Default)]
struct Seat {
    /// The next piece for this reader.
    piece: u64,
    waker: Option<Waker>,
    is_cut: bool,
}

impl State {
    fn is_too_large(&self) -> bool {
        // Once it was, it stays so: its beginning may be gone.
        self.gone > 0 || self.bytes > OBJECT_BYTES_MAX || self.pieces.len() > PIECES_MAX
    }

    /// Those who still read; who was cut off holds up nothing.
    fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.readers.iter().map(|(_, seat)| seat).filter(|seat| !seat.is_cut)
    }

    fn slowest(&self) -> Option<u64> {
        self.seats().map(|seat| seat.piece).min()
    }

    /// The number of the piece that comes next.
    fn next(&self) -> u64 {
        self.gone + self.pieces.len() as u64
    }

    /// Lets go of what every reader has had, once it will not be kept.
    fn trim(&mut self) {
        if !self.is_too_large() {
            return;
        }
        let keep_from = self.slowest().unwrap_or(u64::MAX);
        while self.gone < keep_from && self.pieces.pop_front().is_some() {
            self.gone += 1;
        }
        if let Some(intake) = self.intake.take() {
            intake.wake();
        }
    }

    fn wake_readers(&mut self) {
        self.readers.iter_mut().filter_map(|(_, seat)| seat.waker.take()).for_each(Waker::wake);
    }
}

impl Arrival {
    /// Content of which nothing has come yet.
    pub fn new(length: Option<u64>, may_trail: bool) -> Arc<Arrival> {
        let state = State { came_ns: clock::now(), ..State::default() };
        Arc::new(Arrival { length, may_trail, state: Mutex::new(state) })
    }

    /// Its length, if it was declared.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads it from the beginning, or a part of it from the first to the last byte.
    pub fn read(self: &Arc<Arrival>, part: Option<(u64, u64)>) -> Body {
        let seat = self.state().readers.insert(Seat::default());
        let until = part.map(|(_, last)| last + 1).or(self.length.filter(|_| !self.may_trail));
        let skip = part.map_or(0, |(first, _)| first);
        Body::Stream(Box::new(Reader { arrival: Arc::clone(self), seat, at: 0, skip, until }))
    }

    /// Keeps its beginning for a reader that is about to come; none if that is gone already, or the end will never come.
    pub fn hold(self: &Arc<Arrival>) -> Option<Hold> {
        let mut state = self.state();
        let is_coming = match state.end {
            None => clock::now().saturating_sub(state.came_ns) < SILENCE_NS,
            Some(End::Failed(_)) => false,
            Some(End::Whole | End::Trailers(_)) => true,
        };
        let is_worth_it = is_coming && !state.is_too_large();
        is_worth_it.then(|| Hold { seat: state.readers.insert(Seat::default()), arrival: Arc::clone(self) })
    }

    /// Takes a body in to its end. Returns all of it, with its trailers, if it came whole and is small enough to be kept. What is
    /// too large and has no readers any more is given up.
    pub async fn take_in(&self, mut body: Body, on_too_large: impl FnOnce()) -> Option<Whole> {
        let mut on_too_large = Some(on_too_large);
        // Whoever takes it in may be stopped: then nobody must wait for the end.
        let _stopped = Stopped(self);
        let (mut unread_since, mut patience) = (None, Patience::default());
        loop {
            if !self.has_room(&mut patience).await || self.is_given_up(&mut unread_since) {
                return self.finish(End::Failed(Error::CallerGone));
            }
            let Ok(chunk) = tokio::time::timeout(UNREAD, body.chunk()).await else { continue };
            let end = match chunk {
                Some(Ok(Chunk::Data(data))) => {
                    if self.add(&data)
                        && let Some(on_too_large) = on_too_large.take()
                    {
                        on_too_large();
                    }
                    // With its last byte content of known length is whole: nobody asks for its end.
                    if self.may_trail || self.length != Some(self.state().bytes) {
                        continue;
                    }
                    End::Whole
                }
                Some(Ok(Chunk::Trailers(trailers))) => End::Trailers(trailers),
                Some(Err(error)) => End::Failed(error),
                None => End::Whole,
            };
            return self.finish(end);
        }
    }

    /// Whether it has come to its end and is too large to be kept.
    pub fn is_outgrown(&self) -> bool {
        let state = self.state();
        state.is_too_large() && matches!(state.end, Some(End::Whole | End::Trailers(_)))
    }

    /// Whether nobody has read it for too long.
    fn is_given_up(&self, since: &mut Option<u64>) -> bool {
        if self.state().slowest().is_some() {
            *since = None;
            return false;
        }
        let now = clock::now();
        now.saturating_sub(*since.get_or_insert(now)) >= clock::ns(UNREAD)
    }

    /// Says whether it is too large to be kept.
    fn add(&self, data: &[u8]) -> bool {
        let mut state = self.state();
        let next = state.next();
        let is_unread = !state.seats().any(|seat| seat.piece >= next);
        match state.pieces.back_mut().filter(|last| is_unread && last.len() < PIECE_BYTES_MIN) {
            Some(last) => *last = [last, data].concat().into(),
            // Of its own: a piece would hold on to all of the buffer that it was cut from.
            None => state.pieces.push_back(Bytes::copy_from_slice(data)),
        }
        state.bytes += data.len() as u64;
        state.came_ns = clock::now();
        state.wake_readers();
        state.is_too_large()
    }

    fn finish(&self, end: End) -> Option<Whole> {
        let mut state = self.state();
        let trailers = match &end {
            End::Whole => Some(None),
            End::Trailers(trailers) => Some(Some(trailers.clone())),
            End::Failed(_) => None,
        };
        let whole = trailers.filter(|_| !state.is_too_large()).map(|trailers| {
            let content = match state.pieces.len() {
                1 => state.pieces.front().cloned().unwrap_or_default(),
                _ => joined(&state.pieces, state.bytes),
            };
            Whole { content, trailers }
        });
        state.end = Some(end);
        state.wake_readers();
        whole
    }

    /// Waits until more may be taken in; says no if nobody wants it. Whoever holds up others for too long meanwhile is cut off.
    async fn has_room(&self, patience: &mut Patience) -> bool {
        if let Poll::Ready(is_wanted) = std::future::poll_fn(|cx| Poll::Ready(self.poll_room(cx))).await {
            return is_wanted;
        }
        patience.begins(clock::now());
        loop {
            let room = std::future::poll_fn(|cx| self.poll_room(cx));
            let came = tokio::time::timeout(LOOK, room).await;
            if patience.is_at_its_end(clock::now(), self.is_anybody_held_up()) {
                self.cut_slowest();
            }
            if let Ok(is_wanted) = came {
                return is_wanted;
            }
        }
    }

    /// Whether a reader has had all that has come.
    fn is_anybody_held_up(&self) -> bool {
        let state = self.state();
        let next = state.next();
        state.seats().any(|seat| seat.piece >= next)
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if !state.is_too_large() {
            return Poll::Ready(true);
        }
        // What was read before it became too large is let go of only now.
        state.intake = None;
        state.trim();
        let Some(slowest) = state.slowest() else { return Poll::Ready(false) };
        let held: usize = state.pieces.iter().map(Bytes::len).sum();
        let is_full = held as u64 > PASSING_BYTES_MAX || state.pieces.len() > PIECES_MAX;
        if slowest == state.gone && is_full {
            state.intake = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    fn cut_slowest(&self) {
        let mut state = self.state();
        let (slowest, count) = (state.slowest(), state.seats().count());
        let cut: Vec<usize> =
            state.readers.iter().filter(|(_, seat)| Some(seat.piece) == slowest).map(|(at, _)| at).collect();
        if cut.len() == count {
            return;
        }
        for at in cut {
            if let Some(seat) = state.readers.get_mut(at) {
                seat.is_cut = true;
                seat.waker.take().into_iter().for_each(Waker::wake);
            }
        }
        state.trim();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends content that nobody takes in any more.
struct Stopped<'a>(&'a Arrival);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if self.0.state().end.is_none() {
            self.0.finish(End::Failed(Error::Truncated));
        }
    }
}

/// Keeps the beginning of what arrives as long as it lives.
pub struct Hold {
    arrival: Arc<Arrival>,
    seat: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.arrival.state();
        state.readers.try_remove(self.seat);
        state.trim();
    }
}

/// All pieces in one, in memory of exactly that size.
fn joined(pieces: &VecDeque<Bytes>, bytes: u64) -> Bytes {
    let mut all = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    all.into()
}

/// One who reads it.
struct Reader {
    arrival: Arc<Arrival>,
    seat: usize,
    /// How far it has read.
    at: u64,
    /// Bytes before this one are not for this reader.
    skip: u64,
    /// Nor are those from this one on.
    until: Option<u64>,
}

impl Reader {
    /// The part of the piece at `self.at` that is for this reader.
    fn cut(&mut self, piece: &Bytes) -> Bytes {
        let begins = self.at;
        self.at += piece.len() as u64;
        let within = |at: u64| (at.saturating_sub(begins) as usize).min(piece.len());
        let last = self.until.map_or(piece.len(), within);
        piece.slice(within(self.skip).min(last)..last)
    }
}

impl Source for Reader {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let arrival = Arc::clone(&self.arrival);
        let mut state = arrival.state();
        loop {
            if self.until.is_some_and(|until| self.at >= until) {
                return Poll::Ready(None);
            }
            let gone = state.gone;
            let Some(seat) = state.readers.get_mut(self.seat) else { return Poll::Ready(None) };
            if seat.is_cut {
                return Poll::Ready(Some(Err(Error::CallerStalled)));
            }
            // It would begin in the middle.
            let Some(at) = seat.piece.checked_sub(gone) else {
                return Poll::Ready(Some(Err(Error::Truncated)));
            };
            seat.waker = Some(cx.waker().clone());
            let Some(piece) = state.pieces.get(at as usize).cloned() else {
                return match &state.end {
                    None => Poll::Pending,
                    Some(End::Whole) => Poll::Ready(None),
                    Some(End::Trailers(trailers)) => {
                        // Once: the source is not polled after its end.
                        Poll::Ready(Some(Ok(Chunk::Trailers(trailers.clone()))))
                    }
                    Some(End::Failed(error)) => Poll::Ready(Some(Err(*error))),
                };
            };
            if let Some(seat) = state.readers.get_mut(self.seat) {
                seat.piece += 1;
            }
            state.trim();
            let data = self.cut(&piece);
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Chunk::Data(data))));
            }
        }
    }

    fn size(&self) -> Size {
        match self.until.or(self.arrival.length) {
            Some(until) => Size::Exact(until.saturating_sub(self.at.max(self.skip))),
            None => Size::Unknown,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.arrival.state();
        state.readers.try_remove(self.seat);
        state.trim();
    }
}

#[cfg(test)]
mod tests;
