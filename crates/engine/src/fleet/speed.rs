//! How fast an endpoint is beside its peers, by what its answers take and what a usual one would have taken.

use super::Endpoint;
use super::shortest::since_ms;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// About so many answers make the speed of an endpoint.
const SPEED_ANSWERS: u32 = 40;
/// The logarithm of the factor by which one answer may differ at most: 12 times.
const LOG_SPEED_MAX: f32 = 2.5;
/// A speed acts when it is a factor of 1.42 from its peers', and so many standard errors.
const LOG_SPEED_MIN: f32 = 0.35;
pub(super) const STANDARD_ERRORS: f32 = 4.0;
/// So many answers in a row that differ from what was known by more than a factor of 2.7, and by more than three times what they
/// usually do, say that the endpoint has changed: what is known begins anew, instead of moving by a fortieth with each.
const SURPRISES: u32 = 5;
const LOG_SURPRISE: f32 = 1.0;
const SPREADS: f32 = 3.0;
/// What is known after fewer answers is no reason to be surprised.
const SURPRISED_FROM: u32 = 10;
/// How fast a speed is forgotten that no answer confirms: time constant.
pub(super) const SPEED_FORGOTTEN_MS: f32 = 5_000.0;
/// What the speed of an endpoint is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    /// The logarithm of a usual endpoint's speed.
    pub(super) log_speed: f32,
    /// Endpoints that it is compared with; at least one.
    pub(super) peers: f32,
    /// How fast a speed is forgotten now.
    pub(super) forgotten_ms: f32,
}

/// So many endpoints are enough to say what is usual among them.
const COMPARED_MAX: usize = 64;

/// The logarithm of a usual endpoint's speed: the middle one of all answers, so that one that is rarely asked moves nothing.
pub(super) fn median_speed(fleet: &[Arc<Endpoint>]) -> f32 {
    let known = fleet.iter().filter(|endpoint| endpoint.cell.samples.load(Relaxed) > 0);
    let (mut speeds, mut count) = ([(0.0f32, 0u64); COMPARED_MAX], 0);
    for (speed, endpoint) in speeds.iter_mut().zip(known) {
        *speed = (endpoint.cell.log_speed.get(), u64::from(endpoint.cell.samples.load(Relaxed)));
        count += 1;
    }
    let speeds = speeds.get_mut(..count).unwrap_or_default();
    speeds.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let all: u64 = speeds.iter().map(|(_, answers)| answers).sum();
    let mut before = 0;
    for (at, (speed, answers)) in speeds.iter().enumerate() {
        before += answers;
        match speeds.get(at + 1) {
            // About as many on either side: between two that are asked alike, neither is the usual one.
            Some((next, _)) if (2 * before).abs_diff(all) * 10 <= all => return (speed + next) / 2.0,
            _ if 2 * before >= all => return *speed,
            _ => {}
        }
    }
    0.0
}

impl Endpoint {
    pub(super) fn learn_speed(&self, log_ratio: f32, now: u64) {
        let cell = &self.cell;
        let samples = cell.samples.load(Relaxed).saturating_add(1);
        let share = 1.0 / samples.min(SPEED_ANSWERS) as f32;
        let off = log_ratio.clamp(-LOG_SPEED_MAX, LOG_SPEED_MAX) - cell.log_speed.get();
        cell.sampled_ms.store((now / 1_000_000) as u32, Relaxed);
        if self.has_changed(off, samples) {
            cell.log_speed.set(cell.log_speed.get() + off);
            return cell.samples.store(SURPRISES, Relaxed);
        }
        cell.log_speed.set(cell.log_speed.get() + share * off);
        cell.log_spread.set((1.0 - share) * (cell.log_spread.get() + share * off * off));
        cell.samples.store(samples, Relaxed);
    }

    /// Whether its answers are no longer what they were. Where they always differ by much nothing surprises.
    fn has_changed(&self, off: f32, samples: u32) -> bool {
        let cell = &self.cell;
        let known = cell.surprises.load(Relaxed);
        if known == 0 {
            cell.spread_before.set(cell.log_spread.get());
        }
        let usual = SPREADS * cell.spread_before.get().sqrt();
        let is_surprise = samples > SURPRISED_FROM && off.abs() > LOG_SURPRISE.max(usual);
        let has_changed = is_surprise && known + 1 >= SURPRISES;
        let next = if is_surprise && !has_changed { known + 1 } else { 0 };
        if next != known {
            cell.surprises.store(next, Relaxed);
        }
        if has_changed {
            cell.log_spread.set(cell.spread_before.get());
        }
        has_changed
    }

    /// How many times slower than its peers it is, as far as that is certain; what no answer confirms fades.
    pub(super) fn factor(&self, usual: &Usual, now: u64) -> f32 {
        let cell = &self.cell;
        let samples = cell.samples.load(Relaxed).min(SPEED_ANSWERS);
        if samples < 2 {
            return 1.0;
        }
        let known = cell.log_speed.get() - usual.log_speed;
        // Fading only makes it less, and most endpoints are as fast as their peers.
        if known.abs() <= LOG_SPEED_MIN {
            return 1.0;
        }
        let apart = known * (-self.unsampled_ms(now) / usual.forgotten_ms).exp();
        // What it is compared with is not certain either: of two, no more than itself.
        let error = (cell.log_spread.get() / samples as f32 * (1.0 + 1.0 / usual.peers)).sqrt();
        if apart.abs() > LOG_SPEED_MIN.max(STANDARD_ERRORS * error) { apart.exp() } else { 1.0 }
    }

    pub(super) fn unsampled_ms(&self, now: u64) -> f32 {
        since_ms((now / 1_000_000) as u32, self.cell.sampled_ms.load(Relaxed)) as f32
    }
}
