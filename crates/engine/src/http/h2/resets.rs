//! Counts the resets among the frames that we write. A caller that makes us reset its streams (CVE-2025-8671) pays for each as
//! if it had sent it, whoever decided on it: the `h2` crate or we.

/// A frame header (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;
const RST_STREAM: u8 = 0x3;

/// Reads frame headers out of what was written.
#[derive(Debug, Default)]
pub struct Resets {
    /// Payload that is still to come.
    skip: usize,
    header: [u8; HEADER_BYTES],
    /// How much of the header has come.
    filled: usize,
}

impl Resets {
    /// How many resets begin in `bytes`, which follow what was scanned before.
    pub fn scan(&mut self, mut bytes: &[u8]) -> u32 {
        let mut resets = 0;
        while !bytes.is_empty() {
            let skip = self.skip.min(bytes.len());
            self.skip -= skip;
            bytes = bytes.get(skip..).unwrap_or_default();
            let wanted = self.header.get_mut(self.filled..).unwrap_or_default();
            let take = wanted.len().min(bytes.len());
            let (header, rest) = bytes.split_at_checked(take).unwrap_or_default();
            wanted.iter_mut().zip(header).for_each(|(to, from)| *to = *from);
            self.filled += take;
            bytes = rest;
            if self.filled == HEADER_BYTES {
                let [a, b, c, kind, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.filled = 0;
                resets += u32::from(kind == RST_STREAM);
            }
        }
        resets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_counted_however_the_writes_are_cut() {
        let mut bytes = vec![0, 0, 5, 0, 0, 0, 0, 0, 1, 3, 3, 3, 3, 3];
        bytes.extend([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]);
        bytes.extend([0, 0, 0, 4, 1, 0, 0, 0, 0]);
        bytes.extend([0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 8]);
        for step in 1..=bytes.len() {
            let mut resets = Resets::default();
            let counted: u32 = bytes.chunks(step).map(|chunk| resets.scan(chunk)).sum();
            assert_eq!(counted, 2, "step {step}");
        }
    }
}
