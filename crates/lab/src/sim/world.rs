//! The simulated world: open-loop arrivals, proxies with a balancer each, the network, servers. Everything follows from
//! the scenario, the policy and the seed; arrivals, sizes and faults follow from the seed alone, so that policies meet the
//! same requests.

use std::collections::VecDeque;

use unlag_engine::techniques::attempt::purse::Paid;
use unlag_engine::tempo;

use super::agenda::{Agenda, Event};
use super::balancer::{Balancer, Ended, Ending};
use super::faults::Faults;
use super::outcome::Outcome;
use super::policy::Policy;
use super::scenario::{MS, SECOND, Scenario, Work};
use super::server::{Attempt, Server};
use crate::random::Random;

/// A request not answered by then failed; it counts as having taken this long.
pub const DEADLINE: u64 = 2 * SECOND;
/// An answer of a failing replica takes this long there.
const FAILURE_NS: u64 = MS / 5;
/// Tokens that a request adds for retries, and how many are kept.
const RETRY_SHARE: f64 = 0.2;
const RETRY_TOKENS_MAX: f64 = 100.0;
/// First attempt, one retry, one hedge.
const ATTEMPTS_MAX: usize = 3;
/// Median of a log-normal of spread 0.5 and mean 1.
const UNIT_MEDIAN: f64 = 0.882_496_902_584_595_4;
/// The proxy of a request that passed none.
const DIRECT: u32 = u32::MAX;

pub(super) struct Request {
    pub(super) arrived: u64,
    pub(super) proxy: u32,
    size: f64,
    pub(super) attempts: [u32; ATTEMPTS_MAX],
    pub(super) sent: u8,
    outstanding: u8,
    pub(super) retried: bool,
    /// Looks in vain whether it wants a copy, and what was paid for that while neither has lost.
    pub(super) looks: u32,
    pub(super) copy: Option<Paid>,
    pub(super) done: bool,
}

pub(super) struct Proxy {
    pub(super) balancer: Box<dyn Balancer>,
    retry_tokens: f64,
}

/// One run.
pub struct World<'a> {
    pub(super) scenario: &'a Scenario,
    seed: u64,
    pub(super) now: u64,
    pub(super) agenda: Agenda,
    arrivals: Random,
    chances: Random,
    faults: Faults,
    pub(super) servers: Vec<Server>,
    live: Vec<usize>,
    offered: Vec<usize>,
    pub(super) proxies: Vec<Proxy>,
    pub(super) requests: Vec<Request>,
    pub(super) attempts: Vec<Attempt>,
    deadlines: VecDeque<u32>,
    total: usize,
    outcome: Outcome,
}

impl<'a> World<'a> {
    /// A world that `requests` will arrive in, a tenth of them to warm it up.
    pub fn new(scenario: &'a Scenario, policy: &Policy, seed: u64, requests: usize) -> Self {
        let mut chances = Random::new(seed ^ 0xc4a9_ce00);
        let proxies = (0..scenario.proxies)
            .map(|_| Proxy {
                balancer: policy.balancer(scenario, &mut chances),
                retry_tokens: RETRY_TOKENS_MAX / 10.0,
            })
            .collect();
        let servers = scenario.replicas.iter().enumerate();
        let mut world = Self {
            scenario,
            seed,
            now: 0,
            agenda: Agenda::default(),
            arrivals: Random::new(seed ^ 0xa221_7a15),
            chances,
            faults: Faults::new(&scenario.replicas, seed),
            servers: servers.map(|(i, replica)| Server::new(i as u32, replica)).collect(),
            live: Vec::new(),
            offered: Vec::new(),
            proxies,
            requests: Vec::with_capacity(requests),
            attempts: Vec::with_capacity(requests + requests / 8),
            deadlines: VecDeque::new(),
            total: requests,
            outcome: Outcome::new(scenario.replicas.len()),
        };
        world.agenda.at(0, Event::Arrive);
        for (i, replica) in scenario.replicas.iter().enumerate() {
            world.agenda.at(replica.joins, Event::Join { replica: i as u32 });
        }
        world.live = (0..scenario.replicas.len()).filter(|i| scenario.replicas[*i].joins == 0).collect();
        world
    }

