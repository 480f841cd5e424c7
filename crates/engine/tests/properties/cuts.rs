//! The ways in which a peer's bytes may be cut into reads: what is understood must not depend on them.

/// Numbers of the ways; the first yields everything at once.
pub(crate) const WAYS: std::ops::Range<usize> = 0..4;

/// The largest read of the irregular way: small against any head, so that every element of one is cut somewhere.
const IRREGULAR_BYTES_MAX: u64 = 40;

/// `bytes` as a row of reads: at once, byte by byte, by threes, or with lengths that depend on the bytes themselves.
pub(crate) fn reads(bytes: &[u8], way: usize) -> impl Iterator<Item = &[u8]> {
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = match way {
            0 => rest.len(),
            1 => 1,
            2 => 3,
            _ => {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                1 + ((state >> 33) % IRREGULAR_BYTES_MAX) as usize
            }
        };
        let (read, later) = rest.split_at(length.min(rest.len()));
        rest = later;
        Some(read)
    })
}
