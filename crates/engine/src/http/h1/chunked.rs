//! The chunked coding (RFC 9112 §7.1), read strictly: sizes of 1 to 15 hexadecimal digits, extensions bounded and without
//! control bytes, every line ended by CRLF.

use super::lines::Lines;
use crate::http::fields::Fields;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes that a chunk-size line with its extensions may take.
const SIZE_LINE_MAX: usize = 256;
/// 2^60 bytes is more than any service sends, and cannot overflow.
const SIZE_DIGITS_MAX: usize = 15;
/// Bytes that the trailer section may take.
const TRAILERS_MAX: usize = 8 * 1024;
/// Fields that the trailer section may have.
const TRAILER_FIELDS_MAX: usize = 32;

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum ChunkError {
    #[error("a chunk size is not a hexadecimal number")]
    Size,
    #[error("a chunk-size line is longer than allowed")]
    SizeLine,
    #[error("a chunk extension has a byte that may not stand there")]
    Extension,
    #[error("a chunk does not end where its size says")]
    End,
    #[error("the trailers are not well formed or larger than allowed")]
    Trailers,
}

/// What the decoder found.
#[derive(Debug)]
pub enum Decoded {
    /// Content.
    Data(Bytes),
    /// The end, with the trailers if there were any.
    End(Option<Fields>),
    /// More bytes are needed.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// The state between two reads.
#[derive(Debug)]
pub struct Decoder {
    state: State,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { state: State::Size }
    }
}

impl Decoder {
    /// Whether the end has been read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next piece out of `buf`.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, ChunkError> {
        loop {
            match self.state {
                State::Size => match size_line(buf)? {
                    None => return Ok(Decoded::More),
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::Data(size),
                },
                State::Data(left) => {
                    if buf.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let take = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - take as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Decoded::Data(buf.split_to(take).freeze()));
                }
                State::DataEnd => match buf.get(..2) {
                    Some(b"\r\n") => {
                        buf.advance(2);
                        self.state = State::Size;
                    }
                    Some(_) => return Err(ChunkError::End),
                    None if buf.first().is_some_and(|&byte| byte != b'\r') => return Err(ChunkError::End),
                    None => return Ok(Decoded::More),
                },
                State::Trailers => {
                    let Some(trailers) = trailer_section(buf)? else { return Ok(Decoded::More) };
                    self.state = State::Done;
                    return Ok(Decoded::End(trailers));
                }
                State::Done => return Ok(Decoded::End(None)),
            }
        }
    }
}

/// Reads `size [;extensions] CRLF`, `None` while it is incomplete.
fn size_line(buf: &mut BytesMut) -> Result<Option<u64>, ChunkError> {
    let window = buf.get(..buf.len().min(SIZE_LINE_MAX)).unwrap_or_default();
    let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > SIZE_DIGITS_MAX || (digits == 0 && !window.is_empty()) {
        return Err(ChunkError::Size);
    }
    let tail = window.get(digits..).unwrap_or_default();
    match tail.first() {
        None => return Ok(None),
        Some(b'\r' | b';') => {}
        Some(_) => return Err(ChunkError::Size),
    }
    let Some(end) = tail.iter().position(|&byte| byte == b'\r' || !is_extension_byte(byte)) else {
        return if window.len() >= SIZE_LINE_MAX { Err(ChunkError::SizeLine) } else { Ok(None) };
    };
    match (tail.get(end), tail.get(end + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), None) if window.len() >= SIZE_LINE_MAX => return Err(ChunkError::SizeLine),
        (Some(b'\r'), None) => return Ok(None),
        _ => return Err(ChunkError::Extension),
    }
    let text = std::str::from_utf8(window.get(..digits).unwrap_or_default()).unwrap_or_default();
    let size = u64::from_str_radix(text, 16).map_err(|_| ChunkError::Size)?;
    buf.advance(digits + end + 2);
    Ok(Some(size))
}

fn is_extension_byte(byte: u8) -> bool {
    byte == b'\t' || (b' '..0x7f).contains(&byte)
}

