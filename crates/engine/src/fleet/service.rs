//! What is learned of an upstream's endpoints together: what a usual answer takes, where crowding begins, how long silence is
//! usual; and from these, in what an endpoint differs from its peers.
//!
//! A figure acts only where it is certain: while endpoints are alike nothing here changes a choice, and choices are those of
//! least requests, which is hard to beat then. Cores that learn at once do not wait for one another: one of two answers is
//! overheard.

use super::cell::AtomicF32;
use super::gaps::Gaps;
use super::knee::{Knees, crowding};
use super::{Endpoint, InFlight, RegionId};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, TryLockError};

/// How often what follows from time alone is brought up to date.
const SWEEP_NS: u64 = 100_000_000;
/// Answers after which there is a usual one to compare with.
const USUAL_ANSWERS: u32 = 50;
/// About so many answers make the speed of an endpoint.
const SPEED_ANSWERS: u32 = 80;
/// The logarithm of the factor by which one answer may differ at most: 12 times.
const LOG_SPEED_MAX: f32 = 2.5;
/// A speed acts when it is a factor of 1.42 from its peers', and so many standard errors.
const LOG_SPEED_MIN: f32 = 0.35;
const STANDARD_ERRORS: f32 = 4.0;
/// How fast a speed is forgotten that no answer confirms: time constant, and what is as good as forgotten.
const SPEED_FORGOTTEN_MS: f32 = 5_000.0;
const LOG_SPEED_FORGOTTEN: f32 = 0.05;
/// How fast failures are forgotten that no answer confirms.
const FAILING_FORGOTTEN_MS: f32 = 5_000.0;
/// About so many requests make the share of those that leave the nearest region.
const LEAVING_REQUESTS: f32 = 128.0;
/// Silence beyond so many usual ones is a stall: what lived through it says nothing about speed.
const STALL_GAPS: f32 = 2.0;
/// No silence is shorter than what our own scheduling adds.
const GAP_MIN_MS: f32 = 1.0;
/// How far another region is until it is measured: a neighbouring one.
const ASSUMED_FAR_MS: f32 = 20.0;
/// Distances closer to each other than this are the same.
const DISTANCE_MIN_MS: f32 = 0.5;
/// The shortest answers say something about distance after so many.
const FLOOR_ANSWERS: u64 = 8;
/// What makes a distance of a difference between shortest answers: a factor, as all of them are some time at work, and a time.
const FLOOR_TIMES: f32 = 3.0;
const FLOOR_MS: f32 = 2.0;
/// The window of shortest answers; two of them count.
const FLOOR_WINDOW_MS: u32 = 10_000;
/// A longer way makes a usual answer longer by as much as the shortest; a slower endpoint by many times as much. Up to this
/// ratio it is the way.
const FLOOR_SHARE: f32 = 1.5;
/// How fast a distance is forgotten that only answers tell and none confirms: a request in two minutes looks.
const FLOOR_FORGOTTEN_MS: f32 = 60_000.0;

/// What an upstream's endpoints have in common.
#[derive(Debug, Default)]
pub struct Service {
    published: Published,
    swept_ns: AtomicU64,
    slow_start_ns: AtomicU64,
    learning: Mutex<Learning>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Published {
    unit_ms: AtomicF32,
    knee: AtomicF32,
    gap_ms: AtomicF32,
    weight: AtomicF32,
    others: AtomicF32,
    /// The number of the nearest region that is well; beyond 16 bits where there is none, or no other.
    home: AtomicU32,
    leaving: AtomicF32,
    median: AtomicF32,
    answers: AtomicU32,
}

impl Default for Published {
    fn default() -> Published {
        Published {
            unit_ms: AtomicF32::new(1.0),
            knee: AtomicF32::new(4.0),
            gap_ms: AtomicF32::new(1_000.0),
            weight: AtomicF32::new(1.0),
            others: AtomicF32::new(0.0),
            home: u32::MAX.into(),
            leaving: AtomicF32::new(0.0),
            median: AtomicF32::new(0.0),
            answers: 0.into(),
        }
    }
}

#[derive(Debug, Default)]
struct Learning {
    knees: Knees,
    gaps: Gaps,
}

/// The figures of a service at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// What an answer takes where nobody is in the way, distance left out.
    pub unit_ms: f32,
    /// Requests at once beyond which each takes longer.
    pub knee: f32,
    /// The longest usual silence of an endpoint that works.
    pub gap_ms: f32,
    /// The weight of a usual endpoint.
    pub weight: f32,
    /// Requests that others have in flight to a usual endpoint; 0 where no endpoint says.
    pub others: f32,
    /// The nearest region that is well, where there are several.
    pub home: Option<RegionId>,
}

