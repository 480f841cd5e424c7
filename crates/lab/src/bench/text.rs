//! A bench's report as text.

use std::fmt::Write;

use super::picture::{draw, duration};
use super::{BenchReport, Comparison, Side};
use crate::load::{Latency, Summary};

impl BenchReport {
    /// The report for a terminal.
    pub fn text(&self) -> String {
        let mut out = side_text(&self.subject);
        if let Some(vs) = &self.vs {
            out.push('\n');
            out.push_str(&side_text(vs));
        }
        if let Some(comparison) = &self.comparison {
            out.push('\n');
            out.push_str(&comparison_text(comparison));
        }
        out
    }
}

fn side_text(side: &Side) -> String {
    let Summary { offered, ok, errors, elapsed_s, target_rate, achieved_rate, latency_us, .. } =
        &side.summary;
    let mut out = format!("{}\n", side.url);
    let asked = target_rate.map_or("closed loop".into(), |rate| format!("{rate:.0}/s asked for"));
    let _ = writeln!(
        out,
        "  {offered} requests in {elapsed_s:.1} s, {asked}, {achieved_rate:.0}/s answered; {ok} ok"
    );
    let rate_missed = target_rate.is_some_and(|rate| *achieved_rate < rate * 0.9);
    if rate_missed && errors.is_empty() {
        let _ = writeln!(out, "  the rate was not reached: answers fell behind what was due");
    }
    if !errors.is_empty() {
        let listed: Vec<String> = errors.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let _ = writeln!(out, "  errors: {}", listed.join(", "));
    }
    let Latency { p50, p75, p90, p95, p99, p999, p9999, max, .. } = latency_us;
    let figures = [
        ("p50", p50),
        ("p75", p75),
        ("p90", p90),
        ("p95", p95),
        ("p99", p99),
        ("p99.9", p999),
        ("p99.99", p9999),
        ("max", max),
    ];
    for line in figures.chunks(4) {
        let cells = line.iter().map(|(name, us)| format!("{name:>7} {:<10}", duration(**us * 1e3)));
        let _ = writeln!(out, " {}", cells.collect::<String>().trim_end());
    }
    out.push_str(&draw(&side.histogram));
    out
}

fn comparison_text(comparison: &Comparison) -> String {
    let mut out =
        String::from("ratio of the first to the second, round by round (below 1: the first is faster)\n");
    for (name, figure, ratios) in
        [("p50", comparison.p50, &comparison.p50_ratios), ("p99", comparison.p99, &comparison.p99_ratios)]
    {
        let Some(f) = figure else { continue };
        let list = ratios.iter().take(20).map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(" ");
        let _ =
            writeln!(out, "  {name}: {:.3} [{:.3}-{:.3}] over {} rounds: {list}", f.median, f.q1, f.q3, f.n);
    }
    out
}
