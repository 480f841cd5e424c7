//! What is learned of an upstream's endpoints together: what a usual answer takes, where crowding begins, how long silence is
//! usual; and from these, in what an endpoint differs from its peers.
//!
//! A figure acts only where it is certain: while endpoints are alike nothing here changes a choice, and choices are those of
//! least requests, which is hard to beat then. Cores that learn at once do not wait for one another: one of two answers is
//! overheard.

use super::cell::AtomicF32;
use super::curve::Curve;
use super::distance::home;
use super::gaps::Gaps;
use super::health::usual_failing;
use super::load::{NOBODY_SAYS, are_most_away, usual_report};
use super::speed::{SPEED_FORGOTTEN_MS, Usual, median_speed};
use super::went::WentCounts;
use super::{Endpoint, InFlight, RegionId};
use crate::techniques::attempt::purse::Floor;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, TryLockError};

/// How often what follows from time alone is brought up to date.
const SWEEP_NS: u64 = 100_000_000;
/// Of an only endpoint, one answer in so many is learned from.
const ONLY_ONE_IN: u64 = 8;
/// Answers after which there is a usual one to compare with.
const USUAL_ANSWERS: u64 = 50;
/// How fast failures are forgotten that no answer confirms, and what is as good as none.
const FAILING_FORGOTTEN_MS: f32 = 2_000.0;
const FAILING_MIN: f32 = 0.005;
/// But no faster than within so many answers of the service: a quiet one would look after its slow endpoint, or its failing one,
/// with every other request.
const SPEED_FORGOTTEN_ANSWERS: f32 = 1_500.0;
const FAILING_FORGOTTEN_ANSWERS: f32 = 600.0;
/// About so many requests make the share of those that leave the nearest region.
const LEAVING_REQUESTS: f32 = 128.0;
/// One pause counts as at most so many usual ones, and a little.
const BETWEEN_TIMES: f32 = 4.0;
const BETWEEN_MS: f32 = 100.0;
/// Silence beyond so many usual ones is a stall: what lived through it says nothing about speed.
pub const STALL_GAPS: f32 = 2.0;
/// No silence is shorter than what our own scheduling adds.
const GAP_MIN_MS: f32 = 1.0;

/// What an upstream's endpoints have in common.
#[derive(Debug, Default)]
pub struct Service {
    published: Published,
    swept_ns: AtomicU64,
    slow_start_ns: AtomicU64,
    learning: Mutex<Learning>,
    went: WentCounts,
    /// Retries that its routes have in common.
    pub retry_floor: Mutex<Floor>,
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
    failing: AtomicF32,
    median: AtomicF32,
    answers: AtomicU32,
    /// Time between two answers.
    between_ms: AtomicF32,
}

impl Default for Published {
    fn default() -> Published {
        Published {
            unit_ms: AtomicF32::new(1.0),
            knee: AtomicF32::new(4.0),
            gap_ms: AtomicF32::new(1_000.0),
            weight: AtomicF32::new(1.0),
            others: AtomicF32::new(NOBODY_SAYS),
            home: u32::MAX.into(),
            leaving: AtomicF32::new(0.0),
            failing: AtomicF32::new(0.0),
            median: AtomicF32::new(0.0),
            answers: 0.into(),
            between_ms: AtomicF32::new(0.0),
        }
    }
}

