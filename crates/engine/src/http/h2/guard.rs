//! Offences of an HTTP/2 peer for which RFC 9113 has a name of its own, told from frame headers before the `h2` crate sees
//! them: it would refuse them all the same, but as PROTOCOL_ERROR.

use h2::Reason;
use std::collections::BTreeSet;

/// Streams whose end is remembered, the latest: ten times what may be open at once by default. Of older ones nothing is judged.
const REMEMBERED_MAX: usize = 1_024;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;
/// SETTINGS_INITIAL_WINDOW_SIZE
const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// The largest window there is (RFC 9113 §6.9.1).
const WINDOW_MAX: u32 = 0x7fff_ffff;

/// A frame header, and as much of the payload as its judgement needs.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields of RFC 9113 section 4.1")]
pub struct Frame<'a> {
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

/// The streams that the peer has ended.
#[derive(Debug, Default)]
pub struct Guard {
    ended: BTreeSet<u32>,
    /// A head goes on in CONTINUATION frames; what may come between is for the `h2` crate to say.
    in_head: bool,
}

impl Guard {
    /// The error that a frame is, if it is one of these.
    pub fn judge(&mut self, frame: &Frame<'_>) -> Option<Reason> {
        misshapen(frame).or_else(|| self.misplaced(frame))
    }

    /// Whether a head is to be continued.
    pub fn is_in_head(&self) -> bool {
        self.in_head
    }

    /// Frames on streams that the peer itself has ended (RFC 9113 §5.1).
    fn misplaced(&mut self, frame: &Frame<'_>) -> Option<Reason> {
        let ends_head = frame.flags & 0x4 != 0;
        let is_message = matches!(frame.kind, DATA | HEADERS);
        if is_message && !self.in_head && self.ended.contains(&frame.stream) {
            return Some(Reason::STREAM_CLOSED);
        }
        match frame.kind {
            HEADERS => self.in_head = !ends_head,
            CONTINUATION if ends_head => self.in_head = false,
            _ => {}
        }
        if frame.kind == RST_STREAM || (is_message && frame.flags & 0x1 != 0) {
            self.ended.insert(frame.stream);
        }
        if self.ended.len() > REMEMBERED_MAX {
            self.ended.pop_first();
        }
        None
    }
}

/// Frames whose size or content cannot be (RFC 9113 §6).
fn misshapen(frame: &Frame<'_>) -> Option<Reason> {
    let is_ack = frame.flags & 0x1 != 0;
    let wrong_size = match frame.kind {
        0x2 => frame.length != 5,
        0x3 | 0x8 => frame.length != 4,
        0x4 if is_ack => frame.length != 0,
        0x4 => !frame.length.is_multiple_of(6),
        0x6 => frame.length != 8,
        _ => false,
    };
    if wrong_size {
        return Some(Reason::FRAME_SIZE_ERROR);
    }
    let is_bad = |entry: &[u8; 6]| {
        let [a, b, value @ ..] = *entry;
        u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE && u32::from_be_bytes(value) > WINDOW_MAX
    };
    let settings = if frame.kind == 0x4 { frame.payload.as_chunks::<6>().0 } else { &[] };
    settings.iter().any(is_bad).then_some(Reason::FLOW_CONTROL_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame<'_> {
        Frame { length: payload.len() as u32, kind, flags, stream, payload }
    }

    #[test]
    fn a_frame_of_a_size_that_cannot_be_is_named_so() {
        let mut guard = Guard::default();
        for (kind, flags, length) in [(2, 0, 4), (3, 0, 5), (8, 0, 3), (4, 1, 6), (4, 0, 5), (6, 0, 7)] {
            let judged = guard.judge(&frame(kind, flags, 0, &vec![0; length]));
            assert_eq!(judged, Some(Reason::FRAME_SIZE_ERROR), "kind {kind}");
        }
        let window = [0, 4, 0x80, 0, 0, 0];
        assert_eq!(guard.judge(&frame(4, 0, 0, &window)), Some(Reason::FLOW_CONTROL_ERROR));
        assert_eq!(guard.judge(&frame(4, 0, 0, &[0, 4, 0x7f, 0, 0, 0])), None);
    }

    #[test]
    fn what_follows_the_end_of_a_stream_is_an_offence() {
        let mut guard = Guard::default();
        assert_eq!(guard.judge(&frame(1, 0x4, 1, b"head")), None);
        assert_eq!(guard.judge(&frame(0, 0, 1, b"data")), None);
        assert_eq!(guard.judge(&frame(0, 0x1, 1, b"data")), None);
        assert_eq!(guard.judge(&frame(0, 0, 1, b"data")), Some(Reason::STREAM_CLOSED));
        assert_eq!(guard.judge(&frame(1, 0x5, 3, b"head")), None);
        assert_eq!(guard.judge(&frame(1, 0x5, 3, b"head")), Some(Reason::STREAM_CLOSED));
        assert_eq!(guard.judge(&frame(1, 0x4, 5, b"head")), None);
        assert_eq!(guard.judge(&frame(3, 0, 5, &[0; 4])), None);
        assert_eq!(guard.judge(&frame(1, 0x4, 5, b"head")), Some(Reason::STREAM_CLOSED));
    }

    #[test]
    fn a_head_in_parts_is_left_to_the_codec() {
        let mut guard = Guard::default();
        assert_eq!(guard.judge(&frame(1, 0x1, 1, b"head")), None);
        assert_eq!(guard.judge(&frame(0, 0, 1, b"data")), None);
        assert_eq!(guard.judge(&frame(9, 0x4, 1, b"rest")), None);
        assert_eq!(guard.judge(&frame(0, 0, 1, b"data")), Some(Reason::STREAM_CLOSED));
    }

    #[test]
    fn ended_streams_are_remembered_within_the_bound() {
        let mut guard = Guard::default();
        for n in 0..10_000 {
            assert_eq!(guard.judge(&frame(1, 0x5, 2 * n + 1, b"head")), None);
        }
        assert_eq!(guard.ended.len(), REMEMBERED_MAX);
        assert_eq!(guard.judge(&frame(0, 0, 1, b"data")), None);
        assert_eq!(guard.judge(&frame(0, 0, 19_999, b"data")), Some(Reason::STREAM_CLOSED));
    }
}
