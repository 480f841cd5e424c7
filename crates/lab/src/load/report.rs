//! What a run of load found.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection could be opened.
    Connect,
    /// The connection was closed or reset before the answer was whole.
    Closed,
    /// The answer was not whole within the timeout, counted from the intended time.
    Timeout,
    /// The answer was not HTTP.
    Malformed,
    /// Not sent in time: too many outstanding, or still waiting for a connection when its time was over.
    Unsent,
}

impl Failure {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Unsent => "unsent",
        }
    }
}

/// Counts and latencies of one kind of request, or of all.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// The request's name.
    pub name: String,
    /// Requests that were due.
    pub offered: u64,
    /// Answered with a status below 400.
    pub ok: u64,
    /// From the intended time to the last byte of the answer, for every answer whatever its status. A request
    /// that timed out counts with the time it had waited, so that giving up does not improve the figures.
    pub latency: Histogram,
}

/// The findings of a run, or of one window of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// All requests together.
    pub all: Part,
    /// The requests of each name, in the order of the mix; empty when all have one name.
    pub parts: Vec<Part>,
    /// Requests that went out.
    pub sent: u64,
    /// Requests without an answer, by reason.
    pub failures: BTreeMap<Failure, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Content received, without heads and framing.
    pub body_bytes: u64,
    /// Connections opened beyond the first ones.
    pub reconnects: u64,
    /// From the first intended time until the last answer.
    pub elapsed: Duration,
    /// The rate that was asked for; `None` in a closed loop.
    pub target_rate: Option<f64>,
    /// CPU time of the load generator itself; of whole runs only, where the system tells it.
    pub cpu_ns: Option<u64>,
}

impl Report {
    /// An empty report with a part for each name, if there is more than one.
    pub(super) fn with_parts(names: &[String], target_rate: Option<f64>) -> Self {
        let part = |name: &String| Part { name: name.clone(), ..Part::default() };
        let parts = if names.len() > 1 { names.iter().map(part).collect() } else { Vec::new() };
        Self { parts, target_rate, ..Self::default() }
    }

    pub(super) fn count_offered(&mut self, part: usize) {
        self.all.offered += 1;
        if let Some(part) = self.parts.get_mut(part) {
            part.offered += 1;
        }
    }

    /// Counts how a request ended: (status, bytes of content), or why there is no answer.
    pub(super) fn count(&mut self, part: usize, result: Result<(u16, u64), Failure>, latency: Duration) {
        match result {
            Ok((status, body_bytes)) => self.count_answer(part, status, body_bytes, latency),
            Err(failure) => self.count_failure(part, failure, latency),
        }
    }

    fn count_answer(&mut self, part: usize, status: u16, body_bytes: u64, latency: Duration) {
        let latency_ns = latency.as_nanos() as u64;
        *self.statuses.entry(status).or_default() += 1;
        self.body_bytes += body_bytes;
        for part in std::iter::once(&mut self.all).chain(self.parts.get_mut(part)) {
            part.ok += u64::from(status < 400);
            part.latency.record(latency_ns);
        }
    }

    pub(super) fn count_failure(&mut self, part: usize, failure: Failure, waited: Duration) {
        *self.failures.entry(failure).or_default() += 1;
        if failure == Failure::Timeout {
            let waited_ns = waited.as_nanos() as u64;
            for part in std::iter::once(&mut self.all).chain(self.parts.get_mut(part)) {
                part.latency.record(waited_ns);
            }
        }
    }

    /// Adds what a later window, or another run of the same mix, found.
    pub fn merge(&mut self, other: &Self) {
        self.all.merge(&other.all);
        if self.parts.is_empty() {
            self.parts.clone_from(&other.parts);
        } else {
            self.parts.iter_mut().zip(&other.parts).for_each(|(mine, theirs)| mine.merge(theirs));
        }
        self.sent += other.sent;
        other.failures.iter().for_each(|(k, n)| *self.failures.entry(*k).or_default() += n);
        other.statuses.iter().for_each(|(k, n)| *self.statuses.entry(*k).or_default() += n);
        self.body_bytes += other.body_bytes;
        self.reconnects += other.reconnects;
        self.elapsed += other.elapsed;
        self.target_rate = self.target_rate.or(other.target_rate);
        self.cpu_ns = self.cpu_ns.zip(other.cpu_ns).map(|(a, b)| a + b).or(self.cpu_ns).or(other.cpu_ns);
    }

