//! A deadline is passed on in the dialects that it came in, each once, well formed for whoever reads it next, and never
//! longer than what is left.

use unlag_engine::deadline;
use unlag_engine::http::{Fields, Name};

/// Panics when the law does not hold for `bytes`: lines of `name:value`.
pub(crate) fn holds(bytes: &[u8]) {
    let mut fields = Fields::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        fields.push(parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    }
    let asked = deadline::asked_ns(&fields);
    let left = [0, 1, 999_999, 99_999_999, 100_000_000, 1_500_000_000, u64::MAX / 3, u64::MAX];
    for remaining_ns in left.into_iter().chain(asked) {
        is_passed_on(fields.clone(), remaining_ns, bytes);
    }
}

fn is_passed_on(mut fields: Fields, remaining_ns: u64, input: &[u8]) {
    let shown = input.escape_ascii().to_string();
    let (before, had) = (others(&fields), dialects(&fields));
    deadline::pass_on(&mut fields, remaining_ns);
    assert_eq!(others(&fields), before, "the rest stays: {shown}");
    let expected = had.map(|readable| usize::from(readable > 0));
    assert_eq!(dialects(&fields), expected, "each dialect that can be read once, no other: {shown}");
    let there = DIALECTS.map(|name| fields.all(name).count());
    assert_eq!(there, expected, "what cannot be read goes no further: {shown}");
    let remaining = u128::from(remaining_ns);
    let grpc = fields.get(Name::GrpcTimeout).map(|value| grpc_ns(value).unwrap_or_else(|| panic!("{shown}")));
    let ms = |name: Name| fields.get(name).map(|value| digits(value).expect("digits"));
    let plain = ms(Name::XRequestTimeoutMs).map(|ms| ms * 1_000_000);
    assert_eq!(
        ms(Name::EnvoyTimeoutMs),
        ms(Name::EnvoyTimeoutMs).and(Some(remaining / 1_000_000)),
        "{shown}"
    );
    if let Some(ns) = grpc {
        // Eight digits lose at most what the ninth would have said.
        assert!(ns <= remaining && remaining - ns <= remaining / 100_000, "{ns} of {remaining}: {shown}");
    }
    if let Some(ns) = plain {
        assert!(ns <= remaining && remaining - ns < 1_000_000, "{ns} of {remaining}: {shown}");
    }
    if let Some(moment) = ms(Name::XRequestDeadline) {
        assert!(moment >= remaining / 1_000_000, "a moment that far ahead: {shown}");
        return;
    }
    let envoy = ms(Name::EnvoyTimeoutMs).map(|ms| ms * 1_000_000);
    let next = grpc.into_iter().chain(plain).chain(envoy).min();
    let next = next.map(|ns| u64::try_from(ns).expect("at most what was left"));
    assert_eq!(deadline::asked_ns(&fields), next, "the next hop reads it so: {shown}");
}

/// What the gRPC specification says: at most eight digits, then a unit.
fn grpc_ns(value: &[u8]) -> Option<u128> {
    let (unit, number) = value.split_last()?;
    let unit_ns = match unit {
        b'n' => 1,
        b'u' => 1_000,
        b'm' => 1_000_000,
        b'S' => 1_000_000_000,
        b'M' => 60_000_000_000,
        b'H' => 3_600_000_000_000,
        _ => return None,
    };
    Some(digits(number).filter(|_| number.len() <= 8)? * unit_ns)
}

fn digits(text: &[u8]) -> Option<u128> {
    let text =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// The fields in which a deadline may be told.
const DIALECTS: [Name; 4] =
    [Name::GrpcTimeout, Name::XRequestTimeoutMs, Name::EnvoyTimeoutMs, Name::XRequestDeadline];

/// How often each dialect is there in a form that can be read.
fn dialects(fields: &Fields) -> [usize; 4] {
    let plain = |value: &&[u8]| (1..=19).contains(&value.len()) && digits(value).is_some();
    DIALECTS.map(|name| match name {
        Name::GrpcTimeout => fields.all(name).filter(|value| grpc_ns(value).is_some()).count(),
        _ => fields.all(name).filter(plain).count(),
    })
}

fn others(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rest = fields.iter().filter(|field| !DIALECTS.contains(&field.known));
    rest.map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}
