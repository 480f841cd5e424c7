//! What the comparison found, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use serde::Serialize;

use super::measure::STEAL_MAX;
use crate::stats::{Quartiles, quartiles};

/// The whole comparison.
#[derive(Debug, Clone, Serialize)]
pub struct PeersReport {
    /// What it is about.
    pub title: String,
    /// Where it ran.
    pub machine: Machine,
    /// What each binary says of itself.
    pub versions: BTreeMap<String, String>,
    /// Rounds asked for.
    pub rounds: usize,
    /// One entry for each scenario that ran.
    pub scenarios: Vec<ScenarioReport>,
    /// What could not be measured, and why.
    pub skipped: Vec<Skipped>,
}

/// The machine, as far as figures depend on it.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that this program may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub model: String,
}

/// One scenario.
#[derive(Debug, Clone, Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// What is done and measured.
    pub meaning: String,
    /// The figure to look at first.
    pub headline: String,
    /// What it is to show, where that is a number.
    pub goal: Option<String>,
    /// One row for each peer.
    pub rows: Vec<Row>,
    /// Measurements dropped for steal or for want of answers.
    pub dropped: usize,
    /// Largest share of the machine that the hypervisor took during a measurement.
    pub steal_max: f64,
}

/// One peer in one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The peer, or `direct`.
    pub peer: String,
    /// Figures over the rounds: `cpu_us` of the proxy, its `ratio` to haproxy in the same round, `backend_us`
    /// and `load_us` beside it, `rate`, latencies, memory; of caches also how often the origin was asked.
    pub figures: BTreeMap<String, Quartiles>,
    /// Whether the goal is met, where there is one.
    pub met: Option<bool>,
    /// Requests that failed.
    pub errors: u64,
    /// Requests that were answered, where it was checked that the backend saw each of them.
    pub answered: u64,
    /// Requests that the backend saw meanwhile.
    pub backend_saw: u64,
    /// What the proxy wrote to its log: shows when an access log is on.
    pub log_bytes_per_request: f64,
}

/// A peer that was not measured.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// The peer.
    pub peer: String,
    /// The scenario; `None` for all.
    pub scenario: Option<String>,
    /// Why.
    pub reason: String,
}

/// Figures in the order of the table: key, title, decimals, and whether quartiles are shown.
const COLUMNS: [(&str, &str, usize, bool); 28] = [
    ("ratio_nginx", "ratio to nginx", 2, true),
    ("origin_requests", "origin requests", 0, true),
    ("served", "served", 0, true),
    ("probes", "origin requests/s", 1, true),
    ("first_byte_us", "first byte us", 0, true),
    ("growth", "growth to bound", 3, true),
    ("bound_mib", "bound MiB", 0, false),
    ("grown_mib", "grown MiB", 1, true),
    ("held", "objects held", 0, false),
    ("bytes_per_object", "bytes/object", 0, true),
    ("ratio", "ratio to haproxy", 2, true),
    ("cpu_us", "CPU us/request", 1, true),
    ("p50_added_us", "added p50 us", 0, true),
    ("p99_added_us", "added p99 us", 0, true),
    ("kib_per_connection", "KiB/connection", 2, true),
    ("before_mib", "before MiB", 1, false),
    ("with_idle_mib", "with idle MiB", 1, false),
    ("imbalance", "imbalance", 2, true),
    ("recording_ns", "recording ns/request", 0, true),
    ("readings_ns", "of it clock ns", 0, true),
    ("backend_us", "backend us", 1, false),
    ("load_us", "load us", 1, false),
    ("rate", "requests/s", 0, false),
    ("times_direct", "x direct", 2, true),
    ("p50_us", "p50 us", 0, false),
    ("p99_us", "p99 us", 0, false),
    ("max_us", "max us", 0, false),
    ("above_hits_us", "p99 above hits us", 0, true),
];

impl Skipped {
    /// A peer that failed in one scenario, which is also said at once.
    pub(crate) fn said(peer: &str, scenario: &str, error: &anyhow::Error, say: &mut dyn FnMut(&str)) -> Self {
        let reason = format!("{error:#}");
        say(&format!("{peer} is skipped in {scenario}: {reason}"));
        Self { peer: peer.into(), scenario: Some(scenario.into()), reason }
    }
}

impl Machine {
    pub(crate) fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let model = model.map_or("unknown", |(_, model)| model).to_owned();
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        Self { cores, kernel: kernel.trim().to_owned(), model }
    }
}

impl Row {
    pub(super) fn new(peer: &str) -> Self {
        Self {
            peer: peer.into(),
            figures: BTreeMap::new(),
            met: None,
            errors: 0,
            answered: 0,
            backend_saw: 0,
            log_bytes_per_request: 0.0,
        }
    }

    /// Adds a figure; without values there is none.
    pub(super) fn add(&mut self, name: &str, values: &[f64]) {
        if let Some(figure) = quartiles(values) {
            self.figures.insert(name.into(), figure);
        }
    }
}

pub(super) fn reasons(skipped: &[Skipped]) -> String {
    skipped.iter().map(|s| format!("{}: {}", s.peer, s.reason)).collect::<Vec<_>>().join("; ")
}

