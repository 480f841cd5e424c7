//! A byte stream with the input that was read but not yet understood. Reader and writer share it through `&self`: the borrows
//! last for one poll only, never across an await.

use super::io::Io;
use bytes::{Buf, Bytes, BytesMut};
use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Heads and small messages are read into a buffer of the core, which a connection has only while something is in it.
const READ_BYTES: usize = 16 * 1024;

/// A body that is larger is read into a buffer of this size.
pub const BODY_READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// Inputs that wait for another connection.
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    /// The same, for large bodies: one that is silent holds none.
    static SPARE_BODY: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Takes `len` bytes out of an input. Few are copied, so that the input's buffer serves again; many are cut off.
pub fn take(input: &mut BytesMut, len: usize) -> Bytes {
    if len > COPY_BYTES_MAX {
        let whole = input.len() == len;
        return if whole { std::mem::take(input) } else { input.split_to(len) }.freeze();
    }
    let taken = Bytes::copy_from_slice(input.get(..len).unwrap_or_default());
    input.advance(taken.len());
    taken
}

/// Cutting costs two allocations, copying one and the copy.
const COPY_BYTES_MAX: usize = 2 * 1024;

/// Inputs kept by a core: enough for the messages that are read at one time; what a burst needed beyond is given back.
const SPARE_MAX: usize = 64;

/// Of these few are enough: between two reads of a body that moves, nearly always the one that was just used.
const SPARE_BODY_MAX: usize = 8;

/// A buffer for a connection that has something to read.
fn buffer() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(READ_BYTES))
}

/// Takes a buffer back, if it is one worth keeping.
fn give_back(mut buffer: BytesMut) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX && (READ_BYTES / 2..=READ_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            // What was taken from its front is room again.
            buffer.reserve(READ_BYTES);
            spare.push(buffer);
        }
    });
}

/// What happened on a connection that nobody used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The peer has closed it.
    Closed,
    /// The peer sent bytes that nobody asked for.
    Bytes,
}

/// A stream and its unread input.
#[derive(Debug)]
pub struct Wire {
    io: RefCell<Io>,
    input: RefCell<BytesMut>,
    ended: Cell<bool>,
}

impl Wire {
    /// Takes a stream with what was already read from it.
    pub fn new(io: Io, input: BytesMut) -> Wire {
        Wire { io: RefCell::new(io), input: RefCell::new(input), ended: Cell::new(false) }
    }

    /// The input read so far. Do not hold it across an await.
    pub fn input(&self) -> RefMut<'_, BytesMut> {
        self.input.borrow_mut()
    }

    /// Whether the peer has ended its side.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Gives the memory of an empty input back; called when nothing more is expected for now.
    pub fn release(&self) {
        let mut input = self.input.borrow_mut();
        if input.is_empty() && input.capacity() > 0 {
            give_back(std::mem::take(&mut input));
        }
    }

    /// Reads what there is. 0 is the end of the stream.
    pub fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut input = self.input.borrow_mut();
        if input.capacity() == 0 {
            // Most looks find nothing, and need no buffer for it.
            std::task::ready!(self.io.borrow().poll_readable(cx))?;
            *input = buffer();
        } else if input.capacity() - input.len() < READ_BYTES / 4 {
            input.reserve(READ_BYTES / 2);
        }
        let read = self.poll_read(cx, &mut input);
        if read.is_pending() {
            shrink(&mut input);
        }
        read
    }

    fn poll_read(&self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut io = self.io.borrow_mut();
        let read = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(&mut *io, input));
        let read = std::task::ready!(std::future::Future::poll(read, cx))?;
        self.ended.set(read == 0);
        Poll::Ready(Ok(read))
    }

    /// Reads a part of a body of which at least `left` bytes are still to come and at most `most` are wanted.
    pub fn poll_fill_body(&self, cx: &mut Context<'_>, left: u64, most: usize) -> Poll<io::Result<usize>> {
        if left < READ_BYTES as u64 {
            return self.poll_fill(cx);
        }
        let mut input = self.input.borrow_mut();
        if most < READ_BYTES && input.is_empty() {
            // A piece keeps all of the buffer that it was cut from.
            *input = BytesMut::with_capacity(most);
        } else {
            if input.capacity() == 0 {
                *input = SPARE_BODY.with_borrow_mut(Vec::pop).unwrap_or_default();
            }
            input.reserve(most.min(usize::try_from(left).unwrap_or(usize::MAX)));
        }
        let read = self.poll_read(cx, &mut input);
        if read.is_pending() && input.is_empty() {
            let unused = std::mem::take(&mut *input);
            SPARE_BODY.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BODY_MAX && unused.capacity() >= READ_BYTES {
                    spare.push(unused);
                }
            });
        }
        read
    }

    /// What makes an idle connection one that must not be used again. Costs no system call while nothing happened.
    pub fn disturbance(&self) -> Option<Disturbance> {
        if !self.input.borrow().is_empty() {
            return Some(Disturbance::Bytes);
        }
        if self.ended.get() {
            return Some(Disturbance::Closed);
        }
        let mut byte = [0u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut *self.io.borrow_mut()).poll_read(&mut cx, &mut buf) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => Some(Disturbance::Bytes),
            Poll::Ready(_) => Some(Disturbance::Closed),
        }
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_write(cx, bytes)
    }

    /// Writes some of `first` and, if there is room, of `second`.
    pub fn poll_write_both(
        &self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut io = self.io.borrow_mut();
        match (first.is_empty(), second.is_empty()) {
            (_, true) => Pin::new(&mut *io).poll_write(cx, first),
            (true, _) => Pin::new(&mut *io).poll_write(cx, second),
            _ => Pin::new(&mut *io)
                .poll_write_vectored(cx, &[io::IoSlice::new(first), io::IoSlice::new(second)]),
        }
    }

    /// Sends what TLS may still hold.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.io.borrow_mut() {
            Io::Plain(_) => Poll::Ready(Ok(())),
            io => Pin::new(io).poll_flush(cx),
        }
    }

    /// Ends our side.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx)
    }

    /// Makes the close that follows a reset.
    pub fn reset_on_close(&self) {
        self.io.borrow().reset_on_close();
    }

    /// The stream and its unread input, for a protocol that takes over.
    pub fn into_parts(self) -> (Io, BytesMut) {
        (self.io.into_inner(), self.input.into_inner())
    }
}

/// Leaves a connection that waits for more no larger a buffer than what is in it: a peer that sends half a head and falls
/// silent must not hold more than it sent.
fn shrink(input: &mut BytesMut) {
    if input.is_empty() || input.capacity() > 2 * input.len() + SMALL_BYTES {
        let exact = BytesMut::from(input.as_ref());
        give_back(std::mem::replace(input, exact));
    }
}

/// Not worth another allocation.
const SMALL_BYTES: usize = 512;
