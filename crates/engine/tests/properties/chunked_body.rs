//! A chunked body has one content and one end: the same however it arrives, never more than came in, and never waited for
//! once its bounds are passed.

use crate::cuts;
use bytes::BytesMut;
use unlag_engine::http::h1::chunked::{self, ChunkError, Decoded, Decoder};

/// More bytes than this never wait to be understood: the bound of the trailers, the longest thing that is read whole.
const HELD_BYTES_MAX: usize = 8 * 1024;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What a body came to.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    content: Vec<u8>,
    /// Bytes after the end and the trailers before it; `None` while the end has not come.
    end: Option<(usize, Fields)>,
    error: Option<ChunkError>,
}

/// Panics when the law does not hold for `bytes`.
pub(crate) fn holds(bytes: &[u8]) {
    let whole = read(bytes, 0);
    assert!(whole.content.len() <= bytes.len(), "more came out than went in: {}", bytes.escape_ascii());
    for way in cuts::WAYS.skip(1) {
        assert_eq!(whole, read(bytes, way), "cut in way {way}: {}", bytes.escape_ascii());
    }
    if whole.end.is_some() {
        let written = write(&whole.content);
        assert_eq!(read(&written, 0).content, whole.content, "written again: {}", bytes.escape_ascii());
    }
}

fn read(bytes: &[u8], way: usize) -> Read {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    let mut result = Read { content: Vec::new(), end: None, error: None };
    let mut fed = 0;
    for read in cuts::reads(bytes, way) {
        buffer.extend_from_slice(read);
        fed += read.len();
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Decoded::Data(data)) => {
                    assert!(!data.is_empty(), "no piece is empty: {}", bytes.escape_ascii());
                    result.content.extend_from_slice(&data);
                }
                Ok(Decoded::End(trailers)) => {
                    assert!(decoder.is_done());
                    let trailers = trailers.unwrap_or_default();
                    let pairs = trailers.iter().map(|field| (field.name.to_vec(), field.value.to_vec()));
                    result.end = Some((bytes.len() - fed + buffer.len(), pairs.collect()));
                    return result;
                }
                Ok(Decoded::More) => break,
                Err(error) => {
                    result.error = Some(error);
                    return result;
                }
            }
        }
        let held = || format!("{} bytes wait: {}", buffer.len(), bytes.escape_ascii());
        assert!(buffer.len() < HELD_BYTES_MAX, "{}", held());
        // An empty line ends whatever it is that more was wanted of. Looked for once: byte by byte it would take too long.
        assert!(way != 0 || !buffer.windows(4).any(|four| four == b"\r\n\r\n"), "{}", held());
    }
    result
}

/// `content` as two chunks.
fn write(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (first, second) = content.split_at(content.len() / 2);
    for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
        chunked::write_size(&mut out, part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    chunked::write_end(&mut out, None);
    out
}
