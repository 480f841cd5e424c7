//! How long an endpoint that works may be silent: a quantile of the silences that ended with an answer.

use crate::tempo::window::Window;

/// Silences in a generation; two are looked back at.
const GENERATION: u32 = 2_000;
/// The quantile that counts as the longest silence of an endpoint that works.
const QUANTILE: f64 = 0.995;
/// With fewer nothing is said: half of one would be beyond the quantile.
const GAPS_MIN: u32 = 100;

/// The last silences.
#[derive(Debug, Default)]
pub(super) struct Gaps(Window);

impl Gaps {
    /// One more silence that an answer ended.
    pub(super) fn add(&mut self, gap_ns: u64) {
        self.0.count(gap_ns);
        if self.0.young() >= GENERATION {
            self.0.turn();
        }
    }

    /// The longest usual silence in milliseconds; `None` while there are too few to say.
    pub(super) fn usual_ms(&self) -> Option<f32> {
        let [longest_ns] = self.0.quantiles(&[QUANTILE]);
        (self.0.total() >= GAPS_MIN).then_some(longest_ns as f32 / 1e6)
    }
}
