//! How evenly a few long-lived connections spread over two workers, and what a request costs there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::install::Installed;
use super::kind::Peer;
use super::measure::{Bench, every_request_was_seen, per_answer_us};
use super::process::Process;
use super::report::{Row, ScenarioReport, Skipped};
use super::scenario::Scenario;
use crate::cpu;
use crate::load::run_blocking;
use crate::stats::imbalance;

const WORKERS: usize = 2;

/// Measures unlag only: the others spread by other means (processes, goroutines). Every round is a fresh set of
/// connections; the work of a thread is its CPU time.
pub(super) fn run(
    bench: &Bench<'_>,
    installed: &[Installed],
    skipped: &mut Vec<Skipped>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<ScenarioReport>> {
    let Some(unlag) = installed.iter().find(|i| i.peer == Peer::Unlag) else { return Ok(None) };
    let process = match bench.start(unlag, WORKERS) {
        Ok(process) => process,
        Err(error) => {
            skipped.push(Skipped::said("unlag", "workers2", &error, say));
            return Ok(None);
        }
    };
    let (mut spread, mut cpu_us) = (Vec::new(), Vec::new());
    let (mut errors, mut answered, mut backend_saw) = (0, 0, 0);
    for round in 0..=bench.options.rounds {
        let (before, cpu_before) = (threads(&process), process.cpu_ns());
        let length = bench.options.length.max(Duration::from_millis(500));
        let seen_before = bench.backend.requests();
        let report = run_blocking(&Scenario::Workers2.load(process.http2, length))?;
        let seen = bench.backend.requests().saturating_sub(seen_before);
        every_request_was_seen(report.answered(), seen)?;
        answered += report.answered();
        backend_saw += seen;
        let cpu_ns = process.cpu_ns().saturating_sub(cpu_before);
        errors += report.errors();
        let work = busiest(&before, &threads(&process));
        let found = imbalance(&work).zip(per_answer_us(cpu_ns, &report)).filter(|_| round > 0);
        if let Some((imbalance, us)) = found {
            say(&format!("  round {round}: {imbalance:.2}, {us:.1} us"));
            spread.push(imbalance);
            cpu_us.push(us);
        }
    }
    let mut row = Row::new("unlag");
    row.add("imbalance", &spread);
    row.add("cpu_us", &cpu_us);
    (row.errors, row.answered, row.backend_saw) = (errors, answered, backend_saw);
    Ok(Some(ScenarioReport {
        name: Scenario::Workers2.name().into(),
        meaning: Scenario::Workers2.meaning().into(),
        headline: "imbalance".into(),
        goal: None,
        rows: vec![row],
        dropped: 0,
        steal_max: 0.0,
    }))
}

/// CPU time by thread. Equal names are told apart by their order, which the kernel keeps.
fn threads(process: &Process) -> Vec<(String, u64)> {
    cpu::threads_ns(process.id())
}

/// What the two busiest threads did between two readings: the workers, under load.
fn busiest(before: &[(String, u64)], after: &[(String, u64)]) -> Vec<f64> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut work: Vec<f64> = after
        .iter()
        .map(|(name, ns)| {
            let nth = seen.entry(name).or_default();
            let earlier = before.iter().filter(|(n, _)| n == name).nth(*nth).map_or(0, |(_, ns)| *ns);
            *nth += 1;
            ns.saturating_sub(earlier) as f64
        })
        .collect();
    work.sort_by(|a, b| b.total_cmp(a));
    work.truncate(WORKERS);
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_threads_of_one_name_is_told_apart() {
        let reading = |values: [u64; 4]| {
            let names = ["unlag", "worker", "worker", "log"];
            names.into_iter().zip(values).map(|(n, v)| (n.to_owned(), v)).collect::<Vec<_>>()
        };
        let work = busiest(&reading([5, 10, 20, 0]), &reading([6, 110, 70, 1]));
        assert_eq!(work, [100.0, 50.0]);
        assert_eq!(busiest(&[], &[]), Vec::<f64>::new());
    }
}
