//! Interleaved rounds of one scenario over all peers.

use anyhow::Result;

use super::install::Installed;
use super::kind::Peer;
use super::measure::{Bench, STEAL_MAX, Sample};
use super::process::Process;
use super::report::{Row, ScenarioReport, Skipped};
use super::scenario::Scenario;
use crate::stats::paired_ratios;

/// What is measured in turn.
struct Contestant {
    name: &'static str,
    /// `None` is the direct way.
    process: Option<Process>,
    /// One entry a round; `None` when it was dropped.
    samples: Vec<Option<Sample>>,
    errors: u64,
    answered: u64,
    seen: u64,
    log_bytes: u64,
}

/// Runs a scenario over the peers that can be started.
pub(super) fn run(
    bench: &Bench<'_>,
    scenario: Scenario,
    installed: &[Installed],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<ScenarioReport>> {
    let mut contestants = start_all(bench, scenario, installed, skipped, say);
    if contestants.iter().all(|c| c.process.is_none()) {
        return Ok(None);
    }
    let (mut dropped, mut steal_max) = (0, 0.0_f64);
    let rounds = bench.options.rounds;
    // Round 0 warms up. Dropped measurements get as many rounds again, so that a busy hour still ends.
    let mut round = 0;
    while round <= rounds || (round <= 2 * rounds && contestants.iter().any(|c| c.kept() < rounds)) {
        for index in order(round, contestants.len()) {
            let Some(contestant) = contestants.get_mut(index) else { continue };
            let sample = bench.measure(scenario, contestant.process.as_ref())?;
            if round > 0 {
                steal_max = steal_max.max(sample.steal);
                let keep = sample.steal <= STEAL_MAX && sample.answered > 0;
                dropped += usize::from(!keep);
                contestant.add(sample, keep);
            }
        }
        say(&line(round, &contestants));
        round += 1;
    }
    Ok(Some(report(scenario, &contestants, dropped, steal_max)))
}

/// The order of a round: forwards and backwards in turn, so that nobody always follows the same neighbour.
pub(crate) fn order(round: usize, n: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..n).collect() } else { (0..n).rev().collect() }
}

impl Contestant {
    fn new(name: &'static str, process: Option<Process>) -> Self {
        Self { name, process, samples: Vec::new(), errors: 0, answered: 0, seen: 0, log_bytes: 0 }
    }

    fn add(&mut self, sample: Sample, keep: bool) {
        self.errors += sample.errors;
        self.answered += sample.answered;
        self.seen += sample.seen;
        self.log_bytes += sample.log_bytes;
        self.samples.push(keep.then_some(sample));
    }

    fn kept(&self) -> usize {
        self.samples.iter().flatten().count()
    }

    fn column(&self, read: impl Fn(&Sample) -> Option<f64>) -> Vec<Option<f64>> {
        self.samples.iter().map(|sample| sample.as_ref().and_then(&read)).collect()
    }
}

