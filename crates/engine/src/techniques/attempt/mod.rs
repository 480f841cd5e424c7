//! Attempt: how often a request is tried, for how long, and whether it is sent twice at once.
//!
//! *Retry*: what certainly reached no application (a refused connection, an HTTP/2 stream refused unprocessed) is tried again
//! whatever the method; what was cut before a byte came back, an answer of 502, 503 or 504, and what is inside an endpoint that
//! does not move ([`silence`]), if the request is idempotent. Always on another endpoint, within a budget that successes fill,
//! unless the answer asks not to, or another proxy before this one retries already. *Hedge*: see [`hedge`]. *Deadline*: ends
//! everything inside; a request that has no time left for an answer is not sent. *Time-out*: learned from the route's own tail, see
//! [`crate::tempo`]. *Replay*: see [`replay`].
//!
//! Idea: RFC 9110 §9.2.2 and RFC 9113 §8.7 say what may be sent again; budgets instead of counts keep an outage from being
//! multiplied (Finagle, the SRE book). When not to: `retry = "off"`, where whoever asks retries better. Metrics: `attempts`
//! and `hedge` in the access log, `unlag_attempt_*`.

pub mod fleet;
pub mod hedge;
pub mod learned;
pub mod looks;
pub mod policy;
pub mod purse;
pub mod race;
pub mod replay;
pub mod silence;
#[cfg(test)]
mod tests;
pub mod upload;

use crate::clock;
use crate::error::{Error, Fault};
use crate::exchange::{Exchange, Failure, Outcome, Response, Trace};
use crate::http::{Body, Name};
use crate::marker::Markers;
use crate::net::alarm::Alarm;
use crate::pipeline::{Next, Stage};
use crate::plan::Upstream;
use crate::tempo::Ending;
use http::Method;
use learned::Learned;
use policy::Verdict;
use race::{Limit, Race};
use replay::store::Answers;
use silence::Silence;
use std::rc::Rc;
use std::sync::Arc;
use unlag_config::Timeout;
use unlag_record::{Phase, Refusal, Technique};
use upload::Upload;

/// Content up to this may be sent twice at once.
const COPIED_BYTES_MAX: usize = 64 * 1024;

/// The stage, for one route on one core.
#[derive(Clone, Debug)]
pub struct Attempt {
    learned: Arc<Learned>,
    upstream: Arc<Upstream>,
    answers: Arc<Answers>,
    markers: Arc<Markers>,
}

impl Attempt {
    /// A stage with what its route has learned and what was answered to keys, both of which outlive the plan, and with what says to
    /// whom one of these answers is given again that it wrote.
    pub fn new(
        learned: Arc<Learned>,
        upstream: Arc<Upstream>,
        answers: Arc<Answers>,
        markers: Arc<Markers>,
    ) -> Attempt {
        Attempt { learned, upstream, answers, markers }
    }

    /// When an attempt of this request is given up, and why.
    fn limit(&self, exchange: &Exchange, began_ns: u64) -> Limit {
        let deadline = Limit { at_ns: exchange.deadline_ns, error: Error::Deadline };
        if exchange.route.config.attempts.timeout != Timeout::Learned {
            return deadline;
        }
        match self.learned.tempo.limit_ns() {
            Some(ns)
                if began_ns.saturating_add(ns) < deadline.at_ns && ns < exchange.route.head_timeout_ns =>
            {
                Limit { at_ns: began_ns + ns, error: Error::AnswerTimeout }
            }
            _ => deadline,
        }
    }

