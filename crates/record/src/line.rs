//! One access log line: a JSON object with every phase. Whatever a caller sent stays inside its string: control
//! characters, terminal escapes, quotes and bytes that are no UTF-8 are escaped, lengths are bounded.

use crate::Phase;
use crate::entry::Entry;
use crate::names::Names;
use std::fmt::Write;

/// Appends the line of `entry`, with its line feed.
///
/// Durations are microseconds with three decimals, so the phases of a line add up to its total exactly.
pub(crate) fn write_line(out: &mut String, entry: &Entry, names: &Names) {
    out.push_str("{\"time\":\"");
    write_utc(out, entry.started_unix_ms);
    let _ = write!(out, "\",\"id\":\"{}\"", entry.id);
    field(out, "request_id", entry.request_id.as_bytes());
    field(out, "route", names.route_name(entry.route).as_bytes());
    if let Some(id) = entry.endpoint {
        let name = names.endpoint_name(id);
        field(out, "upstream", name.upstream.as_bytes());
        field(out, "endpoint", name.address.as_bytes());
    }
    let _ = write!(out, ",\"status\":{},\"outcome\":\"{}\"", entry.status, entry.outcome.name());
    if let Some(cause) = entry.cause {
        field(out, "cause", cause.as_bytes());
    }
    if let Some(cache) = entry.cache {
        field(out, "cache", cache.name().as_bytes());
    }
    let held: Vec<&str> = entry.trials.held().map(crate::Technique::name).collect();
    if !held.is_empty() {
        field(out, "held_out", held.join(",").as_bytes());
    }
    if let Some(hedge) = entry.hedge {
        field(out, "hedge", hedge.name().as_bytes());
    }
    if let Some(choice) = &entry.why.choice {
        field(out, "choice", choice.how.name().as_bytes());
    }
    field(out, "method", entry.method.as_bytes());
    field(out, "target", entry.target.as_bytes());
    if entry.target.is_cut() {
        out.push_str(",\"target_cut\":true");
    }
    field(out, "protocol", entry.protocol.name().as_bytes());
    if let Some(caller) = entry.caller {
        let _ = write!(out, ",\"caller\":\"{caller}\"");
    }
    let _ = write!(
        out,
        ",\"bytes_in\":{},\"bytes_out\":{},\"attempts\":{},\"reused\":{},\"total_us\":",
        entry.bytes_in, entry.bytes_out, entry.attempts, entry.reused
    );
    write_us(out, entry.timeline.total_ns());
    for phase in Phase::ALL {
        if entry.timeline.first_ns(phase).is_some() {
            let _ = write!(out, ",\"{}_us\":", phase.name());
            write_us(out, entry.timeline.spent_ns(phase));
        }
    }
    out.push_str("}\n");
}

fn field(out: &mut String, name: &str, value: &[u8]) {
    let _ = write!(out, ",\"{name}\":\"");
    escape(out, value);
    out.push('"');
}

/// Nanoseconds as microseconds with three decimals.
fn write_us(out: &mut String, ns: u64) {
    let _ = write!(out, "{}.{:03}", ns / 1_000, ns % 1_000);
}

/// Appends `bytes` as the inside of a JSON string. A byte that is no UTF-8 becomes the text `\xNN`.
fn escape(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                // C0, DEL and C1 steer terminals; U+2028 and U+2029 end lines in some readers; the rest turns
                // text around or hides it.
                character if is_deceptive(character) => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                character => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\\\x{byte:02x}");
        }
    }
}

fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Appends milliseconds of Unix time as RFC 3339 in UTC.
fn write_utc(out: &mut String, unix_ms: u64) {
    let (days, rest) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil_date(days);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1_000 % 60, rest % 1_000);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z");
}

/// The Gregorian date of a day since 1970-01-01. Counts in years that begin in March, so that the leap day is a
/// year's last and the months before it have a regular length.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let shifted = days + 719_468; // days from 0000-03-01 to the epoch
    let (cycle, day) = (shifted / DAYS_OF_400_YEARS, shifted % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = String::new();
        escape(&mut out, bytes);
        out
    }

    #[test]
    fn line_breaks_escapes_and_quotes_of_a_caller_stay_inside_their_string() {
        assert_eq!(escaped(b"/a\r\n{\"status\":200}"), r#"/a\u000d\u000a{\"status\":200}"#);
        assert_eq!(escaped(b"\x1b[31mred\x7f\\"), r"\u001b[31mred\u007f\\");
        assert_eq!(escaped("\u{9b}x\u{2028}\u{202e}".as_bytes()), r"\u009bx\u2028\u202e");
        assert_eq!(escaped("größe/日".as_bytes()), "größe/日");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_shown_as_hex() {
        assert_eq!(escaped(b"/\xff\xfe\xc3"), r"/\\xff\\xfe\\xc3");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_001, "2024-03-01T00:00:00.001Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let mut out = String::new();
            write_utc(&mut out, unix_ms);
            assert_eq!(out, text);
        }
    }
}
