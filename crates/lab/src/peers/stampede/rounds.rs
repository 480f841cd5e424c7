//! Interleaved rounds of one scenario over all caches and the direct way, and what comes of them.

use std::time::Duration;

use anyhow::{Context, Result};

use super::StampedeOptions;
use super::scenario::{Before, Drive, Stampede};
use crate::cpu::Ticks;
use crate::load::{Call, Question, at_once, joined, paced};
use crate::peers::caches::{Found, Purpose, Stage};
use crate::peers::goal::{Measured, probes_allowed};
use crate::peers::measure::STEAL_MAX;
use crate::peers::process::Process;
use crate::peers::report::{Row, ScenarioReport, Skipped};
use crate::services::{Origin, Resource};
use crate::stats::{median, quantile};

const DIRECT: &str = "direct";
/// After the last answer, until what a cache fetches beside them has reached the origin.
const SETTLE: Duration = Duration::from_millis(50);

/// What one round of one contestant found. Times are in microseconds.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    origin_requests: u64,
    served: u64,
    faults: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// 99th percentile of the same burst for the same key while it was fresh.
    hit_p99_us: Option<f64>,
    first_byte_us: f64,
    seconds: f64,
    /// Share of the machine that the hypervisor took meanwhile.
    steal: f64,
}

impl Sample {
    /// Whether its times are its own. Counts are in any case.
    fn is_timed(&self) -> bool {
        self.steal <= STEAL_MAX
    }
}

struct Contestant {
    name: &'static str,
    /// `None` is the direct way.
    process: Option<Process>,
    samples: Vec<Sample>,
    /// Found before what it belongs to is measured, with the steal of that time.
    hit_p99_us: Option<f64>,
    hit_steal: f64,
}

/// One scenario on its way.
struct Run<'a> {
    scenario: Stampede,
    callers: usize,
    stage: &'a Stage<'a>,
    origin: &'a Origin,
}

/// Runs a scenario over the caches that can be started.
pub(super) fn run(
    stage: &Stage<'_>,
    origin: &Origin,
    scenario: Stampede,
    options: &StampedeOptions,
    found: &mut Found,
    say: &mut dyn FnMut(&str),
) -> Result<ScenarioReport> {
    let run = Run { scenario, callers: options.callers, stage, origin };
    origin.forget();
    let mut contestants = run.start_all(options.rounds, found, say);
    for round in 0..=options.rounds {
        run.round(round, &mut contestants).with_context(|| scenario.name())?;
        if round == 0 {
            contestants.iter_mut().for_each(|contestant| contestant.samples.clear());
            say("  warm-up done");
        } else {
            say(&line(round, &contestants));
        }
    }
    Ok(report(scenario, &contestants))
}

