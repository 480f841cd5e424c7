//! What a replica reads of a request: `/r/ID` is work, and so is `/r?n=ID`, `/kv/KEY/ID` is work on data, `?bytes=N` asks for an answer of
//! that size, `?stream=N` for one that comes in so many pieces. Anything else is answered at once.

use std::time::Duration;

/// Bytes of an answer that is asked for at most.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const ANSWER_BYTES: usize = 512;
/// Pieces of a streamed answer at most.
const PIECES_MAX: usize = 1_000;

/// The field with the microseconds since 1970 at which the first sender sent a request, and its whole time in
/// milliseconds: `1700000000000000;50`.
pub const SENT_FIELD: &str = "x-lab-sent";

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Asked {
    /// `None`: not work.
    pub(super) id: Option<u64>,
    pub(super) key: Option<u64>,
    pub(super) is_unsafe: bool,
    pub(super) bytes: usize,
    /// The answer comes in pieces.
    pub(super) pieces: Option<usize>,
    /// Time left, as the sender before says.
    pub(super) left: Option<Duration>,
    /// When the first sender sent it, in microseconds since 1970, and how much time there was in all.
    pub(super) sent: Option<(u64, Duration)>,
}

impl Asked {
    pub(super) fn read(head: &httparse::Request<'_, '_>) -> Self {
        let method = head.method.unwrap_or("");
        let mut asked = Self::of_target(head.path.unwrap_or(""));
        asked.is_unsafe = !matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE");
        for field in head.headers.iter() {
            let value = std::str::from_utf8(field.value).unwrap_or("").trim();
            if field.name.eq_ignore_ascii_case("x-request-timeout-ms") {
                asked.left = value.parse().ok().map(Duration::from_millis);
            } else if field.name.eq_ignore_ascii_case("grpc-timeout") {
                asked.left = grpc_timeout(value).or(asked.left);
            } else if field.name.eq_ignore_ascii_case(SENT_FIELD) {
                asked.sent = value.split_once(';').and_then(|(at, budget)| {
                    Some((at.parse().ok()?, Duration::from_millis(budget.parse().ok()?)))
                });
            }
        }
        asked
    }

    fn of_target(target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut segments = path.split('/').skip(1);
        let number = |segment: Option<&str>| segment.and_then(|s| s.parse::<u64>().ok());
        let mut asked = Self { bytes: ANSWER_BYTES, ..Self::default() };
        match segments.next() {
            Some("r") => asked.id = number(segments.next()),
            Some("kv") => {
                asked.key = number(segments.next());
                asked.id = number(segments.next());
            }
            _ => {}
        }
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.parse::<usize>().ok();
            match (name, value) {
                ("bytes", Some(bytes)) => asked.bytes = bytes.min(ANSWER_BYTES_MAX),
                ("stream", Some(pieces)) => asked.pieces = Some(pieces.clamp(1, PIECES_MAX)),
                ("n", Some(id)) if path == "/r" => asked.id = Some(id as u64),
                _ => {}
            }
        }
        asked
    }
}

/// `50m` is 50 ms: at most eight digits and a unit.
fn grpc_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n.checked_mul(3_600)?),
        "M" => Duration::from_secs(n.checked_mul(60)?),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_says_what_is_wanted() {
        let work = Asked::of_target("/r/12?bytes=9&stream=3");
        assert_eq!((work.id, work.key, work.bytes, work.pieces), (Some(12), None, 9, Some(3)));
        let data = Asked::of_target("/kv/5/77");
        assert_eq!((data.id, data.key, data.bytes), (Some(77), Some(5), ANSWER_BYTES));
        assert_eq!(Asked::of_target("/r?n=0000000031").id, Some(31));
        for none in ["/healthz", "/", "", "/r/x", "/r", "/x?n=3"] {
            assert_eq!(Asked::of_target(none).id, None, "{none}");
        }
    }

    #[test]
    fn time_left_is_read_in_both_dialects() {
        assert_eq!(grpc_timeout("50m"), Some(Duration::from_millis(50)));
        assert_eq!(grpc_timeout("49000u"), Some(Duration::from_millis(49)));
        for broken in ["", "m", "50", "50x", "é"] {
            assert_eq!(grpc_timeout(broken), None, "{broken}");
        }
    }
}
