//! An answer on its way into a stream of HTTP/2.
//!
//! A caller that opens its windows and does not read makes the `h2` crate keep whatever it is given, and one whose windows are
//! shut makes us keep what we have read for it: a hundred streams of either kind are megabytes. So what waits is counted over
//! the connection, and a stream takes the less from its upstream the more there is.

use super::grpc;
use super::h2::Session;
use super::recording::Recording;
use crate::clock;
use crate::error::{Error, Fault};
use crate::exchange::{Interim, Response};
use crate::http::h2::convert;
use crate::http::{Body, Chunk, ResponseHead, Size};
use crate::limits::{ANSWER_BYTES_SHARED, ANSWER_PIECE_MIN};
use crate::net::alarm::{Alarm, NEVER};
use crate::net::wire::BODY_READ_BYTES;
use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use unlag_record::Phase;

/// A body up to this size goes out as one piece if it is there and the caller has opened its windows that far.
const WHOLE_BYTES: usize = 16 * 1024;

/// Pieces have few sizes: a buffer that one stream gives back then serves another.
const PIECES: [usize; 3] = [BODY_READ_BYTES, 16 * 1024, ANSWER_PIECE_MIN];

/// The answering half of a stream.
pub type Respond = SendResponse<Piece>;

/// Where interim answers and the final one go.
pub struct Out {
    respond: RefCell<Respond>,
}

impl Out {
    /// The answers of `respond`.
    pub fn new(respond: Respond) -> Out {
        Out { respond: RefCell::new(respond) }
    }

    /// Ends the stream without an answer.
    pub fn reset(&self, reason: Reason) {
        self.respond.borrow_mut().send_reset(reason);
    }

    /// Ready when the caller has reset the stream.
    pub fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.borrow_mut().poll_reset(cx).map(|_| ())
    }

    /// Sends an answer; the error says why it was cut.
    pub async fn respond_with(
        &self,
        session: &Session,
        recording: &Recording,
        mut response: Box<Response>,
    ) -> Result<(), Error> {
        recording.trace.enter(Phase::Transfer);
        recording.status.set(response.head.status);
        let bodiless = response.head.is_bodiless(&recording.trace.method);
        let body = std::mem::take(&mut response.body);
        let length = match body.size() {
            Size::Exact(length) if !bodiless => Some(length),
            _ => None,
        };
        let ends = bodiless || matches!(body, Body::Empty);
        let length = length.filter(|_| !matches!(body, Body::Empty));
        let head = convert::response_out(&response.head, length);
        let Ok(mut stream) = self.respond.borrow_mut().send_response(head, ends) else {
            recording.failed(Error::CallerGone);
            return Err(Error::CallerGone);
        };
        let result = match (ends, body) {
            (true, _) => Ok(()),
            (false, Body::Bytes(bytes)) if is_taken_whole(&mut stream, bytes.len()) => {
                recording.trace.bytes_out.set(bytes.len() as u64);
                stream.send_data(Piece::uncounted(bytes), true).map_err(|_| Error::CallerGone)
            }
            (false, body) => {
                let patience_ns = session.core.limits().write_timeout_ns;
                let mut pump = Pump::new(&mut stream, body, &session.held, patience_ns);
                std::future::poll_fn(|cx| pump.poll(cx, recording)).await
            }
        };
        match result {
            Ok(()) => recording.complete(),
            Err(error) => {
                recording.failed(error);
                let is_grpc = recording.grpc.get() && grpc::is_spoken(&response.head.fields);
                let may_tell = is_grpc && length.is_none() && error.fault() != Fault::Caller;
                let told = may_tell && stream.send_trailers(grpc::trailers(error)).is_ok();
                let is_gone = error == Error::CallerGone;
                if !told {
                    stream.send_reset(if is_gone { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
                }
            }
        }
        result
    }
}

/// Whether a body of `len` bytes is small and the windows have room for it, so that only the socket can hold it up.
fn is_taken_whole(stream: &mut SendStream<Piece>, len: usize) -> bool {
    if len > WHOLE_BYTES {
        return false;
    }
    stream.reserve_capacity(len);
    stream.capacity() >= len
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Out")
    }
}

impl Interim for Out {
    fn send(&self, head: ResponseHead) {
        let _ = self.respond.borrow_mut().send_informational(convert::response_out(&head, None));
    }
}

