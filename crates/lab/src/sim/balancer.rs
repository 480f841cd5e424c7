//! What every simulated balancer answers to, and the classic ones to compare with.

use unlag_engine::techniques::attempt::purse::{Lost, Paid};
use unlag_engine::tempo;

use super::hedge::Look;
use crate::random::Random;

/// What the balancer hands out at dispatch and gets back with the answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticket {
    /// In flight to the replica from this proxy before this one.
    pub in_flight: u32,
    /// The balancer's own mark.
    pub mark: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A good response.
    Good,
    /// A failed one.
    Failed,
    /// The deadline came first.
    TimedOut,
    /// Another copy was faster.
    Cancelled,
}

/// An attempt that ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Where it was sent.
    pub replica: usize,
    /// When, ns.
    pub sent_at: u64,
    /// When it ended, ns.
    pub at: u64,
    /// How.
    pub ending: Ending,
    /// From its dispatch.
    pub ticket: Ticket,
    /// The server's own count of requests in flight, sent with an answer, this one included.
    pub in_flight_there: u32,
    /// How long the server worked on it, ns, sent with an answer; only C3 reads it.
    pub service: u64,
}

/// Chooses replicas for one proxy.
pub trait Balancer {
    /// A replica out of `offered`, which is never empty.
    fn pick(&mut self, now: u64, offered: &[usize], random: &mut Random) -> usize;
    /// A request goes to `replica`.
    fn sent(&mut self, replica: usize, now: u64) -> Ticket;
    /// It came back, or nobody waits for it any more.
    fn ended(&mut self, ended: &Ended);
    /// `replica` is offered from now on; those that were there from the start are not told.
    fn joins(&mut self, _replica: usize, _now: u64) {}
    /// Whether a request that `replica` has wants a second copy, after so many looks in vain.
    fn look(&mut self, _replica: usize, _sent_at: u64, _looks: u32, _now: u64) -> Look {
        Look::Due(u64::MAX)
    }
    /// Whether the server is left with an attempt that nobody waits for any more, for its answer to be a sign of life.
    fn leaves(&mut self, _replica: usize, _ticket: Ticket, _now: u64) -> bool {
        false
    }
    /// What was left with a server was answered.
    fn moves(&mut self, _ticket: Ticket, _now: u64) {}
    /// Of a request and its copy one has lost.
    fn settle(&mut self, _paid: Paid, _lost: Lost, _now: u64) {}
    /// A request came to its end, so long after it came; if it is tried again, the first time.
    fn over(&mut self, _took: u64, _ending: tempo::Ending, _now: u64) {}
}

/// Each in turn.
#[derive(Debug)]
pub struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    /// Starts anywhere.
    pub fn new(random: &mut Random) -> Self {
        Self { next: random.below(1 << 16) as usize }
    }
}

impl Balancer for RoundRobin {
    fn pick(&mut self, _now: u64, offered: &[usize], _random: &mut Random) -> usize {
        self.next += 1;
        offered[self.next % offered.len()]
    }

    fn sent(&mut self, _replica: usize, _now: u64) -> Ticket {
        Ticket::default()
    }

    fn ended(&mut self, _ended: &Ended) {}
}

/// The fewest in flight, of two drawn at random or of all; ties by chance.
#[derive(Debug)]
pub struct LeastRequest {
    in_flight: Vec<u32>,
    sampled: bool,
    /// Failure rates, where failures count as requests in flight.
    failures: Option<Vec<f64>>,
}

impl LeastRequest {
    /// Of two drawn at random when `sampled`, else of all.
    pub fn new(replicas: usize, sampled: bool) -> Self {
        Self { in_flight: vec![0; replicas], sampled, failures: None }
    }

    /// Of all, a failure rate of one weighing as much as a thousand in flight.
    pub fn with_errors(replicas: usize) -> Self {
        Self { in_flight: vec![0; replicas], sampled: false, failures: Some(vec![0.0; replicas]) }
    }

    fn cost(&self, replica: usize) -> f64 {
        let failures = self.failures.as_ref().map_or(0.0, |rates| rates[replica]);
        f64::from(self.in_flight[replica]) + 1000.0 * failures
    }
}

impl Balancer for LeastRequest {
    fn pick(&mut self, _now: u64, offered: &[usize], random: &mut Random) -> usize {
        if self.sampled {
            let (a, b) = two_of(offered, random);
            return if self.cost(b) < self.cost(a) { b } else { a };
        }
        least(offered, random, |replica| (self.cost(replica), 0))
    }

    fn sent(&mut self, replica: usize, _now: u64) -> Ticket {
        self.in_flight[replica] += 1;
        Ticket { in_flight: self.in_flight[replica] - 1, mark: 0 }
    }

    fn ended(&mut self, ended: &Ended) {
        self.in_flight[ended.replica] -= 1;
        if let (Some(rates), true) = (&mut self.failures, ended.ending != Ending::Cancelled) {
            let failed = f64::from(u8::from(ended.ending != Ending::Good));
            rates[ended.replica] += 0.05 * (failed - rates[ended.replica]);
        }
    }
}

/// The offered replica of least cost; ties by the second value, then by chance.
pub fn least(offered: &[usize], random: &mut Random, cost: impl Fn(usize) -> (f64, u32)) -> usize {
    let mut best = offered[0];
    let mut best_cost = cost(best);
    let mut ties = 1;
    for &replica in &offered[1..] {
        let this = cost(replica);
        if this < best_cost {
            (best, best_cost, ties) = (replica, this, 1);
        } else if this == best_cost {
            ties += 1;
            if random.below(ties) == 0 {
                best = replica;
            }
        }
    }
    best
}

/// Two distinct ones, where there are two.
pub fn two_of(offered: &[usize], random: &mut Random) -> (usize, usize) {
    let n = offered.len();
    let a = random.below(n as u64) as usize;
    let b = if n < 2 { a } else { (a + 1 + random.below(n as u64 - 1) as usize) % n };
    (offered[a], offered[b])
}