/// Reads the lines after the last chunk. The outer `None` means that they are incomplete.
#[expect(clippy::option_option, reason = "incomplete, complete without trailers, complete with trailers")]
fn trailer_section(buf: &mut BytesMut) -> Result<Option<Option<Fields>>, ChunkError> {
    match buf.get(..2) {
        Some(b"\r\n") => {
            buf.advance(2);
            return Ok(Some(None));
        }
        Some(_) => {}
        None if buf.first() == Some(&b'\n') => return Err(ChunkError::Trailers),
        None => return Ok(None),
    }
    let window = buf.get(..buf.len().min(TRAILERS_MAX)).unwrap_or_default();
    let mut lines = Lines::new(window, 0);
    let Some(mut fields) = lines.fields(TRAILER_FIELDS_MAX).map_err(|_| ChunkError::Trailers)? else {
        return if buf.len() < TRAILERS_MAX { Ok(None) } else { Err(ChunkError::Trailers) };
    };
    let len = lines.at();
    buf.advance(len);
    fields.retain(|field| field.may_trail());
    Ok(Some(Some(fields)))
}

/// Writes the line before a chunk of `len` bytes.
pub fn write_size(out: &mut Vec<u8>, len: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let significant = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for place in (0..significant).rev() {
        let digit = (len >> (place * 4)) & 0xf;
        out.extend(DIGITS.get(digit));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailers.
pub fn write_end(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write_lines(out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `text` fed in pieces of `step` bytes.
    fn decode(text: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>, usize), ChunkError> {
        let (mut decoder, mut buf, mut body) = (Decoder::default(), BytesMut::new(), Vec::new());
        let mut fed = 0;
        loop {
            match decoder.decode(&mut buf)? {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::End(trailers) => {
                    return Ok((body, trailers.map(|t| t.len()), text.len() - fed + buf.len()));
                }
                Decoded::More if fed == text.len() => return Ok((body, None, usize::MAX)),
                Decoded::More => {
                    let next = (fed + step).min(text.len());
                    buf.extend_from_slice(&text[fed..next]);
                    fed = next;
                }
            }
        }
    }

    #[test]
    fn chunks_decode_the_same_however_the_reads_are_cut() {
        let text = b"5;a=\"b\"\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\nGET";
        for step in 1..text.len() {
            assert_eq!(decode(text, step), Ok((b"hello!".to_vec(), Some(1), 3)), "step {step}");
        }
    }

    #[test]
    fn doubtful_chunk_sizes_are_refused() {
        for (bad, why) in [
            (&b"0_2e\r\n"[..], ChunkError::Size),
            (b"0x5\r\nhello\r\n", ChunkError::Size),
            (b"+5\r\nhello\r\n", ChunkError::Size),
            (b" 5\r\nhello\r\n", ChunkError::Size),
            (b"5 \r\nhello\r\n", ChunkError::Size),
            (b"\r\n", ChunkError::Size),
            (b"12345678901234567\r\n", ChunkError::Size),
            (b"5;\nhello\r\n", ChunkError::Extension),
            (b"5;a\rb\r\nhello\r\n", ChunkError::Extension),
            (b"5\nhello\r\n", ChunkError::Size),
            (b"5\r\nhelloX\r\n", ChunkError::End),
            (b"5\r\nhello\n0\r\n\r\n", ChunkError::End),
            (b"0\r\nX: a\n\r\n", ChunkError::Trailers),
            (b"0\r\n X: a\r\n\r\n", ChunkError::Trailers),
            (b"0\r\n\n", ChunkError::Trailers),
        ] {
            for step in [1, 3, bad.len()] {
                assert_eq!(decode(bad, step), Err(why), "{} step {step}", bad.escape_ascii());
            }
        }
        let endless = [b"5;".to_vec(), vec![b'a'; 400]].concat();
        assert_eq!(decode(&endless, 7), Err(ChunkError::SizeLine));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for len in [1usize, 9, 15, 16, 255, 256, 4095, 65536] {
            let mut out = Vec::new();
            write_size(&mut out, len);
            out.extend(std::iter::repeat_n(b'x', len));
            out.extend_from_slice(b"\r\n");
            write_end(&mut out, None);
            assert_eq!(decode(&out, 1000), Ok((vec![b'x'; len], None, 0)));
        }
    }
}
