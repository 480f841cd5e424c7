//! Balancers of others that learn from answers: Peak-EWMA as in Finagle, Linkerd and tower, and C3.

use super::balancer::{Balancer, Ended, Ending, Ticket, least, two_of};
use crate::random::Random;

/// Time constant of the decay, ns: tower's and Linkerd's 10 s.
const DECAY_NS: f64 = 10e9;
/// What an unknown replica is taken for, ns: Linkerd's 30 ms.
const UNKNOWN_NS: f64 = 30e6;

#[derive(Debug, Clone, Copy)]
struct Peak {
    estimate: f64,
    at: u64,
    in_flight: u32,
}

impl Peak {
    /// Jumps to what is larger, decays towards what is smaller.
    fn update(&mut self, latency: f64, now: u64) {
        if latency > self.estimate {
            self.estimate = latency;
        } else {
            let kept = (-((now - self.at) as f64) / DECAY_NS).exp();
            self.estimate = self.estimate * kept + latency * (1.0 - kept);
        }
        self.at = now;
    }

    /// As tower does, reading is an update with nothing.
    fn cost(&mut self, now: u64) -> f64 {
        self.update(0.0, now);
        self.estimate * f64::from(self.in_flight + 1)
    }
}

/// The smaller peak latency times requests in flight, of two.
#[derive(Debug)]
pub(super) struct PeakEwma {
    peaks: Vec<Peak>,
}

impl PeakEwma {
    /// Knows nothing yet.
    pub(super) fn new(replicas: usize) -> Self {
        Self { peaks: vec![Peak { estimate: UNKNOWN_NS, at: 0, in_flight: 0 }; replicas] }
    }
}

impl Balancer for PeakEwma {
    fn pick(&mut self, now: u64, offered: &[usize], random: &mut Random) -> usize {
        let (a, b) = two_of(offered, random);
        let (cost_a, cost_b) = (self.peaks[a].cost(now), self.peaks[b].cost(now));
        if cost_b < cost_a { b } else { a }
    }

    fn sent(&mut self, replica: usize, _now: u64) -> Ticket {
        self.peaks[replica].in_flight += 1;
        Ticket::default()
    }

    fn ended(&mut self, ended: &Ended) {
        let peak = &mut self.peaks[ended.replica];
        peak.in_flight -= 1;
        if ended.ending != Ending::Cancelled {
            peak.update((ended.at - ended.sent_at) as f64, ended.at);
        }
    }
}

/// Share of a new sample in C3's averages.
const C3_ALPHA: f64 = 0.1;

#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    in_flight: u32,
    there: f64,
    service: f64,
    latency: f64,
}

/// C3 with feedback on every answer: latency without service, plus service times the cube of the estimated queue.
#[derive(Debug)]
pub(super) struct C3 {
    queues: Vec<Queue>,
    proxies: f64,
}

impl C3 {
    /// Each of `proxies` counts for all of them.
    pub(super) fn new(replicas: usize, proxies: u32) -> Self {
        Self { queues: vec![Queue::default(); replicas], proxies: f64::from(proxies) }
    }
}

impl Balancer for C3 {
    fn pick(&mut self, _now: u64, offered: &[usize], random: &mut Random) -> usize {
        least(offered, random, |replica| {
            let queue = &self.queues[replica];
            let estimate = 1.0 + f64::from(queue.in_flight) * self.proxies + queue.there;
            (queue.latency - queue.service + estimate.powi(3) * queue.service, queue.in_flight)
        })
    }

    fn sent(&mut self, replica: usize, _now: u64) -> Ticket {
        self.queues[replica].in_flight += 1;
        Ticket::default()
    }

    fn ended(&mut self, ended: &Ended) {
        let queue = &mut self.queues[ended.replica];
        queue.in_flight -= 1;
        if matches!(ended.ending, Ending::Good | Ending::Failed) {
            queue.there += C3_ALPHA * (f64::from(ended.in_flight_there - 1) - queue.there);
            queue.service += C3_ALPHA * (ended.service as f64 - queue.service);
            queue.latency += C3_ALPHA * ((ended.at - ended.sent_at) as f64 - queue.latency);
        }
    }
}
