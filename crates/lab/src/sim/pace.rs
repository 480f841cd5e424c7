//! PACE as the research has it, to tune with: least in flight at heart; a learned knee past which crowding costs the cube;
//! a speed factor per replica that acts only when it is significant; network distance; failures; silence.

use super::balancer::{Balancer, Ended, Ending, Ticket, least};
use super::constants::Constants;
use super::knee::Latency;
use crate::random::Random;

/// A failure rate of one costs at least as much as so many uncrowded latencies.
const FAILURE_BASES: f64 = 40.0;
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
    /// Latency with everything, ns; 0 while unknown.
    latency: f64,
    failing: f64,
    answered_at: u64,
    /// When an answer last came, or the first of its requests in flight was sent.
    progress_at: u64,
    /// Silence beyond the usual so far, ns.
    stalled: f64,
    suspect: bool,
    /// In flight there from others, as last reported.
    others: f64,
    reported_at: u64,
}

/// The balancer.
#[derive(Debug)]
pub struct Pace {
    constants: Constants,
    cells: Vec<Cell>,
    latency: Latency,
    answers: u64,
    gaps: Vec<u64>,
    usual_gap: f64,
    median_speed: f64,
    /// Time between requests, ns.
    between: f64,
    sent_at: u64,
}

impl Pace {
    /// Knows the distances and nothing else.
    pub fn new(constants: Constants, rtts: &[u64]) -> Self {
        let cell = |rtt: &u64| Cell { rtt: *rtt as f64, ..Cell::default() };
        Self {
            constants,
            cells: rtts.iter().map(cell).collect(),
            latency: Latency::new(constants.strata, constants.knee_tolerance),
            answers: 0,
            gaps: Vec::with_capacity(GAPS),
            usual_gap: f64::INFINITY,
            median_speed: 0.0,
            between: 0.0,
            sent_at: 0,
        }
    }

    /// What is learned of the upstream, for looking at.
    pub fn learned(&self) -> String {
        let speeds: Vec<String> =
            self.cells.iter().map(|c| format!("{:.2}", c.log_speed - self.median_speed)).collect();
        let (knee, base) = (self.latency.knee, self.latency.base / 1e6);
        format!("K {knee} A {base:.2} ms G {:.2} ms l {}", self.usual_gap / 1e6, speeds.join(" "))
    }

    /// A time constant, or the time that so many requests take if that is longer.
    fn slowed(&self, constant: f64, part: f64) -> f64 {
        constant.max(part * self.constants.fade_requests * self.between)
    }

    fn speed(&self, cell: &Cell, now: u64) -> f64 {
        let c = &self.constants;
        let fade = (-((now - cell.sampled_at) as f64) / self.slowed(c.fade_ns, 1.0)).exp();
        let log = (cell.log_speed - self.median_speed) * fade;
        let effective = cell.samples.min(c.samples).max(1.0);
        let noise = c.significance * (cell.variance / effective).sqrt();
        if log.abs() > c.least_effect.max(noise) { log.exp() } else { 1.0 }
    }

    /// Of the requests in flight, those that are expected to be there and not on the way.
    fn present(&self, cell: &Cell) -> f64 {
        let in_flight = f64::from(cell.in_flight);
        if !self.constants.on_the_way || cell.latency <= 0.0 {
            return in_flight;
        }
        in_flight * (1.0 - cell.rtt / cell.latency).max(0.05)
    }

    fn silence(&self, cell: &Cell, now: u64) -> f64 {
        if cell.in_flight == 0 {
            return 0.0;
        }
        ((now - cell.progress_at) as f64 - cell.rtt).max(0.0)
    }

    fn score(&self, cell: &Cell, now: u64, mean_others: f64, panic: bool) -> f64 {
        let c = &self.constants;
        let (knee, base) = (self.latency.knee, self.latency.base.max(1.0));
        let fresh = (-((now - cell.reported_at) as f64) / base).exp();
        let in_flight = self.present(cell) + cell.others * fresh + mean_others * (1.0 - fresh);
        let crowd = ((in_flight + 1.0) / knee).max(1.0).powf(c.power) + c.tilt * in_flight / knee;
        let silence = self.silence(cell, now);
        let silence = if silence > c.silence * self.usual_gap { silence } else { 0.0 };
        let suspect = if cell.suspect && !panic { 1e11 } else { 0.0 };
        let distance = c.distance * cell.rtt;
        let failing =
            cell.failing * (-((now - cell.answered_at) as f64) / self.slowed(c.forgive_ns, 0.4)).exp();
        let failing = if failing < c.failing_min { 0.0 } else { failing };
        let failure = failing * c.failure_ns.max(FAILURE_BASES * base);
        distance + base * self.speed(cell, now) * crowd + failure + silence + suspect
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
        // Latency by requests in flight learns from what replicas that are not slow show, unscaled: scaled, crowding at
        // those that are always crowded would be taken for slowness.
        if !self.constants.strata {
            self.latency.learn(ended.ticket.in_flight, alone);
        } else if self.speed(&cell, ended.at) <= 1.0 {
            self.latency.learn(ended.ticket.in_flight, own);
        }
        let x = (own / self.latency.expected(ended.ticket.in_flight)).ln().clamp(-2.5, 2.5);
        let cell = &mut self.cells[ended.replica];
        cell.samples += 1.0;
        let part = (1.0 / cell.samples).max(1.0 / 40.0);
        cell.latency += part * (age - cell.latency);
        let alpha = (1.0 / cell.samples).max(1.0 / self.constants.samples);
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
        self.between += 0.01 * ((now - self.sent_at) as f64 - self.between);
        self.sent_at = now;
        let cell = &mut self.cells[replica];
        if cell.in_flight == 0 {
            cell.progress_at = now;
        }
        cell.in_flight += 1;
        let mark = cell.stalled as u64;
        let present = self.present(&self.cells[replica]).round() as u32;
        Ticket { in_flight: present.saturating_sub(1), mark }
    }

    fn ended(&mut self, ended: &Ended) {
        self.cells[ended.replica].in_flight -= 1;
        if ended.ending == Ending::Cancelled {
            return;
        }
        let failed = f64::from(u8::from(ended.ending != Ending::Good));
        let forgive_ns = self.slowed(self.constants.forgive_ns, 0.4);
        let cell = &mut self.cells[ended.replica];
        cell.failing *= (-((ended.at - cell.answered_at) as f64) / forgive_ns).exp();
        cell.failing += 0.05 * (failed - cell.failing);
        cell.answered_at = ended.at;
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
        self.latency.knee
    }
}
