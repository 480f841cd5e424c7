//! Balance: which endpoint gets the request. Least requests in flight over all cores, divided by weight; endpoints that fail
//! in a row or do not pass their health check are left out for a while, but never more than half of them and never the last.
//!
//! Idea: join the shortest queue (Winston 1977); counting over all cores keeps N workers one balancer. The adaptive balancer
//! with learned speeds comes with its own issue behind the same `policy::pick`. With `balance = "hash"` a request goes where its
//! like went before instead: see [`hash`].
//! When not to: one endpoint. Knobs: `balance`, `hash`, `weight`. Metrics: `unlag_endpoint_*`.

pub mod hash;
pub mod policy;
#[cfg(test)]
mod tests;

use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Failure, Outcome};
use crate::fleet::Sample;
use crate::pipeline::{Next, Stage};
use crate::plan::Upstream;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use unlag_record::Phase;

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
}

impl Stage for Balance {
    async fn serve<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let fleet = self.upstream.fleet();
        self.turn.set(self.turn.get().wrapping_add(1));
        let now = clock::now();
        let key = self.upstream.hash.as_ref().and_then(|by| hash::key(&exchange.head, by));
        let picked = match key {
            Some(key) => hash::pick(&fleet, key, &exchange.failed, now),
            None => policy::pick(&fleet, &exchange.failed, self.turn.get(), now),
        };
        let Some(endpoint) = picked else {
            return Err(Failure { error: Error::NoEndpoint, exchange: Some(exchange) });
        };
        let index = endpoint.index;
        // There is no other: what failed a moment ago fails again, unless it only had too much to do.
        let again =
            exchange.failed.iter().find(|(failed, error)| *failed == index && *error != Error::RefusedStream);
        if let Some((_, error)) = again {
            return Err(Failure { error: *error, exchange: Some(exchange) });
        }
        let trace = Rc::clone(&exchange.trace);
        let waited_ns = trace.timeline().spent_ns(Phase::Wait);
        trace.endpoint.set(Some(endpoint.record));
        exchange.chosen = Some(endpoint.begin());
        let endpoint = Arc::clone(endpoint);
        drop(fleet);
        match next.run(exchange).await {
            Ok(response) => {
                let wait_ns = trace.timeline().spent_ns(Phase::Wait).saturating_sub(waited_ns);
                endpoint.observe(Sample { wait_ns });
                // Who keeps something for its keys is not left for an answer: it may come from whoever stands behind it, and the
                // others have nothing of what it keeps.
                match key.is_none() && policy::is_gateway_failure(response.head.status) {
                    true => endpoint.failed("answered 502, 503 or 504", clock::now()),
                    false => endpoint.succeeded(),
                }
                Ok(response)
            }
            Err(mut failure) => {
                if policy::blames_endpoint(failure.error) {
                    endpoint.failed(failure.error.cause(), clock::now());
                }
                if let Some(exchange) = &mut failure.exchange {
                    exchange.chosen = None;
                    exchange.failed.push((index, failure.error));
                }
                Err(failure)
            }
        }
    }
}
