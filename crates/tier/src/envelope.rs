//! What is stored around a value. The server is shared with other versions of us and with whoever else writes to it, so
//! nothing that comes back is believed: what is odd in any way is no value.
//!
//! ```text
//! 0      2          10        11      12            16
//! | "uT" | checksum | version | flags | plain length | key length, key, value (zstd when flag 1) |
//!                   '------------------ what the checksum covers, seeded with the epoch ---------'
//! ```
//!
//! The key is in it because names in the store are hashes: a caller who finds two keys with one hash gains a miss.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: &[u8; 2] = b"uT";
const VERSION: u8 = 1;
const FLAG_ZSTD: u8 = 1;
const HEAD: usize = 16;

/// Shorter content is not compressed: it saves less than a packet.
const COMPRESS_MIN: usize = 2048;

/// Plain content beyond this is neither written nor believed, however small it was packed.
pub const PLAIN_MAX: usize = (16 << 20) + (64 << 10);

/// Why a stored thing is no value of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Odd;

/// A value as it is stored; `None` when key and value are too long.
pub fn seal(epoch: u64, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let plain_length = key.len().checked_add(value.len())?.checked_add(4)?;
    if plain_length > PLAIN_MAX {
        return None;
    }
    let key_length = u32::try_from(key.len()).ok()?;
    let mut sealed = Vec::with_capacity(HEAD + plain_length);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&[0; 8]);
    sealed.extend_from_slice(&[VERSION, 0]);
    sealed.extend_from_slice(&u32::try_from(plain_length).ok()?.to_le_bytes());
    sealed.extend_from_slice(&key_length.to_le_bytes());
    sealed.extend_from_slice(key);
    sealed.extend_from_slice(value);
    if plain_length >= COMPRESS_MIN {
        let packed = sealed.get(HEAD..).and_then(|plain| zstd::bulk::compress(plain, 1).ok());
        // It must save a tenth: whoever reads pays for unpacking.
        if let Some(packed) = packed.filter(|packed| packed.len() < plain_length / 10 * 9) {
            sealed.truncate(HEAD);
            sealed.extend_from_slice(&packed);
            if let Some(flags) = sealed.get_mut(11) {
                *flags = FLAG_ZSTD;
            }
        }
    }
    let checksum = xxh3_64_with_seed(sealed.get(10..)?, epoch);
    sealed.get_mut(2..10)?.copy_from_slice(&checksum.to_le_bytes());
    Some(sealed)
}

/// The value in what the store gave for `key`.
pub fn open(epoch: u64, key: &[u8], sealed: &Bytes) -> Result<Bytes, Odd> {
    let head: &[u8; HEAD] = sealed.first_chunk().ok_or(Odd)?;
    let [m0, m1, c0, c1, c2, c3, c4, c5, c6, c7, version, flags, l0, l1, l2, l3] = *head;
    let checksum = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| Odd)?;
    let known = [m0, m1] == *MAGIC && version == VERSION && flags & !FLAG_ZSTD == 0 && length <= PLAIN_MAX;
    if !known || xxh3_64_with_seed(sealed.get(10..).ok_or(Odd)?, epoch) != checksum {
        return Err(Odd);
    }
    let content = sealed.slice(HEAD..);
    let plain = match flags & FLAG_ZSTD {
        0 => content,
        _ => Bytes::from(zstd::bulk::decompress(&content, length).map_err(|_| Odd)?),
    };
    if plain.len() != length {
        return Err(Odd);
    }
    let key_length: &[u8; 4] = plain.first_chunk().ok_or(Odd)?;
    let key_end =
        usize::try_from(u32::from_le_bytes(*key_length)).ok().and_then(|length| length.checked_add(4));
    let key_end = key_end.filter(|end| *end <= plain.len()).ok_or(Odd)?;
    if plain.get(4..key_end) != Some(key) {
        return Err(Odd);
    }
    Ok(plain.slice(key_end..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_packed_and_noise_is_not() {
        let text = "a line of a page, ".repeat(1000);
        assert!(seal(1, b"k", text.as_bytes()).unwrap().len() < text.len() / 10);
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .take(5000)
        .collect();
        let sealed = seal(1, b"k", &noise).unwrap();
        assert_eq!(sealed.len(), HEAD + 4 + 1 + noise.len());
        assert_eq!(open(1, b"k", &sealed.into()).unwrap(), noise);
    }

    #[test]
    fn a_value_of_another_key_or_epoch_is_odd() {
        let sealed = Bytes::from(seal(7, b"key", b"value").unwrap());
        assert_eq!(open(7, b"key", &sealed).unwrap(), "value");
        assert_eq!(open(7, b"kez", &sealed), Err(Odd));
        assert_eq!(open(8, b"key", &sealed), Err(Odd));
    }

    #[test]
    fn what_unpacks_to_more_than_it_says_is_odd() {
        let mut bomb = seal(7, b"k", &vec![0; 1 << 20]).unwrap();
        bomb[12..16].copy_from_slice(&100u32.to_le_bytes());
        let checksum = xxh3_64_with_seed(&bomb[10..], 7);
        bomb[2..10].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(open(7, b"k", &bomb.into()), Err(Odd));
    }

    #[test]
    fn what_is_too_long_is_not_sealed() {
        assert_eq!(seal(7, b"k", &vec![0; PLAIN_MAX]), None);
    }
}