fn start_all(
    bench: &Bench<'_>,
    scenario: Scenario,
    installed: &[Installed],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Vec<Contestant> {
    let mut contestants = Vec::new();
    if scenario.has_direct() {
        contestants.push(Contestant::new("direct", None));
    }
    for peer in installed {
        match bench.start(peer, 1) {
            Ok(process) => {
                process.pause();
                contestants.push(Contestant::new(peer.peer.name(), Some(process)));
            }
            Err(error) => {
                skipped.push(Skipped::said(peer.peer.name(), scenario.name(), &error, say));
            }
        }
    }
    contestants
}

fn line(round: usize, contestants: &[Contestant]) -> String {
    if round == 0 {
        return "  warm-up done".into();
    }
    let figure = |c: &Contestant| match c.samples.last() {
        Some(Some(Sample { cpu_us: Some(us), .. })) => format!("{} {us:.1}", c.name),
        Some(Some(sample)) => format!("{} p50 {:.0}", c.name, sample.p50_us),
        _ => format!("{} dropped", c.name),
    };
    format!("  round {round}: {}", contestants.iter().map(figure).collect::<Vec<_>>().join(", "))
}

fn report(scenario: Scenario, contestants: &[Contestant], dropped: usize, steal_max: f64) -> ScenarioReport {
    let column_of = |name: &str, read: fn(&Sample) -> Option<f64>| {
        contestants.iter().find(|c| c.name == name).map(|c| c.column(read))
    };
    let reference = column_of(Peer::Haproxy.name(), |sample| sample.cpu_us);
    let direct = |read| column_of("direct", read).unwrap_or_default();
    let (direct_p50, direct_p99) = (direct(|s| Some(s.p50_us)), direct(|s| Some(s.p99_us)));
    let rows = contestants.iter().map(|contestant| {
        let mut row = Row::new(contestant.name);
        let cpu = contestant.column(|sample| sample.cpu_us);
        row.add("cpu_us", &present(&cpu));
        row.add("ratio", &reference.as_deref().map(|r| paired_ratios(&cpu, r)).unwrap_or_default());
        row.add("backend_us", &present(&contestant.column(|s| s.backend_us)));
        row.add("load_us", &present(&contestant.column(|s| s.load_us)));
        row.add("rate", &present(&contestant.column(|s| Some(s.rate))));
        let (p50, p99) = (contestant.column(|s| Some(s.p50_us)), contestant.column(|s| Some(s.p99_us)));
        row.add("p50_us", &present(&p50));
        row.add("p99_us", &present(&p99));
        if contestant.process.is_some() {
            row.add("p50_added_us", &differences(&p50, &direct_p50));
            row.add("p99_added_us", &differences(&p99, &direct_p99));
        }
        row.errors = contestant.errors;
        (row.answered, row.backend_saw) = (contestant.answered, contestant.seen);
        row.log_bytes_per_request = contestant.log_bytes as f64 / contestant.answered.max(1) as f64;
        row
    });
    let headline = if scenario == Scenario::Tail { "p50_added_us" } else { "ratio" };
    let headline = if headline == "ratio" && reference.is_none() { "cpu_us" } else { headline };
    ScenarioReport {
        name: scenario.name().into(),
        meaning: scenario.meaning().into(),
        headline: headline.into(),
        goal: None,
        rows: rows.collect(),
        dropped,
        steal_max,
    }
}

pub(super) fn present(column: &[Option<f64>]) -> Vec<f64> {
    column.iter().flatten().copied().collect()
}

fn differences(column: &[Option<f64>], reference: &[Option<f64>]) -> Vec<f64> {
    column.iter().zip(reference).filter_map(|(value, reference)| Some((*value)? - (*reference)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_alternates_and_leaves_nobody_out() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [2, 1, 0]);
    }

    fn sample(cpu_us: f64, p50_us: f64) -> Sample {
        Sample {
            cpu_us: Some(cpu_us),
            backend_us: Some(5.0),
            load_us: Some(6.0),
            p50_us,
            p99_us: p50_us * 3.0,
            rate: 1_000.0,
            errors: 1,
            answered: 10,
            seen: 10,
            steal: 0.0,
            log_bytes: 20,
        }
    }

    #[test]
    fn ratios_and_added_latency_pair_values_of_the_same_round() {
        let mut unlag = Contestant::new("unlag", None);
        let mut haproxy = Contestant::new("haproxy", None);
        for (ours, theirs, keep) in [(20.0, 40.0, true), (30.0, 40.0, true), (99.0, 1.0, false)] {
            unlag.add(sample(ours, 100.0), keep);
            haproxy.add(sample(theirs, 100.0), true);
        }
        let report = report(Scenario::Get1k, &[unlag, haproxy], 1, 0.03);
        let row = &report.rows[0];
        assert_eq!(row.figures["ratio"].median, 0.625);
        assert_eq!((row.figures["ratio"].n, row.errors, row.log_bytes_per_request), (2, 3, 2.0));
        assert_eq!((row.answered, row.backend_saw), (30, 30));
        assert_eq!(report.rows[1].figures["ratio"].median, 1.0);
        assert_eq!(report.headline, "ratio");
        assert_eq!(
            differences(&[Some(5.0), None, Some(9.0)], &[Some(2.0), Some(1.0), Some(4.0)]),
            [3.0, 5.0]
        );
    }
}