#[derive(Debug, Default)]
struct Learning {
    curve: Curve,
    gaps: Gaps,
    learned_ns: u64,
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
    /// The share of failures of a usual endpoint.
    pub failing: f32,
    /// Requests that others have in flight to a usual endpoint; less than 0 where no endpoint says.
    pub others: f32,
    /// The nearest region that is well, where there are several.
    pub home: Option<RegionId>,
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
            failing: known.failing.get(),
            others: known.others.get(),
            home: u16::try_from(known.home.load(Relaxed)).ok().map(RegionId),
        }
    }

    /// Where requests went against the cost of their endpoints.
    pub fn went(&self) -> &WentCounts {
        &self.went
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
        let met = request.before() as f32 * endpoint.present();
        endpoint.note_wait(wait_ns, met >= self.published.knee.get(), now);
        // Where there is no choice, what is learned is for the limit and for whoever looks: some answers will do.
        if fleet.len() == 1 && !endpoint.cell.successes.load(Relaxed).is_multiple_of(ONLY_ONE_IN) {
            return;
        }
        match self.learning.try_lock() {
            Ok(mut learning) => self.learn(&mut learning, fleet, (request, wait_ns), gap_ns, now),
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
        (request, wait_ns): (&InFlight, u64),
        gap_ns: u64,
        now: u64,
    ) {
        let endpoint = request.endpoint();
        let Learning { curve, gaps, learned_ns } = learning;
        let known = &self.published;
        let between_ms = now.saturating_sub(std::mem::replace(learned_ns, now)) as f32 / 1e6;
        let usual_ms = known.between_ms.get();
        // A pause is no measure of how often it is asked.
        let between_ms = between_ms.min(BETWEEN_TIMES * usual_ms + BETWEEN_MS);
        known.between_ms.set(usual_ms + 0.01 * (between_ms - usual_ms));
        gaps.add(gap_ns);
        if curve.answers() % 64 == 63
            && let Some(usual_ms) = gaps.usual_ms()
        {
            known.gap_ms.set(usual_ms.max(GAP_MIN_MS));
        }
        let net_of = |wait_ns: u64| (wait_ns as f32 / 1e6 - endpoint.cell.distance_ms.get()).max(0.01);
        let net_ms = net_of(wait_ns.saturating_sub(request.stalled_ns()));
        // Of who was there alone the silence is its own work, or one freeze among many answers.
        let own_ms = if request.before() == 0 { net_of(wait_ns) } else { net_ms };
        // As a usual endpoint has it in flight: of two, the heavier takes more at once; and who is on the way is in nobody's way.
        let before =
            request.before() as f32 * endpoint.present() * known.weight.get() / endpoint.weight() as f32;
        if curve.answers() >= USUAL_ANSWERS {
            endpoint.learn_speed((own_ms / curve.expected_ms(before)).ln(), now);
            endpoint.cell.factor.set(endpoint.factor(&self.usual(known.median.get(), fleet), now));
        }
        // What is usual is learned from those that are not slow, as they are: scaled, crowding where it is always crowded would
        // be taken for slowness.
        if endpoint.slower() <= 1.0 {
            curve.learn(before, net_ms);
        }
        known.unit_ms.set(curve.unit_ms());
        known.knee.set(curve.knee());
        known.answers.store(u32::try_from(curve.answers()).unwrap_or(u32::MAX), Relaxed);
        self.sweep(fleet, now);
    }

    fn usual(&self, log_speed: f32, fleet: &[Arc<Endpoint>]) -> Usual {
        let forgotten_ms = SPEED_FORGOTTEN_MS.max(SPEED_FORGOTTEN_ANSWERS * self.published.between_ms.get());
        Usual { log_speed, peers: fleet.len().saturating_sub(1).max(1) as f32, forgotten_ms }
    }

    /// Brings up to date what follows from time alone, once in a while.
    pub fn sweep(&self, fleet: &[Arc<Endpoint>], now: u64) {
        let swept_ns = self.swept_ns.load(Relaxed);
        let passed_ns = now.saturating_sub(swept_ns);
        // Nothing is known before the first time.
        if swept_ns != 0 && passed_ns < SWEEP_NS
            || self.swept_ns.compare_exchange(swept_ns, now, Relaxed, Relaxed).is_err()
        {
            return;
        }
        let weights: u32 = fleet.iter().map(|endpoint| endpoint.weight()).sum();
        self.published.weight.set(weights as f32 / fleet.len().max(1) as f32);
        let median = median_speed(fleet);
        self.published.median.set(median);
        self.published.failing.set(usual_failing(fleet));
        let usual = self.usual(median, fleet);
        self.published.home.store(home(fleet, now), Relaxed);
        let forgotten_ms =
            FAILING_FORGOTTEN_MS.max(FAILING_FORGOTTEN_ANSWERS * self.published.between_ms.get());
        let kept = (-(passed_ns as f32 / 1e6) / forgotten_ms).exp();
        self.published.others.set(usual_report(fleet, now));
        let shortest = fleet.iter().filter_map(|endpoint| endpoint.floor_of_late(now));
        let shortest = shortest.min_by(|a, b| a.least_ms.total_cmp(&b.least_ms));
        let nearest_ms =
            fleet.iter().filter_map(|endpoint| endpoint.round_trip_ms()).fold(f32::INFINITY, f32::min);
        let are_most_away = are_most_away(fleet, now);
        for endpoint in fleet {
            let cell = &endpoint.cell;
            let slow_start_ns = self.slow_start_ns.load(Relaxed);
            endpoint.warm_up(self.published.knee.get(), slow_start_ns, are_most_away, now);
            cell.factor.set(endpoint.factor(&usual, now));
            let farther_ms = endpoint.farther_ms(nearest_ms, shortest, now);
            cell.distance_ms.set(farther_ms);
            let usual_ms = cell.wait_ns.load(Relaxed) as f32 / 1e6;
            cell.present.set(if farther_ms > 0.0 { (1.0 - farther_ms / usual_ms).max(0.05) } else { 1.0 });
            if cell.failing.get() != 0.0 {
                cell.failing.update(|known| if known < FAILING_MIN { 0.0 } else { known * kept });
            }
        }
    }
}