impl Run<'_> {
    fn start_all(&self, rounds: usize, found: &mut Found, say: &mut dyn FnMut(&str)) -> Vec<Contestant> {
        let contestant = |name, process| Contestant {
            name,
            process,
            samples: Vec::new(),
            hit_p99_us: None,
            hit_steal: 0.0,
        };
        let mut contestants = vec![contestant(DIRECT, None)];
        let mut routes: Vec<String> = (0..=rounds).map(|round| self.scenario.route(round)).collect();
        routes.dedup();
        let purpose = Purpose { routes, memory: None };
        for cache in &found.caches {
            let name = cache.0.name();
            match self.stage.start(cache, self.scenario.workers(), &purpose) {
                Ok(process) => contestants.push(contestant(name, Some(process))),
                Err(error) => {
                    found.skipped.push(Skipped::said(name, self.scenario.name(), &error, say));
                }
            }
        }
        contestants
    }

    fn question(&self, round: usize, contestant: &Contestant) -> Question {
        let resource = self.scenario.resource(round, contestant.name);
        let path = resource.path();
        let address = contestant.process.as_ref().map_or(self.origin.address, |process| process.http1);
        Question { address, content: Resource::content(&path, resource.bytes), path }
    }

    /// All contestants in turn, in an order that alternates. What has to get stale does so for all of them at once.
    fn round(&self, round: usize, contestants: &mut [Contestant]) -> Result<()> {
        if round % 2 == 1 {
            contestants.reverse();
        }
        for contestant in contestants.iter_mut() {
            self.prepare(round, contestant).with_context(|| contestant.name)?;
        }
        self.stage.interrupt.pause(self.scenario.aging());
        self.origin.fail(self.scenario == Stampede::IfError);
        let measured = contestants.iter_mut().try_for_each(|contestant| {
            let sample = self.measure(round, contestant).with_context(|| contestant.name)?;
            contestant.samples.push(sample);
            Ok(())
        });
        self.origin.fail(false);
        if round % 2 == 1 {
            contestants.reverse();
        }
        measured
    }

    fn prepare(&self, round: usize, contestant: &mut Contestant) -> Result<()> {
        let question = self.question(round, contestant);
        match self.scenario.before() {
            Before::Nothing => {}
            Before::Burst => drop(at_once(&question, self.callers)?),
            Before::Stale => {
                at_once(&question, 1)?;
                if self.scenario == Stampede::WhileRevalidate {
                    let ticks = Ticks::now();
                    let hits = latencies_us(&at_once(&question, self.callers)?);
                    (contestant.hit_p99_us, contestant.hit_steal) =
                        (quantile(&hits, 0.99), steal_since(ticks));
                }
            }
        }
        Ok(())
    }

    fn measure(&self, round: usize, contestant: &Contestant) -> Result<Sample> {
        let question = self.question(round, contestant);
        let before = self.origin.requests_for(&question.path);
        let (began, ticks) = (std::time::Instant::now(), Ticks::now());
        let calls = match self.scenario.drive(self.callers) {
            Drive::AtOnce(callers) => at_once(&question, callers)?,
            Drive::Paced(times, gap) => paced(&question, times, gap)?,
            // The first one only sets the scene.
            Drive::Joined(after) => joined(&question, after)?.into_iter().skip(1).collect(),
        };
        let seconds = began.elapsed().as_secs_f64();
        let steal = steal_since(ticks).max(contestant.hit_steal);
        self.stage.interrupt.pause(SETTLE);
        let origin_requests = self.origin.requests_for(&question.path).saturating_sub(before);
        Ok(Sample { hit_p99_us: contestant.hit_p99_us, steal, ..sample(&calls, origin_requests, seconds) })
    }
}

fn steal_since(before: Option<Ticks>) -> f64 {
    Ticks::now().zip(before).map_or(0.0, |(now, before)| now.steal_since(&before))
}

fn latencies_us(calls: &[Call]) -> Vec<f64> {
    calls.iter().map(|call| call.latency.as_secs_f64() * 1e6).collect()
}

fn sample(calls: &[Call], origin_requests: u64, seconds: f64) -> Sample {
    let latencies = latencies_us(calls);
    let at = |q| quantile(&latencies, q).unwrap_or(f64::NAN);
    let first_bytes: Vec<f64> = calls.iter().map(|call| call.first_byte.as_secs_f64() * 1e6).collect();
    let faults = calls.iter().filter(|call| call.fault.is_some()).count() as u64;
    Sample {
        origin_requests,
        served: calls.len() as u64 - faults,
        faults,
        p50_us: at(0.5),
        p99_us: at(0.99),
        max_us: at(1.0),
        hit_p99_us: None,
        first_byte_us: median(&first_bytes).unwrap_or(f64::NAN),
        seconds,
        steal: 0.0,
    }
}

fn line(round: usize, contestants: &[Contestant]) -> String {
    let figure = |contestant: &Contestant| {
        let Some(sample) = contestant.samples.last() else { return contestant.name.to_owned() };
        let (requests, ms) = (sample.origin_requests, sample.p50_us / 1e3);
        let faults = if sample.faults > 0 { format!(" ({} faults)", sample.faults) } else { String::new() };
        format!("{} {requests}/{ms:.1} ms{faults}", contestant.name)
    };
    format!("  round {round}: {}", contestants.iter().map(figure).collect::<Vec<_>>().join(", "))
}

