//! How latency grows with requests in flight: flat up to the knee, in proportion past it. The research's way to learn the
//! knee: an error for each hypothesis.

const KNEES: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// The smallest knee is taken whose error is within this factor of the least.
const TOLERANCE: f64 = 1.005;

/// Latency in multiples of the uncrowded, with `in_flight` before the request.
fn crowding(knee: f64, in_flight: u32) -> f64 {
    ((f64::from(in_flight) + 1.0) / knee).max(1.0)
}

#[derive(Debug, Clone, Copy, Default)]
struct Hypothesis {
    base: f64,
    error: f64,
}

/// What is learned of an upstream's latency.
#[derive(Debug)]
pub(super) struct Latency {
    /// The knee, and latency up to it, ns.
    pub(super) knee: f64,
    pub(super) base: f64,
    samples: f64,
    hypotheses: [Hypothesis; KNEES.len()],
}

impl Latency {
    pub(super) fn new() -> Self {
        Self { knee: 4.0, base: 1.0, samples: 0.0, hypotheses: [Hypothesis::default(); KNEES.len()] }
    }

    pub(super) fn expected(&self, in_flight: u32) -> f64 {
        self.base * crowding(self.knee, in_flight)
    }

    /// Takes a latency, ns, without distance, stall and its replica's own speed.
    pub(super) fn learn(&mut self, in_flight: u32, latency: f64) {
        self.samples += 1.0;
        for (hypothesis, knee) in self.hypotheses.iter_mut().zip(KNEES) {
            let crowd = crowding(knee, in_flight);
            let expected = hypothesis.base * crowd;
            let seen = if self.samples > 10.0 { latency.min(6.0 * expected) } else { latency };
            hypothesis.base += (1.0 / self.samples).max(0.005) * (seen / crowd - hypothesis.base);
            hypothesis.error +=
                (1.0 / self.samples).max(0.001) * ((seen - expected).powi(2) - hypothesis.error);
            if knee == self.knee {
                self.base = hypothesis.base;
            }
        }
    }

    /// Looks for the knee anew.
    pub(super) fn look(&mut self) {
        let least = self.hypotheses.iter().map(|h| h.error).fold(f64::INFINITY, f64::min);
        let good = |h: &Hypothesis| h.error <= TOLERANCE * least;
        if let Some(at) = self.hypotheses.iter().position(good) {
            (self.knee, self.base) = (KNEES[at], self.hypotheses[at].base);
        }
    }
}