/// An answered request, as its endpoint is learned from it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From the last byte of the request to the head of the answer.
    pub wait_ns: u64,
    /// Requests that were in flight to the endpoint when it was sent.
    pub before: u32,
    /// For how long of that the endpoint did not move.
    pub stalled_ns: u64,
}

impl Service {
    /// How long an endpoint that joins takes to its full share; 0 gives it to it at once.
    pub fn set_slow_start(&self, slow_start_ns: u64) {
        self.slow_start_ns.store(slow_start_ns, Relaxed);
    }

    /// What is known.
    pub fn figures(&self) -> Figures {
        let known = &self.published;
        Figures {
            unit_ms: known.unit_ms.get(),
            knee: known.knee.get(),
            gap_ms: known.gap_ms.get(),
            weight: known.weight.get(),
            others: known.others.get(),
            home: u16::try_from(known.home.load(Relaxed)).ok().map(RegionId),
        }
    }

    /// Share of the last requests that left the nearest region because it was busy.
    pub fn leaving(&self) -> f32 {
        self.published.leaving.get()
    }

    /// Another request did, or did not.
    pub fn note_leaving(&self, leaves: bool) {
        let known = self.published.leaving.get();
        if leaves || known != 0.0 {
            let next = known + (f32::from(u8::from(leaves)) - known) / LEAVING_REQUESTS;
            self.published.leaving.set(if next < 1e-4 { 0.0 } else { next });
        }
    }

    /// Answers that were learned from.
    pub fn answers(&self) -> u32 {
        self.published.answers.load(Relaxed)
    }

