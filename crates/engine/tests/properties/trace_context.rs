//! Whatever a caller says about its trace, what goes upstream is one well-formed context and one harmless request id.

use unlag_engine::http::{Fields, Name};
use unlag_engine::server::trace_context;

/// Panics when the law does not hold for `bytes`: lines of `name:value`.
pub(crate) fn holds(bytes: &[u8]) {
    for fresh in [0, 1, u64::MAX] {
        let mut fields = Fields::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            let mut parts = line.splitn(2, |&byte| byte == b':');
            fields.push(parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        }
        settles(fields, fresh, bytes);
    }
}

fn settles(mut fields: Fields, fresh: u64, input: &[u8]) {
    let shown = input.escape_ascii().to_string();
    let others = others(&fields);
    let (trace, request_id) = trace_context::settle(&mut fields, || fresh);
    assert_ne!({ trace.0 }, 0, "{shown}");

    let parents: Vec<&[u8]> = fields.all(Name::Traceparent).collect();
    assert_eq!(parents.len(), 1, "one traceparent: {shown}");
    let parent = String::from_utf8_lossy(parents.first().copied().unwrap_or_default()).into_owned();
    let parts: Vec<&str> = parent.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{parent}: {shown}");
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert!(parts.iter().all(|part| is_hex(part)), "{parent}: {shown}");
    assert_eq!(parts.first(), Some(&"00"), "{shown}");
    assert_eq!(parts.get(1), Some(&format!("{:032x}", { trace.0 }).as_str()), "{shown}");
    assert_ne!(parts.get(2), Some(&"0000000000000000"), "{shown}");
    assert!(matches!(parts.get(3), Some(&("00" | "01" | "02" | "03"))), "{parent}: {shown}");

    let ids: Vec<&[u8]> = fields.all(Name::XRequestId).collect();
    assert_eq!(ids, [&*request_id], "one request id goes upstream: {shown}");
    assert!((1..=128).contains(&request_id.len()), "{shown}");
    let harmless = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\<>;,`$%".contains(byte);
    assert!(request_id.iter().all(harmless), "{}: {shown}", request_id.escape_ascii());

    assert_eq!(self::others(&fields), others, "the rest stays: {shown}");
    let again = trace_context::settle(&mut fields, || fresh);
    assert_eq!(again, (trace, request_id), "a second proxy keeps both ids: {shown}");
}

fn others(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    let is_ours = |known: Name| matches!(known, Name::Traceparent | Name::Tracestate | Name::XRequestId);
    let rest = fields.iter().filter(|field| !is_ours(field.known));
    rest.map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}