    /// Answers of any status.
    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests without an answer, and answers with a status of 400 and above.
    pub fn errors(&self) -> u64 {
        let refused: u64 = self.statuses.range(400..).map(|(_, n)| n).sum();
        refused + self.failures.values().sum::<u64>()
    }

    /// Answers per second.
    pub fn achieved_rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.answered() as f64 / seconds } else { 0.0 }
    }

    /// CPU time of the load generator for one answer, in microseconds.
    pub fn cpu_us_per_answer(&self) -> Option<f64> {
        let answered = self.answered();
        self.cpu_ns.filter(|_| answered > 0).map(|ns| ns as f64 / 1e3 / answered as f64)
    }

    /// The figures of the report, for JSON.
    pub fn summary(&self) -> Summary {
        let mut errors: BTreeMap<String, u64> =
            self.failures.iter().map(|(failure, n)| (failure.name().to_owned(), *n)).collect();
        for (status, n) in self.statuses.range(400..) {
            *errors.entry(format!("status_{}xx", status / 100)).or_default() += n;
        }
        Summary {
            offered: self.all.offered,
            sent: self.sent,
            ok: self.all.ok,
            errors,
            statuses: self.statuses.clone(),
            body_bytes: self.body_bytes,
            reconnects: self.reconnects,
            elapsed_s: self.elapsed.as_secs_f64(),
            target_rate: self.target_rate,
            achieved_rate: self.achieved_rate(),
            latency_us: Latency::of(&self.all.latency),
            load_cpu_us: self.cpu_us_per_answer(),
        }
    }
}

impl Part {
    fn merge(&mut self, other: &Self) {
        self.offered += other.offered;
        self.ok += other.ok;
        self.latency.merge(&other.latency);
    }
}

/// A report's figures as they go into JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Requests that were due.
    pub offered: u64,
    /// Requests that went out.
    pub sent: u64,
    /// Answered with a status below 400.
    pub ok: u64,
    /// The rest by kind: `connect`, `closed`, `timeout`, `malformed`, `unsent`, `status_4xx`, `status_5xx`.
    pub errors: BTreeMap<String, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Content received, in bytes.
    pub body_bytes: u64,
    /// Connections opened beyond the first ones.
    pub reconnects: u64,
    /// Length of the run in seconds.
    pub elapsed_s: f64,
    /// Requests per second asked for.
    pub target_rate: Option<f64>,
    /// Answers per second.
    pub achieved_rate: f64,
    /// Latencies in microseconds.
    pub latency_us: Latency,
    /// CPU time of the load generator for one answer, in microseconds.
    pub load_cpu_us: Option<f64>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Smallest, exact.
    pub min: f64,
    /// Mean, exact.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 75 % are not slower.
    pub p75: f64,
    /// 90 % are not slower.
    pub p90: f64,
    /// 95 % are not slower.
    pub p95: f64,
    /// 99 % are not slower.
    pub p99: f64,
    /// 99.9 % are not slower.
    pub p999: f64,
    /// 99.99 % are not slower.
    pub p9999: f64,
    /// Largest, exact.
    pub max: f64,
}

impl Latency {
    /// Reads the quantiles of a histogram.
    pub fn of(histogram: &Histogram) -> Self {
        let at = |q| histogram.quantile_ns(q) as f64 / 1e3;
        Self {
            min: histogram.min_ns() as f64 / 1e3,
            mean: histogram.mean_ns() / 1e3,
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max_ns() as f64 / 1e3,
        }
    }
}
