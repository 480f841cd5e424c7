//! The budget for frames that cost us work and bring nothing: resets, pings, settings, priorities, empty data, tiny window
//! updates (CVE-2023-44487, CVE-2019-9512 and its kin). HTTP/2 allows each of them, so no single one is an error; a flood of
//! them is, and so are streams that we have to reset. The counter reads frame headers as they pass on their way to the `h2`
//! crate and keeps no bytes.

use super::guard::{Frame, Guard};
use super::resets::Resets;
use crate::clock;
use bytes::BytesMut;
use h2::Reason;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The client's preface comes before the first frame.
const PREFACE_BYTES: u64 = 24;
/// A frame header (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;
/// The time over which glitches are counted.
const WINDOW_NS: u64 = 10_000_000_000;
/// Window updates below this many bytes are no use to anybody.
const TINY_UPDATE_BYTES: u32 = 256;

/// What a CONTINUATION costs: twenty of them use the default budget up.
const CONTINUATION_COST: u32 = 50;

/// What a scan found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The cost of the frames that were seen.
    pub glitches: u32,
    /// The first offence, and how many of the bytes come before its frame.
    pub offence: Option<(usize, Reason)>,
}

/// Reads frame headers out of a byte stream.
#[derive(Debug)]
pub struct Scanner {
    skip: u64,
    /// The header of the current frame and as much payload as is wanted of it.
    held: Vec<u8>,
    guard: Guard,
    /// What is skipped is content.
    in_data: bool,
    over: bool,
}

/// Payload that is held for a judgement: sixteen settings are more than there are.
const PAYLOAD_MAX: u32 = 96;

impl Default for Scanner {
    fn default() -> Self {
        let held = Vec::with_capacity(HEADER_BYTES + PAYLOAD_MAX as usize);
        Scanner { skip: PREFACE_BYTES, held, guard: Guard::default(), in_data: false, over: false }
    }
}

impl Scanner {
    /// Looks at bytes in the order in which they arrive, up to the first offence.
    pub fn scan(&mut self, read: &[u8]) -> Scanned {
        let mut scanned = Scanned::default();
        let mut bytes = if self.over { &[] } else { read };
        let mut began = 0;
        while !bytes.is_empty() {
            let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skip as u64;
            bytes = bytes.get(skip..).unwrap_or_default();
            if self.held.is_empty() {
                began = read.len() - bytes.len();
            }
            while let Some((&byte, rest)) = bytes.split_first()
                && self.held.len() < self.wanted()
            {
                self.held.push(byte);
                bytes = rest;
            }
            if self.held.len() >= HEADER_BYTES && self.held.len() == self.wanted() {
                let (cost, offence, left) = self.judge();
                scanned.glitches += cost;
                self.skip = left;
                self.held.clear();
                if let Some(reason) = offence {
                    self.over = true;
                    scanned.offence = Some((began, reason));
                    return scanned;
                }
            }
        }
        scanned
    }

    /// Whether the bytes so far end within a head, or within a frame that is not DATA.
    pub fn is_in_head(&self) -> bool {
        !self.held.is_empty() || self.guard.is_in_head() || (self.skip > 0 && !self.in_data)
    }

    /// Window updates and settings are judged by their payload, the rest by the header alone.
    fn wanted(&self) -> usize {
        let Some(frame) = frame(&self.held) else { return HEADER_BYTES };
        let payload = match frame.kind {
            0x8 if frame.length == 4 => 4,
            0x4 => frame.length.min(PAYLOAD_MAX),
            _ => 0,
        };
        HEADER_BYTES + payload as usize
    }

    /// The cost of the frame that is held, its offence, and how much of its payload is still to come.
    fn judge(&mut self) -> (u32, Option<Reason>, u64) {
        let Some(frame) = frame(&self.held) else { return (0, None, 0) };
        let left = u64::from(frame.length) - frame.payload.len() as u64;
        self.in_data = frame.kind == 0x0;
        (cost(&frame), self.guard.judge(&frame), left)
    }
}

/// The frame whose header is complete.
fn frame(held: &[u8]) -> Option<Frame<'_>> {
    let (&[a, b, c, kind, flags, r, s, t, u], payload) = held.split_first_chunk::<HEADER_BYTES>()?;
    let length = u32::from_be_bytes([0, a, b, c]);
    let stream = u32::from_be_bytes([r, s, t, u]) & 0x7fff_ffff;
    Some(Frame { length, kind, flags, stream, payload })
}

fn cost(frame: &Frame<'_>) -> u32 {
    match frame.kind {
        // DATA without content and without an end.
        0x0 => u32::from(frame.length == 0 && frame.flags & 0x1 == 0),
        0x1 => 0,
        0x8 => {
            let increment = frame.payload.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            u32::from(increment & 0x7fff_ffff < TINY_UPDATE_BYTES)
        }
        // A head needs two or three of these at its largest.
        0x9 => CONTINUATION_COST,
        _ => 1,
    }
}