fn report(scenario: Stampede, contestants: &[Contestant]) -> ScenarioReport {
    let direct = contestants.iter().find(|contestant| contestant.name == DIRECT);
    let direct = direct.map_or(&[][..], |direct| direct.samples.as_slice());
    let samples = || contestants.iter().flat_map(|contestant| &contestant.samples);
    let headline = match scenario {
        Stampede::Join => "first_byte_us",
        Stampede::IfError => "served",
        Stampede::NoStoreFirst | Stampede::NoStoreSecond | Stampede::Private => "times_direct",
        _ => "p50_us",
    };
    ScenarioReport {
        name: scenario.name().into(),
        meaning: scenario.meaning().into(),
        headline: headline.into(),
        goal: Some(scenario.goal().text()),
        rows: contestants.iter().map(|contestant| row(scenario, contestant, direct)).collect(),
        dropped: samples().filter(|sample| !sample.is_timed()).count(),
        steal_max: samples().map(|sample| sample.steal).fold(0.0, f64::max),
    }
}

fn row(scenario: Stampede, contestant: &Contestant, direct: &[Sample]) -> Row {
    let samples = &contestant.samples;
    let timed = || samples.iter().filter(|sample| sample.is_timed());
    let count = |read: &dyn Fn(&Sample) -> f64| samples.iter().map(read).collect::<Vec<f64>>();
    let column = |read: &dyn Fn(&Sample) -> f64| timed().map(read).collect::<Vec<f64>>();
    let pairs: Vec<_> =
        samples.iter().zip(direct).filter(|(own, direct)| own.is_timed() && direct.is_timed()).collect();
    let paired = |read: &dyn Fn(&Sample, &Sample) -> f64| {
        pairs.iter().map(|(own, direct)| read(own, direct)).collect::<Vec<f64>>()
    };
    let added = paired(&|own, direct| own.p50_us - direct.p50_us);
    let times = paired(&|own, direct| own.p50_us / direct.p50_us);
    let first_byte = column(&|sample| sample.first_byte_us);
    let hits: Vec<f64> = timed().filter_map(|sample| sample.hit_p99_us).collect();
    let above_hits: Vec<f64> =
        timed().filter_map(|sample| Some(sample.p99_us - sample.hit_p99_us?)).collect();

    let mut row = Row::new(contestant.name);
    row.add("origin_requests", &count(&|sample| sample.origin_requests as f64));
    match scenario {
        Stampede::IfError => {
            row.add("served", &count(&|sample| sample.served as f64));
            row.add("probes", &count(&|sample| sample.origin_requests as f64 / sample.seconds));
        }
        Stampede::Join => row.add("first_byte_us", &first_byte),
        _ if contestant.process.is_some() => {
            row.add("p50_added_us", &added);
            row.add("p99_added_us", &paired(&|own, direct| own.p99_us - direct.p99_us));
            row.add("times_direct", &times);
        }
        _ => {}
    }
    row.add("hit_p99_us", &hits);
    row.add("above_hits_us", &above_hits);
    row.add("p50_us", &column(&|sample| sample.p50_us));
    row.add("p99_us", &column(&|sample| sample.p99_us));
    row.add("max_us", &column(&|sample| sample.max_us));
    row.errors = samples.iter().map(|sample| sample.faults).sum();
    let requests = || samples.iter().map(|sample| sample.origin_requests);
    let measured = Measured {
        origin_requests: requests().min().zip(requests().max()),
        faults: row.errors,
        added_p50_us: median(&added),
        added_to_hits_us: median(&above_hits),
        times_direct: median(&times),
        probes_too_many: samples
            .iter()
            .map(|sample| sample.origin_requests.saturating_sub(probes_allowed(sample.seconds)))
            .max(),
        first_byte_us: median(&first_byte),
        ..Measured::default()
    };
    row.met = (contestant.process.is_some() && !pairs.is_empty()).then(|| scenario.goal().is_met(&measured));
    row
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