    /// Learns from an answer whose head has come. Only an answer that did the work says how long work takes: `is_good`.
    pub fn observe(
        &self,
        fleet: &[Arc<Endpoint>],
        request: &InFlight,
        wait_ns: u64,
        is_good: bool,
        now: u64,
    ) {
        let endpoint = request.endpoint();
        let gap_ns = endpoint.progressed(now);
        let gap_ms = self.published.gap_ms.get();
        let stall_ns = gap_ns.saturating_sub((gap_ms * STALL_GAPS * 1e6) as u64);
        if stall_ns > 0 {
            endpoint.cell.stalled_ns.fetch_add(stall_ns, Relaxed);
        }
        if !is_good {
            return;
        }
        let sample = Sample { wait_ns, before: request.before(), stalled_ns: request.stalled_ns() };
        endpoint.note_wait(wait_ns, now);
        match self.learning.try_lock() {
            Ok(mut learning) => self.learn(&mut learning, fleet, endpoint, sample, gap_ns, now),
            Err(TryLockError::Poisoned(poisoned)) => {
                // Figures of before the panic are as good as any: they are learned anew from what comes.
                *poisoned.into_inner() = Learning::default();
                self.learning.clear_poison();
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn learn(
        &self,
        learning: &mut Learning,
        fleet: &[Arc<Endpoint>],
        endpoint: &Endpoint,
        sample: Sample,
        gap_ns: u64,
        now: u64,
    ) {
        let figures = self.figures();
        let answers = learning.knees.answers();
        learning.gaps.add(gap_ns);
        if answers % 64 == 63
            && let Some(usual_ms) = learning.gaps.usual_ms()
        {
            self.published.gap_ms.set(usual_ms.max(GAP_MIN_MS));
        }
        let net_ms = (sample.wait_ns.saturating_sub(sample.stalled_ns) as f32 / 1e6
            - endpoint.cell.distance_ms.get())
        .max(0.01);
        // As a usual endpoint has it in flight: of two, the heavier takes more at once.
        let before = sample.before as f32 * figures.weight / endpoint.weight as f32;
        if answers >= USUAL_ANSWERS {
            let usual_ms = figures.unit_ms * crowding(before, figures.knee);
            endpoint.learn_speed((net_ms / usual_ms).ln(), now);
            endpoint.cell.factor.set(endpoint.factor(self.published.median.get(), now));
        }
        let apart = endpoint.cell.log_speed.get() - self.published.median.get();
        learning.knees.learn(before, net_ms * (-apart).exp());
        self.published.unit_ms.set(learning.knees.unit_ms());
        self.published.knee.set(learning.knees.knee());
        self.published.answers.store(learning.knees.answers(), Relaxed);
        self.sweep(fleet, now);
    }

    /// Brings up to date what follows from time alone, once in a while.
    pub fn sweep(&self, fleet: &[Arc<Endpoint>], now: u64) {
        let swept_ns = self.swept_ns.load(Relaxed);
        let passed_ns = now.saturating_sub(swept_ns);
        if passed_ns < SWEEP_NS || self.swept_ns.compare_exchange(swept_ns, now, Relaxed, Relaxed).is_err() {
            return;
        }
        let weights: u32 = fleet.iter().map(|endpoint| endpoint.weight).sum();
        self.published.weight.set(weights as f32 / fleet.len().max(1) as f32);
        let median = median_speed(fleet);
        self.published.median.set(median);
        self.published.home.store(home(fleet, now), Relaxed);
        let kept = (-(passed_ns as f32 / 1e6) / FAILING_FORGOTTEN_MS).exp();
        let said = fleet.iter().filter(|endpoint| endpoint.cell.reported_ms.load(Relaxed) != 0);
        let others: f32 = said.map(|endpoint| endpoint.cell.reported.load(Relaxed) as f32).sum();
        self.published.others.set(others / fleet.len().max(1) as f32);
        let shortest = fleet.iter().filter_map(|endpoint| endpoint.floor());
        let shortest = shortest.min_by(|a, b| a.least_ms.total_cmp(&b.least_ms));
        let nearest_ms = fleet.iter().map(|endpoint| endpoint.round_trip_ms()).fold(f32::INFINITY, f32::min);
        for endpoint in fleet {
            let cell = &endpoint.cell;
            endpoint.warm_up(self.published.knee.get(), self.slow_start_ns.load(Relaxed), now);
            cell.factor.set(endpoint.factor(median, now));
            cell.distance_ms.set(endpoint.farther_ms(nearest_ms, shortest, now));
            if cell.failing.get() != 0.0 {
                cell.failing.update(|known| if known < 1e-3 { 0.0 } else { known * kept });
            }
        }
    }
}

/// The number of the region of the nearest endpoint that is well, where there are several regions.
fn home(fleet: &[Arc<Endpoint>], now: u64) -> u32 {
    let first = fleet.first().and_then(|endpoint| endpoint.region);
    if fleet.iter().all(|endpoint| endpoint.region == first) {
        return u32::MAX;
    }
    let is_well = |endpoint: &&Arc<Endpoint>| {
        !endpoint.is_unhealthy()
            && !endpoint.is_ejected(now)
            && !endpoint.is_drained()
            && endpoint.failing() < 0.5
    };
    let well = fleet.iter().filter(is_well);
    let nearest = well.min_by(|a, b| a.distance_ms().total_cmp(&b.distance_ms()));
    nearest.and_then(|endpoint| endpoint.region).map_or(u32::MAX, |region| u32::from(region.0))
}

/// An endpoint's shortest answer, and its usual one.
#[derive(Clone, Copy, Debug)]
struct Floor {
    least_ms: f32,
    usual_ms: f32,
}

impl Floor {
    /// Whether it is the way that makes the difference.
    fn is_farther_than(&self, shortest: &Floor) -> bool {
        let longer_ms = self.least_ms - shortest.least_ms;
        self.least_ms > FLOOR_TIMES * shortest.least_ms
            && longer_ms > FLOOR_MS
            && self.usual_ms - shortest.usual_ms < FLOOR_SHARE * longer_ms
    }
}

/// So many endpoints are enough to say what is usual among them.
const COMPARED_MAX: usize = 64;

/// The logarithm of a usual endpoint's speed: the middle one; of two the mean.
fn median_speed(fleet: &[Arc<Endpoint>]) -> f32 {
    let known = fleet.iter().filter(|endpoint| endpoint.cell.samples.load(Relaxed) > 0);
    let (mut speeds, mut count) = ([0.0f32; COMPARED_MAX], 0);
    for (speed, endpoint) in speeds.iter_mut().zip(known) {
        *speed = endpoint.cell.log_speed.get();
        count += 1;
    }
    let speeds = speeds.get_mut(..count).unwrap_or_default();
    speeds.sort_unstable_by(f32::total_cmp);
    match (speeds.get((count / 2).wrapping_sub(1)), speeds.get(count / 2)) {
        (Some(below), Some(above)) if count.is_multiple_of(2) => (below + above) / 2.0,
        (_, Some(middle)) => *middle,
        _ => 0.0,
    }
}

impl Endpoint {
    fn learn_speed(&self, log_ratio: f32, now: u64) {
        let cell = &self.cell;
        let samples = cell.samples.load(Relaxed).saturating_add(1);
        let share = 1.0 / samples.min(SPEED_ANSWERS) as f32;
        let off = log_ratio.clamp(-LOG_SPEED_MAX, LOG_SPEED_MAX) - cell.log_speed.get();
        cell.log_speed.set(cell.log_speed.get() + share * off);
        cell.log_spread.set((1.0 - share) * (cell.log_spread.get() + share * off * off));
        cell.samples.store(samples, Relaxed);
        cell.sampled_ms.store((now / 1_000_000) as u32, Relaxed);
    }

    /// How many times slower than its peers it is, as far as that is certain; what no answer confirms fades.
    fn factor(&self, median: f32, now: u64) -> f32 {
        let cell = &self.cell;
        let samples = cell.samples.load(Relaxed).min(SPEED_ANSWERS);
        if samples < 2 {
            return 1.0;
        }
        let apart = cell.log_speed.get() - median;
        let error = (cell.log_spread.get() / samples as f32).sqrt();
        if apart.abs() <= LOG_SPEED_MIN.max(STANDARD_ERRORS * error) {
            return 1.0;
        }
        let left = apart * (-self.unsampled_ms(now) / SPEED_FORGOTTEN_MS).exp();
        if left.abs() < LOG_SPEED_FORGOTTEN { 1.0 } else { left.exp() }
    }

    fn unsampled_ms(&self, now: u64) -> f32 {
        ((now / 1_000_000) as u32).wrapping_sub(self.cell.sampled_ms.load(Relaxed)) as f32
    }

    /// Learns how long an answer took: the moving average for whoever looks, and the shortest one.
    fn note_wait(&self, wait_ns: u64, now: u64) {
        const SAMPLES: u64 = 16;
        let cell = &self.cell;
        let next = match cell.wait_ns.load(Relaxed) {
            0 => wait_ns,
            known => known - known / SAMPLES + wait_ns / SAMPLES,
        };
        cell.wait_ns.store(next, Relaxed);
        let now_ms = (now / 1_000_000) as u32;
        if now_ms.wrapping_sub(cell.floor_since_ms.load(Relaxed)) > FLOOR_WINDOW_MS {
            cell.floor_before_us.store(cell.floor_us.swap(u32::MAX, Relaxed), Relaxed);
            cell.floor_since_ms.store(now_ms, Relaxed);
        }
        let wait_us = u32::try_from(wait_ns / 1_000).unwrap_or(u32::MAX - 1);
        if wait_us < cell.floor_us.load(Relaxed) {
            cell.floor_us.store(wait_us, Relaxed);
        }
    }

    /// The shortest answer of the last windows, if there were enough.
    fn floor(&self) -> Option<Floor> {
        let cell = &self.cell;
        let floor_us = cell.floor_us.load(Relaxed).min(cell.floor_before_us.load(Relaxed));
        let is_known = floor_us < u32::MAX && cell.successes.load(Relaxed) >= FLOOR_ANSWERS;
        let usual_ms = cell.wait_ns.load(Relaxed) as f32 / 1e6;
        is_known.then(|| Floor { least_ms: floor_us as f32 / 1e3, usual_ms })
    }

    /// It is in another region than this node: far, until that is measured.
    pub fn assume_far(&self) {
        if self.is_unmeasured() {
            self.cell.distance_ms.set(ASSUMED_FAR_MS);
        }
    }

    fn is_unmeasured(&self) -> bool {
        let cell = &self.cell;
        cell.round_trip_us.load(Relaxed) == u32::MAX && cell.successes.load(Relaxed) < FLOOR_ANSWERS
    }

    fn round_trip_ms(&self) -> f32 {
        match self.cell.round_trip_us.load(Relaxed) {
            u32::MAX => 0.0,
            known => known as f32 / 1e3,
        }
    }

    /// A round trip to it took so long: connecting, or a ping.
    pub fn note_round_trip(&self, took_ns: u64) {
        let took_us = u32::try_from(took_ns / 1_000).unwrap_or(u32::MAX - 1);
        let next = match self.cell.round_trip_us.load(Relaxed) {
            // The shortest is the way; a longer one is believed slowly.
            known if known == u32::MAX || took_us <= known => took_us,
            known => known + (took_us - known) / 8,
        };
        self.cell.round_trip_us.store(next, Relaxed);
    }

    /// How much farther away it is than the nearest: by round trips, or by shortest answers where something on the way answers
    /// for it (a relay, a mesh, a load balancer).
    fn farther_ms(&self, nearest_ms: f32, shortest: Option<Floor>, now: u64) -> f32 {
        if self.is_unmeasured() {
            return self.cell.distance_ms.get();
        }
        let by_trip_ms = self.round_trip_ms() - nearest_ms;
        let by_floor_ms = match (self.floor(), shortest) {
            (Some(own), Some(shortest)) if own.is_farther_than(&shortest) => {
                (own.least_ms - shortest.least_ms) * (-self.unsampled_ms(now) / FLOOR_FORGOTTEN_MS).exp()
            }
            _ => 0.0,
        };
        let farther_ms = by_trip_ms.max(by_floor_ms);
        if farther_ms < DISTANCE_MIN_MS { 0.0 } else { farther_ms }
    }
}
