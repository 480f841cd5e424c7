//! Balance: which endpoint gets the request. `adaptive` (the default) asks where the answer costs least: see [`pace`]; with
//! `least-request` the fewest requests in flight decide, with `round-robin` the turn, and with `hash` a request goes where its
//! like went before: see [`hash`]. Endpoints that fail in a row or do not pass their health check are left out for a while, but
//! never more than half of them and never the last.
//!
//! Idea: join the shortest queue (Winston 1977), with what is known of each endpoint as a cost; counting over all cores keeps N
//! workers one balancer. When not to: one endpoint. Knobs: `balance`, `hash`, `weight`, `slow_start`. Metrics:
//! `unlag_endpoint_*`.

pub mod hash;
pub mod pace;
pub mod policy;
pub mod reports;
#[cfg(test)]
mod tests;
pub mod trailers;

use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Failure, Outcome, Response, Trace};
use crate::fleet::ranking::{self, Ask, Looked};
use crate::fleet::{Endpoint, InFlight, RegionId, Went};
use crate::pipeline::{Next, Stage};
use crate::plan::Upstream;
use policy::{Picked, Verdict};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use unlag_config::Balance as By;
use unlag_record::{Before, How, Phase, Technique};

/// The longest that an endpoint is spared because it says so: what it says is about load, and load changes.
const BUSY_S_MAX: u32 = 10;

/// Where a request went, and when.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    index: u32,
    begun_ns: u64,
}

/// The stage: one upstream's endpoints, seen from one core.
#[derive(Debug)]
pub struct Balance {
    upstream: Arc<Upstream>,
    turn: Cell<u32>,
}

impl Balance {
    /// Balances over the endpoints of `upstream`.
    pub fn new(upstream: Arc<Upstream>) -> Balance {
        Balance { upstream, turn: Cell::new(0) }
    }

