//! What the tail scenarios found: as a table for each variant, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::arm::Arm;
use super::paired::Ratio;
use super::sample::{Sample, at_share};
use super::scenario::Variant;
use crate::peers::measure::STEAL_MAX;
use crate::peers::{Machine, Skipped};
use crate::stats::median;

/// More of the machine than this in the hands of programs that have no part in it, and latencies are marked.
const FOREIGN_MAX: f64 = 0.10;
/// A start later than this at the 99th percentile, and latencies are marked.
const LATE_US_MAX: f64 = 3_000.0;

/// All that was run.
#[derive(Debug, Clone, Serialize)]
pub struct TailReport {
    /// Where it ran.
    pub machine: Machine,
    /// What each binary says of itself.
    pub versions: BTreeMap<String, String>,
    /// One entry for each variant that ran.
    pub variants: Vec<VariantReport>,
    /// What was not measured, and why.
    pub skipped: Vec<Skipped>,
}

/// One variant of a scenario.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VariantReport {
    /// The scenario it belongs to.
    pub scenario: String,
    /// Its name.
    pub name: String,
    /// What is done.
    pub meaning: String,
    /// What it is to show.
    pub goal: Option<String>,
    /// The arm of unlag that others of its arms are compared with.
    pub reference: String,
    /// Requests of one arm in one round.
    pub requests: usize,
    /// Rounds asked for.
    pub rounds: usize,
    /// One for each arm.
    pub rows: Vec<Row>,
    /// The ratio of medians of latency within a round, second arm to first, where rounds are paired.
    pub paired_p50: Option<Ratio>,
    /// The same of 99th percentiles.
    pub paired_p99: Option<Ratio>,
}

/// A figure over all kept rounds together, and its range over them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// Of the requests of all kept rounds together.
    pub value: f64,
    /// The smallest of a round.
    pub low: f64,
    /// The largest of a round.
    pub high: f64,
}

/// One arm.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// Its name.
    pub arm: String,
    /// It is unlag.
    pub own: bool,
    /// Rounds that count; those with too much steal do not.
    pub kept: usize,
    /// Rounds that were run.
    pub run: usize,
    /// Requests offered in the kept rounds.
    pub offered: u64,
    /// Median latency.
    pub p50_ms: Option<Figure>,
    /// 90 % are not slower.
    pub p90_ms: Option<Figure>,
    /// 99 % are not slower.
    pub p99_ms: Option<Figure>,
    /// 99.9 % are not slower.
    pub p999_ms: Option<Figure>,
    /// The slowest.
    pub max_ms: Option<Figure>,
    /// Share of the requests that did not end well.
    pub error_share: f64,
    /// How they ended.
    pub errors: BTreeMap<String, u64>,
    /// Copies beyond the first that replicas saw, as a share of the requests.
    pub extra: f64,
    /// Time that replicas worked for one request.
    pub work_ms: f64,
    /// Share of the requests on the replicas that the variant watches.
    pub watched_share: Option<f64>,
    /// Share of the requests on each replica.
    pub shares: Vec<f64>,
    /// CPU time of the proxies for one request.
    pub cpu_us: f64,
    /// Most steal of a round that was run.
    pub steal_max: f64,
    /// Most of the machine that others used in a kept round.
    pub foreign_max: f64,
    /// Most of their core that callers and replicas used in a kept round.
    pub load_core_max: f64,
    /// 99 % of the requests were sent no later than this after they were due, in microseconds.
    pub late_p99_us: f64,
    /// Medians over the rounds of what the scenario is about.
    pub facts: BTreeMap<String, f64>,
    /// Whether the goal is met, where that can be said.
    pub met: Option<bool>,
}

