//! What the cache has done, as a table: the routes for which it saved most come first.

use serde_json::Value;
use std::fmt::Write;

/// The columns; the first is text, the others are numbers and what belongs to them.
const TITLES: [&str; 9] = [
    "route",
    "hits",
    "ratio",
    "collapsed",
    "saved",
    "per hit",
    "served",
    "most misses",
    "most often not stored",
];
/// Columns that are read as text and begin at the left.
const TEXTS: [usize; 3] = [0, 7, 8];

/// The answer of `/api/v1/cache`.
pub(super) fn of(cache: &Value) -> String {
    let memory = &cache["memory"];
    let (used, capacity, urls) =
        (number(memory, "bytes"), number(memory, "capacity_bytes"), number(memory, "urls"));
    let share = 100.0 * used as f64 / capacity.max(1) as f64;
    let mut out = format!("memory: {} of {} ({share:.1} %), {urls} URLs\n", bytes(used), bytes(capacity));
    let shared = &cache["shared"];
    if let Some(address) = shared.get("address").and_then(Value::as_str) {
        let (events, listening) = (shared.get("events"), shared.get("listening").and_then(Value::as_bool));
        let event = |name| events.and_then(|events| events.get(name)?.as_u64()).unwrap_or(0);
        let (asks, hits) = (event("asks"), event("hits"));
        let state = match (listening, shared["refused"] == true) {
            (Some(true), _) => "",
            (_, true) => ", refuses our login",
            (_, false) => ", not reachable",
        };
        out.push_str(&format!("shared: {address}, {hits} hits of {asks} asks{state}\n"));
    }
    let mut routes: Vec<&Value> = cache["routes"].as_array().into_iter().flatten().collect();
    if routes.is_empty() {
        out.push_str("No request was looked up yet.\n");
        return out;
    }
    let saved = |route: &Value| route["saved_ms"].as_f64().unwrap_or(0.0);
    routes.sort_by(|one, other| saved(other).total_cmp(&saved(one)));
    out.push('\n');
    let titles = TITLES.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(titles).chain(routes.into_iter().map(row)).collect();
    let widths: Vec<usize> = (0..TITLES.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match TEXTS.contains(&column) {
                true => write!(line, "{cell:<width$}  "),
                false => write!(line, "{cell:>width$}  "),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn row(route: &Value) -> [String; TITLES.len()] {
    let ratio = route["hit_ratio"].as_f64().map(|ratio| format!("{:.1} %", ratio * 100.0));
    let per_hit = route["saved_ms_per_hit"].as_f64().map(duration);
    [
        printable(route["route"].as_str().unwrap_or_default()),
        number(route, "hits").to_string(),
        ratio.unwrap_or_else(|| "-".into()),
        number(route, "collapsed").to_string(),
        duration(route["saved_ms"].as_f64().unwrap_or(0.0)),
        per_hit.unwrap_or_else(|| "-".into()),
        bytes(number(route, "hit_bytes")),
        most(&route["misses"]),
        most(&route["not_stored"]),
    ]
}

/// The reason that came about most often.
fn most(reasons: &Value) -> String {
    let counts = reasons.as_object().into_iter().flatten();
    let counts = counts.filter_map(|(reason, count)| Some((count.as_u64()?, reason)));
    match counts.max() {
        Some((count, reason)) => format!("{reason} {count}"),
        None => "-".into(),
    }
}

fn number(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or(0)
}

/// Milliseconds in the unit that reads best.
fn duration(ms: f64) -> String {
    let (value, unit) = match ms {
        0.0 => return "0 ms".into(),
        ms if ms < 1.0 => (ms * 1e3, "µs"),
        ms if ms < 1e3 => (ms, "ms"),
        ms if ms < 6e5 => (ms / 1e3, "s"),
        ms if ms < 3.6e7 => (ms / 6e4, "min"),
        ms => (ms / 3.6e6, "h"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// Bytes in the unit that reads best.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    let decimals = usize::from(unit != "B" && value < 100.0);
    format!("{value:.decimals$} {unit}")
}

/// Without anything that could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_saved_most_comes_first_and_columns_stand_below_each_other() {
        let route = |name: &str, saved_ms: f64| {
            json!({
                "route": name, "hits": 1_200, "collapsed": 3, "hit_ratio": 0.935, "hit_bytes": 3_200_000,
                "saved_ms": saved_ms, "saved_ms_per_hit": saved_ms / 1_200.0,
                "misses": { "uri-miss": 80, "stale": 4 }, "not_stored": {},
            })
        };
        let memory = json!({ "bytes": 12_900_000, "capacity_bytes": 268_435_456, "urls": 842 });
        let cache =
            json!({ "memory": memory, "routes": [route("few", 7.5), route("GET /m\n{id}", 61_234.0)] });
        let text = of(&cache);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "memory: 12.3 MiB of 256 MiB (4.8 %), 842 URLs");
        assert_eq!(
            lines[2],
            "route        hits   ratio  collapsed    saved  per hit   served  most misses  most often not stored"
        );
        assert_eq!(
            lines[3],
            "GET /m\u{fffd}{id}  1200  93.5 %          3   61.2 s  51.0 ms  3.1 MiB  uri-miss 80  -"
        );
        assert_eq!(
            lines[4],
            "few          1200  93.5 %          3  7.50 ms  6.25 µs  3.1 MiB  uri-miss 80  -"
        );
    }

    #[test]
    fn sizes_and_times_are_told_in_the_unit_that_reads_best() {
        for (ms, text) in
            [(0.0, "0 ms"), (0.25, "250 µs"), (61_234.0, "61.2 s"), (7.2e6, "120 min"), (3.6e8, "100 h")]
        {
            assert_eq!(duration(ms), text);
        }
        for (size, text) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (1 << 40, "1.0 TiB")] {
            assert_eq!(bytes(size), text);
        }
    }
}
