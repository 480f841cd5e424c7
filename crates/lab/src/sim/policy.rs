//! The policies that can be compared, by name.

use super::balancer::{Balancer, LeastRequest, RoundRobin};
use super::learned::{C3, PeakEwma};
use super::pace::Pace;
use super::scenario::Scenario;
use super::unlag::Unlag;
use crate::random::Random;

/// How one replica is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    RoundRobin,
    LeastOfTwo,
    LeastOfAll,
    LeastWithErrors,
    PeakEwma,
    C3,
    Pace,
    Unlag,
}

/// A way of choosing replicas, and of sending second copies.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name in the tables.
    pub name: String,
    choice: Choice,
    /// Whether second copies are sent, which only unlag does.
    hedges: bool,
    /// Whether servers report their requests in flight, which only unlag reads.
    reported: bool,
}

/// Every name without what may follow the last.
pub const NAMES: [&str; 8] = ["rr", "p2c", "lr", "lr+err", "peak-ewma", "c3", "pace", "unlag"];

impl Policy {
    /// The policy of this name; `+reported` and `+hedge`, in this order, may follow unlag.
    pub fn named(name: &str) -> Option<Self> {
        let (base, hedges) = name.strip_suffix("+hedge").map_or((name, false), |base| (base, true));
        let (base, reported) = base.strip_suffix("+reported").map_or((base, false), |base| (base, true));
        let choice = match base {
            "rr" => Choice::RoundRobin,
            "p2c" => Choice::LeastOfTwo,
            "lr" => Choice::LeastOfAll,
            "lr+err" => Choice::LeastWithErrors,
            "peak-ewma" => Choice::PeakEwma,
            "c3" => Choice::C3,
            "pace" => Choice::Pace,
            "unlag" => Choice::Unlag,
            _ => return None,
        };
        if (reported || hedges) && choice != Choice::Unlag {
            return None;
        }
        Some(Self { name: name.to_owned(), choice, hedges, reported })
    }

    /// One proxy's balancer.
    pub(crate) fn balancer(&self, scenario: &Scenario, random: &mut Random) -> Box<dyn Balancer> {
        let n = scenario.replicas.len();
        let rtts: Vec<u64> = scenario.replicas.iter().map(|r| r.rtt).collect();
        match self.choice {
            Choice::RoundRobin => Box::new(RoundRobin::new(random)),
            Choice::LeastOfTwo => Box::new(LeastRequest::new(n, true)),
            Choice::LeastOfAll => Box::new(LeastRequest::new(n, false)),
            Choice::LeastWithErrors => Box::new(LeastRequest::with_errors(n)),
            Choice::PeakEwma => Box::new(PeakEwma::new(n)),
            Choice::C3 => Box::new(C3::new(n, scenario.proxies)),
            Choice::Unlag => Box::new(Unlag::new(scenario, self.reported, self.hedges)),
            Choice::Pace => Box::new(Pace::new(&rtts)),
        }
    }
}
