//! Content in its encodings, undone by the reference libraries.

use std::io::Read;

/// Content without its encoding (RFC 9110 §8.4.1).
///
/// # Panics
///
/// If it is not what it says it is.
pub fn decoded(encoding: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        None => return body.to_vec(),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_end(&mut out).expect("gzip"),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_end(&mut out).expect("brotli"),
        Some("zstd") => return zstd::decode_all(body).expect("zstd"),
        Some(other) => panic!("an encoding that nobody asked for: {other}"),
    };
    out
}
