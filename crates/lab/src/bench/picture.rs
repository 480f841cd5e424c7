//! A histogram drawn in a terminal.

use std::fmt::Write;

use crate::histogram::Histogram;

const BAR_WIDTH: f64 = 48.0;
const ROWS_MAX: usize = 18;
/// Rows of an octave, from fine to coarse; the finest that fits is taken.
const ROWS_AN_OCTAVE: [u32; 3] = [4, 2, 1];

/// Latency downwards on a logarithmic scale, share of requests to the right. What lies beyond the 99.99th
/// percentile is gathered in the last row.
pub(super) fn draw(histogram: &Histogram) -> String {
    if histogram.count() == 0 {
        return "no answers\n".into();
    }
    let low = histogram.min_ns().max(1) as f64;
    let high = (histogram.quantile_ns(0.9999) as f64).max(low);
    let octaves = (high / low).log2();
    let rows_for = |per: u32| (octaves * f64::from(per)).floor() as usize + 1;
    let per_octave = ROWS_AN_OCTAVE.into_iter().find(|per| rows_for(*per) <= ROWS_MAX).unwrap_or(1);
    let rows = rows_for(per_octave).min(64);
    let bound = |row: usize| low * (row as f64 / f64::from(per_octave)).exp2();
    let counts: Vec<u64> = (0..rows)
        .map(|row| {
            let end = if row + 1 == rows { u64::MAX } else { bound(row + 1) as u64 };
            let start = if row == 0 { 0 } else { bound(row) as u64 };
            histogram.count_between(start, end)
        })
        .collect();
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let mut out = String::new();
    for (row, count) in counts.iter().enumerate() {
        let share = *count as f64 / histogram.count() as f64 * 100.0;
        let bar = bar(*count as f64 / most, *count > 0);
        let _ = writeln!(out, "  {:>9} {bar} {share:.2} %", duration(bound(row)));
    }
    out
}

/// A bar of full and partial blocks; something that happened never has an empty bar.
fn bar(share: f64, any: bool) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = ((share * BAR_WIDTH * 8.0).round() as usize).max(usize::from(any));
    let mut bar = "█".repeat(eighths / 8);
    if let Some(part) = PARTS.get(eighths % 8).filter(|part| **part != ' ') {
        bar.push(*part);
    }
    bar
}

/// Nanoseconds with a unit and three digits.
pub(crate) fn duration(ns: f64) -> String {
    let (value, unit) = match ns {
        _ if ns < 1e3 => (ns, "ns"),
        _ if ns < 1e6 => (ns / 1e3, "us"),
        _ if ns < 1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        for (ns, text) in [
            (12.0, "12.0 ns"),
            (1_500.0, "1.50 us"),
            (99_940_000.0, "99.9 ms"),
            (123_000_000.0, "123 ms"),
            (2e9, "2.00 s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn every_row_is_drawn_and_rare_values_are_visible() {
        let mut histogram = Histogram::new();
        (0..10_000).for_each(|_| histogram.record(1_000_000));
        (0..20).for_each(|_| histogram.record(300_000_000));
        let picture = draw(&histogram);
        let rows: Vec<&str> = picture.lines().collect();
        assert!(rows.len() <= ROWS_MAX, "{picture}");
        assert!(rows[0].contains("99.80 %") && rows[0].contains(&"█".repeat(48)), "{picture}");
        assert!(rows.last().expect("rows").contains("▏ 0.20 %"), "{picture}");
        let sum: f64 = rows
            .iter()
            .map(|row| row.split_whitespace().nth_back(1).expect("a share").parse::<f64>().expect("a number"))
            .sum();
        assert!((sum - 100.0).abs() < 0.1, "the rows add up to {sum}");
        assert_eq!(draw(&Histogram::new()), "no answers\n");
    }
}
