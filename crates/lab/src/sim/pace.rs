//! PACE as the research has it, to tune with: least in flight at heart; a learned knee past which crowding costs the cube;
//! a speed factor per replica that acts only when it is significant; network distance; failures; silence.

use super::balancer::{Balancer, Ended, Ending, Ticket, least};
use crate::random::Random;

/// Requests in flight up to which a replica may work without queueing, as hypotheses.
const KNEES: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Gaps between answers that are remembered.
const GAPS: usize = 4_000;
/// Samples between two looks at knee and gaps.
const LOOK_EVERY: u64 = 500;

/// What the formulas take as given.
#[derive(Debug, Clone, Copy)]
pub struct Constants {
    /// A log speed factor acts from this size on.
    pub least_effect: f64,
    /// And from so many standard errors on.
    pub significance: f64,
    /// It fades with this time constant while no answer comes, ns.
    pub fade_ns: f64,
    /// Samples that the speed factor averages over.
    pub samples: f64,
    /// Silence counts from so many usual gaps on.
    pub silence: f64,
    /// Crowding past the knee costs this power.
    pub power: f64,
    /// Crowding before it costs this share.
    pub tilt: f64,
    /// The smallest knee is taken whose error is within this factor of the least.
    pub knee_tolerance: f64,
    /// What a failure rate of one costs, ns.
    pub failure_ns: f64,
    /// Up to this many replicas all are compared, else `sample`.
    pub scan_max: usize,
    /// How many are compared out of many.
    pub sample: usize,
    /// Whether servers report their requests in flight.
    pub reported: bool,
}

impl Default for Constants {
    fn default() -> Self {
        Self {
            least_effect: 0.35,
            significance: 4.0,
            fade_ns: 5e9,
            samples: 80.0,
            silence: 4.0,
            power: 3.0,
            tilt: 0.1,
            knee_tolerance: 1.005,
            failure_ns: 1e9,
            scan_max: 8,
            sample: 4,
            reported: false,
        }
    }
}

impl Constants {
    /// Sets one by its name; `None` when there is none of that name.
    pub fn set(&mut self, name: &str, value: f64) -> Option<()> {
        match name {
            "least_effect" => self.least_effect = value,
            "significance" => self.significance = value,
            "fade_s" => self.fade_ns = value * 1e9,
            "samples" => self.samples = value,
            "silence" => self.silence = value,
            "power" => self.power = value,
            "tilt" => self.tilt = value,
            "knee_tolerance" => self.knee_tolerance = value,
            "failure_ms" => self.failure_ns = value * 1e6,
            "scan_max" => self.scan_max = value as usize,
            "sample" => self.sample = value as usize,
            _ => return None,
        }
        Some(())
    }
}

/// What is known of a replica.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    in_flight: u32,
    rtt: f64,
    log_speed: f64,
    variance: f64,
    samples: f64,
    sampled_at: u64,
    failing: f64,
    /// When an answer last came, or the first of its requests in flight was sent.
    progress_at: u64,
    /// Silence beyond the usual so far, ns.
    stalled: f64,
    suspect: bool,
    /// In flight there from others, as last reported.
    others: f64,
    reported_at: u64,
}

/// How latency grows with requests in flight, if a replica works on `knee` at a time.
#[derive(Debug, Clone, Copy, Default)]
struct Knee {
    base: f64,
    error: f64,
}

/// The balancer.
#[derive(Debug)]
pub struct Pace {
    constants: Constants,
    cells: Vec<Cell>,
    knees: [Knee; KNEES.len()],
    knee: usize,
    answers: u64,
    gaps: Vec<u64>,
    usual_gap: f64,
    median_speed: f64,
}

fn crowding(knee: f64, in_flight: u32) -> f64 {
    (f64::from(in_flight + 1) / knee).max(1.0)
}