impl PeersReport {
    /// The tables, for a terminal or a Markdown page.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let Machine { cores, kernel, model } = &self.machine;
        let _ = writeln!(
            out,
            "{}: {model}, {cores} cores, Linux {kernel}; {} rounds; median [quartiles]",
            self.title, self.rounds
        );
        for scenario in &self.scenarios {
            let _ = write!(out, "\n{}: {}\n\n{}", scenario.name, scenario.meaning, scenario.table());
            if scenario.dropped > 0 {
                let steal = scenario.steal_max * 100.0;
                let _ =
                    writeln!(out, "{} measurements dropped; highest steal {steal:.1} %", scenario.dropped);
            }
            if scenario.dropped == 0 && scenario.steal_max > STEAL_MAX {
                let steal = scenario.steal_max * 100.0;
                let _ = writeln!(out, "up to {steal:.1} % of the machine went to others: measure again");
            }
            let sum = |read: fn(&Row) -> u64| scenario.rows.iter().map(read).sum::<u64>();
            let (answered, seen) = (sum(|row| row.answered), sum(|row| row.backend_saw));
            if answered > 0 {
                let _ = writeln!(out, "the backend saw every request: {seen} for {answered} answers");
            }
            for row in &scenario.rows {
                if row.errors > 0 {
                    let _ = writeln!(out, "{}: {} errors", row.peer, row.errors);
                }
                if row.log_bytes_per_request > 1.0 {
                    let bytes = row.log_bytes_per_request;
                    let _ = writeln!(out, "{}: writes {bytes:.0} bytes of log per request", row.peer);
                }
            }
        }
        for Skipped { peer, scenario, reason } in &self.skipped {
            let place = scenario.as_deref().map(|name| format!(" in {name}")).unwrap_or_default();
            let _ = writeln!(out, "\n{peer} was skipped{place}: {reason}");
        }
        out
    }
}

impl ScenarioReport {
    fn table(&self) -> String {
        let columns: Vec<_> = COLUMNS
            .into_iter()
            .filter(|(key, ..)| self.rows.iter().any(|row| row.figures.contains_key(*key)))
            .collect();
        let mut lines = vec![vec!["peer".to_owned()]];
        let head = columns.iter().map(|(_, title, ..)| (*title).to_owned());
        let goal = self.goal.iter().map(|goal| format!("goal: {goal}"));
        let head = head.chain(goal).collect::<Vec<_>>();
        lines.iter_mut().for_each(|line| line.extend(head.clone()));
        for row in &self.rows {
            let cells = columns.iter().map(|(key, _, decimals, spread)| match row.figures.get(*key) {
                None => "-".to_owned(),
                Some(Quartiles { q1, median, q3, n }) if *spread && *n > 1 => {
                    format!("{median:.0$} [{q1:.0$}-{q3:.0$}]", *decimals)
                }
                Some(Quartiles { median, .. }) => format!("{median:.0$}", *decimals),
            });
            let met = match row.met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "-",
            };
            let met = self.goal.iter().map(|_| met.to_owned());
            lines.push(std::iter::once(row.peer.clone()).chain(cells).chain(met).collect());
        }
        align(&lines)
    }
}

/// A Markdown table whose columns line up.
fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column| lines.iter().filter_map(|l| l.get(column)).map(|c: &String| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rules = widths.iter().map(|width| "-".repeat(*width));
            let _ = writeln!(out, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_was_measured_and_says_what_was_not() {
        let mut row = Row::new("unlag");
        row.add("ratio", &[0.5, 0.7, 0.9]);
        row.add("cpu_us", &[20.04]);
        row.add("p50_us", &[]);
        (row.errors, row.met) = (3, Some(true));
        row.log_bytes_per_request = 200.0;
        let scenario = ScenarioReport {
            name: "get-1k".into(),
            meaning: "m".into(),
            headline: "ratio".into(),
            goal: Some("<= 0.9".into()),
            rows: vec![row],
            dropped: 2,
            steal_max: 0.05,
        };
        let disturbed =
            ScenarioReport { dropped: 0, rows: Vec::new(), name: "cold".into(), ..scenario.clone() };
        let skipped = Skipped { peer: "envoy".into(), scenario: None, reason: "no wheel".into() };
        let report = PeersReport {
            title: "t".into(),
            machine: Machine { cores: 2, kernel: "6".into(), model: "x".into() },
            versions: BTreeMap::new(),
            rounds: 3,
            scenarios: vec![scenario, disturbed],
            skipped: vec![skipped],
        };
        let text = report.text();
        for want in [
            "| peer  | ratio to haproxy | CPU us/request | goal: <= 0.9 |",
            "| unlag | 0.70 [0.60-0.80] | 20.0           | met          |",
            "2 measurements dropped; highest steal 5.0 %",
            "up to 5.0 % of the machine went to others",
            "unlag: 3 errors",
            "200 bytes of log",
            "envoy was skipped: no wheel",
        ] {
            assert!(text.contains(want), "{want:?} is not in\n{text}");
        }
        assert!(!text.contains("p50 us"));
    }
}
