//! How many requests at once an endpoint of a service takes before each more makes all of them slower: its knee. It is learned
//! from how answers take longer with requests in flight, and a property of the service, not of its load.
//!
//! For each of a few candidates `k` the time of an answer is predicted as `unit * max(1, (r + 1) / k)`, where `r` others are in
//! flight; whatever predicts about as well as the best may be the knee. Errors are kept apart by how many were in flight, so that
//! a quiet night does not make forgotten what the rush of the day has shown. What has not been tried cannot be told apart:
//! between candidates that predict alike, the one that was believed before is believed.

/// The candidates, and the one that is believed until something is known.
const CANDIDATES: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0];
const BELIEVED: usize = 3;
/// Errors are kept apart by requests in flight: 1, 2, 3, 4, and then by powers of two.
const CROWDS: usize = 9;
/// A crowd counts after so many answers.
const CROWD_ANSWERS: f32 = 30.0;
/// Candidates are compared after so many answers.
const COMPARED_AFTER: u32 = 500;
/// About so many answers make the unit of time, and the error of a prediction: the load changes within seconds, the knee with
/// the next release of the service.
const UNIT_ANSWERS: f32 = 256.0;
const ERROR_ANSWERS: f32 = 2_000.0;
/// A candidate predicts about as well as the best up to this ratio of their errors.
const ABOUT_AS_WELL: f32 = 1.005;
/// One answer counts as at most so many times what was predicted: a few that wait for something else decide nothing.
const CLIPPED_AT: f32 = 6.0;

/// What is known of each candidate.
#[derive(Debug)]
pub(super) struct Knees {
    unit_ms: [f32; CANDIDATES.len()],
    crowds: [Crowd; CROWDS],
    answers: u32,
    chosen: usize,
}

/// Answers that came with about as many in flight: how far each candidate was from them, squared, in parts of the prediction.
#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    answers: f32,
    error: [f32; CANDIDATES.len()],
}

impl Default for Knees {
    fn default() -> Knees {
        Knees { unit_ms: Default::default(), crowds: Default::default(), answers: 0, chosen: BELIEVED }
    }
}

impl Knees {
    /// Learns from an answer that took `wait_ms` while `before` others of a usual endpoint were in flight.
    pub(super) fn learn(&mut self, before: f32, wait_ms: f32) {
        self.answers = self.answers.saturating_add(1);
        let is_first = self.answers == 1;
        let unit_share = 1.0 / (self.answers as f32).min(UNIT_ANSWERS);
        let Some(crowd) = self.crowds.get_mut(crowd_of(before)) else { return };
        crowd.answers = (crowd.answers + 1.0).min(ERROR_ANSWERS);
        for ((unit_ms, error), knee) in self.unit_ms.iter_mut().zip(&mut crowd.error).zip(CANDIDATES) {
            let crowding = crowding(before, knee);
            let predicted_ms = *unit_ms * crowding;
            let wait_ms = if is_first { wait_ms } else { wait_ms.min(CLIPPED_AT * predicted_ms) };
            if !is_first {
                let off = wait_ms / predicted_ms.max(1e-3) - 1.0;
                *error += (off * off - *error) / crowd.answers;
            }
            *unit_ms += unit_share * (wait_ms / crowding - *unit_ms);
        }
        if self.answers.is_multiple_of(COMPARED_AFTER) {
            self.choose();
        }
    }

    fn choose(&mut self) {
        let known = || self.crowds.iter().filter(|crowd| crowd.answers >= CROWD_ANSWERS);
        let mut errors = [0.0f32; CANDIDATES.len()];
        for crowd in known() {
            errors.iter_mut().zip(crowd.error).for_each(|(sum, error)| *sum += error);
        }
        let least = errors.iter().copied().fold(f32::INFINITY, f32::min);
        let is_good = |at: &usize| errors.get(*at).is_some_and(|error| *error <= least * ABOUT_AS_WELL);
        let from = self.chosen;
        self.chosen = (from..CANDIDATES.len())
            .find(is_good)
            .filter(|&above| above == from || !(0..from).any(|below| is_good(&below)))
            .or_else(|| (0..from).rev().find(is_good))
            .unwrap_or(from);
    }

    /// Answers that were learned from.
    pub(super) fn answers(&self) -> u32 {
        self.answers
    }

    /// The knee.
    pub(super) fn knee(&self) -> f32 {
        CANDIDATES.get(self.chosen).copied().unwrap_or(1.0)
    }

    /// How long an answer takes where nobody is in the way, in milliseconds.
    pub(super) fn unit_ms(&self) -> f32 {
        self.unit_ms.get(self.chosen).copied().unwrap_or_default()
    }
}

/// How many times longer an answer takes while `before` others are in flight.
pub(super) fn crowding(before: f32, knee: f32) -> f32 {
    ((before + 1.0) / knee).max(1.0)
}

fn crowd_of(before: f32) -> usize {
    match before as u32 {
        few @ 0..=3 => few as usize,
        many => ((many + 1).ilog2() as usize + 2).min(CROWDS - 1),
    }
}
