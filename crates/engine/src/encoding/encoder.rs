//! The encoders behind one face: content in, encoded content out, in pieces or whole.

use bytes::Bytes;
use std::io::{self, Write};
use unlag_config::Encoding;

/// How much work is put into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effort {
    /// As much as a caller may wait for: zstd 3, Brotli 4, gzip 6. Of what the best levels save, these save most.
    Quick,
    /// As much as there is to gain, for what is sent many times: zstd 19, Brotli 11, gzip 9.
    Heavy,
}

/// Distance, as a power of two, over which a stream is compared with itself. It is memory that each stream holds: the defaults
/// of the encoders are made for one file at a time, and take megabytes.
const STREAM_WINDOW_LOG: u32 = 17;
/// For what is whole. No decoder of the web has to take more of zstd (RFC 9659).
const WHOLE_WINDOW_LOG: u32 = 22;
/// What Brotli writes at a time.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// One stream of encoded content in the making.
pub enum Encoder {
    /// Zstandard.
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// Brotli.
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    /// gzip.
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// An encoder for content that passes; its length, if it is known, spares memory.
    pub fn for_stream(encoding: Encoding, length: Option<u64>) -> io::Result<Encoder> {
        let bits = length.map_or(u64::BITS, |length| u64::BITS - length.leading_zeros());
        // Of Zstandard at least 10, of Brotli 10 as well.
        Encoder::new(encoding, Effort::Quick, bits.clamp(10, STREAM_WINDOW_LOG), length)
    }

    fn new(encoding: Encoding, effort: Effort, window_log: u32, length: Option<u64>) -> io::Result<Encoder> {
        let is_quick = effort == Effort::Quick;
        Ok(match encoding {
            Encoding::Zstd => {
                let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), if is_quick { 3 } else { 19 })?;
                zstd.window_log(window_log)?;
                zstd.set_pledged_src_size(length)?;
                Encoder::Zstd(zstd)
            }
            Encoding::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: if is_quick { 4 } else { 11 },
                    lgwin: window_log as i32,
                    size_hint: length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0),
                    ..Default::default()
                };
                let writer = brotli::CompressorWriter::with_params(Vec::new(), BROTLI_BUFFER_BYTES, &params);
                Encoder::Brotli(Box::new(writer))
            }
            Encoding::Gzip => {
                let level = flate2::Compression::new(if is_quick { 6 } else { 9 });
                Encoder::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
        })
    }

    /// Takes more content.
    pub fn push(&mut self, content: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Zstd(zstd) => zstd.write_all(content),
            Encoder::Brotli(brotli) => brotli.write_all(content),
            Encoder::Gzip(gzip) => gzip.write_all(content),
        }
    }

    /// Whether it puts off its work until it has 64 KiB or more to work on. Made to work on 8 KiB at a time it saves 3 % less.
    pub fn gathers(&self) -> bool {
        !matches!(self, Encoder::Gzip(_))
    }

    /// Brings out all that it was given so far.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Zstd(zstd) => zstd.flush(),
            Encoder::Brotli(brotli) => brotli.flush(),
            Encoder::Gzip(gzip) => gzip.flush(),
        }
    }

    /// How much has come out and was not taken.
    pub fn ready_bytes(&self) -> usize {
        match self {
            Encoder::Zstd(zstd) => zstd.get_ref().len(),
            Encoder::Brotli(brotli) => brotli.get_ref().len(),
            Encoder::Gzip(gzip) => gzip.get_ref().len(),
        }
    }

    /// Takes what has come out.
    pub fn take(&mut self) -> Bytes {
        let out = match self {
            Encoder::Zstd(zstd) => zstd.get_mut(),
            Encoder::Brotli(brotli) => brotli.get_mut(),
            Encoder::Gzip(gzip) => gzip.get_mut(),
        };
        std::mem::take(out).into()
    }

    /// The end of it, with what was not taken.
    pub fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Encoder::Zstd(zstd) => zstd.finish()?,
            Encoder::Brotli(brotli) => brotli.into_inner(),
            Encoder::Gzip(gzip) => gzip.finish()?,
        }
        .into())
    }
}

/// Encodes what is whole.
pub fn whole(encoding: Encoding, effort: Effort, content: &[u8]) -> io::Result<Bytes> {
    let bits = u64::BITS - (content.len() as u64).leading_zeros();
    let window_log = bits.clamp(10, WHOLE_WINDOW_LOG);
    let mut encoder = Encoder::new(encoding, effort, window_log, Some(content.len() as u64))?;
    encoder.push(content)?;
    encoder.finish()
}

#[cfg(test)]
pub mod tests {
    //! Decoders for the tests of what encodes.
    use super::*;
    use std::io::Read;

    /// What an encoded content stands for.
    pub fn decoded(encoding: Encoding, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Zstd => return zstd::decode_all(content).unwrap(),
            Encoding::Brotli => brotli::Decompressor::new(content, 4096).read_to_end(&mut out).unwrap(),
            Encoding::Gzip => flate2::read::GzDecoder::new(content).read_to_end(&mut out).unwrap(),
        };
        out
    }

    fn text(bytes: usize) -> Vec<u8> {
        (0..)
            .flat_map(|n: u64| format!("{{\"number\":{n},\"square\":{}}}\n", n * n).into_bytes())
            .take(bytes)
            .collect()
    }

    #[test]
    fn what_was_encoded_is_what_is_decoded() {
        for encoding in Encoding::CHEAPEST_FIRST {
            for size in [0, 1, 255, 70_000, 300_000] {
                let content = text(size);
                let quick = whole(encoding, Effort::Quick, &content).unwrap();
                assert_eq!(decoded(encoding, &quick), content);
                if size == 70_000 {
                    let heavy = whole(encoding, Effort::Heavy, &content).unwrap();
                    assert_eq!(decoded(encoding, &heavy), content);
                    // More effort is not always less, of gzip above all.
                    assert!(
                        heavy.len() <= quick.len() + quick.len() / 50 && quick.len() < size / 2,
                        "{encoding:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_was_flushed_can_be_decoded_before_more_comes() {
        for encoding in Encoding::CHEAPEST_FIRST {
            let mut encoder = Encoder::for_stream(encoding, None).unwrap();
            encoder.push(b"hello").unwrap();
            encoder.flush().unwrap();
            assert!(encoder.ready_bytes() > 0);
            let first = encoder.take();
            let mut so_far = vec![0; 5];
            let read = match encoding {
                Encoding::Zstd => zstd::Decoder::new(&first[..]).unwrap().read_exact(&mut so_far),
                Encoding::Brotli => brotli::Decompressor::new(&first[..], 64).read_exact(&mut so_far),
                Encoding::Gzip => flate2::read::GzDecoder::new(&first[..]).read_exact(&mut so_far),
            };
            assert!(read.is_ok() && so_far == b"hello", "{encoding:?}");
            encoder.push(b" world").unwrap();
            let all = [&first[..], &encoder.finish().unwrap()].concat();
            assert_eq!(decoded(encoding, &all), b"hello world");
        }
    }
}
