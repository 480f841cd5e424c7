//! What `unlag bench` does: an open-loop load test of one address, or of two in interleaved rounds.

mod picture;
mod text;

pub(crate) use picture::duration;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde::Serialize;

use crate::histogram::Histogram;
use crate::load::{self, Arrivals, Options, Protocol, Report, Request, Summary, Target};
use crate::stats::{Quartiles, quartiles};

/// What to ask, and how hard.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The URL under test.
    pub url: String,
    /// Another URL to compare with, asked the same in interleaved rounds.
    pub vs: Option<String>,
    /// Requests per second with Poisson arrivals; 0 is a closed loop.
    pub rate: f64,
    /// How long each URL is asked. Default 10 s.
    pub duration: Duration,
    /// Connections. Default 64.
    pub connections: usize,
    /// Cleartext HTTP/2 with prior knowledge, 32 streams a connection. Default HTTP/1.1.
    pub http2: bool,
    /// From the intended time to the last byte. Default 10 s.
    pub timeout: Duration,
    /// Method. Default GET.
    pub method: String,
    /// More header fields; they replace those of the same name that are sent anyway.
    pub headers: Vec<(String, String)>,
    /// Body. Default none.
    pub body: Bytes,
    /// Decides the arrivals. Default 1.
    pub seed: u64,
}

impl BenchOptions {
    /// A test of one URL with the defaults.
    pub fn new(url: &str, rate: f64) -> Self {
        Self {
            url: url.into(),
            vs: None,
            rate,
            duration: Duration::from_secs(10),
            connections: 64,
            http2: false,
            timeout: Duration::from_secs(10),
            method: "GET".into(),
            headers: Vec::new(),
            body: Bytes::new(),
            seed: 1,
        }
    }

    fn load(&self, target: &Target, duration: Duration) -> Result<Options> {
        let mut request = Request::get(&target.path);
        request.method.clone_from(&self.method);
        let is_given = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        request.headers.retain(|(name, _)| !is_given(name));
        request.headers.extend(self.headers.iter().cloned());
        request.body = self.body.clone();
        let mut options = Options::new(target.resolve()?, request);
        options.authority.clone_from(&target.authority);
        options.connections = self.connections;
        options.protocol = if self.http2 { Protocol::Http2 { streams: 32 } } else { Protocol::Http1 };
        options.arrivals =
            if self.rate > 0.0 { Arrivals::Poisson { rate: self.rate } } else { Arrivals::Closed };
        options.duration = duration;
        options.timeout = self.timeout;
        options.seed = self.seed;
        Ok(options)
    }
}

/// How far a bench is; for a progress bar.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Share of the whole that is done, 0 to 1.
    pub done: f64,
    /// Answers so far.
    pub answered: u64,
    /// Errors so far.
    pub errors: u64,
    /// Median latency of the last window, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the last window, in microseconds.
    pub p99_us: f64,
}

/// What a bench found.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// The URL under test.
    pub subject: Side,
    /// The URL it was compared with.
    pub vs: Option<Side>,
    /// The comparison; `None` without one.
    pub comparison: Option<Comparison>,
}

/// One URL's figures over all its rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The URL.
    pub url: String,
    /// The figures.
    #[serde(flatten)]
    pub summary: Summary,
    #[serde(skip)]
    histogram: Histogram,
}

/// The subject against the other, round by round: below 1 the subject is faster.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Subject's median over the other's, of each pair of rounds.
    pub p50_ratios: Vec<f64>,
    /// The same of the 99th percentile.
    pub p99_ratios: Vec<f64>,
    /// Median and quartiles of `p50_ratios`.
    pub p50: Option<Quartiles>,
    /// Median and quartiles of `p99_ratios`.
    pub p99: Option<Quartiles>,
}

/// Rounds of a comparison are about this long: short enough that both sides meet the same weather.
const ROUND: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(300);
const WINDOW: Duration = Duration::from_millis(500);

/// Runs a bench; blocks until it is done. `progress` is called about twice a second.
pub fn run(options: &BenchOptions, mut progress: impl FnMut(Progress)) -> Result<BenchReport> {
    ensure!(options.rate >= 0.0, "bench: the rate must not be negative");
    let limits = Duration::from_millis(100)..=Duration::from_secs(3_600);
    ensure!(limits.contains(&options.duration), "bench: the duration must be 100 ms to 1 h");
    let subject = Target::parse(&options.url).context("bench")?;
    let mut course =
        Course { options, start: Instant::now(), expected: options.duration, so_far: Report::default() };
    let Some(vs) = &options.vs else {
        load::run_blocking(&options.load(&subject, WARM_UP)?)?;
        course.start = Instant::now();
        let report = course.round(&subject, options.duration, options.seed, &mut progress)?;
        return Ok(BenchReport { subject: Side::new(&subject, &report), vs: None, comparison: None });
    };
    let vs = Target::parse(vs).context("bench --vs")?;
    let pairs = pairs_in(options.duration);
    let length = options.duration / pairs;
    for target in [&subject, &vs] {
        load::run_blocking(&options.load(target, WARM_UP)?)?;
    }
    (course.start, course.expected) = (Instant::now(), options.duration * 2);
    let mut rounds: [Vec<Report>; 2] = [Vec::new(), Vec::new()];
    for (pair, side) in order(pairs) {
        let target = if side == 0 { &subject } else { &vs };
        // Both sides of a pair get the same arrivals.
        let seed = options.seed.wrapping_add(u64::from(pair));
        let report = course.round(target, length, seed, &mut progress)?;
        if let Some(side) = rounds.get_mut(side) {
            side.push(report);
        }
    }
    let [ours, theirs] = rounds;
    Ok(BenchReport {
        subject: Side::new(&subject, &merged(&ours)),
        vs: Some(Side::new(&vs, &merged(&theirs))),
        comparison: Some(compare(&ours, &theirs)),
    })
}

