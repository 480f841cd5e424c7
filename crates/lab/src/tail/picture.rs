//! The tail as a picture: one panel for each variant, and in it for each arm a line from the median of latency to its
//! 99.9th percentile, on a logarithmic scale.

use std::fmt::Write;

use super::report::{Row, TailReport, VariantReport};

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 24.0;
const LABELS: f64 = 170.0;
const FIGURES: f64 = 250.0;
const STEP: f64 = 24.0;
const TITLE: f64 = 64.0;
const GAP: f64 = 20.0;
/// Ends of the scale, in milliseconds.
const SHORTEST_MS: f64 = 4.0;
const LONGEST_MS: f64 = 10_000.0;

impl TailReport {
    /// An SVG picture that reads on light and on dark pages.
    pub fn svg(&self) -> String {
        let height = 2.0 * MARGIN + 40.0 + self.variants.iter().map(panel_height).sum::<f64>();
        let mut out = String::new();
        let _ = writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13" role="img">
<title>The tail of latency beside other proxies</title>
<style>
.page {{ fill: #ffffff }} .text {{ fill: #1f2430 }} .soft {{ fill: #5c6475 }} .bar {{ fill: #a9b4c8 }} .own {{ fill: #1a7f64 }}
.bad {{ fill: #b3261e }} .grid {{ stroke: #5c6475; stroke-dasharray: 2 4; opacity: 0.5 }}
@media (prefers-color-scheme: dark) {{
.page {{ fill: #14171f }} .text {{ fill: #e7eaf2 }} .soft {{ fill: #9aa3b5 }} .bar {{ fill: #4b566b }} .own {{ fill: #2fb391 }}
.bad {{ fill: #f2857d }} .grid {{ stroke: #9aa3b5 }} }}
</style>
<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>"#
        );
        let mut y = MARGIN;
        for variant in &self.variants {
            draw_panel(&mut out, variant, y);
            y += panel_height(variant);
        }
        let footnote = format!(
            "Each bar goes from p50 to p99.9, the mark is p99; further left is better. {}, {} cores.",
            self.machine.model, self.machine.cores
        );
        text(&mut out, "soft", MARGIN, y + 20.0, &footnote);
        if self.variants.iter().flat_map(|variant| &variant.rows).any(Row::is_disturbed) {
            text(&mut out, "bad", MARGIN, y + 38.0, "* measured while others used the machine");
        }
        out.push_str("</svg>\n");
        out
    }
}

fn panel_height(panel: &VariantReport) -> f64 {
    TITLE + STEP * panel.rows.len() as f64 + GAP
}

/// Where a latency stands on the scale.
fn place(ms: f64) -> f64 {
    let share = (ms.clamp(SHORTEST_MS, LONGEST_MS) / SHORTEST_MS).ln() / (LONGEST_MS / SHORTEST_MS).ln();
    MARGIN + LABELS + share * (WIDTH - 2.0 * MARGIN - LABELS - FIGURES)
}

fn draw_panel(out: &mut String, panel: &VariantReport, top: f64) {
    text(out, "text", MARGIN, top + 14.0, &format!("{}: {}", panel.name, panel.meaning));
    let goal = panel.goal.as_deref().map(|goal| format!("goal: {goal}")).unwrap_or_default();
    text(out, "soft", MARGIN, top + 31.0, &goal);
    let bottom = top + TITLE + STEP * panel.rows.len() as f64;
    for ms in [10.0, 100.0, 1_000.0] {
        let x = place(ms);
        let _ = writeln!(out, r#"<path class="grid" d="M{x:.1} {:.1}V{bottom:.1}"/>"#, top + TITLE - 8.0);
        text(out, "soft", x - 14.0, top + TITLE - 12.0, &format!("{ms:.0} ms"));
    }
    for (n, row) in panel.rows.iter().enumerate() {
        draw_row(out, row, top + TITLE + STEP * n as f64);
    }
}

fn draw_row(out: &mut String, row: &Row, y: f64) {
    let mark = if row.is_disturbed() { " *" } else { "" };
    text(out, "text", MARGIN, y + 13.0, &format!("{}{mark}", row.arm));
    let right = WIDTH - MARGIN - FIGURES + 12.0;
    let (Some(p50), Some(p99), Some(p999)) = (row.p50_ms, row.p99_ms, row.p999_ms) else {
        return text(out, "soft", right, y + 13.0, "no round counts");
    };
    let class = if row.own { "own" } else { "bar" };
    let [from, mark, to] = [p50, p99, p999].map(|figure| place(figure.value));
    let _ = writeln!(
        out,
        r#"<rect class="{class}" x="{from:.1}" y="{:.1}" width="{:.1}" height="8" rx="2"/><rect class="{class}" x="{:.1}" y="{y:.1}" width="4" height="16" rx="1"/>"#,
        y + 4.0,
        (to - from).max(1.0),
        mark - 2.0
    );
    let mut said = format!("p99 {:.0}, p99.9 {:.0} ms", p99.value, p999.value);
    if row.extra >= 0.000_5 {
        let _ = write!(said, ", extra {:.1} %", row.extra * 100.0);
    }
    text(out, "text", right, y + 13.0, &said);
    if row.error_share >= 0.000_5 {
        text(out, "bad", right + 172.0, y + 13.0, &format!("{:.1} % failed", row.error_share * 100.0));
    }
}

fn text(out: &mut String, class: &str, x: f64, y: f64, content: &str) {
    let escaped =
        content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let _ = writeln!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{escaped}</text>"#);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::report::Figure;
    use super::*;
    use crate::peers::Machine;

    #[test]
    fn the_picture_has_a_bar_for_each_arm_that_counts_and_says_what_failed() {
        let figure = |value| Some(Figure { value, low: value, high: value });
        let row = |arm: &str, own, error_share| Row {
            arm: arm.into(),
            own,
            p50_ms: figure(15.0),
            p99_ms: figure(80.0),
            p999_ms: figure(20_000.0),
            error_share,
            ..Row::default()
        };
        let rows = vec![row("unlag", true, 0.0), row("a<b", false, 0.35), Row::default()];
        let variant = VariantReport { name: "t5".into(), rows, ..VariantReport::default() };
        let machine = Machine { cores: 2, kernel: "6".into(), model: "x & y".into() };
        let report =
            TailReport { machine, versions: BTreeMap::new(), variants: vec![variant], skipped: Vec::new() };
        let svg = report.svg();
        assert_eq!(
            (svg.matches(r#"<rect class="own""#).count(), svg.matches(r#"<rect class="bar""#).count()),
            (2, 2)
        );
        assert!(svg.contains("35.0 % failed") && svg.contains("no round counts") && svg.contains("a&lt;b"));
        assert!(place(20_000.0) <= WIDTH - MARGIN - FIGURES && place(1.0) == MARGIN + LABELS);
    }
}
