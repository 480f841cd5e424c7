//! What frames cost is counted the same however they arrive, adds up frame by frame, and is nothing for those that bring
//! something.

use crate::cuts;
use unlag_engine::http::h2::glitches::Scanner;

/// The client's preface comes first (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// A frame header (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;

/// Updates below this are no use to anybody.
const TINY_UPDATE_BYTES: u32 = 256;

/// Of settings, this much is held until they are judged.
const SETTINGS_HELD_BYTES: usize = 96;

/// Panics when the law does not hold for `bytes`.
pub(crate) fn holds(bytes: &[u8]) {
    let whole = count(bytes, 0);
    for way in cuts::WAYS.skip(1) {
        assert_eq!(count(bytes, way), whole, "cut in way {way}: {}", bytes.escape_ascii());
    }
    if !offends(bytes)
        && let Some(expected) = walked(bytes)
    {
        assert_eq!(whole, expected, "{}", bytes.escape_ascii());
    }
}

/// Whether reading stops early.
fn offends(bytes: &[u8]) -> bool {
    Scanner::default().scan(bytes).offence.is_some()
}

fn count(bytes: &[u8], way: usize) -> u32 {
    let mut scanner = Scanner::default();
    cuts::reads(bytes, way).map(|read| scanner.scan(read).glitches).sum()
}

/// Adds up what each frame costs alone; `None` when one of them ends the connection anyway.
fn walked(bytes: &[u8]) -> Option<u32> {
    let (preface, mut rest) = bytes.split_at_checked(PREFACE_BYTES).unwrap_or_default();
    let mut sum = 0;
    while let Some(&[a, b, c, kind, flags, _, _, _, _]) = rest.first_chunk::<HEADER_BYTES>() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let (frame, later) = rest.split_at(rest.len().min(HEADER_BYTES + length));
        rest = later;
        let is_glitch = match (kind, length) {
            // DATA that carries nothing and ends nothing.
            (0, 0) => flags & 1 == 0,
            (0 | 1, _) => false,
            (8, 4) => match frame.last_chunk::<4>() {
                Some(&increment) if frame.len() == HEADER_BYTES + 4 => {
                    u32::from_be_bytes(increment) & 0x7fff_ffff < TINY_UPDATE_BYTES
                }
                _ => break,
            },
            // Settings are looked at as a whole, or as far as a judgement needs.
            (4, _) if frame.len() < HEADER_BYTES + length.min(SETTINGS_HELD_BYTES) => break,
            // A window update of another size is an error of the connection (RFC 9113 §6.9).
            (8, _) => return None,
            _ => true,
        };
        let cost = count(&[preface, frame].concat(), 0);
        assert_eq!(cost > 0, is_glitch, "{}", frame.escape_ascii());
        sum += cost;
    }
    Some(sum)
}
