//! CPU time of a cache for an answer that it has, in interleaved rounds, as for the comparison of proxies.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{StoredOptions, Storing};
use crate::cpu::Ticks;
use crate::load::{Options, Request, run_blocking};
use crate::peers::caches::{Cache, Found, Purpose, Stage};
use crate::peers::goal::{Goal, Measured};
use crate::peers::measure::{STEAL_MAX, per_answer_us};
use crate::peers::process::Process;
use crate::peers::report::{Row, ScenarioReport, Skipped};
use crate::peers::rounds::{order, present};
use crate::services::{Origin, Policy, Resource};
use crate::stats::{median, paired_ratios};

const GOAL: Goal = Goal::Ratio(0.65);
/// Different answers that are asked for at random: a small hot set, which every cache holds in memory.
const KEYS: u64 = 64;
/// Load before each measurement; the first one stores everything.
const SETTLE: Duration = Duration::from_millis(200);
const ROUTE: &str = "hit";

struct Contestant {
    cache: Cache,
    process: Process,
    /// One entry a round; `None` when it was dropped.
    samples: Vec<Option<Sample>>,
    errors: u64,
}

#[derive(Clone, Copy)]
struct Sample {
    cpu_us: f64,
    load_us: Option<f64>,
    rate: f64,
    p50_us: f64,
    p99_us: f64,
}

pub(super) fn run(
    stage: &Stage<'_>,
    origin: &Origin,
    scenario: Storing,
    bytes: usize,
    options: &StoredOptions,
    found: &mut Found,
    say: &mut dyn FnMut(&str),
) -> Result<Option<ScenarioReport>> {
    let mut contestants = start_all(stage, scenario, found, say);
    if contestants.is_empty() {
        return Ok(None);
    }
    let (mut dropped, mut steal_max) = (0, 0.0_f64);
    for round in 0..=options.rounds {
        for index in order(round, contestants.len()) {
            let Some(contestant) = contestants.get_mut(index) else { continue };
            contestant.process.resume();
            let measured = contestant.measure(origin, bytes, options.length, round == 0);
            contestant.process.pause();
            let (sample, steal) = measured?;
            if round > 0 {
                let keep = steal <= STEAL_MAX;
                dropped += usize::from(!keep);
                steal_max = steal_max.max(steal);
                contestant.samples.push(sample.filter(|_| keep));
            }
        }
        let figure = |c: &Contestant| match c.samples.last() {
            Some(Some(sample)) => format!("{} {:.1}", c.cache.name(), sample.cpu_us),
            _ => c.cache.name().to_owned(),
        };
        say(&format!("  round {round}: {}", contestants.iter().map(figure).collect::<Vec<_>>().join(", ")));
    }
    let nginx = contestants.iter().find(|contestant| contestant.cache == Cache::Nginx);
    let reference = nginx.map(|nginx| nginx.column(|sample| Some(sample.cpu_us)));
    Ok(Some(ScenarioReport {
        name: scenario.name().into(),
        meaning: scenario.meaning().into(),
        headline: if reference.is_some() { "ratio_nginx" } else { "cpu_us" }.into(),
        goal: Some(GOAL.text()),
        rows: contestants.iter().map(|contestant| row(contestant, reference.as_deref())).collect(),
        dropped,
        steal_max,
    }))
}

fn start_all(
    stage: &Stage<'_>,
    scenario: Storing,
    found: &mut Found,
    say: &mut dyn FnMut(&str),
) -> Vec<Contestant> {
    let mut contestants = Vec::new();
    let purpose = Purpose { routes: vec![ROUTE.into()], memory: None };
    for cache in &found.caches {
        match stage.start(cache, 1, &purpose) {
            Ok(process) => {
                process.pause();
                contestants.push(Contestant { cache: cache.0, process, samples: Vec::new(), errors: 0 });
            }
            Err(error) => found.skipped.push(Skipped::said(cache.0.name(), scenario.name(), &error, say)),
        }
    }
    contestants
}

/// Requests without `Authorization`, as Varnish and HAProxy pass those on.
fn load(process: &Process, bytes: usize, length: Duration) -> Options {
    let request = |key: u64| {
        let (route, key) = (ROUTE.to_owned(), key.to_string());
        let path = Resource { route, policy: Policy::Fresh, delay: Duration::ZERO, bytes, key }.path();
        let mut request = Request::typical_get(&path).called("hit");
        request.headers.retain(|(name, _)| name != "authorization");
        request
    };
    let mut options = Options::new(process.http1, request(0));
    options.mix = (0..KEYS).map(request).collect();
    (options.duration, options.timeout) = (length, Duration::from_secs(5));
    options
}

impl Contestant {
    /// What of the first answers is not stored yet is asked for while it warms up, and only then.
    fn measure(
        &mut self,
        origin: &Origin,
        bytes: usize,
        length: Duration,
        is_warm_up: bool,
    ) -> Result<(Option<Sample>, f64)> {
        run_blocking(&load(&self.process, bytes, SETTLE))?;
        let (ticks, asked_before, cpu_before) = (Ticks::now(), origin.requests(), self.process.cpu_ns());
        let report = run_blocking(&load(&self.process, bytes, length))?;
        let cpu_ns = self.process.cpu_ns().saturating_sub(cpu_before);
        let steal = Ticks::now().zip(ticks).map_or(0.0, |(after, before)| after.steal_since(&before));
        let (asked, name) = (origin.requests() - asked_before, self.cache.name());
        ensure!(
            is_warm_up || asked == 0,
            "{name}: the origin was asked {asked} times, so these are not hits"
        );
        let expected = report.all.ok * bytes as u64;
        ensure!(
            report.body_bytes == expected,
            "{name}: {} bytes of content, not {expected}",
            report.body_bytes
        );
        self.errors += report.errors();
        let sample = per_answer_us(cpu_ns, &report).map(|cpu_us| Sample {
            cpu_us,
            load_us: report.cpu_us_per_answer(),
            rate: report.achieved_rate(),
            p50_us: report.all.latency.quantile_ns(0.5) as f64 / 1e3,
            p99_us: report.all.latency.quantile_ns(0.99) as f64 / 1e3,
        });
        Ok((sample, steal))
    }

    fn column(&self, read: impl Fn(&Sample) -> Option<f64>) -> Vec<Option<f64>> {
        self.samples.iter().map(|sample| sample.as_ref().and_then(&read)).collect()
    }
}

fn row(contestant: &Contestant, reference: Option<&[Option<f64>]>) -> Row {
    let mut row = Row::new(contestant.cache.name());
    let cpu = contestant.column(|sample| Some(sample.cpu_us));
    let ratios = reference.map(|reference| paired_ratios(&cpu, reference)).unwrap_or_default();
    row.add("ratio_nginx", &ratios);
    row.add("cpu_us", &present(&cpu));
    row.add("load_us", &present(&contestant.column(|sample| sample.load_us)));
    row.add("rate", &present(&contestant.column(|sample| Some(sample.rate))));
    row.add("p50_us", &present(&contestant.column(|sample| Some(sample.p50_us))));
    row.add("p99_us", &present(&contestant.column(|sample| Some(sample.p99_us))));
    row.errors = contestant.errors;
    let measured = Measured { ratio: median(&ratios), faults: row.errors, ..Measured::default() };
    row.met = (!ratios.is_empty() && contestant.cache != Cache::Nginx).then(|| GOAL.is_met(&measured));
    row
}