    /// The endpoint for an exchange, and by which rule it was chosen.
    fn pick<'a>(
        &self,
        fleet: &'a [Arc<Endpoint>],
        exchange: &Exchange,
        now: u64,
    ) -> Option<(How, Picked<'a>)> {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let ask = Ask { failed: &exchange.failed, only: exchange.region, turn, now };
        let service = &self.upstream.service;
        service.sweep(fleet, now);
        if fleet.len() == 1 {
            return policy::the_only(fleet, &ask).map(|picked| (How::OnlyOne, picked));
        }
        let figures = service.figures();
        let by_turn = |ask: &Ask<'_>| policy::round_robin(fleet, ask);
        let by_count = |ask: &Ask<'_>| policy::least_requests(fleet, ask);
        match &self.upstream.balance {
            By::Hash(by) => match hash::key(&exchange.head, by) {
                Some(key) => self.near(How::Hash, &ask, figures.home, |ask| hash::pick(fleet, key, ask)),
                None => self.near(How::LeastRequest, &ask, figures.home, by_count),
            },
            By::LeastRequest => self.near(How::LeastRequest, &ask, figures.home, by_count),
            By::RoundRobin => self.near(How::RoundRobin, &ask, figures.home, by_turn),
            By::Adaptive if exchange.trace.is_held_out(Technique::Balance, exchange.route.config.holdout) => {
                self.near(How::HeldOut, &ask, figures.home, by_turn)
            }
            By::Adaptive => {
                let picked = policy::pick(fleet, &figures, &ask)?;
                // What belongs to a region has not left another.
                Some(if ask.only.is_some() {
                    (How::Adaptive, picked)
                } else {
                    self.stay(picked, figures.home)
                })
            }
        }
    }

    /// Rules that compare no distances keep to the nearest region, as long as somebody there may be asked without reservation.
    fn near<'a>(
        &self,
        how: How,
        ask: &Ask<'_>,
        home: Option<RegionId>,
        pick: impl Fn(&Ask<'_>) -> Option<Picked<'a>>,
    ) -> Option<(How, Picked<'a>)> {
        let (None, Some(_)) = (ask.only, home) else { return pick(ask).map(|picked| (how, picked)) };
        let near = pick(&Ask { only: home, ..*ask });
        if near.is_some_and(|picked| picked.rank <= ranking::JOINS) {
            return near.map(|picked| (how, picked));
        }
        let picked = pick(ask).or(near)?;
        let leaves = picked.endpoint.region != home;
        if leaves {
            self.upstream.service.went().count(Went::Spilled);
        }
        Some((if leaves { How::Spilled } else { how }, picked))
    }

    /// Keeps a request in the nearest region when too many have left it.
    fn stay<'a>(&self, picked: Picked<'a>, home: Option<RegionId>) -> (How, Picked<'a>) {
        let service = &self.upstream.service;
        let Some((home, cost)) = picked.at_home else {
            // Where all of it are at their limit, nobody can be kept in it.
            let leaves = home.is_some() && picked.endpoint.region != home;
            service.note_leaving(leaves);
            if leaves {
                service.went().count(Went::Spilled);
            }
            return (if leaves { How::Spilled } else { How::Adaptive }, picked);
        };
        if policy::may_leave(&cost, home.failing(), service.leaving(), self.upstream.spill_max) {
            service.note_leaving(true);
            service.went().count(Went::Spilled);
            return (How::Spilled, Picked { other: picked.at_home, ..picked });
        }
        service.note_leaving(false);
        service.went().count(Went::KeptAtHome);
        let other = Some((picked.endpoint, picked.cost));
        (How::KeptAtHome, Picked { endpoint: home, cost, other, ..picked })
    }

    /// Keeps why an endpoint was chosen.
    fn note(&self, trace: &Trace, failed: &[(u32, Error)], of: usize, (how, picked): (How, &Picked<'_>)) {
        let before = trace.endpoint.get().zip(failed.last()).map(|(endpoint, (_, error))| Before {
            endpoint,
            // What is tried again although it was answered has no error of its own.
            cause: if *error == Error::NoOther { "answered 502, 503 or 504" } else { error.cause() },
        });
        let choice = picked.choice(how, of, self.upstream.service.figures().home);
        trace.note(|why| {
            why.choice = Some(choice);
            why.before = before.or(why.before);
        });
    }

    /// Learns from an answer.
    fn answered(&self, response: &mut Response, request: &InFlight, wait_ns: u64, now: u64) {
        let endpoint = request.endpoint();
        let verdict = match response.head.status {
            // Who keeps something for its keys is not left for an answer: it may come from whoever stands behind it, and the
            // others have nothing of what it keeps.
            502..=504 if matches!(self.upstream.balance, By::Hash(_)) => Verdict::Good,
            status => verdict(response, status),
        };
        self.upstream.service.observe(
            &self.upstream.fleet(),
            request,
            wait_ns,
            verdict == Verdict::Good,
            now,
        );
        match trailers::judge(response, request, &self.upstream) {
            true => endpoint.trust(),
            false => hear((endpoint, request.begun_ns()), verdict, &self.upstream, now),
        }
    }
}

/// Notes what an answer says of an endpoint, to which its request was sent at that moment.
fn hear((endpoint, begun_ns): (&Endpoint, u64), verdict: Verdict, upstream: &Upstream, now: u64) {
    match verdict {
        Verdict::Good => endpoint.succeeded(now),
        Verdict::Busy(seconds) => {
            endpoint.succeeded(now);
            endpoint.busy(now + u64::from(seconds.min(BUSY_S_MAX)) * 1_000_000_000);
        }
        Verdict::Bad => endpoint.answered_badly(now),
        Verdict::Failed => endpoint.refused(&upstream.fleet(), begun_ns, now),
    }
}