    /// The share of its work that the route may spend on copies, if this request may have one: it is safe to send twice at once,
    /// all of it is at hand, and nobody else is at work on it.
    fn share(&self, exchange: &Exchange) -> Option<f64> {
        let rules = &exchange.route.config.attempts;
        let hedge = rules.hedge?;
        let is_safe = matches!(exchange.head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let is_at_hand = match &exchange.body {
            Body::Empty => true,
            Body::Bytes(bytes) => bytes.len() <= COPIED_BYTES_MAX,
            Body::Stream(_) => false,
        };
        let is_plain = exchange.upgrade.is_none() && !exchange.expects_continue;
        let may = (is_safe || rules.idempotent) && is_at_hand && is_plain;
        let has_others = self.upstream.fleet().len() > 1;
        (may && !exchange.head.fields.has(Name::XAttempt) && has_others)
            .then_some(hedge.budget)
            .filter(|_| !exchange.trace.is_held_out(Technique::Hedge, exchange.route.config.holdout))
    }

    async fn attempts<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let trace = Rc::clone(&exchange.trace);
        let began_ns = trace.latest_ns();
        let limit = self.limit(&exchange, began_ns);
        let left_ns = exchange.deadline_ns.saturating_sub(began_ns);
        if self.learned.is_doomed(left_ns) {
            let takes_ns = self.learned.tempo.p10_ns().unwrap_or_default();
            let refusal = Refusal::Doomed { left_ms: ms(left_ns), takes_ms: ms(takes_ns) };
            trace.note(|why| why.refusal = Some(refusal));
            return Err(Failure { error: Error::Doomed, exchange: Some(exchange) });
        }
        let again = Again::of(&exchange);
        let comes_back = exchange.comes_back;
        // An answer that is not passed on is followed by the same request.
        exchange.comes_back |= again.on_answers;
        let mut alarm = Alarm::by(&trace.timer);
        let (mut made, mut was_silent) = (0, false);
        loop {
            made += 1;
            trace.attempts.set(trace.attempts.get().saturating_add(1));
            let share = if made == 1 { self.share(&exchange) } else { None };
            let sent_ns = trace.latest_ns();
            let upload = matches!(exchange.body, Body::Stream(_)).then(|| Upload::of(&trace));
            // By what is allowed, not by what was learned: that ends a request, and says nothing against its endpoint.
            let left_ns = exchange.deadline_ns.saturating_sub(sent_ns);
            let times = (sent_ns, exchange.route.head_timeout_ns.min(left_ns), limit.at_ns);
            let (region, deadline_ns) = (exchange.region, exchange.deadline_ns);
            let (outcome, winner) = {
                let first = std::pin::pin!(next.run(exchange));
                match (share, &upload) {
                    (_, Some(upload)) => (upload.attempt(first, limit, deadline_ns, &mut alarm).await, None),
                    (None, None) => {
                        let may_leave = again.on_answers && made <= again.retries;
                        let silence = may_leave.then(|| Silence::of(self, &trace, times, again.share));
                        (race::alone(first, limit, silence, &mut alarm).await, None)
                    }
                    (Some(share), None) => {
                        let known = (&*self.learned, &*self.upstream);
                        Race::new(next, known, &trace, limit, share, region).run(first, &mut alarm).await
                    }
                }
            };
            // Not before the first is dropped, whose own times say what became of it.
            let outcome = match winner {
                None => outcome,
                Some(winner) => race::won(outcome, &winner, &trace),
            };
            // Where an endpoint was silent, it is the next one that says how long the route takes.
            if made == 1 || was_silent {
                self.learn(&outcome, &trace, sent_ns, limit, upload.as_ref());
            }
            was_silent = matches!(outcome, Err(Failure { error: Error::Silent, .. }));
            let wait_ns = match self.wait_ns(&outcome, again, made, limit) {
                Some(wait_ns) => wait_ns,
                None => return outcome.map(|response| handed_back(response, comes_back)),
            };
            // It is there: nothing else is waited for.
            let Some(back) = taken_back(outcome) else { return Err(Error::Internal.into()) };
            exchange = back;
            let now = trace.enter(Phase::Overhead);
            if wait_ns > 0 {
                alarm.set(now + wait_ns);
                std::future::poll_fn(|cx| alarm.poll(cx)).await;
            }
            // Whoever comes next on the way sees that it is being retried, and does not do the same.
            let number = itoa::Buffer::new().format(made + 1).to_owned();
            exchange.head.fields.set_known(Name::XAttempt, number.as_bytes());
        }
    }

    /// Learns how long the route takes.
    fn learn(
        &self,
        outcome: &Outcome,
        trace: &Trace,
        sent_ns: u64,
        limit: Limit,
        upload: Option<&Upload<'_>>,
    ) {
        let tempo = &self.learned.tempo;
        let (now, ending) = match outcome {
            // The last thing that happened is that the head came.
            Ok(response) if response.head.status < 500 => {
                let is_early = upload.is_some_and(|upload| !upload.was_waited_after());
                (trace.latest_ns(), if is_early { Ending::Early } else { Ending::Answered })
            }
            Ok(_) => (trace.latest_ns(), Ending::Failed),
            Err(failure) => {
                let now = clock::now();
                if failure.error == Error::AnswerTimeout
                    && limit.error == Error::AnswerTimeout
                    && now >= limit.at_ns
                {
                    self.learned.count_timed_out();
                }
                match failure.error {
                    Error::AnswerTimeout | Error::Deadline if upload.is_some_and(Upload::goes_on) => return,
                    Error::AnswerTimeout | Error::Deadline => (now, Ending::GivenUp),
                    Error::Silent => return,
                    error if error.fault() == Fault::Upstream => (now, Ending::Failed),
                    _ => return,
                }
            }
        };
        let uploaded_ns = upload.map_or(0, Upload::ns);
        tempo.note(now.saturating_sub(sent_ns).saturating_sub(uploaded_ns), ending, now);
    }

