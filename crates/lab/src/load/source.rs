//! Where the connections get their next request from: at once in a closed loop, from the queue of what is due
//! in an open one. Here the number of outstanding requests is bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::report::{Failure, Report};
use super::request::Mix;
use super::{Arrivals, Options};
use crate::random::Random;
use crate::timer::Timer;

/// At rates above the inverse of this, several arrivals are released by one wake-up, late by this at most.
const WAKE_GAP: Duration = Duration::from_micros(50);
/// Arrivals released before the connections get their turn.
const BURST_MAX: u32 = 64;

/// One request to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    /// When it was due: its clock starts here.
    pub(super) intended: Instant,
    /// Index into the mix.
    pub(super) request: usize,
    /// Index into the parts of the report.
    pub(super) part: usize,
}

/// The state a run's dispatcher and connections share on one thread.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) mix: RefCell<Mix>,
    pub(super) report: RefCell<Report>,
    closed_loop: bool,
    until: Cell<Instant>,
    left: Cell<u64>,
    due: RefCell<VecDeque<Job>>,
    in_flight: Cell<usize>,
    outstanding_max: usize,
    finished: Cell<bool>,
    changed: Notify,
}

impl Source {
    pub(super) fn new(options: &Options, mix: Mix, report: Report, start: Instant) -> Self {
        Self {
            mix: RefCell::new(mix),
            report: RefCell::new(report),
            closed_loop: options.arrivals == Arrivals::Closed,
            until: Cell::new(start + options.duration),
            left: Cell::new(options.requests),
            due: RefCell::default(),
            in_flight: Cell::new(0),
            outstanding_max: options.outstanding,
            finished: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Starts the clock: requests are offered until `start + duration`.
    pub(super) fn begin(&self, start: Instant, duration: Duration) {
        self.until.set(start + duration);
    }

    /// The next request of a connection, which became free at `now`; `None` when the run is over.
    pub(super) async fn next(&self, now: Instant) -> Option<Job> {
        if self.closed_loop {
            return self.next_closed(now);
        }
        loop {
            let job = self.due.borrow_mut().pop_front();
            if let Some(job) = job {
                self.in_flight.set(self.in_flight.get() + 1);
                return Some(job);
            }
            if self.finished.get() {
                return None;
            }
            self.changed.notified().await;
        }
    }

    fn next_closed(&self, now: Instant) -> Option<Job> {
        if now >= self.until.get() || self.left.get() == 0 || self.finished.get() {
            return None;
        }
        self.left.set(self.left.get() - 1);
        let (request, part) = self.mix.borrow_mut().draw();
        self.report.borrow_mut().count_offered(part);
        self.in_flight.set(self.in_flight.get() + 1);
        Some(Job { intended: now, request, part })
    }

    /// Requests wait in a queue, so one can be overdue before it is sent.
    pub(super) fn is_open_loop(&self) -> bool {
        !self.closed_loop
    }

    /// A request got its answer or failed.
    pub(super) fn done(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    fn offer(&self, intended: Instant) {
        let (request, part) = self.mix.borrow_mut().draw();
        let mut report = self.report.borrow_mut();
        report.count_offered(part);
        let mut due = self.due.borrow_mut();
        if due.len() + self.in_flight.get() >= self.outstanding_max {
            report.count_failure(part, Failure::Unsent, Duration::ZERO);
            return;
        }
        due.push_back(Job { intended, request, part });
        self.changed.notify_one();
    }

    /// No more requests; connections end when the queue is empty.
    pub(super) fn finish(&self) {
        self.finished.set(true);
        self.changed.notify_waiters();
    }

    /// Gives up what still waits for a connection.
    pub(super) fn drop_unsent(&self) {
        let unsent: Vec<Job> = self.due.borrow_mut().drain(..).collect();
        let mut report = self.report.borrow_mut();
        unsent.iter().for_each(|job| report.count_failure(job.part, Failure::Unsent, Duration::ZERO));
    }

    /// Releases requests as they are due, until time or number is used up. Returns when the last was due.
    pub(super) async fn dispatch(&self, arrivals: Arrivals, seed: u64, start: Instant) -> io::Result<()> {
        let Some(rate) = arrivals.rate() else { return Ok(()) };
        let mut schedule = Schedule::new(arrivals, seed);
        let slack = if rate > 1.0 / WAKE_GAP.as_secs_f64() { WAKE_GAP } else { Duration::ZERO };
        let mut timer = Timer::new()?;
        let mut burst = 0;
        while self.left.get() > 0 {
            let at = start + schedule.next_offset();
            if at >= self.until.get() {
                break;
            }
            if at > Instant::now() {
                timer.sleep_until(at + slack).await?;
                burst = 0;
            } else if burst == BURST_MAX {
                tokio::task::yield_now().await;
                burst = 0;
            }
            burst += 1;
            self.left.set(self.left.get() - 1);
            self.offer(at);
        }
        Ok(())
    }
}

/// The intended times of an open loop, as offsets from its start.
#[derive(Debug)]
struct Schedule {
    arrivals: Arrivals,
    random: Random,
    offset_s: f64,
    index: u64,
}

impl Schedule {
    fn new(arrivals: Arrivals, seed: u64) -> Self {
        Self { arrivals, random: Random::new(seed), offset_s: 0.0, index: 0 }
    }

    fn next_offset(&mut self) -> Duration {
        let offset_s = match self.arrivals {
            Arrivals::Closed => 0.0,
            // Multiplied, not added up: no drift over millions of requests.
            Arrivals::Constant { rate } => self.index as f64 / rate,
            Arrivals::Poisson { rate } => self.offset_s + self.random.exponential(1.0 / rate),
        };
        self.offset_s = offset_s;
        self.index += 1;
        Duration::try_from_secs_f64(offset_s).unwrap_or(Duration::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_evenly_spaced_without_drift() {
        let mut schedule = Schedule::new(Arrivals::Constant { rate: 3.0 }, 1);
        let offsets: Vec<Duration> = (0..=3_000_000).map(|_| schedule.next_offset()).collect();
        assert_eq!(offsets[0], Duration::ZERO);
        assert_eq!(offsets[3_000_000], Duration::from_secs(1_000_000));
    }

    #[test]
    fn poisson_arrivals_keep_their_rate_and_follow_from_the_seed() {
        let take = |seed| {
            let mut schedule = Schedule::new(Arrivals::Poisson { rate: 1_000.0 }, seed);
            (0..100_000).map(|_| schedule.next_offset()).collect::<Vec<_>>()
        };
        let offsets = take(5);
        assert!(offsets.is_sorted());
        assert!((offsets[99_999].as_secs_f64() - 100.0).abs() < 1.5, "{:?}", offsets[99_999]);
        assert_eq!(offsets, take(5));
        assert_ne!(offsets, take(6));
    }
}
