//! Deadlines in the dialects that callers speak: read once, passed on at every attempt shortened by the time already spent.
//!
//! | field | who may say it | it means |
//! |---|---|---|
//! | `grpc-timeout` | anybody | so long from now on, with its unit |
//! | `x-request-timeout-ms`, `x-envoy-expected-rq-timeout-ms` | anybody | so many milliseconds from now on |
//! | `x-request-deadline` | trusted peers | until this moment, in milliseconds of Unix time: clocks of strangers are not ours |

use crate::clock;
use crate::http::{Fields, Name, NameSet};
use std::time::UNIX_EPOCH;

/// The fields that say how long a caller waits. What an untrusted peer says of a moment is gone before it is read here
/// ([`Name::CLAIMS`]).
const DIALECTS: NameSet = Name::GrpcTimeout.bit()
    | Name::XRequestTimeoutMs.bit()
    | Name::EnvoyTimeoutMs.bit()
    | Name::XRequestDeadline.bit();

const MS: u64 = 1_000_000;

/// How long the caller is willing to wait, the shortest of what it says; `None` when it says nothing that can be read.
pub fn asked_ns(fields: &Fields) -> Option<u64> {
    if !fields.has_any(DIALECTS) {
        return None;
    }
    let grpc = fields.all(Name::GrpcTimeout).filter_map(parse_grpc);
    let plain = fields.all(Name::XRequestTimeoutMs).chain(fields.all(Name::EnvoyTimeoutMs));
    let plain = plain.filter_map(parse_number).map(|ms| ms.saturating_mul(MS));
    let moments = fields.all(Name::XRequestDeadline).filter_map(parse_number);
    let moments = moments.map(|unix_ms| unix_ms.saturating_sub(unix_now_ms()).saturating_mul(MS));
    grpc.chain(plain).chain(moments).min()
}

/// Whether the caller says anything of its time.
pub fn is_said(fields: &Fields) -> bool {
    fields.has_any(DIALECTS)
}

/// Rewrites the dialects that are there to what is left. What cannot be read is taken out: it would mean to the next what it did
/// not mean here.
pub fn pass_on(fields: &mut Fields, remaining_ns: u64) {
    if !fields.has_any(DIALECTS) {
        return;
    }
    if fields.has(Name::GrpcTimeout) {
        let is_read = fields.all(Name::GrpcTimeout).any(|value| parse_grpc(value).is_some());
        rewrite(fields, Name::GrpcTimeout, is_read.then(|| format_grpc(remaining_ns)));
    }
    let left_ms = remaining_ns / MS;
    for (name, ms) in [
        (Name::XRequestTimeoutMs, left_ms),
        (Name::EnvoyTimeoutMs, left_ms),
        (Name::XRequestDeadline, unix_now_ms().saturating_add(left_ms)),
    ] {
        if fields.has(name) {
            let is_read = fields.all(name).any(|value| parse_number(value).is_some());
            rewrite(fields, name, is_read.then(|| ms.to_string()));
        }
    }
}

/// Takes out what the caller says of its time: whoever asks in the name of many is not bound by one of them.
pub fn forget(fields: &mut Fields) {
    if fields.has_any(DIALECTS) {
        fields.retain(|field| DIALECTS & field.known.bit() == 0);
    }
}

fn rewrite(fields: &mut Fields, name: Name, value: Option<String>) {
    match value {
        Some(value) => fields.set_known(name, value.as_bytes()),
        None => fields.remove_known(name),
    }
}

fn unix_now_ms() -> u64 {
    clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| clock::ns(since) / MS)
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    crate::http::h1::framing::parse_length(digits)
}

/// At most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse_grpc(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 {
        return None;
    }
    let unit_ns: u64 = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    Some(parse_number(digits)?.saturating_mul(unit_ns))
}

/// The finest unit whose eight digits suffice; hours always do.
fn format_grpc(ns: u64) -> String {
    const UNITS: [(u64, char); 5] =
        [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let (unit_ns, unit) =
        UNITS.into_iter().find(|(unit_ns, _)| ns / unit_ns < 100_000_000).unwrap_or((3_600_000_000_000, 'H'));
    format!("{}{unit}", ns / unit_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_deadline_counts_and_every_dialect_is_shortened() {
        let mut fields = Fields::default();
        fields.push(b"grpc-timeout", b"2S");
        fields.push(b"X-Request-Timeout-Ms", b"1500");
        assert_eq!(asked_ns(&fields), Some(1_500_000_000));
        pass_on(&mut fields, 1_234_567_890);
        assert_eq!(fields.get(Name::GrpcTimeout), Some(&b"1234567u"[..]));
        assert_eq!(fields.get(Name::XRequestTimeoutMs), Some(&b"1234"[..]));
    }

    #[test]
    fn a_mesh_neighbour_is_understood_and_a_moment_is_passed_on_as_a_moment() {
        let mut fields = Fields::default();
        fields.push(b"X-Envoy-Expected-Rq-Timeout-Ms", b"700");
        assert_eq!(asked_ns(&fields), Some(700_000_000));
        pass_on(&mut fields, 650_900_000);
        assert_eq!(fields.get(Name::EnvoyTimeoutMs), Some(&b"650"[..]));
        fields.push(b"x-request-deadline", (unix_now_ms() + 400).to_string().as_bytes());
        let asked = asked_ns(&fields).unwrap();
        assert!((300_000_000..=400_000_000).contains(&asked), "{asked}");
        pass_on(&mut fields, 100_000_000);
        let moment = parse_number(fields.get(Name::XRequestDeadline).unwrap()).unwrap();
        let left = moment.saturating_sub(unix_now_ms());
        assert!((50..=100).contains(&left), "{left} ms are left");
        fields.set_known(Name::XRequestDeadline, b"1");
        assert_eq!(asked_ns(&fields), Some(0), "a moment that has passed leaves nothing");
    }

    #[test]
    fn of_several_the_shortest_counts_and_what_cannot_be_read_goes_no_further() {
        let mut fields = Fields::default();
        for value in ["9S", "soon", "1S"] {
            fields.push(b"grpc-timeout", value.as_bytes());
        }
        fields.push(b"x-request-timeout-ms", b"-1");
        assert_eq!(asked_ns(&fields), Some(1_000_000_000));
        pass_on(&mut fields, 500_000_000);
        assert_eq!(fields.all(Name::GrpcTimeout).collect::<Vec<_>>(), [&b"500000u"[..]]);
        assert!(!fields.has(Name::XRequestTimeoutMs));
    }

    #[test]
    fn what_cannot_be_read_sets_no_deadline() {
        for bad in ["", "5", "S", "123456789S", "-1S", "5x", "1.5S"] {
            assert_eq!(parse_grpc(bad.as_bytes()), None, "{bad}");
        }
    }
}
