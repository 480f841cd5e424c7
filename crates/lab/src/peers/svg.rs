//! The comparison as a picture: one panel for each scenario, a bar for each peer, whiskers at the quartiles.

use std::fmt::Write;

use crate::bench::duration;

use super::report::{PeersReport, Row, ScenarioReport};

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 24.0;
const LABELS: f64 = 84.0;
const FIGURES: f64 = 150.0;
const BAR: f64 = 18.0;
const STEP: f64 = 28.0;
const TITLE: f64 = 48.0;
const GAP: f64 = 20.0;

impl PeersReport {
    /// An SVG picture that reads on light and on dark pages.
    pub fn svg(&self) -> String {
        let panels: Vec<&ScenarioReport> = self
            .scenarios
            .iter()
            .filter(|s| s.rows.iter().any(|row| row.figures.contains_key(&s.headline)))
            .collect();
        let height = 2.0 * MARGIN + 40.0 + panels.iter().map(|s| panel_height(s)).sum::<f64>();
        let mut out = String::new();
        let _ = writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13" role="img">
<title>{}</title>
<style>
.page {{ fill: #ffffff }} .text {{ fill: #1f2430 }} .soft {{ fill: #5c6475 }} .bar {{ fill: #a9b4c8 }} .own {{ fill: #1a7f64 }}
.line {{ stroke: #1f2430; stroke-width: 1.5 }} .one {{ stroke: #5c6475; stroke-dasharray: 3 3 }}
@media (prefers-color-scheme: dark) {{
.page {{ fill: #14171f }} .text {{ fill: #e7eaf2 }} .soft {{ fill: #9aa3b5 }} .bar {{ fill: #4b566b }} .own {{ fill: #2fb391 }}
.line {{ stroke: #e7eaf2 }} .one {{ stroke: #9aa3b5 }} }}
</style>
<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>"#,
            escape(&self.title)
        );
        let mut y = MARGIN;
        for panel in panels {
            draw_panel(&mut out, panel, y);
            y += panel_height(panel);
        }
        let footnote = format!(
            "Median of {} interleaved rounds, whiskers at the quartiles; shorter is better. {}, {} cores.",
            self.rounds, self.machine.model, self.machine.cores
        );
        text(&mut out, "soft", MARGIN, y + 20.0, &footnote);
        out.push_str("</svg>\n");
        out
    }
}

fn panel_height(panel: &ScenarioReport) -> f64 {
    TITLE + STEP * shown(panel).count() as f64 + GAP
}

fn shown(panel: &ScenarioReport) -> impl Iterator<Item = &Row> {
    panel.rows.iter().filter(|row| row.figures.contains_key(&panel.headline))
}

fn draw_panel(out: &mut String, panel: &ScenarioReport, top: f64) {
    let unit = match panel.headline.as_str() {
        "ratio" => "ratio to haproxy in the same round",
        "ratio_nginx" => "ratio to nginx in the same round",
        "times_direct" => "median of the callers, to that of the direct way in the same round",
        "p50_us" => "median of the callers, and how often the origin was asked",
        "first_byte_us" => "first byte of content, and how often the origin was asked",
        "served" => "callers served (longer is better)",
        "growth" => "growth of memory to its bound",
        "cpu_us" => "CPU, us per request",
        "p50_added_us" => "added median, us",
        "kib_per_connection" => "KiB per connection",
        "recording_ns" => "ns per request",
        _ => "busiest worker to mean",
    };
    let _ = writeln!(
        out,
        r#"<text class="text" x="{MARGIN}" y="{:.1}" font-weight="600">{}</text>"#,
        top + 14.0,
        escape(&panel.meaning)
    );
    let goal = panel.goal.iter().map(|goal| format!("; goal: {goal}")).collect::<String>();
    text(out, "soft", MARGIN, top + 32.0, &format!("{unit}{goal}"));
    let figure = |row: &Row| row.figures.get(&panel.headline).copied();
    let largest = shown(panel).filter_map(figure).map(|f| f.q3.max(f.median)).fold(1e-9, f64::max);
    let left = MARGIN + LABELS;
    let scale = (WIDTH - left - MARGIN - FIGURES) / largest;
    let mut y = top + TITLE;
    for row in shown(panel) {
        let Some(f) = figure(row) else { continue };
        let class = if row.peer.starts_with("unlag") { "own" } else { "bar" };
        let middle = y + BAR / 2.0;
        text(out, "text", MARGIN, middle + 4.5, &row.peer);
        let width = (f.median * scale).max(1.0);
        let _ = writeln!(
            out,
            r#"<rect class="{class}" x="{left}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="2"/>"#
        );
        if f.n > 1 {
            let (a, b) = (left + f.q1.max(0.0) * scale, left + f.q3.max(0.0) * scale);
            let _ = writeln!(
                out,
                r#"<path class="line" fill="none" d="M{a:.1} {middle:.1}H{b:.1}M{a:.1} {0:.1}v8M{b:.1} {0:.1}v8"/>"#,
                middle - 4.0
            );
        }
        let value = value_of(row, panel);
        text(out, "text", left + width.max(f.q3 * scale) + 8.0, middle + 4.5, &value);
        y += STEP;
    }
    if matches!(panel.headline.as_str(), "ratio" | "ratio_nginx" | "times_direct" | "growth") {
        let x = left + scale;
        let _ = writeln!(
            out,
            r#"<path class="one" d="M{x:.1} {:.1}V{:.1}"/>"#,
            top + TITLE - 4.0,
            y - STEP + BAR + 4.0
        );
    }
}

/// The headline, with the absolute figure beside a ratio.
fn value_of(row: &Row, panel: &ScenarioReport) -> String {
    let headline = row.figures.get(&panel.headline).map_or(0.0, |figure| figure.median);
    match (panel.headline.as_str(), row.figures.get("cpu_us")) {
        ("ratio" | "ratio_nginx" | "imbalance", Some(cpu)) => format!("{headline:.2} ({:.1} us)", cpu.median),
        ("p50_added_us" | "cpu_us", _) => format!("{headline:.0} us"),
        ("p50_us" | "first_byte_us", _) => {
            let asked = row.figures.get("origin_requests");
            let asked = asked.map(|f| format!(", asked {:.0} x", f.median)).unwrap_or_default();
            format!("{}{asked}", duration(headline * 1e3))
        }
        ("served", _) => format!("{headline:.0}"),
        ("recording_ns", _) => format!("{headline:.0} ns"),
        _ => format!("{headline:.2}"),
    }
}

fn text(out: &mut String, class: &str, x: f64, y: f64, content: &str) {
    let _ = writeln!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(content));
}

fn escape(content: &str) -> String {
    content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::report::Machine;
    use super::*;

    #[test]
    fn the_picture_has_a_bar_for_each_peer_and_escapes_what_it_quotes() {
        let row = |peer: &str, values: &[f64]| {
            let mut row = Row::new(peer);
            row.add("ratio", values);
            row
        };
        let panel = ScenarioReport {
            name: "get-1k".into(),
            meaning: "a < b".into(),
            headline: "ratio".into(),
            goal: None,
            rows: vec![row("unlag", &[0.6, 0.7]), row("haproxy", &[1.0]), row("envoy", &[])],
            dropped: 0,
            steal_max: 0.0,
        };
        let report = PeersReport {
            title: "unlag < others".into(),
            machine: Machine { cores: 2, kernel: "6".into(), model: "x & y".into() },
            versions: BTreeMap::new(),
            rounds: 2,
            scenarios: vec![panel],
            skipped: Vec::new(),
        };
        let svg = report.svg();
        assert_eq!(svg.matches(r#"<rect class="own""#).count(), 1);
        assert_eq!(svg.matches(r#"<rect class="bar""#).count(), 1);
        assert_eq!(svg.matches(r#"<path class="line""#).count(), 1, "one value has no whiskers");
        assert!(svg.contains("a &lt; b") && svg.contains("x &amp; y") && svg.ends_with("</svg>\n"));
    }
}
