//! How the time of an answer grows with requests in flight: flat up to a knee, in proportion beyond it. The knee is how many
//! requests at once an endpoint of a service takes before each more makes all of them slower, and a property of the service, not
//! of its load.
//!
//! The time is remembered apart for each number in flight, so that a quiet night does not make forgotten what the rush of the day
//! has shown, and the smallest knee is taken that what was seen does not refute: one that is too small sends requests away, which
//! shows what less crowding is like and corrects it; one that is too large would never find out.

/// Knees to choose from, an octave in three or four.
const KNEES: [f32; 22] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0, 40.0, 48.0, 64.0, 80.0, 96.0,
    128.0, 160.0, 192.0, 256.0,
];
/// The knee until it is refuted: small enough that a smaller one is noticed, since as many are in flight at any load.
const KNEE_UNKNOWN: f32 = 4.0;
/// Each number in flight up to 8, then four steps an octave up to 1,024.
const STEPS: usize = 8 + 4 * 7;
/// Answers that a step averages over.
const STEP_ANSWERS: f32 = 1_000.0;
/// A step counts after so many answers.
const KNOWN_ANSWERS: f32 = 30.0;
/// A knee is looked for after so many answers, and the usual time until then is the mean.
const LOOKED_FOR_AFTER: u64 = 500;
/// One answer counts as at most so many times the usual one: a few that wait for something else decide nothing.
const CLIPPED_AT: f32 = 6.0;
/// A knee is as good as the best up to this factor of its squared error, and so many squared standard errors: three.
const ABOUT_AS_GOOD: f32 = 1.25;
const CHANCE: f32 = 9.0;
/// More in flight does not make answers faster: what looks so by more than this is taken for chance.
const FALLS_AT_MOST: f32 = 1.05;

/// The time of an answer by requests in flight.
#[derive(Debug)]
pub(super) struct Curve {
    steps: [Step; STEPS],
    /// What the steps say together; 0 where nothing is known.
    expected_ms: [f32; STEPS],
    answers: u64,
    knee: f32,
    unit_ms: f32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    answers: f32,
    wait_ms: f32,
    variance: f32,
    before: f32,
}

impl Step {
    fn is_known(&self) -> bool {
        self.answers >= KNOWN_ANSWERS
    }

    /// One over the squared standard error of its mean.
    fn certainty(&self) -> f32 {
        self.answers.min(STEP_ANSWERS) / self.variance.max(1e-6)
    }

    fn learn(&mut self, before: f32, wait_ms: f32) {
        let seen_ms = if self.answers > 10.0 { wait_ms.min(CLIPPED_AT * self.wait_ms) } else { wait_ms };
        self.answers += 1.0;
        let share = 1.0 / self.answers.min(STEP_ANSWERS);
        let off = seen_ms - self.wait_ms;
        self.wait_ms += share * off;
        self.variance = (1.0 - share) * (self.variance + share * off * off);
        self.before += share * (before - self.before);
    }
}

impl Default for Curve {
    fn default() -> Curve {
        Curve {
            steps: [Step::default(); STEPS],
            expected_ms: [0.0; STEPS],
            answers: 0,
            knee: KNEE_UNKNOWN,
            unit_ms: 0.0,
        }
    }
}

impl Curve {
    /// Learns from an answer that took `wait_ms` while `before` others were in flight to a usual endpoint.
    pub(super) fn learn(&mut self, before: f32, wait_ms: f32) {
        self.answers += 1;
        if let Some(step) = self.steps.get_mut(step_of(before)) {
            step.learn(before, wait_ms);
        }
        if self.answers < LOOKED_FOR_AFTER {
            self.unit_ms += (wait_ms / crowding(before, self.knee) - self.unit_ms) / self.answers as f32;
        } else if self.answers.is_multiple_of(LOOKED_FOR_AFTER) {
            self.look();
        }
    }

    /// Looks for the knee anew.
    fn look(&mut self) {
        let mut above = f32::INFINITY;
        for (expected_ms, step) in self.expected_ms.iter_mut().zip(&self.steps).rev() {
            *expected_ms = 0.0;
            if step.is_known() {
                *expected_ms = step.wait_ms.min(FALLS_AT_MOST * above);
                above = *expected_ms;
            }
        }
        let fits = KNEES.map(|knee| self.fit(knee));
        let least = fits.iter().map(|(_, error)| *error).fold(f32::INFINITY, f32::min);
        let good =
            || fits.iter().zip(KNEES).filter(|((_, error), _)| *error <= ABOUT_AS_GOOD * least + CHANCE);
        let unrefuted = good().find(|(_, knee)| *knee == KNEE_UNKNOWN);
        if let Some(((unit_ms, _), knee)) = unrefuted.or_else(|| good().next()) {
            (self.knee, self.unit_ms) = (knee, *unit_ms);
        }
    }

    /// What an answer would take where nobody is in the way, and the squared error in standard errors, if the knee was this.
    fn fit(&self, knee: f32) -> (f32, f32) {
        let known = || self.steps.iter().filter(|step| step.is_known());
        let (mut up, mut down) = (0.0, 0.0);
        for step in known() {
            let crowding = crowding(step.before, knee);
            up += step.certainty() * step.wait_ms * crowding;
            down += step.certainty() * crowding * crowding;
        }
        let unit_ms = if down > 0.0 { up / down } else { self.unit_ms };
        let squared = |step: &Step| {
            let off_ms = step.wait_ms - unit_ms * crowding(step.before, knee);
            step.certainty() * off_ms * off_ms
        };
        (unit_ms, known().map(squared).sum())
    }

    /// What an answer takes with so many others in flight.
    pub(super) fn expected_ms(&self, before: f32) -> f32 {
        match self.expected_ms.get(step_of(before)) {
            Some(&seen_ms) if seen_ms > 0.0 => seen_ms,
            _ => self.unit_ms * crowding(before, self.knee),
        }
    }

    /// Answers that were learned from.
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    /// The knee.
    pub(super) fn knee(&self) -> f32 {
        self.knee
    }

    /// How long an answer takes where nobody is in the way, in milliseconds.
    pub(super) fn unit_ms(&self) -> f32 {
        self.unit_ms
    }
}

/// How many times longer an answer takes while `before` others are in flight.
fn crowding(before: f32, knee: f32) -> f32 {
    ((before + 1.0) / knee).max(1.0)
}

fn step_of(before: f32) -> usize {
    // Rounded, by what a conversion does: it cuts off, and what is less than nothing is nothing.
    let before = (before + 0.5) as u32;
    if before < 8 {
        return before as usize;
    }
    let octave = before.ilog2();
    let quarter = (before >> (octave - 2)) & 3;
    (8 + 4 * (octave as usize - 3) + quarter as usize).min(STEPS - 1)
}