impl Pace {
    /// Knows the distances and nothing else.
    pub fn new(constants: Constants, rtts: &[u64]) -> Self {
        let cell = |rtt: &u64| Cell { rtt: *rtt as f64, ..Cell::default() };
        Self {
            constants,
            cells: rtts.iter().map(cell).collect(),
            knees: [Knee::default(); KNEES.len()],
            knee: 3,
            answers: 0,
            gaps: Vec::with_capacity(GAPS),
            usual_gap: f64::INFINITY,
            median_speed: 0.0,
        }
    }

    /// What is learned of the upstream, for looking at.
    pub fn learned(&self) -> String {
        let speeds: Vec<String> =
            self.cells.iter().map(|c| format!("{:.2}", c.log_speed - self.median_speed)).collect();
        let (knee, base) = (KNEES[self.knee], self.knees[self.knee].base / 1e6);
        format!("K {knee} A {base:.2} ms G {:.2} ms l {}", self.usual_gap / 1e6, speeds.join(" "))
    }

    fn speed(&self, cell: &Cell, now: u64) -> f64 {
        let c = &self.constants;
        let fade = (-((now - cell.sampled_at) as f64) / c.fade_ns).exp();
        let log = (cell.log_speed - self.median_speed) * fade;
        let effective = cell.samples.min(c.samples).max(1.0);
        let noise = c.significance * (cell.variance / effective).sqrt();
        if log.abs() > c.least_effect.max(noise) { log.exp() } else { 1.0 }
    }

    fn silence(&self, cell: &Cell, now: u64) -> f64 {
        if cell.in_flight == 0 {
            return 0.0;
        }
        ((now - cell.progress_at) as f64 - cell.rtt).max(0.0)
    }

    fn score(&self, cell: &Cell, now: u64, mean_others: f64, panic: bool) -> f64 {
        let c = &self.constants;
        let (knee, base) = (KNEES[self.knee], self.knees[self.knee].base.max(1.0));
        let fresh = (-((now - cell.reported_at) as f64) / base).exp();
        let in_flight = f64::from(cell.in_flight) + cell.others * fresh + mean_others * (1.0 - fresh);
        let crowd = ((in_flight + 1.0) / knee).max(1.0).powf(c.power) + c.tilt * in_flight / knee;
        let silence = self.silence(cell, now);
        let silence = if silence > c.silence * self.usual_gap { silence } else { 0.0 };
        let suspect = if cell.suspect && !panic { 1e11 } else { 0.0 };
        cell.rtt + base * self.speed(cell, now) * crowd + c.failure_ns * cell.failing + silence + suspect
    }

    /// The answer's gap since the last progress of its replica; what is unusual of it counts as a stall.
    fn progress(&mut self, ended: &Ended) {
        let cell = &mut self.cells[ended.replica];
        let gap = (ended.at - cell.progress_at) as f64 - cell.rtt;
        cell.progress_at = ended.at;
        cell.suspect = false;
        cell.stalled += (gap - 2.0 * self.usual_gap).max(0.0);
        let slot = (self.answers % GAPS as u64) as usize;
        match self.gaps.get_mut(slot) {
            Some(old) => *old = gap.max(0.0) as u64,
            None => self.gaps.push(gap.max(0.0) as u64),
        }
    }

    fn learn(&mut self, ended: &Ended) {
        let cell = self.cells[ended.replica];
        let age = (ended.at - ended.sent_at) as f64;
        let stall = (cell.stalled - ended.ticket.mark as f64).clamp(0.0, age);
        let own = (age - cell.rtt - stall).max(1_000.0);
        let alone = own / (cell.log_speed - self.median_speed).exp();
        let n = (self.answers + 1) as f64;
        for (knee, k) in self.knees.iter_mut().zip(KNEES) {
            let crowd = crowding(k, ended.ticket.in_flight);
            let expected = knee.base * crowd;
            let seen = if n > 10.0 { alone.min(6.0 * expected) } else { alone };
            knee.base += (1.0 / n).max(0.005) * (seen / crowd - knee.base);
            knee.error += (1.0 / n).max(0.001) * ((seen - expected).powi(2) - knee.error);
        }
        let knee = KNEES[self.knee];
        let expected = self.knees[self.knee].base * crowding(knee, ended.ticket.in_flight);
        let x = (own / expected).ln().clamp(-2.5, 2.5);
        let cell = &mut self.cells[ended.replica];
        cell.samples += 1.0;
        let alpha = (1.0 / cell.samples).max(1.0 / self.constants.samples);
        let off = x - cell.log_speed;
        cell.log_speed += alpha * off;
        cell.variance = (1.0 - alpha) * (cell.variance + alpha * off * off);
        cell.sampled_at = ended.at;
    }