fn verdict(response: &Response, status: u16) -> Verdict {
    let fields = &response.head.fields;
    let grpc_status = if status == 200 { policy::grpc_status(fields) } else { None };
    let retry_after_s =
        if status == 429 { fields.get_named("retry-after").and_then(policy::number) } else { None };
    policy::judge(status, grpc_status, retry_after_s)
}

impl Balance {
    /// Chooses an endpoint for the exchange and counts it in there.
    fn choose(&self, exchange: &mut Exchange) -> Result<Chosen, Error> {
        let fleet = self.upstream.fleet();
        let now = clock::now();
        let picked = match exchange.only.take() {
            Some(only) => fleet
                .iter()
                .find(|endpoint| endpoint.index == only)
                .map(|endpoint| (How::Look, Picked::regardless(endpoint, 0, Looked::default()))),
            None => self.pick(&fleet, exchange, now),
        };
        let Some((how, picked)) = picked else {
            let are_drained = !fleet.is_empty() && fleet.iter().all(|endpoint| endpoint.is_drained());
            return Err(if are_drained { Error::Drained } else { self.upstream.no_endpoint() });
        };
        let endpoint = picked.endpoint;
        // There is no other: what failed a moment ago fails again, unless it only had too much to do.
        let has_failed =
            |&&(failed, error): &&(u32, Error)| failed == endpoint.index && error != Error::RefusedStream;
        if let Some((_, error)) = exchange.failed.iter().find(has_failed) {
            return Err(*error);
        }
        self.note(&exchange.trace, &exchange.failed, fleet.len(), (how, &picked));
        exchange.trace.endpoint.set(Some(endpoint.record));
        exchange.chosen = Some(endpoint.begin(now));
        if let Some(promise) = exchange.promise.take() {
            promise.keep(now);
        }
        Ok(Chosen { index: endpoint.index, begun_ns: now })
    }

    /// Holds a failure against the endpoint, if it is one of its own and the endpoint is still there.
    fn blame(&self, chosen: Chosen, error: Error) {
        if !policy::blames_endpoint(error) {
            return;
        }
        let fleet = self.upstream.fleet();
        let Some(endpoint) = fleet.iter().find(|endpoint| endpoint.index == chosen.index) else { return };
        // One that answers others meanwhile is there: a slow request is no reason to leave it out.
        match error == Error::AnswerTimeout && endpoint.has_moved_since(chosen.begun_ns) {
            true => endpoint.answered_badly(clock::now()),
            false => endpoint.failed(error.cause(), chosen.begun_ns, clock::now()),
        }
    }
}

impl Stage for Balance {
    async fn serve<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let chosen = match self.choose(&mut exchange) {
            Ok(chosen) => chosen,
            Err(error) => return Err(Failure { error, exchange: Some(exchange) }),
        };
        let trace = Rc::clone(&exchange.trace);
        let waited_ns = trace.timeline().spent_ns(Phase::Wait);
        match next.run(exchange).await {
            Ok(mut response) => {
                // The last thing that happened is that the head came.
                let now = trace.latest_ns();
                let in_flight = reports::take(&mut response.head.fields);
                let wait_ns = trace.timeline().spent_ns(Phase::Wait).saturating_sub(waited_ns);
                if let Some(mut request) = response.in_flight.take() {
                    request.answered();
                    if let Some(in_flight) = in_flight {
                        request.endpoint().reported(in_flight, request.endpoint().in_flight(), now);
                    }
                    self.answered(&mut response, &request, wait_ns, now);
                    response.in_flight = Some(request);
                } else if let Some(request) =
                    response.tunnel.iter_mut().find_map(|tunnel| tunnel.in_flight.as_mut())
                {
                    request.answered();
                    request.endpoint().succeeded(now);
                }
                Ok(response)
            }
            Err(mut failure) => {
                self.blame(chosen, failure.error);
                if let Some(exchange) = &mut failure.exchange {
                    exchange.chosen = None;
                    exchange.failed.push((chosen.index, failure.error));
                }
                Err(failure)
            }
        }
    }
}