/// The glitches of one connection against what it brought.
#[derive(Debug, Default)]
pub struct Budget {
    window_began: Cell<u64>,
    glitches: Cell<u32>,
    earned: Cell<u32>,
    limit: u32,
    offence: Cell<Option<Reason>>,
    head_since: Cell<Option<u64>>,
}

impl Budget {
    /// A budget of `limit` glitches per window.
    pub fn new(limit: u32) -> Budget {
        Budget { limit, ..Budget::default() }
    }

    /// Useful work was done: an answer was sent.
    pub fn earn(&self) {
        self.earned.set(self.earned.get().saturating_add(2));
    }

    /// The offence after which nothing more is read.
    pub fn offence(&self) -> Option<Reason> {
        self.offence.get()
    }

    /// Since when a head, or another frame but DATA, has been there in part only.
    pub fn head_since(&self) -> Option<u64> {
        self.head_since.get()
    }

    fn note_head(&self, is_unfinished: bool) {
        match (is_unfinished, self.head_since.get()) {
            (true, None) => self.head_since.set(Some(clock::now())),
            (true, Some(_)) => {}
            (false, _) => self.head_since.set(None),
        }
    }

    fn spend(&self, glitches: u32) {
        self.glitches.set(self.glitches.get().saturating_add(glitches));
    }

    fn is_over(&self) -> bool {
        self.glitches.get() > self.limit.saturating_add(self.earned.get())
    }

    /// Whether three quarters of the budget are spent: the caller is asked to open another connection.
    pub fn is_low(&self) -> bool {
        let limit = self.limit.saturating_add(self.earned.get());
        self.glitches.get() > limit - limit / 4
    }

    /// Whether the budget is spent at `now`.
    pub fn is_spent(&self, now: u64) -> bool {
        let over = self.is_over();
        if now.saturating_sub(self.window_began.get()) > WINDOW_NS {
            self.window_began.set(now);
            self.glitches.set(0);
            self.earned.set(0);
        }
        over
    }
}

/// A byte stream whose frames are counted, beginning with what was read from it already.
#[derive(Debug)]
pub struct Counted<T> {
    first: BytesMut,
    io: T,
    scanner: RefCell<Scanner>,
    resets: Resets,
    budget: Rc<Budget>,
}

impl<T> Counted<T> {
    /// Counts what is in `first` and then what is read from `io`.
    pub fn new(first: BytesMut, io: T, budget: &Rc<Budget>) -> Counted<T> {
        let budget = Rc::clone(budget);
        Counted { first, io, scanner: RefCell::default(), resets: Resets::default(), budget }
    }

    /// Looks at the first `written` bytes of `slices`.
    fn count_written(&mut self, slices: &[io::IoSlice<'_>], mut written: usize) {
        for slice in slices {
            let len = slice.len().min(written);
            written -= len;
            self.budget.spend(self.resets.scan(slice.get(..len).unwrap_or_default()));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.budget.is_over() || self.budget.offence.get().is_some() {
            // Read no further, and nobody needs to be woken: the connection's driver looks for the reason after every poll, and
            // the handshake ends before the first frame.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.first.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let take = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(take));
        }
        let scanned = self.scanner.borrow_mut().scan(buf.filled().get(before..).unwrap_or_default());
        self.budget.spend(scanned.glitches);
        self.budget.note_head(self.scanner.borrow().is_in_head());
        let Some((harmless, reason)) = scanned.offence else { return Poll::Ready(Ok(())) };
        self.budget.offence.set(Some(reason));
        buf.set_filled(before + harmless);
        cx.waker().wake_by_ref();
        // Nothing read is not the end of the stream.
        if harmless == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.count_written(&[io::IoSlice::new(bytes)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        self.count_written(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn only_frames_that_bring_nothing_are_glitches_however_the_reads_are_cut() {
        let mut bytes = vec![b'P'; 24];
        bytes.extend(frame_of(0x4, 0, &[0; 6]));
        bytes.extend(frame_of(0x1, 0x4, b"headers"));
        bytes.extend(frame_of(0x0, 0, b"data"));
        bytes.extend(frame_of(0x0, 0, b""));
        bytes.extend(frame_of(0x0, 1, b""));
        bytes.extend(frame_of(0x8, 0, &[0, 0, 0, 1]));
        bytes.extend(frame_of(0x8, 0, &[0, 0, 0x40, 0]));
        bytes.extend(frame_of(0x6, 0, &[0; 8]));
        bytes.extend(frame_of(0x3, 0, &[0, 0, 0, 8]));
        for step in 1..bytes.len() {
            let mut scanner = Scanner::default();
            let glitches: u32 = bytes.chunks(step).map(|chunk| scanner.scan(chunk).glitches).sum();
            assert_eq!(glitches, 5, "step {step}: settings, empty data, tiny update, reset, ping");
        }
    }

    #[test]
    fn the_budget_grows_with_answers_and_is_fresh_after_its_window() {
        let budget = Budget::new(10);
        budget.spend(11);
        assert!(budget.is_spent(1));
        budget.earn();
        assert!(!budget.is_spent(1));
        budget.spend(10);
        assert!(budget.is_spent(WINDOW_NS + 2));
        assert!(!budget.is_spent(WINDOW_NS + 3));
    }
}