    fn look(&mut self) {
        let least = self.knees.iter().map(|k| k.error).fold(f64::INFINITY, f64::min);
        let good = |k: &Knee| k.error <= self.constants.knee_tolerance * least;
        self.knee = self.knees.iter().position(good).unwrap_or(self.knee);
        let at = self.gaps.len() * 995 / 1000;
        if self.gaps.len() > 100 {
            let mut sorted = self.gaps.clone();
            let (_, gap, _) = sorted.select_nth_unstable(at);
            self.usual_gap = *gap as f64;
        }
    }

    fn find_median(&mut self) {
        let mut speeds: Vec<f64> =
            self.cells.iter().filter(|c| c.samples > 0.0).map(|c| c.log_speed).collect();
        speeds.sort_by(f64::total_cmp);
        let n = speeds.len();
        if n > 0 {
            self.median_speed = (speeds[(n - 1) / 2] + speeds[n / 2]) / 2.0;
        }
    }
}

impl Balancer for Pace {
    fn pick(&mut self, now: u64, offered: &[usize], random: &mut Random) -> usize {
        let suspects = offered.iter().filter(|i| self.cells[**i].suspect).count();
        let panic = 2 * suspects > offered.len();
        let others: f64 = self.cells.iter().map(|c| c.others).sum::<f64>() / self.cells.len() as f64;
        let mut drawn = offered.to_vec();
        if offered.len() > self.constants.scan_max {
            for i in 0..self.constants.sample {
                let j = i + random.below((drawn.len() - i) as u64) as usize;
                drawn.swap(i, j);
            }
            drawn.truncate(self.constants.sample);
        }
        least(&drawn, random, |replica| {
            let cell = &self.cells[replica];
            (self.score(cell, now, others, panic), cell.in_flight)
        })
    }

    fn sent(&mut self, replica: usize, now: u64) -> Ticket {
        let cell = &mut self.cells[replica];
        if cell.in_flight == 0 {
            cell.progress_at = now;
        }
        cell.in_flight += 1;
        Ticket { in_flight: cell.in_flight - 1, mark: cell.stalled as u64 }
    }

    fn ended(&mut self, ended: &Ended) {
        self.cells[ended.replica].in_flight -= 1;
        if ended.ending == Ending::Cancelled {
            return;
        }
        let failed = f64::from(u8::from(ended.ending != Ending::Good));
        self.cells[ended.replica].failing += 0.05 * (failed - self.cells[ended.replica].failing);
        if ended.ending == Ending::TimedOut {
            return;
        }
        self.progress(ended);
        let cell = &mut self.cells[ended.replica];
        if self.constants.reported {
            cell.others = f64::from(ended.in_flight_there) - 1.0 - f64::from(cell.in_flight);
            cell.others = cell.others.max(0.0);
            cell.reported_at = ended.at;
        }
        if ended.ending == Ending::Good {
            self.learn(ended);
        }
        self.answers += 1;
        if self.answers.is_multiple_of(LOOK_EVERY) {
            self.look();
        }
        if self.answers.is_multiple_of(64) {
            self.find_median();
        }
    }

    fn suspect(&mut self, replica: usize, _now: u64) {
        self.cells[replica].suspect = true;
    }

    fn alive(&mut self, replica: usize, _now: u64) {
        self.cells[replica].suspect = false;
    }

    fn knee(&self) -> f64 {
        KNEES[self.knee]
    }
}