    /// Runs until every request is answered or past its deadline.
    pub fn run(mut self) -> Outcome {
        while self.requests.len() < self.total || !self.deadlines.is_empty() {
            self.expire(self.agenda.next_time().unwrap_or(u64::MAX));
            let Some((at, event)) = self.agenda.next() else { break };
            self.now = at;
            self.happen(event);
        }
        self.outcome.lasted = self.now;
        self.outcome
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Arrive => self.arrive(),
            Event::Reach { attempt } => self.reach(attempt),
            Event::Finish { attempt } => {
                let server = &mut self.servers[self.attempts[attempt as usize].replica as usize];
                if server.finish(attempt, now, &mut self.attempts, &mut self.agenda) {
                    self.send_answer(attempt, now);
                }
            }
            Event::FinishSharing { replica, generation } => {
                let server = &mut self.servers[replica as usize];
                let done = server.finish_sharing(generation, now, &mut self.attempts, &mut self.agenda);
                if let Some(attempt) = done {
                    self.send_answer(attempt, now);
                }
            }
            Event::Answer { attempt } => self.answer(attempt),
            Event::Freeze { replica } => {
                let lasting = self.faults.freeze_lasts(replica as usize);
                let server = &mut self.servers[replica as usize];
                server.freeze(now, lasting, &mut self.attempts, &mut self.agenda);
            }
            Event::Thaw { replica } => {
                self.servers[replica as usize].thaw(now, &mut self.attempts, &mut self.agenda);
                self.faults.plan_freeze(replica as usize, now, &mut self.agenda);
            }
            Event::ChangeSpeed { replica } => self.change_speed(replica as usize),
            Event::Join { replica } => self.join(replica as usize),
            Event::Look { request } => self.look(request),
        }
    }

    fn join(&mut self, replica: usize) {
        if !self.live.contains(&replica) {
            self.live.push(replica);
            self.proxies.iter_mut().for_each(|proxy| proxy.balancer.joins(replica, self.now));
        }
        self.faults.plan_freeze(replica, self.now, &mut self.agenda);
        self.change_speed(replica);
    }

    fn change_speed(&mut self, replica: usize) {
        let (slowness, until) = self.faults.slowness(replica, self.now);
        self.servers[replica].change_speed(self.now, slowness, &mut self.agenda);
        if let Some(until) = until {
            self.agenda.at(until, Event::ChangeSpeed { replica: replica as u32 });
        }
    }

    fn arrive(&mut self) {
        if self.requests.len() == self.total {
            return;
        }
        let id = self.requests.len() as u32;
        let direct = self.scenario.direct > 0.0 && self.arrivals.unit() < self.scenario.direct;
        let proxy = self.arrivals.below(u64::from(self.scenario.proxies)) as u32;
        let proxy = if direct { DIRECT } else { proxy };
        let size = size(self.scenario.work, &mut self.arrivals);
        self.requests.push(Request {
            arrived: self.now,
            proxy,
            size,
            attempts: [0; ATTEMPTS_MAX],
            sent: 0,
            outstanding: 0,
            retried: false,
            looks: 0,
            copy: None,
            done: direct,
        });
        let rate = self.scenario.arrivals.rate_at(self.now);
        let gap = self.arrivals.exponential(1e9 / rate) as u64;
        self.agenda.at(self.now + gap, Event::Arrive);
        if direct {
            let replica = self.live[self.arrivals.below(self.live.len() as u64) as usize];
            return self.launch(id, replica);
        }
        self.deadlines.push_back(id);
        let proxy = &mut self.proxies[proxy as usize];
        proxy.retry_tokens = (proxy.retry_tokens + RETRY_SHARE).min(RETRY_TOKENS_MAX);
        self.dispatch(id);
        self.look(id);
    }

    fn dispatch(&mut self, id: u32) {
        let replica = self.choose(id);
        self.launch(id, replica);
    }

    /// A replica that the request was not sent to before, where there is one.
    pub(super) fn choose(&mut self, id: u32) -> usize {
        let request = &self.requests[id as usize];
        let used = &request.attempts[..request.sent as usize];
        self.offered.clear();
        self.offered.extend(self.live.iter().copied());
        self.offered
            .retain(|replica| used.iter().all(|a| self.attempts[*a as usize].replica as usize != *replica));
        if self.offered.is_empty() {
            self.offered.extend(self.live.iter().copied());
        }
        let proxy = &mut self.proxies[request.proxy as usize];
        proxy.balancer.pick(self.now, &self.offered, &mut self.chances)
    }

    pub(super) fn launch(&mut self, id: u32, replica: usize) {
        let request = &mut self.requests[id as usize];
        // A copy's own noise follows from request and turn alone, whatever the policy did before.
        let turn = u64::from(id) << 2 | u64::from(request.sent);
        let noise =
            Random::new(self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ turn).log_normal(UNIT_MEDIAN, 0.5);
        let work = (request.size * noise) as u64;
        let mut attempt = Attempt::new(id, request.proxy, replica as u32, self.now, work);
        let attempt_id = self.attempts.len() as u32;
        request.attempts[request.sent as usize] = attempt_id;
        request.sent += 1;
        request.outstanding += 1;
        if let Some(proxy) = self.proxies.get_mut(request.proxy as usize) {
            attempt.ticket = proxy.balancer.sent(replica, self.now);
        }
        self.attempts.push(attempt);
        let half = self.scenario.replicas[replica].rtt / 2;
        self.agenda.at(self.now + half, Event::Reach { attempt: attempt_id });
        if self.outcome.is_measured(id as usize, self.total) && request.proxy != DIRECT {
            self.outcome.sent(replica, request.sent > 1);
        }
    }

    fn reach(&mut self, id: u32) {
        let attempt = self.attempts[id as usize];
        if attempt.abandoned {
            return;
        }
        let replica = attempt.replica as usize;
        let failing = self.scenario.replicas[replica].failing.share_at(self.now);
        if failing > 0.0 && self.chances.unit() < failing {
            self.attempts[id as usize].failed = true;
            self.attempts[id as usize].in_flight_there = 1;
            return self.send_answer(id, self.now + FAILURE_NS);
        }
        self.servers[replica].arrive(id, self.now, &mut self.attempts, &mut self.agenda);
    }

    fn send_answer(&mut self, attempt: u32, at: u64) {
        let replica = self.attempts[attempt as usize].replica as usize;
        let half = self.scenario.replicas[replica].rtt / 2;
        self.agenda.at(at + half, Event::Answer { attempt });
    }

    fn answer(&mut self, id: u32) {
        let attempt = self.attempts[id as usize];
        if attempt.proxy == DIRECT || attempt.abandoned {
            return;
        }
        if attempt.ended {
            return self.proxies[attempt.proxy as usize].balancer.moves(attempt.ticket, self.now);
        }
        self.end(id, if attempt.failed { Ending::Failed } else { Ending::Good });
        self.settle(id, attempt.failed);
        if !attempt.failed {
            self.over(attempt.request, tempo::Ending::Answered);
            return self.complete(attempt.request, true);
        }
        if self.requests[attempt.request as usize].outstanding > 0 {
            return;
        }
        self.over(attempt.request, tempo::Ending::Failed);
        let request = &mut self.requests[attempt.request as usize];
        let proxy = &mut self.proxies[attempt.proxy as usize];
        if self.scenario.retries && !request.retried && proxy.retry_tokens >= 1.0 {
            request.retried = true;
            proxy.retry_tokens -= 1.0;
            return self.dispatch(attempt.request);
        }
        self.complete(attempt.request, false);
    }

    /// Tells the proxy that an attempt ended.
    fn end(&mut self, id: u32, ending: Ending) {
        let attempt = self.attempts[id as usize];
        self.attempts[id as usize].ended = true;
        let request = &mut self.requests[attempt.request as usize];
        request.outstanding -= 1;
        let ended = Ended {
            replica: attempt.replica as usize,
            sent_at: attempt.sent_at,
            at: self.now,
            ending,
            ticket: attempt.ticket,
            in_flight_there: attempt.in_flight_there,
            service: if attempt.failed { FAILURE_NS } else { attempt.work },
        };
        self.proxies[attempt.proxy as usize].balancer.ended(&ended);
    }

    fn abandon_all(&mut self, id: u32, ending: Ending) {
        let request = &self.requests[id as usize];
        let (attempts, sent) = (request.attempts, request.sent as usize);
        for attempt in attempts.into_iter().take(sent) {
            let a = self.attempts[attempt as usize];
            if !a.ended {
                let balancer = &mut self.proxies[a.proxy as usize].balancer;
                if !balancer.leaves(a.replica as usize, a.ticket, self.now) {
                    self.servers[a.replica as usize].abandon(attempt, &mut self.attempts);
                }
                self.end(attempt, ending);
            }
        }
    }

    fn complete(&mut self, id: u32, good: bool) {
        self.requests[id as usize].done = true;
        self.abandon_all(id, Ending::Cancelled);
        let arrived = self.requests[id as usize].arrived;
        if self.outcome.is_measured(id as usize, self.total) {
            self.outcome.answered(self.now - arrived, good);
        }
    }

    /// Gives up on requests whose deadline comes before `next`.
    fn expire(&mut self, next: u64) {
        while let Some(id) = self.deadlines.front().copied() {
            let request = &self.requests[id as usize];
            if !request.done {
                let at = request.arrived + DEADLINE;
                if at > next {
                    return;
                }
                self.now = at;
                self.requests[id as usize].done = true;
                self.over(id, tempo::Ending::GivenUp);
                self.abandon_all(id, Ending::TimedOut);
                if self.outcome.is_measured(id as usize, self.total) {
                    self.outcome.timed_out(DEADLINE);
                }
            }
            self.deadlines.pop_front();
        }
    }
}

/// A request's own size, ns of a worker.
fn size(work: Work, random: &mut Random) -> f64 {
    match work {
        Work::Common(mean) => random.log_normal(mean as f64 * UNIT_MEDIAN, 0.5),
        Work::Bimodal { small, large } => {
            if random.unit() < 0.1 {
                large as f64
            } else {
                small as f64
            }
        }
        Work::Rare { usual, rare, one_in } => {
            if random.unit() * f64::from(one_in) < 1.0 {
                rare as f64
            } else {
                usual as f64
            }
        }
        Work::Pareto(mean) => {
            let mean = mean as f64;
            // Shape 1.5: the mean is three times the least.
            (mean / 3.0 * (1.0 - random.unit()).powf(-1.0 / 1.5)).min(60.0 * mean)
        }
    }
}