impl Row {
    /// Puts the rounds of an arm together.
    pub(super) fn of(arm: &Arm, variant: &Variant, samples: &[Sample]) -> Self {
        let kept: Vec<&Sample> = samples.iter().filter(|sample| sample.steal <= STEAL_MAX).collect();
        let mut pooled: Vec<u32> = kept.iter().flat_map(|sample| &sample.latencies_us).copied().collect();
        pooled.sort_unstable();
        let figure = |share: f64| {
            let rounds = || kept.iter().filter_map(|sample| at_share(&sample.latencies_us, share));
            let ms = |us: f64| us / 1e3;
            Some(Figure {
                value: at_share(&pooled, share).map(ms)?,
                low: rounds().reduce(f64::min).map(ms)?,
                high: rounds().reduce(f64::max).map(ms)?,
            })
        };
        let offered: u64 = kept.iter().map(|sample| sample.offered).sum();
        let mut errors = BTreeMap::new();
        for (name, count) in kept.iter().flat_map(|sample| &sample.errors) {
            *errors.entry(name.clone()).or_default() += count;
        }
        let failed: u64 = kept.iter().map(|sample| sample.failed()).sum();
        let mean = |read: &dyn Fn(&Sample) -> f64| {
            // A sum of nothing is minus nought.
            (0.0 + kept.iter().map(|sample| read(sample)).sum::<f64>()) / kept.len().max(1) as f64
        };
        let most = |of: &mut dyn Iterator<Item = f64>| of.fold(0.0, f64::max);
        let mut facts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, value) in kept.iter().flat_map(|sample| &sample.facts) {
            facts.entry((*name).to_owned()).or_default().push(*value);
        }
        Self {
            arm: arm.name.into(),
            own: arm.is_own(),
            kept: kept.len(),
            run: samples.len(),
            offered,
            p50_ms: figure(0.5),
            p90_ms: figure(0.9),
            p99_ms: figure(0.99),
            p999_ms: figure(0.999),
            max_ms: figure(1.0),
            error_share: failed as f64 / offered.max(1) as f64,
            errors,
            extra: mean(&|sample| sample.replicas.extra()),
            work_ms: mean(&|sample| sample.replicas.work_ms() / sample.replicas.requests.max(1) as f64),
            watched_share: (!variant.watched.is_empty())
                .then(|| mean(&|sample| sample.share(&variant.watched))),
            shares: (0..variant.replicas.replicas.len())
                .map(|n| mean(&|sample| sample.replicas.share(n)))
                .collect(),
            cpu_us: mean(&|sample| sample.cpu_us),
            steal_max: most(&mut samples.iter().map(|sample| sample.steal)),
            foreign_max: most(&mut kept.iter().map(|sample| sample.foreign)),
            load_core_max: most(&mut kept.iter().map(|sample| sample.load_core)),
            late_p99_us: most(&mut kept.iter().map(|sample| sample.late_p99_us)),
            facts: facts.into_iter().filter_map(|(name, values)| Some((name, median(&values)?))).collect(),
            met: None,
        }
    }

    /// Its times are those of a machine that was busy with something else.
    pub(super) fn is_disturbed(&self) -> bool {
        self.foreign_max > FOREIGN_MAX || self.late_p99_us > LATE_US_MAX
    }

    /// Facts that say something: a count of nothing does not.
    fn said(&self) -> String {
        let facts =
            self.facts.iter().filter(|(name, value)| !name.ends_with("executed_twice") || **value > 0.0);
        let mut said: Vec<String> =
            facts.map(|(name, value)| format!("{} {}", name.replace('_', " "), short(*value))).collect();
        if self.late_p99_us > LATE_US_MAX {
            let (late_ms, core) = (self.late_p99_us / 1e3, self.load_core_max * 100.0);
            said.push(format!(
                "sent late: p99 {late_ms:.1} ms, callers and replicas used {core:.0} % of their core"
            ));
        }
        said.join(", ")
    }
}

fn short(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

impl TailReport {
    /// All tables.
    pub fn text(&self) -> String {
        let mut out =
            format!("{}, {} cores, Linux {}\n", self.machine.model, self.machine.cores, self.machine.kernel);
        for (peer, version) in &self.versions {
            let _ = writeln!(out, "{peer}: {version}");
        }
        self.variants.iter().for_each(|variant| variant.write(&mut out));
        if !self.skipped.is_empty() {
            out.push_str("\nnot measured:\n");
        }
        for skipped in &self.skipped {
            let scenario = skipped.scenario.as_deref().unwrap_or("all");
            let _ = writeln!(out, "  {} in {scenario}: {}", skipped.peer, skipped.reason);
        }
        out
    }
}

impl VariantReport {
    /// The table of one variant.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "\n{}: {}", self.name, self.meaning);
        let _ = writeln!(out, "  {} requests an arm and round, {} rounds", self.requests, self.rounds);
        if let Some(goal) = &self.goal {
            let _ = writeln!(out, "  goal: {goal}");
        }
        let _ = writeln!(
            out,
            "  {:<22}{:>7}{:>17}{:>17}{:>19}{:>21}{:>10}{:>9}{:>9}{:>9}{:>8}{:>9}  goal",
            "arm",
            "rounds",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
            "errors",
            "extra",
            "watched",
            "steal",
            "CPU us"
        );
        for row in &self.rows {
            row_line(out, row);
        }
        for (name, paired) in [("p50", &self.paired_p50), ("p99", &self.paired_p99)] {
            if let Some(Ratio { median, low, high, n }) = paired {
                let _ = writeln!(
                    out,
                    "  {name} of the second arm to the first, within a round: {median:.3}, 95 % {low:.3} to {high:.3}, {n} rounds"
                );
            }
        }
        if self.rows.iter().any(Row::is_disturbed) {
            out.push_str("  * measured while others used the machine: counts hold, times do not\n");
        }
    }
}

