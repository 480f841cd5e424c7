//! How long an endpoint that works may be silent: a quantile of the silences that ended with an answer.

/// Buckets of a factor of two each.
const OCTAVES: usize = 27;
/// Buckets within one: 9 % apart, as the answer need not be exact.
const PARTS: usize = 8;
/// Silences that are looked back at: twice as many at most, as half of them are forgotten at once.
const REMEMBERED: u32 = 2_000;
/// The quantile that counts as the longest silence of an endpoint that works.
const QUANTILE: f32 = 0.995;

/// Counts of the last silences.
#[derive(Debug)]
pub(super) struct Gaps {
    now: [u16; OCTAVES * PARTS],
    before: [u16; OCTAVES * PARTS],
    count: u32,
}

impl Default for Gaps {
    fn default() -> Gaps {
        Gaps { now: [0; OCTAVES * PARTS], before: [0; OCTAVES * PARTS], count: 0 }
    }
}

impl Gaps {
    /// One more silence that an answer ended.
    pub(super) fn add(&mut self, gap_ns: u64) {
        if let Some(count) = self.now.get_mut(bucket(gap_ns)) {
            *count += 1;
        }
        self.count += 1;
        if self.count >= REMEMBERED {
            self.before = std::mem::replace(&mut self.now, [0; OCTAVES * PARTS]);
            self.count = 0;
        }
    }

    /// The longest usual silence in milliseconds; `None` while there are too few to say.
    pub(super) fn usual_ms(&self) -> Option<f32> {
        let both =
            || self.now.iter().zip(&self.before).map(|(now, before)| u32::from(*now) + u32::from(*before));
        let all: u32 = both().sum();
        if all < 100 {
            return None;
        }
        let mut beyond = (all as f32 * (1.0 - QUANTILE)) as u32 + 1;
        let count = OCTAVES * PARTS;
        let counts: [u32; OCTAVES * PARTS] = {
            let mut counts = [0; OCTAVES * PARTS];
            counts.iter_mut().zip(both()).for_each(|(to, from)| *to = from);
            counts
        };
        let at = counts.iter().rev().position(|&in_bucket| {
            let is_here = in_bucket >= beyond;
            beyond = beyond.saturating_sub(in_bucket);
            is_here
        })?;
        Some(upper_ms(count - 1 - at))
    }
}

/// The bucket of a silence, from a microsecond up.
fn bucket(gap_ns: u64) -> usize {
    let us = (gap_ns / 1_000).max(1);
    let octave = us.ilog2() as usize;
    let part = ((us << 3) >> octave) as usize & (PARTS - 1);
    (octave * PARTS + part).min(OCTAVES * PARTS - 1)
}

/// Where a bucket ends.
fn upper_ms(bucket: usize) -> f32 {
    let (octave, part) = (bucket / PARTS, bucket % PARTS);
    (1u64 << octave) as f32 * (1.0 + (part + 1) as f32 / PARTS as f32) / 1_000.0
}
