//! Content that is still on its way, read by everybody who wants it while it arrives: the caller for whom it was fetched, those
//! who waited with it, and those who find it in the store before it is whole. It is taken in as fast as the origin sends it, so
//! that no reader has to wait for a slower one.
//!
//! Only what turns out to be too large to keep is taken in no faster than it is read. Then a reader that holds the others up
//! for long is cut off; alone it may take its time.

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
/// How long one reader may hold up others.
const PATIENCE: Duration = Duration::from_secs(10);
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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is still held.
    pieces: VecDeque<Bytes>,
    /// How many pieces were let go of before the first of them.
    gone: u64,
    bytes: u64,
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

    fn slowest(&self) -> Option<u64> {
        self.readers.iter().map(|(_, seat)| seat.piece).min()
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
    pub fn new(length: Option<u64>) -> Arc<Arrival> {
        Arc::new(Arrival { length, state: Mutex::default() })
    }

    /// Its length, if it was declared.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads it from the beginning, or a part of it from the first to the last byte.
    pub fn read(self: &Arc<Arrival>, part: Option<(u64, u64)>) -> Body {
        let seat = self.state().readers.insert(Seat::default());
        let until = part.map(|(_, last)| last + 1).or(self.length);
        let skip = part.map_or(0, |(first, _)| first);
        Body::Stream(Box::new(Reader { arrival: Arc::clone(self), seat, at: 0, skip, until }))
    }

    /// Keeps its beginning for a reader that is about to come; none if that is gone already.
    pub fn hold(self: &Arc<Arrival>) -> Option<Hold> {
        let mut state = self.state();
        (!state.is_too_large())
            .then(|| Hold { seat: state.readers.insert(Seat::default()), arrival: Arc::clone(self) })
    }

    /// Takes a body in to its end. Returns all of it, with its trailers, if it came whole and is small enough to be kept. What is
    /// too large and has no readers any more is given up.
    pub async fn take_in(&self, mut body: Body) -> Option<Whole> {
        let mut unread_since = None;
        loop {
            if !self.has_room().await || self.is_given_up(&mut unread_since) {
                return self.finish(End::Failed(Error::CallerGone));
            }
            let Ok(chunk) = tokio::time::timeout(UNREAD, body.chunk()).await else { continue };
            let end = match chunk {
                Some(Ok(Chunk::Data(data))) => {
                    self.add(&data);
                    // With its last byte content of known length is whole: nobody asks for its end.
                    if self.length != Some(self.state().bytes) {
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

    /// Whether nobody has read it for too long.
    fn is_given_up(&self, since: &mut Option<u64>) -> bool {
        if !self.state().readers.is_empty() {
            *since = None;
            return false;
        }
        let now = clock::now();
        now.saturating_sub(*since.get_or_insert(now)) >= clock::ns(UNREAD)
    }

    fn add(&self, data: &[u8]) {
        let mut state = self.state();
        let next = state.gone + state.pieces.len() as u64;
        let is_unread = !state.readers.iter().any(|(_, seat)| seat.piece >= next && !seat.is_cut);
        match state.pieces.back_mut().filter(|last| is_unread && last.len() < PIECE_BYTES_MIN) {
            Some(last) => *last = [last, data].concat().into(),
            // Of its own: a piece would hold on to all of the buffer that it was cut from.
            None => state.pieces.push_back(Bytes::copy_from_slice(data)),
        }
        state.bytes += data.len() as u64;
        state.wake_readers();
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

    /// Waits until more may be taken in; says no if nobody wants it.
    async fn has_room(&self) -> bool {
        loop {
            let room = std::future::poll_fn(|cx| self.poll_room(cx));
            match tokio::time::timeout(PATIENCE, room).await {
                Ok(is_wanted) => return is_wanted,
                Err(_) => self.cut_slowest(),
            }
        }
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if !state.is_too_large() {
            return Poll::Ready(true);
        }
        let Some(slowest) = state.slowest() else { return Poll::Ready(false) };
        let held: usize = state.pieces.iter().map(Bytes::len).sum();
        let is_full = held as u64 > OBJECT_BYTES_MAX || state.pieces.len() > PIECES_MAX;
        if slowest == state.gone && is_full {
            state.intake = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    fn cut_slowest(&self) {
        let mut state = self.state();
        let (slowest, count) = (state.slowest(), state.readers.len());
        let cut: Vec<usize> =
            state.readers.iter().filter(|(_, seat)| Some(seat.piece) == slowest).map(|(at, _)| at).collect();
        if cut.len() == count {
            return;
        }
        for at in cut {
            if let Some(seat) = state.readers.get_mut(at) {
                (seat.is_cut, seat.piece) = (true, u64::MAX);
                seat.waker.take().into_iter().for_each(Waker::wake);
            }
        }
        state.trim();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            let at = seat.piece.saturating_sub(gone) as usize;
            seat.waker = Some(cx.waker().clone());
            let Some(piece) = state.pieces.get(at).cloned() else {
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
        match self.until {
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
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Pieces of 1 KiB, as fast as they are asked for.
    struct Pieces {
        left: usize,
        taken: Rc<Cell<usize>>,
        end: Option<Error>,
    }

    impl Source for Pieces {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
            if self.left == 0 {
                return Poll::Ready(self.end.take().map(Err));
            }
            self.left -= 1;
            self.taken.set(self.taken.get() + 1);
            Poll::Ready(Some(Ok(Chunk::Data(Bytes::from(vec![b'x'; 1024])))))
        }

        fn size(&self) -> Size {
            Size::Unknown
        }
    }

    fn pieces(left: usize, end: Option<Error>) -> (Body, Rc<Cell<usize>>) {
        let taken = Rc::new(Cell::new(0));
        (Body::Stream(Box::new(Pieces { left, taken: Rc::clone(&taken), end })), taken)
    }

    async fn read(mut body: Body) -> Result<usize, Error> {
        let mut bytes = 0;
        while let Some(chunk) = body.chunk().await {
            match chunk? {
                Chunk::Data(data) => bytes += data.len(),
                Chunk::Trailers(_) => break,
            }
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn everybody_gets_all_of_it_and_a_part_is_cut_out_of_it() {
        let arrival = Arrival::new(Some(4 * 1024));
        let readers = (arrival.read(None), arrival.read(None), arrival.read(Some((1_000, 3_000))));
        assert_eq!(readers.2.size(), Size::Exact(2_001));
        let (body, _) = pieces(4, None);
        let (whole, one, other, part) =
            tokio::join!(arrival.take_in(body), read(readers.0), read(readers.1), read(readers.2));
        assert_eq!(
            (whole.unwrap().content.len(), one, other, part),
            (4_096, Ok(4_096), Ok(4_096), Ok(2_001))
        );
        assert_eq!(read(arrival.read(None)).await, Ok(4_096), "who comes late as well");
    }

    #[tokio::test]
    async fn what_is_cut_off_is_cut_off_for_everybody_and_not_kept() {
        let arrival = Arrival::new(None);
        let reader = arrival.read(None);
        let (body, _) = pieces(2, Some(Error::Truncated));
        let (whole, read) = tokio::join!(arrival.take_in(body), read(reader));
        assert_eq!((whole.is_some(), read), (false, Err(Error::Truncated)));
    }

    #[tokio::test]
    async fn an_answer_beyond_the_bound_passes_and_is_not_kept() {
        for (count, is_kept) in [(1_024, true), (1_025, false), (5_000, false)] {
            let arrival = Arrival::new(None);
            let reader = arrival.read(None);
            let (body, _) = pieces(count, None);
            let (whole, read) = tokio::join!(arrival.take_in(body), read(reader));
            assert_eq!((whole.is_some(), read), (is_kept, Ok(count * 1_024)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_taken_in_no_faster_than_it_is_read_and_who_holds_up_others_is_cut_off() {
        let arrival = Arrival::new(None);
        let (reader, mut idle) = (arrival.read(None), arrival.read(None));
        let (body, taken) = pieces(8_000, None);
        let (whole, read) = tokio::join!(arrival.take_in(body), read(reader));
        assert_eq!((whole.is_some(), read), (false, Ok(8_000 * 1_024)));
        assert_eq!(idle.chunk().await.unwrap().unwrap_err(), Error::CallerStalled);
        let arrival = Arrival::new(None);
        let alone = arrival.read(None);
        let (body, held) = pieces(8_000, None);
        let waits = tokio::time::timeout(Duration::from_secs(60), arrival.take_in(body)).await;
        assert!(waits.is_err() && held.get() < 2_000, "one alone may take its time: {}", held.get());
        drop(alone);
        assert_eq!(taken.get(), 8_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_is_given_up_after_a_while_however_slowly_it_comes() {
        struct Drip(tokio::time::Interval);
        impl Source for Drip {
            fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
                self.0.poll_tick(cx).map(|_| Some(Ok(Chunk::Data(Bytes::from_static(b"x")))))
            }
            fn size(&self) -> Size {
                Size::Unknown
            }
        }
        for every_s in [1, 60] {
            let arrival = Arrival::new(None);
            let body = Body::Stream(Box::new(Drip(tokio::time::interval(Duration::from_secs(every_s)))));
            let given_up = tokio::time::timeout(4 * UNREAD, arrival.take_in(body)).await;
            assert!(given_up.is_ok_and(|whole| whole.is_none()), "every {every_s} s");
        }
    }

    #[tokio::test]
    async fn content_in_tiny_pieces_takes_no_more_memory_than_its_bound() {
        let arrival = Arrival::new(None);
        (0..100_000).for_each(|_| arrival.add(b"x"));
        assert!(
            arrival.state().pieces.len() <= 100_000 / PIECE_BYTES_MIN + 1,
            "put together while nobody reads them"
        );
        let (arrival, mut reads) = (Arrival::new(None), Vec::new());
        let mut reader = arrival.read(None);
        for _ in 0..=PIECES_MAX {
            arrival.add(b"x");
            reads.push(reader.chunk().await.is_some());
        }
        assert!(
            reads.iter().all(|read| *read) && arrival.hold().is_none(),
            "not kept, and read all the same"
        );
    }

    #[tokio::test]
    async fn what_nobody_wants_and_will_not_be_kept_is_given_up() {
        let arrival = Arrival::new(None);
        drop(arrival.read(None));
        let (body, taken) = pieces(1_000_000, None);
        assert!(arrival.take_in(body).await.is_none());
        assert!(taken.get() < 2_000, "{}", taken.get());
    }
}
