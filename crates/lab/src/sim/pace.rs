//! PACE as the research has it, to compare with: least in flight at heart; a learned knee past which crowding costs the cube;
//! a speed factor per replica that acts only when it is significant; network distance; failures; silence. What became of it
//! in production is `unlag.rs`.

use super::balancer::{Balancer, Ended, Ending, Ticket, least};
use super::knee::Latency;
use crate::random::Random;

/// A log speed factor acts from this size on, and from so many standard errors on.
const LEAST_EFFECT: f64 = 0.35;
const SIGNIFICANCE: f64 = 4.0;
/// It fades with this time constant while no answer comes, ns.
const FADE_NS: f64 = 5e9;
/// Samples that it averages over.
const SAMPLES: f64 = 80.0;
/// Silence counts from so many usual gaps on.
const SILENCE_GAPS: f64 = 4.0;
/// Crowding past the knee costs this power, and before it this share.
const POWER: i32 = 3;
const TILT: f64 = 0.1;
/// A failure rate of one costs this, ns, and at least as much as so many uncrowded latencies.
const FAILURE_NS: f64 = 1e9;
const FAILURE_BASES: f64 = 40.0;
/// Up to so many replicas all are compared, of more a sample.
const SCAN_MAX: usize = 8;
const SAMPLE: usize = 4;
/// Gaps between answers that are remembered.
const GAPS: usize = 4_000;
/// Samples between two looks at knee and gaps.
const LOOK_EVERY: u64 = 500;

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
}

/// The balancer.
#[derive(Debug)]
pub struct Pace {
    cells: Vec<Cell>,
    latency: Latency,
    answers: u64,
    gaps: Vec<u64>,
    usual_gap: f64,
    median_speed: f64,
}

impl Pace {
    /// Knows the distances and nothing else.
    pub fn new(rtts: &[u64]) -> Self {
        let cell = |rtt: &u64| Cell { rtt: *rtt as f64, ..Cell::default() };
        Self {
            cells: rtts.iter().map(cell).collect(),
            latency: Latency::new(),
            answers: 0,
            gaps: Vec::with_capacity(GAPS),
            usual_gap: f64::INFINITY,
            median_speed: 0.0,
        }
    }

    fn speed(&self, cell: &Cell, now: u64) -> f64 {
        let fade = (-((now - cell.sampled_at) as f64) / FADE_NS).exp();
        let log = (cell.log_speed - self.median_speed) * fade;
        let effective = cell.samples.clamp(1.0, SAMPLES);
        let noise = SIGNIFICANCE * (cell.variance / effective).sqrt();
        if log.abs() > LEAST_EFFECT.max(noise) { log.exp() } else { 1.0 }
    }

    fn silence(&self, cell: &Cell, now: u64) -> f64 {
        if cell.in_flight == 0 {
            return 0.0;
        }
        ((now - cell.progress_at) as f64 - cell.rtt).max(0.0)
    }

    fn score(&self, cell: &Cell, now: u64) -> f64 {
        let (knee, base) = (self.latency.knee, self.latency.base.max(1.0));
        let in_flight = f64::from(cell.in_flight);
        let crowd = ((in_flight + 1.0) / knee).max(1.0).powi(POWER) + TILT * in_flight / knee;
        let silence = self.silence(cell, now);
        let silence = if silence > SILENCE_GAPS * self.usual_gap { silence } else { 0.0 };
        let failure = cell.failing * FAILURE_NS.max(FAILURE_BASES * base);
        cell.rtt + base * self.speed(cell, now) * crowd + failure + silence
    }

    /// The answer's gap since the last progress of its replica; what is unusual of it counts as a stall.
    fn progress(&mut self, ended: &Ended) {
        let cell = &mut self.cells[ended.replica];
        let gap = (ended.at - cell.progress_at) as f64 - cell.rtt;
        cell.progress_at = ended.at;
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
        self.latency.learn(ended.ticket.in_flight, alone);
        let x = (own / self.latency.expected(ended.ticket.in_flight)).ln().clamp(-2.5, 2.5);
        let cell = &mut self.cells[ended.replica];
        cell.samples += 1.0;
        let alpha = (1.0 / cell.samples).max(1.0 / SAMPLES);
        let off = x - cell.log_speed;
        cell.log_speed += alpha * off;
        cell.variance = (1.0 - alpha) * (cell.variance + alpha * off * off);
        cell.sampled_at = ended.at;
    }

    fn look(&mut self) {
        self.latency.look();
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
        let mut drawn = offered.to_vec();
        if offered.len() > SCAN_MAX {
            for i in 0..SAMPLE {
                let j = i + random.below((drawn.len() - i) as u64) as usize;
                drawn.swap(i, j);
            }
            drawn.truncate(SAMPLE);
        }
        least(&drawn, random, |replica| {
            let cell = &self.cells[replica];
            (self.score(cell, now), cell.in_flight)
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
        let cell = &mut self.cells[ended.replica];
        cell.failing += 0.05 * (failed - cell.failing);
        if ended.ending == Ending::TimedOut {
            return;
        }
        self.progress(ended);
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
}
