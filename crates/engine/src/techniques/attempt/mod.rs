//! Attempt: how often a request is tried, and for how long. What certainly reached no application (a refused connection, an
//! HTTP/2 stream refused unprocessed) is tried once more, on another endpoint; what was cut before a byte came back is, if it
//! is idempotent and the retry budget allows. The deadline ends everything inside. Hedging and learned time-outs belong here
//! and come with their own issue.
//!
//! Idea: RFC 9110 §9.2.2 and RFC 9113 §8.7 say what may be sent again; budgets instead of counts keep an outage from being
//! multiplied (Finagle, the SRE book). When not to: there is nothing to switch off, no request that may have been acted on
//! and is not idempotent is ever repeated. Metrics: `attempts` in the access log.

pub mod policy;
#[cfg(test)]
mod tests;

use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Failure, Outcome};
use crate::net::alarm::Borrowed;
use crate::pipeline::{Next, Stage};
use policy::{Budget, Verdict};
use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

/// The stage, for one route on one core.
#[derive(Debug)]
pub struct Attempt {
    budget: Rc<Cell<Budget>>,
}

impl Attempt {
    /// A stage with the budget of its route, which outlives the plan: a reload in the middle of an outage fills it no more than
    /// time does.
    pub fn new(budget: Rc<Cell<Budget>>) -> Attempt {
        Attempt { budget }
    }

    fn earn(&self) {
        let mut budget = self.budget.get();
        budget.earn();
        self.budget.set(budget);
    }

    fn spend(&self) -> bool {
        let mut budget = self.budget.get();
        let enough = budget.spend(clock::now());
        self.budget.set(budget);
        enough
    }

    async fn attempts<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        self.earn();
        let mut made = 0;
        loop {
            made += 1;
            exchange.trace.attempts.set(made);
            let Failure { error, exchange: back } = match next.run(exchange).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let Some(back) = back else { return Err(error.into()) };
            let again = match policy::after(error, made, back.is_idempotent()) {
                Verdict::TryAgain => true,
                Verdict::TryAgainWithinBudget => self.spend(),
                Verdict::GiveUp => false,
            };
            if !again {
                return Err(Failure { error, exchange: Some(back) });
            }
            exchange = back;
        }
    }
}

impl Stage for Attempt {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let mut alarm = Borrowed::set_to(exchange.deadline_ns);
        let mut attempts = std::pin::pin!(self.attempts(exchange, next));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(outcome) = attempts.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            alarm.poll(cx).map(|()| Err(Error::Deadline.into()))
        })
        .await
    }
}