/// Moves a body into a stream as its window opens.
struct Pump<'a> {
    stream: &'a mut SendStream<Piece>,
    body: Body,
    held: Rc<Held>,
    chunk: Piece,
    patience_ns: u64,
    /// Set while the caller takes nothing.
    alarm: Alarm,
    /// The largest piece that may be taken now.
    room: usize,
    /// What the stream held when it last looked for room.
    held_before: usize,
}

impl<'a> Pump<'a> {
    fn new(stream: &'a mut SendStream<Piece>, body: Body, all: &Rc<Cell<usize>>, patience_ns: u64) -> Self {
        let held = Rc::new(Held { all: Rc::clone(all), own: Cell::new(0), waiting: Cell::new(None) });
        let chunk = Piece::uncounted(Bytes::new());
        Pump { stream, body, held, chunk, patience_ns, alarm: Alarm::default(), room: 0, held_before: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>, recording: &Recording) -> Poll<Result<(), Error>> {
        loop {
            if self.chunk.bytes.is_empty() {
                match ready!(self.poll_take(cx)).transpose()? {
                    Some(Chunk::Data(data)) => self.chunk = Piece::counted(data, self.room, &self.held),
                    Some(Chunk::Trailers(trailers)) => {
                        let sent = self.stream.send_trailers(convert::fields_out(&trailers));
                        return Poll::Ready(sent.map_err(|_| Error::CallerGone));
                    }
                    None => {
                        let sent = self.stream.send_data(Piece::uncounted(Bytes::new()), true);
                        return Poll::Ready(sent.map_err(|_| Error::CallerGone));
                    }
                }
            }
            self.stream.reserve_capacity(self.chunk.bytes.len());
            ready!(self.poll_window(cx))?;
            let piece = self.chunk.split_to(self.stream.capacity());
            let sent = recording.trace.bytes_out.get() + piece.bytes.len() as u64;
            recording.trace.bytes_out.set(sent);
            if !piece.bytes.is_empty() && self.stream.send_data(piece, false).is_err() {
                return Poll::Ready(Err(Error::CallerGone));
            }
        }
    }

    /// The next piece of the body, once there is room for it.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let size = self.body.size();
        if size == Size::Exact(0) {
            return self.poll_body(cx);
        }
        // One byte tells whether the windows are open; more would be taken from the other streams before it is needed.
        self.stream.reserve_capacity(1);
        let mut is_open = self.stream.capacity() > 0;
        if !is_open && matches!(size, Size::Exact(_)) {
            if let Err(error) = ready!(self.poll_window(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
            is_open = true;
        }
        self.room = self.held.room(is_open);
        let held = self.held.own.get();
        if held == 0 || held < std::mem::replace(&mut self.held_before, held) {
            self.alarm.clear();
        }
        if self.room == 0 {
            self.held.wait(cx);
            return self.poll_stalled(cx).map(|error| Some(Err(error)));
        }
        self.body.take_at_most(self.room);
        self.poll_body(cx)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        match self.body.poll_chunk(cx) {
            Poll::Pending => self.stream.poll_reset(cx).map(|_| Some(Err(Error::CallerGone))),
            ready => ready,
        }
    }

    /// Ready once the windows are open.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => self.alarm.clear(),
                Poll::Ready(_) => return Poll::Ready(Err(Error::CallerGone)),
                Poll::Pending => return self.poll_stalled(cx).map(Err),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the caller has taken nothing for too long, or has gone.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.alarm.due() == NEVER {
            self.alarm.set(clock::now().saturating_add(self.patience_ns));
        }
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Error::CallerGone);
        }
        self.alarm.poll(cx).map(|()| Error::CallerStalled)
    }
}

/// What a stream holds of its answer: taken from the upstream, not yet written.
struct Held {
    /// The same for all streams of the connection.
    all: Rc<Cell<usize>>,
    own: Cell<usize>,
    waiting: Cell<Option<Waker>>,
}

