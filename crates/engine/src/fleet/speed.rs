//! How fast an endpoint is beside its peers, by what its answers take and what a usual one would have taken.

use super::Endpoint;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// About so many answers make the speed of an endpoint.
const SPEED_ANSWERS: u32 = 40;
/// The logarithm of the factor by which one answer may differ at most: 12 times.
const LOG_SPEED_MAX: f32 = 2.5;
/// A speed acts when it is a factor of 1.42 from its peers', and so many standard errors.
const LOG_SPEED_MIN: f32 = 0.35;
const STANDARD_ERRORS: f32 = 4.0;
/// How fast a speed is forgotten that no answer confirms: time constant, and what is as good as forgotten.
pub(super) const SPEED_FORGOTTEN_MS: f32 = 5_000.0;
const LOG_SPEED_FORGOTTEN: f32 = 0.05;
/// So many endpoints are enough to say what is usual among them.
const COMPARED_MAX: usize = 64;

/// The logarithm of a usual endpoint's speed: the middle one; of two the mean.
pub(super) fn median_speed(fleet: &[Arc<Endpoint>]) -> f32 {
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
    pub(super) fn learn_speed(&self, log_ratio: f32, now: u64) {
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
    pub(super) fn factor(&self, median: f32, forgotten_ms: f32, now: u64) -> f32 {
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
        let left = apart * (-self.unsampled_ms(now) / forgotten_ms).exp();
        if left.abs() < LOG_SPEED_FORGOTTEN { 1.0 } else { left.exp() }
    }

    pub(super) fn unsampled_ms(&self, now: u64) -> f32 {
        ((now / 1_000_000) as u32).wrapping_sub(self.cell.sampled_ms.load(Relaxed)) as f32
    }
}
