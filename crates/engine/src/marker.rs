//! What a caller who wrote is given, and shows to read from the primary: until when, signed, so that nobody sends all its reads
//! there for ever.
//!
//! `UNTIL.MAC`: milliseconds of Unix time in hexadecimal, and half of an HMAC-SHA256 of these and the upstream's name. It says
//! nothing else, and whoever steals it gains nothing. Nodes that share a key take each other's.

use crate::clock;
use crate::exchange::Response;
use crate::http::fields::members;
use crate::http::{Name, RequestHead};
use crate::plan::Upstream;
use aws_lc_rs::hmac;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(test)]
mod tests;

/// The header that carries it, and how the name of the cookie begins that does.
pub const NAME: &str = "x-ryw";
/// Bytes of the signature: nobody guesses 128 bits within the window.
const MAC_BYTES: usize = 16;
/// Digits of the time: as many as 64 bits have.
const UNTIL_DIGITS_MAX: usize = 16;
/// Signatures that a request may have checked in its header, and as many in its cookies: a caller of several upstreams may hold
/// some, and anybody can make up any number. What has not the form, is over, or is a cookie of another upstream is not checked and
/// does not count.
pub const CHECKS_MAX: usize = 8;
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

    /// Has an answer tell its caller, who wrote, what to show with its next reads, where that counts.
    pub fn give(&self, upstream: &Upstream, response: &mut Response, is_secure: bool) {
        let Some(window) = upstream.read_your_writes.filter(|_| response.head.status < 400) else { return };
        let marker = self.make(&upstream.name, clock::wall() + window);
        let secure = if is_secure { "; Secure" } else { "" };
        let seconds = window.as_secs().max(1);
        let name = cookie(&upstream.name);
        let cookie = format!("{name}={marker}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        response.head.fields.push(NAME.as_bytes(), marker.as_bytes());
        response.head.fields.push(b"set-cookie", cookie.as_bytes());
    }

    /// A marker for an upstream.
    pub fn make(&self, upstream: &str, until: SystemTime) -> String {
        let until_ms = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let until = format!("{until_ms:x}");
        let mac = hex(&self.mac(upstream, &until));
        format!("{until}.{mac}")
    }

    /// Whether a request shows, by its header or its cookie, one that is ours, for this upstream, and not over.
    pub fn are_shown(&self, head: &RequestHead, upstream: &str, now: SystemTime) -> bool {
        let is_ours = |marker: Marker<'_>| self.is_ours(marker, upstream);
        let in_time = |text| Marker::read(text).filter(|marker| marker.is_in_time(now));
        // Apart, so that one never hides the other.
        in_fields(head).filter_map(in_time).take(CHECKS_MAX).any(is_ours)
            || in_cookies(head, upstream).filter_map(in_time).take(CHECKS_MAX).any(is_ours)
    }

    /// Compares without telling by its time how much is right.
    fn is_ours(&self, marker: Marker<'_>, upstream: &str) -> bool {
        let own = hex(&self.mac(upstream, marker.until));
        aws_lc_rs::constant_time::verify_slices_are_equal(marker.mac, own.as_bytes()).is_ok()
    }

    fn mac(&self, upstream: &str, until: &str) -> [u8; MAC_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        [until.as_bytes(), b"\n", upstream.as_bytes()].iter().for_each(|part| context.update(part));
        let mut mac = [0; MAC_BYTES];
        mac.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        mac
    }
}

/// What has the form of a marker.
#[derive(Clone, Copy)]
struct Marker<'a> {
    until: &'a str,
    until_ms: u64,
    mac: &'a [u8],
}

impl Marker<'_> {
    fn read(text: &[u8]) -> Option<Marker<'_>> {
        // First what costs least: a request may be full of what is none.
        let (before, mac) = text.split_at_checked(text.len().checked_sub(2 * MAC_BYTES)?)?;
        let until = before.strip_suffix(b".").filter(|until| until.len() <= UNTIL_DIGITS_MAX)?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !until.iter().chain(mac).all(is_digit) {
            return None;
        }
        let until = std::str::from_utf8(until).ok()?;
        Some(Marker { until, until_ms: u64::from_str_radix(until, 16).ok()?, mac })
    }

    fn is_in_time(&self, now: SystemTime) -> bool {
        let now_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.until_ms > now_ms && self.until_ms - now_ms <= UNTIL_MAX.as_millis() as u64
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the cookie for an upstream. One for each: a browser keeps one cookie of a name.
fn cookie(upstream: &str) -> String {
    format!("{NAME}-{upstream}")
}

/// What stands in the header: in any field, at any place of its list. It does not say for which upstream.
fn in_fields(head: &RequestHead) -> impl Iterator<Item = &[u8]> {
    let fields = head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(NAME.as_bytes()));
    fields.flat_map(|field| members(field.value))
}

/// What stands in cookies for an upstream; there may be several, of other paths or domains.
fn in_cookies<'a>(head: &'a RequestHead, upstream: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = head.fields.all(Name::Cookie).flat_map(|line| line.split(|&byte| byte == b';'));
    pairs.filter_map(|pair| {
        let named = pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"-")?;
        named.strip_prefix(upstream.as_bytes())?.strip_prefix(b"=")
    })
}