struct Course<'a> {
    options: &'a BenchOptions,
    start: Instant,
    expected: Duration,
    so_far: Report,
}

impl Course<'_> {
    fn round(
        &mut self,
        target: &Target,
        length: Duration,
        seed: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Report> {
        let options = Options { seed, ..self.options.load(target, length)? };
        load::run_observed(&options, WINDOW, |window| {
            self.so_far.merge(&window);
            let at = |q| window.all.latency.quantile_ns(q) as f64 / 1e3;
            progress(Progress {
                done: (self.start.elapsed().as_secs_f64() / self.expected.as_secs_f64()).min(1.0),
                answered: self.so_far.answered(),
                errors: self.so_far.errors(),
                p50_us: at(0.5),
                p99_us: at(0.99),
            });
        })
    }
}

/// How many pairs of rounds fit: at least two, so that there are quartiles.
fn pairs_in(duration: Duration) -> u32 {
    ((duration.as_secs_f64() / ROUND.as_secs_f64()).round() as u32).clamp(2, 600)
}

/// A B B A A B B A: (pair, side). Nobody always goes first, and a drift of the machine cancels out.
fn order(pairs: u32) -> impl Iterator<Item = (u32, usize)> {
    (0..pairs).flat_map(|pair| {
        let first = pair as usize % 2;
        [(pair, first), (pair, 1 - first)]
    })
}

fn merged(rounds: &[Report]) -> Report {
    let mut total = Report::default();
    rounds.iter().for_each(|round| total.merge(round));
    total
}

fn compare(ours: &[Report], theirs: &[Report]) -> Comparison {
    let ratios = |q: f64| -> Vec<f64> {
        let at = |report: &Report| report.all.latency.quantile_ns(q) as f64;
        let pairs = ours.iter().zip(theirs);
        pairs.filter(|(_, b)| at(b) > 0.0).map(|(a, b)| at(a) / at(b)).collect()
    };
    let (p50_ratios, p99_ratios) = (ratios(0.5), ratios(0.99));
    Comparison { p50: quartiles(&p50_ratios), p99: quartiles(&p99_ratios), p50_ratios, p99_ratios }
}

impl Side {
    fn new(target: &Target, report: &Report) -> Self {
        Self { url: target.to_string(), summary: report.summary(), histogram: report.all.latency.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Backend;

    #[test]
    fn rounds_go_a_b_b_a() {
        let sides: Vec<usize> = order(4).map(|(_, side)| side).collect();
        assert_eq!(sides, [0, 1, 1, 0, 0, 1, 1, 0]);
        assert_eq!(pairs_in(Duration::from_millis(100)), 2);
        assert_eq!(pairs_in(Duration::from_secs(10)), 10);
    }

    #[test]
    fn a_comparison_reports_both_sides_and_every_pair() {
        let backend = Backend::start().expect("starts");
        let mut options = BenchOptions::new(&format!("http://{}/bytes/1024", backend.address), 400.0);
        options.vs = Some(format!("http://{}/bytes/65536", backend.address));
        options.duration = Duration::from_millis(600);
        options.connections = 4;
        let mut last = None;
        let report = run(&options, |progress| last = Some(progress)).expect("runs");
        let vs = report.vs.as_ref().expect("there is another side");
        let comparison = report.comparison.as_ref().expect("compared");
        assert_eq!((comparison.p50_ratios.len(), comparison.p99_ratios.len()), (2, 2));
        assert_eq!(report.subject.summary.body_bytes, report.subject.summary.ok * 1024);
        assert_eq!(vs.summary.body_bytes, vs.summary.ok * 65_536);
        assert_eq!(report.subject.summary.offered, vs.summary.offered, "both get the same arrivals");
        assert_eq!(last.expect("progress").answered, report.subject.summary.ok + vs.summary.ok);
        let text = report.text();
        assert!(text.contains("p99.9") && text.contains("ratio"), "{text}");
        let json = serde_json::to_value(&report).expect("JSON");
        assert!(json["subject"]["latency_us"]["p99"].as_f64().expect("a number") > 0.0, "{json}");
    }

    #[test]
    fn a_bench_of_nothing_reports_errors_and_does_not_hang() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("has one");
        drop(listener);
        let mut options = BenchOptions::new(&format!("http://{address}/"), 100.0);
        options.duration = Duration::from_millis(300);
        let report = run(&options, |_| ()).expect("runs");
        let summary = report.subject.summary.clone();
        assert_eq!((summary.ok, summary.errors.get("connect").copied()), (0, Some(summary.offered)));
        assert!(report.text().contains("connect"), "{}", report.text());
    }
}
