//! Where an HTTP/1.1 body ends: by length, by chunks, or with the connection. Bodies are counted, not kept.
//! Shared by the load generator, which reads answers, and the services, which read requests.

/// Largest chunk size line or trailer section accepted, in bytes.
const CHUNK_LINE_MAX: usize = 16 * 1024;

/// The bytes break the protocol; says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length { left: u64 },
    UntilClose,
    ChunkSize { size: u64, digits: u8 },
    ChunkExtension { size: u64 },
    ChunkSizeEnd { size: u64 },
    ChunkData { left: u64 },
    ChunkDataEnd { seen_cr: bool },
    Trailers { line: usize },
    TrailersEnd,
    Done,
}

/// Reads one body from pieces.
#[derive(Debug)]
pub(crate) struct BodyReader {
    state: State,
    line_bytes: usize,
    /// Bytes of content so far, without framing.
    pub(crate) bytes: u64,
}

impl BodyReader {
    fn new(state: State) -> Self {
        Self { state, line_bytes: 0, bytes: 0 }
    }

    /// A body of a known length.
    pub(crate) fn length(left: u64) -> Self {
        Self::new(if left == 0 { State::Done } else { State::Length { left } })
    }

    /// A body that its sender ends by closing.
    pub(crate) fn until_close() -> Self {
        Self::new(State::UntilClose)
    }

    /// A body in chunks.
    pub(crate) fn chunked() -> Self {
        Self::new(State::ChunkSize { size: 0, digits: 0 })
    }

    /// The body is whole.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The body ends when the connection does.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Takes what belongs to the body from the front of `piece`; returns how much that was.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while !self.is_done() {
            let rest = piece.get(at..).unwrap_or_default();
            let Some(first) = rest.first() else { break };
            at += match self.state {
                State::UntilClose => self.take(rest, u64::MAX),
                State::Length { left } => {
                    let taken = self.take(rest, left);
                    self.state = match left - taken as u64 {
                        0 => State::Done,
                        left => State::Length { left },
                    };
                    taken
                }
                State::ChunkData { left } => {
                    let taken = self.take(rest, left);
                    self.state = match left - taken as u64 {
                        0 => State::ChunkDataEnd { seen_cr: false },
                        left => State::ChunkData { left },
                    };
                    taken
                }
                _ => {
                    self.state = self.after_framing(*first)?;
                    1
                }
            };
        }
        Ok(at)
    }

    fn take(&mut self, rest: &[u8], left: u64) -> usize {
        let taken = (rest.len() as u64).min(left);
        self.bytes += taken;
        taken as usize
    }

    /// The state after one byte of chunk framing.
    fn after_framing(&mut self, byte: u8) -> Result<State, Malformed> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_MAX {
            return Err(Malformed("a chunk line or trailer section is larger than 16 KiB"));
        }
        Ok(match (self.state, byte) {
            (State::ChunkSize { digits: 1.., size }, b'\r') => State::ChunkSizeEnd { size },
            (State::ChunkSize { digits: 1.., size }, b';' | b' ' | b'\t') => State::ChunkExtension { size },
            (State::ChunkSize { size, digits: digits @ 0..=14 }, _) => {
                let digit =
                    char::from(byte).to_digit(16).ok_or(Malformed("a chunk size is not hexadecimal"))?;
                State::ChunkSize { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (State::ChunkExtension { size }, b'\r') => State::ChunkSizeEnd { size },
            (State::ChunkExtension { size }, _) => State::ChunkExtension { size },
            (State::ChunkSizeEnd { size: 0 }, b'\n') => State::Trailers { line: 0 },
            (State::ChunkSizeEnd { size }, b'\n') => State::ChunkData { left: size },
            (State::ChunkDataEnd { seen_cr: false }, b'\r') => State::ChunkDataEnd { seen_cr: true },
            (State::ChunkDataEnd { seen_cr: true }, b'\n') => {
                self.line_bytes = 0;
                State::ChunkSize { size: 0, digits: 0 }
            }
            (State::Trailers { line: 0 }, b'\r') => State::TrailersEnd,
            (State::Trailers { .. }, b'\n') => State::Trailers { line: 0 },
            (State::Trailers { line }, _) => State::Trailers { line: line + 1 },
            (State::TrailersEnd, b'\n') => State::Done,
            _ => return Err(Malformed("chunk framing is broken")),
        })
    }
}

/// A `Content-Length`: digits and nothing else.
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    text.parse().ok()
}

fn tokens(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// A comma-separated field has this token.
pub(crate) fn has_token(value: &[u8], token: &[u8]) -> bool {
    tokens(value).any(|t| t.eq_ignore_ascii_case(token))
}

/// The last token of a comma-separated field.
pub(crate) fn ends_with_token(value: &[u8], token: &[u8]) -> bool {
    tokens(value).next_back().is_some_and(|t| t.eq_ignore_ascii_case(token))
}