    /// How long to wait until the next attempt, if there is to be one after `made`.
    fn wait_ns(&self, outcome: &Outcome, again: Again, made: u32, limit: Limit) -> Option<u64> {
        let (verdict, asked_ns, has_another) = match outcome {
            Ok(response)
                if again.on_answers && policy::is_refusal(response.head.status) && made <= again.retries =>
            {
                let request = response.request.as_ref()?;
                let answered = response.in_flight.as_ref().map(|request| request.endpoint().index)?;
                let has_another = fleet::has_better(&self.upstream, request, answered, clock::now());
                (Verdict::TryAgainWithinBudget, policy::pushback_ns(&response.head.fields)?, has_another)
            }
            Ok(_) => return None,
            // It was paid for when it left.
            Err(Failure { error: Error::Silent, exchange: Some(exchange) }) => {
                let may = made <= again.retries && fleet::has_another(&self.upstream, exchange);
                return may.then_some(0);
            }
            Err(Failure { error, exchange: Some(exchange) }) => {
                let verdict = policy::after(*error, made, again.retries, again.is_idempotent);
                // What an endpoint refused because it had too much to do, it may take now.
                let is_busy = *error == Error::RefusedStream;
                (verdict, 0, is_busy || fleet::has_another(&self.upstream, exchange))
            }
            Err(_) => return None,
        };
        if verdict == Verdict::GiveUp || !has_another {
            return None;
        }
        let now = clock::now();
        let wait_ns = asked_ns.max(policy::backoff_ns(made, now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11));
        let left_ns = limit.at_ns.saturating_sub(now);
        if left_ns <= wait_ns || self.learned.is_too_late(left_ns - wait_ns) {
            return None;
        }
        (verdict == Verdict::TryAgain
            || self.learned.take_retry(again.share, &self.upstream.service.retry_floor))
        .then_some(wait_ns)
    }
}

fn ms(ns: u64) -> f32 {
    ns as f32 / 1e6
}

/// What may be tried again of a request, and how often.
#[derive(Clone, Copy, Debug)]
struct Again {
    /// Attempts after the first.
    retries: u32,
    /// The share of successes that the route may spend on them.
    share: f64,
    is_idempotent: bool,
    /// Whether an answer that says no may be followed by another attempt: all of the request is at hand.
    on_answers: bool,
}

impl Again {
    fn of(exchange: &Exchange) -> Again {
        let rules = &exchange.route.config.attempts;
        let is_idempotent = exchange.is_idempotent();
        let is_anothers = policy::is_retried_by_another(exchange.head.fields.get(Name::XAttempt));
        let retry = rules.retry.filter(|_| !is_anothers);
        let is_at_hand = !matches!(exchange.body, Body::Stream(_)) && exchange.upgrade.is_none();
        let on_answers = retry.is_some() && is_idempotent && is_at_hand;
        let (retries, share) = retry.map_or((0, 0.0), |retry| (retry.attempts, retry.budget));
        Again { retries, share, is_idempotent, on_answers }
    }
}

/// An answer as the stages around this one want it: with its request only if they asked for that.
fn handed_back(mut response: Box<Response>, comes_back: bool) -> Box<Response> {
    match &mut response.request {
        Some(request) if comes_back => request.comes_back = comes_back,
        request => *request = None,
    }
    response
}

/// The request of an attempt whose outcome nobody gets.
fn taken_back(outcome: Outcome) -> Option<Box<Exchange>> {
    match outcome {
        Ok(mut response) => {
            let mut request = response.request.take()?;
            request.failed.push((response.in_flight.as_ref()?.endpoint().index, Error::NoOther));
            Some(request)
        }
        Err(failure) => failure.exchange,
    }
}

impl Stage for Attempt {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        match self.keeps(&exchange) {
            None => self.attempts(exchange, next).await,
            // Boxed: most requests have no key, and need no room for it.
            Some(ttl) => Box::pin(self.once(exchange, ttl, next)).await,
        }
    }
}
