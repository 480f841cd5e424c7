//! Request ids and trace context: honoured when they are well formed, created when they are not there, passed on with a span
//! of our own (W3C Trace Context, B3).

use crate::http::{Fields, Name};
use unlag_record::RequestId;

/// A request id is kept up to this length; longer ones are replaced.
const REQUEST_ID_MAX: usize = 128;

/// Settles both ids and writes them into the fields that go upstream. `random` yields fresh bits.
pub fn settle(fields: &mut Fields, mut random: impl FnMut() -> u64) -> (RequestId, Box<[u8]>) {
    let incoming = fields.get(Name::Traceparent).and_then(parse_traceparent);
    let (trace, flags) = incoming.unwrap_or_else(|| {
        let (trace, sampled) = read_b3(fields);
        let fresh = || (u128::from(random()) << 64 | u128::from(random())).max(1);
        let random_flag = if trace.is_none() { RANDOM } else { 0 };
        (trace.unwrap_or_else(fresh), random_flag | if sampled { SAMPLED } else { 0 })
    });
    if incoming.is_none() {
        // Without its parent, a trace state says nothing (Trace Context §3.3.1.5).
        fields.remove_known(Name::Tracestate);
    }
    let span = random().max(1);
    let text = write_traceparent(trace, span, flags);
    fields.set_known(Name::Traceparent, &text);
    let given = fields.get(Name::XRequestId).filter(|id| is_request_id(id)).map(Box::<[u8]>::from);
    let id = given.unwrap_or_else(|| text.get(3..35).unwrap_or_default().into());
    fields.set_known(Name::XRequestId, &id);
    (RequestId(trace), id)
}

/// Flags of `traceparent`: somebody records the trace; its id is random as a whole (Trace Context level 2).
const SAMPLED: u8 = 0x01;
const RANDOM: u8 = 0x02;

/// What B3 says, in one field or in several: the trace, and whether it is sampled. Where nobody has decided, it is: services
/// sample by what their parent says, and a proxy that says no would switch their tracing off.
fn read_b3(fields: &Fields) -> (Option<u128>, bool) {
    if let Some(single) = fields.get(Name::B3) {
        let mut parts = single.split(|&byte| byte == b'-');
        let trace = parts.next().unwrap_or_default();
        // `0` alone denies without naming a trace.
        let denies = trace == b"0" || parts.nth(1) == Some(b"0");
        return (parse_trace_id(trace), !denies);
    }
    let denies = fields.get(Name::B3Sampled).is_some_and(|value| matches!(value, b"0" | b"false"));
    (fields.get(Name::B3TraceId).and_then(parse_trace_id), !denies)
}

fn is_request_id(id: &[u8]) -> bool {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    !id.is_empty() && id.len() <= REQUEST_ID_MAX && id.iter().all(harmless)
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero; later versions may carry more after it.
fn parse_traceparent(value: &[u8]) -> Option<(u128, u8)> {
    let text = std::str::from_utf8(value).ok()?;
    let lower = |part: &str| !part.bytes().any(|byte| byte.is_ascii_uppercase());
    let (version, rest) = (text.get(..2)?, text.get(2..)?);
    if u8::from_str_radix(version, 16).ok()? == 0xff || (version == "00" && text.len() != 55) || !lower(text)
    {
        return None;
    }
    let (trace, parent, flags) = (rest.get(1..33)?, rest.get(34..50)?, rest.get(51..53)?);
    let dashes = [rest.get(..1)?, rest.get(33..34)?, rest.get(50..51)?];
    if dashes != ["-", "-", "-"]
        || !rest.get(53..).is_some_and(|tail| tail.is_empty() || tail.starts_with('-'))
    {
        return None;
    }
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex(trace) || !hex(parent) || !hex(flags) || parent.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|&trace| trace != 0)?;
    // Of the flags only `sampled` and `random trace id` mean anything; unknown ones are not passed on.
    Some((trace, u8::from_str_radix(flags, 16).ok()? & 0x03))
}

/// 16 or 32 hexadecimal digits, not all zero.
fn parse_trace_id(value: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(value).ok().filter(|text| matches!(text.len(), 16 | 32))?;
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten().filter(|&trace| trace != 0)
}

/// `00-trace-span-flags`
fn write_traceparent(trace: u128, span: u64, flags: u8) -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    hex(text.get_mut(3..35), &trace.to_be_bytes());
    hex(text.get_mut(36..52), &span.to_be_bytes());
    hex(text.get_mut(53..55), &[flags]);
    text
}

/// Fills `out` with two digits for each byte.
fn hex(out: Option<&mut [u8]>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let (pairs, _) = out.unwrap_or_default().as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle_with(list: &[(&str, &str)]) -> (RequestId, String, Fields) {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        let mut next = 0;
        let (id, request_id) = settle(&mut fields, || {
            next += 1;
            next
        });
        (id, String::from_utf8(request_id.into()).unwrap(), fields)
    }

    #[test]
    fn ids_are_created_when_there_are_none() {
        let (id, request_id, fields) = settle_with(&[]);
        assert_eq!(id, RequestId(1 << 64 | 2));
        assert_eq!(request_id, "00000000000000010000000000000002");
        let expected = &b"00-00000000000000010000000000000002-0000000000000003-03"[..];
        assert_eq!(fields.get(Name::Traceparent), Some(expected));
    }

    #[test]
    fn a_trace_that_runs_already_goes_on_with_a_span_of_ours() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff";
        let (id, _, fields) =
            settle_with(&[("traceparent", parent), ("tracestate", "a=b"), ("x-request-id", "abc-1")]);
        assert_eq!(id, RequestId(0x0af7651916cd43dd8448eb211c80319c));
        let expected = &b"00-0af7651916cd43dd8448eb211c80319c-0000000000000001-03"[..];
        assert_eq!(fields.get(Name::Traceparent), Some(expected));
        assert_eq!(fields.get(Name::Tracestate), Some(&b"a=b"[..]));
        assert_eq!(fields.get(Name::XRequestId), Some(&b"abc-1"[..]));
    }

    #[test]
    fn malformed_context_is_replaced_not_passed_on() {
        for bad in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "nonsense",
        ] {
            let (id, _, fields) = settle_with(&[("traceparent", bad), ("tracestate", "a=b")]);
            assert_eq!(id, RequestId(1 << 64 | 2), "{bad}");
            assert!(!fields.has(Name::Tracestate));
        }
    }

    #[test]
    fn b3_carries_a_trace_too() {
        let (id, _, _) = settle_with(&[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]);
        assert_eq!(id, RequestId(0x80f198ee56343ba864fe8b2a57d3eff7));
        let (id, _, _) = settle_with(&[("X-B3-TraceId", "e457b5a2e4d86bd1")]);
        assert_eq!(id, RequestId(0xe457b5a2e4d86bd1));
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        for bad in ["", "a b", "a\"b", "\u{1b}[31m", &"a".repeat(129)] {
            assert_eq!(settle_with(&[("x-request-id", bad)]).1, "00000000000000010000000000000002");
        }
    }
}
