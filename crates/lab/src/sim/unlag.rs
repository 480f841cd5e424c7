//! unlag's own balancer, the code that runs in production: endpoints with their cells, what is learned of them together, the
//! choice by cost, and second copies. Only the clock is the simulator's.

use std::collections::HashMap;
use std::sync::Arc;

use unlag_config::{Scheme, UpstreamUrl};
use unlag_engine::error::Error;
use unlag_engine::fleet::ranking::Ask;
use unlag_engine::fleet::{Endpoint, InFlight, Service, Vigil};
use unlag_engine::plan::Registry;
use unlag_engine::techniques::attempt::purse::{Lost, Paid};
use unlag_engine::techniques::balance::policy::pick;
use unlag_engine::tempo;
use unlag_engine::upstream::discover_names::Found;

use super::balancer::{Balancer, Ended, Ending, Ticket};
use super::hedge::{Hedge, Look};
use super::scenario::{SECOND, Scenario};
use crate::random::Random;

/// The engine's clock does not begin at 0, which stands for never in some of its figures.
const BEGINNING: u64 = 10 * SECOND;
/// How long an endpoint that joins takes to its full share, as `slow_start` has it by default.
const SLOW_START: u64 = 10 * SECOND;

/// One process's view of the replicas.
pub(super) struct Unlag {
    /// By replica, whether it has joined or not.
    endpoints: Vec<Arc<Endpoint>>,
    fleet: Vec<Arc<Endpoint>>,
    service: Service,
    under_way: HashMap<u64, InFlight>,
    sent: u64,
    turn: u32,
    /// Whether servers report their requests in flight.
    reported: bool,
    hedge: Option<Hedge>,
    vigils: HashMap<u64, Vigil>,
}

impl Unlag {
    pub(super) fn new(scenario: &Scenario, reported: bool, hedges: bool) -> Self {
        let registry = Registry::new(unlag_record::Registry::new(unlag_record::Bounds::default(), None));
        let endpoints: Vec<_> =
            (0..scenario.replicas.len()).map(|index| endpoint(&registry, index)).collect();
        for (endpoint, replica) in endpoints.iter().zip(&scenario.replicas) {
            endpoint.note_round_trip(replica.rtt);
        }
        let there = endpoints.iter().zip(&scenario.replicas).filter(|(_, replica)| replica.joins == 0);
        let service = Service::default();
        service.set_slow_start(SLOW_START);
        Self {
            fleet: there.map(|(endpoint, _)| Arc::clone(endpoint)).collect(),
            endpoints,
            service,
            under_way: HashMap::new(),
            sent: 0,
            turn: 0,
            reported,
            hedge: hedges.then(|| Hedge::new(BEGINNING)),
            vigils: HashMap::new(),
        }
    }
}

fn endpoint(registry: &Registry, index: usize) -> Arc<Endpoint> {
    let url = UpstreamUrl {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port: 1000 + index as u16,
        path: String::new(),
    };
    let config = unlag_config::Endpoint::new(url);
    registry.endpoint(&"simulated".into(), &Found::listed(&config), "")
}

impl Balancer for Unlag {
    fn pick(&mut self, now: u64, offered: &[usize], random: &mut Random) -> usize {
        let now = now + BEGINNING;
        self.turn = self.turn.wrapping_add(1);
        let tried = self.fleet.iter().filter(|endpoint| !offered.contains(&(endpoint.index as usize)));
        let failed: Vec<(u32, Error)> =
            tried.map(|endpoint| (endpoint.index, Error::ConnectRefused)).collect();
        self.service.sweep(&self.fleet, now);
        let ask = Ask { failed: &failed, only: None, turn: self.turn, now };
        let picked = pick(&self.fleet, &self.service.figures(), &ask);
        picked.map_or_else(
            || offered[random.below(offered.len() as u64) as usize],
            |picked| picked.endpoint.index as usize,
        )
    }

    fn sent(&mut self, replica: usize, now: u64) -> Ticket {
        let request = self.endpoints[replica].begin(now + BEGINNING);
        let in_flight = request.before();
        self.sent += 1;
        self.under_way.insert(self.sent, request);
        Ticket { in_flight, mark: self.sent }
    }

    fn ended(&mut self, ended: &Ended) {
        let now = ended.at + BEGINNING;
        let Some(mut request) = self.under_way.remove(&ended.ticket.mark) else { return };
        let endpoint = &self.endpoints[ended.replica];
        let took = ended.at - ended.sent_at;
        match ended.ending {
            Ending::Good | Ending::Failed => {
                request.answered();
                if self.reported {
                    endpoint.reported(ended.in_flight_there, endpoint.in_flight(), now);
                }
                let is_good = ended.ending == Ending::Good;
                self.service.observe(&self.fleet, &request, took, is_good, now);
                match is_good {
                    true => endpoint.succeeded(now),
                    false => endpoint.refused(&self.fleet, ended.sent_at + BEGINNING, now),
                }
            }
            Ending::TimedOut => endpoint.failed("timeout", ended.sent_at + BEGINNING, now),
            Ending::Cancelled => {}
        }
    }

    fn joins(&mut self, replica: usize, now: u64) {
        let endpoint = &self.endpoints[replica];
        if !self.fleet.iter().any(|known| known.index == endpoint.index) {
            endpoint.joins(now + BEGINNING);
            self.fleet.push(Arc::clone(endpoint));
        }
    }

    fn look(&mut self, replica: usize, sent_at: u64, looks: u32, now: u64) -> Look {
        let Some(hedge) = &self.hedge else { return Look::Due(u64::MAX) };
        let (endpoint, known) = (&self.endpoints[replica], (self.fleet.as_slice(), &self.service));
        match hedge.look(endpoint, known, sent_at + BEGINNING, looks, now + BEGINNING) {
            Look::Copy(paid) => Look::Copy(paid),
            Look::Due(at) => Look::Due(at - BEGINNING),
            Look::Again(at) => Look::Again(at - BEGINNING),
        }
    }

    fn leaves(&mut self, replica: usize, ticket: Ticket, now: u64) -> bool {
        let vigil = self.endpoints[replica].vigil(now + BEGINNING);
        vigil.map(|vigil| self.vigils.insert(ticket.mark, vigil)).is_some()
    }

    fn moves(&mut self, ticket: Ticket, now: u64) {
        if let Some(vigil) = self.vigils.remove(&ticket.mark) {
            vigil.answered(now + BEGINNING);
        }
    }

    fn settle(&mut self, paid: Paid, lost: Lost, now: u64) {
        if let Some(hedge) = &self.hedge {
            hedge.settle(paid, lost, now + BEGINNING);
        }
    }

    fn over(&mut self, took: u64, ending: tempo::Ending, now: u64) {
        if let Some(hedge) = &self.hedge {
            hedge.over(took, ending, now + BEGINNING);
        }
    }
}
