//! How latency grows with requests in flight: flat up to the knee, in proportion past it.
//!
//! Two ways to learn the knee. The research's keeps an error for each hypothesis, which says nothing of what was not seen
//! lately: an upstream that is always crowded looks like one with a large knee. The other remembers latency by requests
//! in flight and takes the smallest knee that what it saw does not refute: too small a one sends requests away, which
//! shows what less crowding is like and corrects it; too large a one would never find out.

/// The research's hypotheses.
const KNEES: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Finer, for what is remembered by requests in flight: an octave in three or four.
const FINE: [f64; 22] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0, 40.0, 48.0, 64.0, 80.0, 96.0,
    128.0, 160.0, 192.0, 256.0,
];
/// Each count up to 8, then four an octave up to 1024.
const STRATA: usize = 8 + 4 * 7;
/// Samples that a stratum averages over.
const STRATUM_SAMPLES: f64 = 1_000.0;
/// Samples from which a stratum counts.
const STRATUM_MIN: f64 = 30.0;

/// Latency in multiples of the uncrowded, with `in_flight` before the request.
pub(super) fn crowding(knee: f64, in_flight: f64) -> f64 {
    ((in_flight + 1.0) / knee).max(1.0)
}

#[derive(Debug, Clone, Copy, Default)]
struct Hypothesis {
    base: f64,
    error: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stratum {
    samples: f64,
    latency: f64,
    variance: f64,
    in_flight: f64,
}

/// What is learned of an upstream's latency.
#[derive(Debug)]
pub(super) struct Latency {
    by_in_flight: bool,
    /// The knee, and latency up to it, ns.
    pub(super) knee: f64,
    pub(super) base: f64,
    tolerance: f64,
    samples: f64,
    hypotheses: [Hypothesis; KNEES.len()],
    strata: [Stratum; STRATA],
    /// Latency by stratum, never falling much; 0 where too little was seen.
    curve: [f64; STRATA],
}

fn stratum_of(in_flight: u32) -> usize {
    if in_flight < 8 {
        return in_flight as usize;
    }
    let octave = 31 - in_flight.leading_zeros();
    let quarter = (in_flight >> (octave - 2)) & 3;
    (8 + 4 * (octave as usize - 3) + quarter as usize).min(STRATA - 1)
}

impl Latency {
    pub(super) fn new(by_in_flight: bool, tolerance: f64) -> Self {
        Self {
            by_in_flight,
            knee: 4.0,
            base: 1.0,
            tolerance,
            samples: 0.0,
            hypotheses: [Hypothesis::default(); KNEES.len()],
            strata: [Stratum::default(); STRATA],
            curve: [0.0; STRATA],
        }
    }

    pub(super) fn expected(&self, in_flight: u32) -> f64 {
        let fitted = self.base * crowding(self.knee, f64::from(in_flight));
        if !self.by_in_flight {
            return fitted;
        }
        let seen = self.curve[stratum_of(in_flight)];
        if seen > 0.0 { seen } else { fitted }
    }

    /// Takes a latency, ns, without distance, stall and its replica's own speed.
    pub(super) fn learn(&mut self, in_flight: u32, latency: f64) {
        self.samples += 1.0;
        if self.by_in_flight {
            let stratum = &mut self.strata[stratum_of(in_flight)];
            let seen = if stratum.samples > 10.0 { latency.min(6.0 * stratum.latency) } else { latency };
            stratum.samples += 1.0;
            let alpha = (1.0 / stratum.samples).max(1.0 / STRATUM_SAMPLES);
            let off = seen - stratum.latency;
            stratum.latency += alpha * off;
            stratum.variance = (1.0 - alpha) * (stratum.variance + alpha * off * off);
            stratum.in_flight += alpha * (f64::from(in_flight) - stratum.in_flight);
            if self.samples < 500.0 {
                self.base += (latency / crowding(self.knee, f64::from(in_flight)) - self.base) / self.samples;
            }
            return;
        }
        for (hypothesis, knee) in self.hypotheses.iter_mut().zip(KNEES) {
            let crowd = crowding(knee, f64::from(in_flight));
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
        if self.by_in_flight {
            return self.look_at_strata();
        }
        let least = self.hypotheses.iter().map(|h| h.error).fold(f64::INFINITY, f64::min);
        let good = |h: &Hypothesis| h.error <= self.tolerance * least;
        if let Some(at) = self.hypotheses.iter().position(good) {
            (self.knee, self.base) = (KNEES[at], self.hypotheses[at].base);
        }
    }

    fn look_at_strata(&mut self) {
        let mut above = f64::INFINITY;
        for (seen, stratum) in self.curve.iter_mut().zip(&self.strata).rev() {
            *seen = 0.0;
            if stratum.samples >= STRATUM_MIN {
                *seen = stratum.latency.min(1.05 * above);
                above = *seen;
            }
        }
        let mut fits = [(0.0, 0.0); FINE.len()];
        for (fit, knee) in fits.iter_mut().zip(FINE) {
            *fit = self.fit(knee);
        }
        let least = fits.iter().map(|(_, error)| *error).fold(f64::INFINITY, f64::min);
        let good = |(_, error): &(f64, f64)| *error <= 1.25 * least + 9.0;
        if let Some(at) = fits.iter().position(good) {
            (self.knee, self.base) = (FINE[at], fits[at].0);
        }
    }

    /// Uncrowded latency and squared error in standard errors, if the knee was this.
    fn fit(&self, knee: f64) -> (f64, f64) {
        let strata = || self.strata.iter().filter(|s| s.samples >= STRATUM_MIN);
        let weight = |s: &Stratum| s.samples.min(STRATUM_SAMPLES) / s.variance.max(1.0);
        let (mut up, mut down) = (0.0, 0.0);
        for s in strata() {
            let crowd = crowding(knee, s.in_flight);
            up += weight(s) * s.latency * crowd;
            down += weight(s) * crowd * crowd;
        }
        let base = if down > 0.0 { up / down } else { self.base };
        let off = |s: &Stratum| s.latency - base * crowding(knee, s.in_flight);
        (base, strata().map(|s| weight(s) * off(s) * off(s)).sum())
    }
}