impl Held {
    /// How much more the stream may take: the largest piece that leaves as much to the others, unless it would do better to wait
    /// until what it has is written. Where little is left or the windows are shut, the least piece, if it has none: paused
    /// streams hold nobody up, and nobody much.
    fn room(&self, is_open: bool) -> usize {
        let share = ANSWER_BYTES_SHARED.saturating_sub(self.all.get()) / 2;
        let pieces = if is_open { PIECES.as_slice() } else { &[] };
        let own = self.own.get();
        match pieces.iter().find(|piece| **piece <= share) {
            Some(&piece) if own <= 2 * piece => piece,
            _ if own == 0 => ANSWER_PIECE_MIN,
            _ => 0,
        }
    }

    /// Wakes the task when something was written.
    fn wait(&self, cx: &Context<'_>) {
        self.waiting.set(Some(cx.waker().clone()));
    }

    fn change(&self, change: isize) {
        self.own.set(self.own.get().saturating_add_signed(change));
        self.all.set(self.all.get().saturating_add_signed(change));
    }
}

/// A piece of an answer. It counts until `h2` has written it and lets it go.
pub struct Piece {
    bytes: Bytes,
    counts: usize,
    held: Option<Rc<Held>>,
}

impl Piece {
    /// Bytes that are there anyway.
    fn uncounted(bytes: Bytes) -> Piece {
        Piece { bytes, counts: 0, held: None }
    }

    /// Bytes that were read into room for `room`, which all of them keep.
    fn counted(bytes: Bytes, room: usize, held: &Rc<Held>) -> Piece {
        let counts = room.max(bytes.len());
        held.change(counts as isize);
        Piece { bytes, counts, held: Some(Rc::clone(held)) }
    }

    /// Takes the first `len` bytes, or all.
    fn split_to(&mut self, len: usize) -> Piece {
        let is_all = len >= self.bytes.len();
        let bytes = if is_all { std::mem::take(&mut self.bytes) } else { self.bytes.split_to(len) };
        let counts = if is_all { self.counts } else { bytes.len() };
        self.counts -= counts;
        Piece { bytes, counts, held: self.held.clone() }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(held) = &self.held else { return };
        held.change(-(self.counts as isize));
        if self.counts > 0
            && let Some(waker) = held.waiting.take()
        {
            waker.wake();
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(all: &Rc<Cell<usize>>) -> Rc<Held> {
        Rc::new(Held { all: Rc::clone(all), own: Cell::new(0), waiting: Cell::new(None) })
    }

    /// Takes as long as there is room.
    fn take_all(held: &Rc<Held>, is_open: bool) -> Vec<Piece> {
        let next = || Some(held.room(is_open)).filter(|room| *room > 0);
        std::iter::from_fn(next).map(|room| Piece::counted(Bytes::from(vec![0; room]), room, held)).collect()
    }

    #[test]
    fn a_hundred_streams_hold_less_than_a_mib_and_each_of_them_something() {
        let all = Rc::default();
        let streams: Vec<_> = (0..100).map(|_| stream(&all)).collect();
        let pieces: Vec<_> = streams.iter().map(|held| take_all(held, true)).collect();
        assert!(all.get() <= 1 << 20, "{} bytes", all.get());
        assert!(streams.iter().all(|held| held.own.get() >= ANSWER_PIECE_MIN));
        drop(pieces);
        assert_eq!(all.get(), 0);
    }

    #[test]
    fn a_single_stream_takes_large_pieces_and_a_shut_one_the_least() {
        let all = Rc::default();
        let (open, shut) = (stream(&all), stream(&all));
        assert_eq!(take_all(&shut, false).iter().map(|piece| piece.remaining()).sum::<usize>(), 4 * 1024);
        let pieces = take_all(&open, true);
        assert_eq!(pieces.first().map(|piece| piece.remaining()), Some(BODY_READ_BYTES));
        assert!(
            pieces.iter().all(|piece| piece.remaining() == BODY_READ_BYTES),
            "it waits instead of taking less"
        );
    }

    #[test]
    fn what_a_cut_piece_counts_is_given_back_with_its_last_part() {
        let all = Rc::default();
        let held = stream(&all);
        let mut piece = Piece::counted(Bytes::from_static(b"hello"), 100, &held);
        let first = piece.split_to(2);
        drop(first);
        assert_eq!((piece.remaining(), all.get()), (3, 98));
        let last = piece.split_to(9);
        drop(piece);
        assert_eq!((last.chunk(), all.get()), (&b"llo"[..], 98));
        drop(last);
        assert_eq!((all.get(), held.own.get()), (0, 0));
    }
}