fn row_line(out: &mut String, row: &Row) {
    let figure = |figure: Option<Figure>| match figure {
        Some(f) if row.kept > 1 => format!("{} ({}-{})", ms(f.value), ms(f.low), ms(f.high)),
        Some(f) => ms(f.value),
        None => "-".into(),
    };
    let percent = |share: f64| format!("{:.2}%", share * 100.0);
    let met = match row.met {
        Some(true) => "met",
        Some(false) => "not met",
        None => "",
    };
    let mark = if row.is_disturbed() { "*" } else { "" };
    let _ = writeln!(
        out,
        "  {:<22}{:>7}{:>17}{:>17}{:>19}{:>21}{:>10}{:>9}{:>9}{:>9}{:>8}{:>9}  {met}",
        format!("{}{mark}", row.arm),
        format!("{}/{}", row.kept, row.run),
        figure(row.p50_ms),
        figure(row.p90_ms),
        figure(row.p99_ms),
        figure(row.p999_ms),
        row.max_ms.map_or("-".into(), |f| ms(f.value)),
        percent(row.error_share),
        percent(row.extra),
        row.watched_share.map_or("-".into(), percent),
        percent(row.steal_max),
        format!("{:.0}", row.cpu_us),
    );
    let errors: Vec<String> = row.errors.iter().map(|(name, count)| format!("{count} x {name}")).collect();
    let said =
        [row.said(), errors.join(", ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    if !said.is_empty() {
        let _ = writeln!(out, "  {:<22}  {}", "", said.join("; "));
    }
}

fn ms(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::super::arm::UNLAG;
    use super::super::scenario::{Amount, Scenario, variants};
    use super::*;

    fn sample(steal: f64, latencies_us: Vec<u32>) -> Sample {
        let errors = BTreeMap::from([("503".to_owned(), 1)]);
        let facts = BTreeMap::from([("goodput", steal)]);
        Sample {
            steal,
            offered: latencies_us.len() as u64 + 1,
            errors,
            latencies_us,
            facts,
            ..Sample::default()
        }
    }

    #[test]
    fn a_stolen_round_does_not_count_and_the_others_are_put_together() {
        let amount = Amount { requests: 100, rounds: 3 };
        let scenario: Scenario = "T2".parse().expect("a scenario");
        let variant = variants(scenario, amount).remove(1);
        let samples = [
            sample(0.0, (1..=100).map(|n| n * 1_000).collect()),
            sample(0.03, vec![9_000_000; 100]),
            sample(0.01, (101..=200).map(|n| n * 1_000).collect()),
        ];
        let row = Row::of(&UNLAG, &variant, &samples);
        assert_eq!((row.kept, row.run, row.offered), (2, 3, 202));
        assert_eq!(row.p50_ms, Some(Figure { value: 100.0, low: 50.0, high: 150.0 }));
        assert_eq!(row.max_ms.map(|f| f.value), Some(200.0));
        assert!((row.error_share - 2.0 / 202.0).abs() < 1e-9 && row.errors["503"] == 2);
        assert_eq!((row.steal_max, row.facts["goodput"]), (0.03, 0.005));
        let none = Row::of(&UNLAG, &variant, &samples[1..2]);
        assert_eq!((none.kept, none.p99_ms), (0, None));
        let report = VariantReport { rows: vec![row, none], ..VariantReport::default() };
        assert!(report.text().contains("100 (50.0-150)"), "{}", report.text());
    }
}
