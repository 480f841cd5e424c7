//! A body that is encoded as it passes. No more than a little of it is encoded before others have their turn, and all of it has
//! come out before anybody waits for more, so that events and slow answers arrive when they are sent.

use crate::encoding::Encoder;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Fields, Size};
use bytes::Bytes;
use std::cell::Cell;
use std::task::{Context, Poll};
use unlag_config::Encoding;

/// What is encoded at a time: 60 µs of zstd, 170 µs of Brotli, 140 µs of gzip (nine slices in ten of source code take less).
const SLICE_BYTES: usize = 8 * 1024;
/// What has come out is passed on from this size on: a piece for each slice would be a write for each.
const PIECE_BYTES: usize = 4 * 1024;
/// Encoders at work on one core. Each holds up to a MiB (zstd and Brotli; gzip less than half); what comes beyond leaves as it is.
const RUNNING_MAX: usize = 128;

thread_local! {
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// One of the encoders that may be at work.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let running = RUNNING.get();
        (running < RUNNING_MAX).then(|| {
            RUNNING.set(running + 1);
            Place
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get().saturating_sub(1));
    }
}

/// The stream.
pub struct Encoded {
    body: Body,
    /// None once all has come out.
    encoder: Option<(Encoder, Place)>,
    /// What came and is not encoded yet.
    waiting: Bytes,
    trailers: Option<Fields>,
    /// Something is in the encoder that has not come out.
    holds: bool,
    /// What was encoded in this turn.
    turn_bytes: usize,
    /// It is the others' turn.
    is_others_turn: bool,
}

impl Encoded {
    /// The encoded form of a body; the body itself where too many are being encoded.
    pub fn through(body: Body, encoding: Encoding, length: Option<u64>) -> Result<Body, Body> {
        let Some(place) = Place::take() else { return Err(body) };
        let Ok(encoder) = Encoder::for_stream(encoding, length) else { return Err(body) };
        Ok(Body::Stream(Box::new(Encoded {
            body,
            encoder: Some((encoder, place)),
            waiting: Bytes::new(),
            trailers: None,
            holds: false,
            turn_bytes: 0,
            is_others_turn: false,
        })))
    }

    /// Encodes a little of what waits, and gives out what there is then, if it is enough.
    fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((encoder, _)) = &mut self.encoder else { return Ok(None) };
        let slice = self.waiting.split_to(self.waiting.len().min(SLICE_BYTES));
        encoder.push(&slice).map_err(|_| Error::Internal)?;
        self.holds = true;
        self.turn_bytes += slice.len();
        if self.turn_bytes >= SLICE_BYTES {
            self.turn_bytes = 0;
            self.is_others_turn = true;
            // Else it would do the work of several turns in one.
            if encoder.gathers() {
                encoder.flush().map_err(|_| Error::Internal)?;
                self.holds = false;
            }
        }
        Ok((encoder.ready_bytes() >= PIECE_BYTES).then(|| encoder.take()))
    }

    /// Brings out all that is held.
    fn flush(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((encoder, _)) = &mut self.encoder else { return Ok(None) };
        if std::mem::take(&mut self.holds) {
            encoder.flush().map_err(|_| Error::Internal)?;
        }
        Ok((encoder.ready_bytes() > 0).then(|| encoder.take()))
    }

    /// The last of it.
    fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((encoder, _)) = self.encoder.take() else { return Ok(None) };
        let last = encoder.finish().map_err(|_| Error::Internal)?;
        Ok((!last.is_empty()).then_some(last))
    }

    /// The next piece; `None` once there is nothing left but trailers.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        while self.encoder.is_some() {
            if std::mem::take(&mut self.is_others_turn) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let piece = if !self.waiting.is_empty() {
                self.advance()
            } else {
                match self.body.poll_chunk(cx) {
                    Poll::Ready(Some(Ok(Chunk::Data(data)))) => {
                        self.waiting = data;
                        Ok(None)
                    }
                    Poll::Ready(Some(Ok(Chunk::Trailers(trailers)))) => {
                        self.trailers = Some(trailers);
                        self.finish()
                    }
                    Poll::Ready(None) => self.finish(),
                    Poll::Ready(Some(Err(error))) => Err(error),
                    Poll::Pending => match self.flush() {
                        Ok(None) => return Poll::Pending,
                        flushed => flushed,
                    },
                }
            };
            if let Some(piece) = piece.transpose() {
                return Poll::Ready(piece.map(Some));
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl Source for Encoded {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        self.poll_piece(cx).map(|piece| match piece {
            Ok(Some(piece)) => Some(Ok(Chunk::Data(piece))),
            Ok(None) => self.trailers.take().map(|trailers| Ok(Chunk::Trailers(trailers))),
            Err(error) => Some(Err(error)),
        })
    }

    fn size(&self) -> Size {
        Size::Unknown
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.body.take_at_most(bytes);
    }
}
