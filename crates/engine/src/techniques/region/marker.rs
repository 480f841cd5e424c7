//! What a caller who wrote is given, and shows to read from the primary: until when, signed, so that nobody sends all its reads
//! there for ever.
//!
//! `UNTIL.MAC`: milliseconds of Unix time in hexadecimal, and half of an HMAC-SHA256 of these and the upstream's name. It says
//! nothing else, and whoever steals it gains nothing. Nodes that share a key take each other's.

use crate::http::{Name, RequestHead};
use aws_lc_rs::hmac;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The header and the cookie that carry it.
pub const NAME: &str = "x-ryw";
/// Bytes of the signature: nobody guesses 128 bits within the window.
const MAC_BYTES: usize = 16;
/// Clocks of nodes may be apart by so much beyond the window that the longest marker may last.
const UNTIL_MAX: Duration = Duration::from_secs(3_600 + 60);

/// Makes markers and knows them again.
pub struct Markers(hmac::Key);

impl std::fmt::Debug for Markers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Markers")
    }
}

impl Markers {
    /// With a key of the operator's, which other nodes have as well.
    pub fn with_key(secret: &[u8]) -> Markers {
        Markers(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// With a key of this process.
    pub fn with_random_key() -> Markers {
        let random: [u64; 4] = std::array::from_fn(|_| crate::worker::seed());
        let bytes: Vec<u8> = random.iter().flat_map(|word| word.to_le_bytes()).collect();
        Markers::with_key(&bytes)
    }

    /// A marker for an upstream.
    pub fn make(&self, upstream: &str, until: SystemTime) -> String {
        let until_ms = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let until = format!("{until_ms:x}");
        let mac = self.mac(upstream, &until);
        let mut text = until;
        text.push('.');
        mac.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text
    }

    /// Whether a marker is ours, for this upstream, and not over.
    pub fn are_fresh(&self, shown: &[u8], upstream: &str, now: SystemTime) -> bool {
        let Some((until, mac)) = std::str::from_utf8(shown).ok().and_then(|shown| shown.split_once('.'))
        else {
            return false;
        };
        let Some(until_ms) = u64::from_str_radix(until, 16).ok().filter(|_| until.len() <= 16) else {
            return false;
        };
        let now_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let is_in_time = until_ms > now_ms && until_ms - now_ms <= UNTIL_MAX.as_millis() as u64;
        is_in_time && is_hex_of(mac, &self.mac(upstream, until))
    }

    fn mac(&self, upstream: &str, until: &str) -> [u8; MAC_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        [until.as_bytes(), b"\n", upstream.as_bytes()].iter().for_each(|part| context.update(part));
        let mut mac = [0; MAC_BYTES];
        mac.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        mac
    }
}

/// Compares without telling by its time how much is right.
fn is_hex_of(text: &str, bytes: &[u8]) -> bool {
    let own: Vec<u8> = bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    aws_lc_rs::constant_time::verify_slices_are_equal(text.as_bytes(), &own).is_ok()
}

/// Every marker that a request shows, by its header or its cookie.
pub fn shown(head: &RequestHead) -> impl Iterator<Item = &[u8]> {
    let pairs = head.fields.all(Name::Cookie).flat_map(|line| line.split(|&byte| byte == b';'));
    let in_cookies = pairs.filter_map(|pair| {
        let named = pair.trim_ascii().strip_prefix(NAME.as_bytes())?;
        let at = memchr::memchr(b'=', named)?;
        named.get(at + 1..)
    });
    head.fields.get_named(NAME).into_iter().chain(in_cookies).take(SHOWN_MAX)
}

/// So many are looked at: a caller of several upstreams may hold some.
const SHOWN_MAX: usize = 8;
