//! The inner half of admission, around the sending itself: what an answer, or its absence, says of the endpoint.

use super::breaker;
use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Outcome, Trace};
use crate::fleet::Endpoint;
use crate::pipeline::{Next, Stage};
use crate::plan::Upstream;
use std::rc::Rc;
use std::sync::Arc;
use unlag_record::Phase;

/// The stage.
#[derive(Debug)]
pub struct Watch {
    upstream: Arc<Upstream>,
}

impl Watch {
    /// Watches the endpoints of `upstream`.
    pub fn new(upstream: Arc<Upstream>) -> Watch {
        Watch { upstream }
    }
}

impl Stage for Watch {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let Some(chosen) = &exchange.chosen else { return next.run(exchange).await };
        let (endpoint, in_flight) = (Arc::clone(chosen.endpoint()), chosen.before() + 1);
        endpoint.gauge.begun(in_flight);
        let (begun_ns, overdue_ns) = (chosen.begun_ns(), exchange.overdue_ns);
        let trace = Rc::clone(&exchange.trace);
        let waited_ns = trace.timeline().spent_ns(Phase::Wait);
        let mut sent = Sent {
            upstream: &self.upstream,
            endpoint,
            waited_ns,
            trace,
            in_flight,
            begun_ns,
            overdue_ns,
            is_over: false,
        };
        let outcome = next.run(exchange).await;
        sent.is_over = true;
        match &outcome {
            Ok(_) => sent.answered(),
            Err(failure) => sent.failed(failure.error, clock::now()),
        }
        outcome
    }
}

/// A request whose answer has not begun.
struct Sent<'a> {
    upstream: &'a Upstream,
    endpoint: Arc<Endpoint>,
    trace: Rc<Trace>,
    waited_ns: u64,
    in_flight: u32,
    begun_ns: u64,
    overdue_ns: u64,
    is_over: bool,
}

impl Sent<'_> {
    fn answered(&self) {
        let gauge = &self.endpoint.gauge;
        gauge.contact.answered();
        if gauge.room.is_lost() && gauge.room.set_lost(false) {
            tracing::info!(upstream = %self.upstream.name, endpoint = %self.endpoint.authority(), "the upstream answers again");
            // What failed together mostly comes back together, and the first to do so cannot serve all.
            let now = self.trace.latest_ns();
            self.upstream.fleet().iter().for_each(|peer| peer.gauge.contact.look_now(now));
        }
        if gauge.learns() {
            // The last thing that happened is that the head came.
            self.sample(self.trace.latest_ns());
        }
    }

    /// How long it has taken is what it waited for: neither connecting nor a slow upload says how much work the endpoint has.
    fn sample(&self, now: u64) {
        let waited_ns = self.trace.timeline().spent_ns(Phase::Wait).saturating_sub(self.waited_ns);
        self.endpoint.gauge.sample(waited_ns, self.in_flight, self.upstream.knee(), now);
    }

    fn failed(&self, error: Error, now: u64) {
        if error == Error::AnswerTimeout {
            self.endpoint.gauge.learns().then(|| self.sample(now));
        }
        if breaker::is_unreachable(error) && !self.answers_others(error) {
            self.lost_contact(now);
        }
    }

    /// Whether it is only this request that it does not answer: one that is slow by nature, however many are sent of it.
    fn answers_others(&self, error: Error) -> bool {
        error == Error::AnswerTimeout && self.endpoint.has_moved_since(self.begun_ns)
    }

    fn lost_contact(&self, now: u64) {
        let is_lost = self.endpoint.gauge.contact.failed(now ^ u64::from(self.endpoint.index), now);
        let room = &self.endpoint.gauge.room;
        let is_given_up = |peer: &Arc<Endpoint>| peer.is_drained() || peer.gauge.contact.is_lost();
        if is_lost && !room.is_lost() && self.upstream.fleet().iter().all(is_given_up) && room.set_lost(true)
        {
            tracing::warn!(upstream = %self.upstream.name, "no endpoint of the upstream can be reached: its requests are refused");
        }
    }
}

impl Drop for Sent<'_> {
    /// Somebody gave up on it: the caller, a hedge that won, or the deadline. All that is known is that it took longer.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let now = clock::now();
        let (phase, since_ns) = {
            let timeline = self.trace.timeline();
            (timeline.current(), timeline.started_ns() + timeline.total_ns())
        };
        let waits_ns = if phase == Phase::Wait { now.saturating_sub(since_ns) } else { 0 };
        let gauge = &self.endpoint.gauge;
        if gauge.learns() && gauge.says_something(waits_ns) {
            gauge.sample(waits_ns, self.in_flight, self.upstream.knee(), now);
        }
        let overdue = (now >= self.overdue_ns).then_some(Error::AnswerTimeout);
        let Some(error) = self.trace.given_up.take().or(overdue) else { return };
        let is_waited_for = matches!(phase, Phase::Wait | Phase::Connect | Phase::Tls);
        if is_waited_for && !self.answers_others(Error::AnswerTimeout) {
            self.endpoint.failed(error.cause(), self.begun_ns, now);
            self.lost_contact(now);
        }
    }
}
