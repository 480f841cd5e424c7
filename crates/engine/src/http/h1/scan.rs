//! Measures the parts of a line sixteen bytes at a time: what nearly every name and value is made of is told from the rest by a
//! few vector instructions, and the rest is left to whoever looks byte by byte.

use wide::u8x16;

/// Bytes in one step.
const STEP: usize = 16;

/// The length of a name of letters and dashes that a colon follows, if that is what `bytes` begin with.
pub(super) fn name(bytes: &[u8]) -> Option<usize> {
    let (steps, _) = bytes.as_chunks::<STEP>();
    for (index, step) in steps.iter().enumerate() {
        let step = u8x16::new(*step);
        let letters = is_within(step | u8x16::splat(0x20), b'a', b'z');
        let named = (letters | step.simd_eq(u8x16::splat(b'-'))).to_bitmask();
        // The first byte that is neither: a step of the name itself has none.
        let len = named.trailing_ones() as usize;
        if len < STEP {
            let colon = step.simd_eq(u8x16::splat(b':')).to_bitmask();
            return (colon >> len & 1 == 1).then_some(index * STEP + len);
        }
    }
    None
}

/// How many bytes there are before the first that is not plain ASCII, from the space to the tilde; `None` if there is no such.
pub(super) fn value(bytes: &[u8]) -> Option<usize> {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for (index, step) in steps.iter().enumerate() {
        let plain = is_within(u8x16::new(*step), b' ', b'~').to_bitmask();
        let len = plain.trailing_ones() as usize;
        if len < STEP {
            return Some(index * STEP + len);
        }
    }
    let odd = rest.iter().position(|byte| !(b' '..=b'~').contains(byte));
    odd.map(|at| bytes.len() - rest.len() + at)
}

/// Which bytes are between these two.
fn is_within(step: u8x16, first: u8, last: u8) -> u8x16 {
    let above = step - u8x16::splat(first);
    above.min(u8x16::splat(last - first)).simd_eq(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_not_plain_is_found_wherever_it_is_and_whatever_surrounds_it() {
        for odd in (0..0x20).chain(0x7f..=0xff) {
            for around in [b' ', b'~', b'a'] {
                for at in 0..37 {
                    let mut bytes = [around; 37];
                    bytes[at] = odd;
                    assert_eq!(value(&bytes), Some(at), "{odd} among {around}");
                    bytes[at + 1..].fill(odd);
                    assert_eq!(value(&bytes), Some(at), "{odd} after {around}");
                }
            }
        }
        assert_eq!(value(&[b' '; 37]), None);
    }

    #[test]
    fn a_plain_name_is_letters_and_dashes_and_ends_at_the_first_colon() {
        for len in 0..20 {
            for after in [b'x', b':', 0, 0xff, b' '] {
                let mut bytes = [after; 32];
                bytes[..len].fill(b'Z');
                bytes[len] = b':';
                assert_eq!(name(&bytes), Some(len), "{len} before {after}");
                for odd in (0..=255).filter(|byte: &u8| !byte.is_ascii_alphabetic() && !b":-".contains(byte))
                {
                    for at in 0..len {
                        let mut broken = bytes;
                        broken[at] = odd;
                        assert_eq!(name(&broken), None, "{odd} at {at} of {len}");
                    }
                }
                bytes[..len].fill(b'-');
                assert_eq!(name(&bytes), Some(len), "dashes");
            }
        }
        assert_eq!(name(b"no-colon-in-all-of-these-bytes"), None);
    }
}
