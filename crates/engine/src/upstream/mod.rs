//! The innermost step: one request on one connection to the endpoint that was chosen. Connections come from this core's pool
//! or are opened; a request whose pooled connection turns out to be dead is replayed once on a fresh one.

pub mod connect;
pub mod control;
pub mod discover;
pub mod discover_names;
pub mod h1;
pub mod h1_body;
pub mod h2;
pub mod h2_shared;
pub mod h2_turn;
pub mod h2_watch;
pub mod health;
pub mod leaving;
pub mod names;
pub mod peer;
pub mod pool;
pub mod resolve;
pub mod tls;
pub mod warm;

use crate::clock;
use crate::core::Core;
use crate::deadline;
use crate::error::{Error, Retry};
use crate::exchange::{Exchange, Failure, Outcome};
use crate::pipeline::Next;
use crate::plan::Upstream;
use connect::Connected;
use std::rc::Rc;
use std::sync::Arc;
use unlag_config::Protocol;
use unlag_record::Phase;

/// The end of every pipeline.
pub struct Send {
    upstream: Arc<Upstream>,
    core: Rc<Core>,
}

impl Send {
    /// Sends to the endpoints of `upstream` from this core.
    pub fn new(upstream: Arc<Upstream>, core: Rc<Core>) -> Send {
        Send { upstream, core }
    }

    /// The same; the request can be copied while it waits for one.
    async fn connection_lending(&self, exchange: &Exchange, fresh: bool) -> Result<(Connected, bool), Error> {
        let mut connecting = std::pin::pin!(self.connection(exchange, fresh));
        std::future::poll_fn(|cx| {
            exchange.lend();
            connecting.as_mut().poll(cx)
        })
        .await
    }

    /// A connection from the pool or a new one, and whether it has been used before.
    async fn connection(&self, exchange: &Exchange, fresh: bool) -> Result<(Connected, bool), Error> {
        let Some(endpoint) = exchange.chosen.as_ref().map(|chosen| chosen.endpoint()) else {
            return Err(Error::NoEndpoint);
        };
        let http1_only = exchange.upgrade.is_some() && self.upstream.protocol == Protocol::Auto;
        if !http1_only && let Some(shared) = self.core.pools.shared_h2(endpoint) {
            return Ok((Connected::Http2(shared), true));
        }
        if !fresh && let Some(conn) = self.core.pools.take(endpoint) {
            warm::replenish(&self.core, &self.upstream, endpoint, false);
            return Ok((Connected::Http1(conn), true));
        }
        // Boxed: most requests find a connection, and need no room for opening one.
        if !http1_only && h2_turn::may_share(&self.upstream, endpoint) {
            let taking = h2_turn::take(&self.core, &self.upstream, endpoint, &exchange.trace);
            return Box::pin(taking).await;
        }
        let opening = connect::open(&self.core, &self.upstream, endpoint, Some(&exchange.trace), http1_only);
        Ok((Box::pin(opening).await?, false))
    }
}

impl Next for Send {
    async fn run(&self, mut exchange: Box<Exchange>) -> Outcome {
        crate::fault::point(&self.core.shared, "stage");
        let mut fresh = false;
        if let Some(chosen) = &exchange.chosen {
            exchange.trace.lending.goes_to(chosen.endpoint());
        }
        loop {
            let (connected, reused) = match self.connection_lending(&exchange, fresh).await {
                Ok(found) => found,
                Err(error) => return Err(Failure { error, exchange: Some(exchange) }),
            };
            exchange.trace.reused.set(reused);
            if deadline::is_said(&exchange.head.fields) {
                let remaining_ns = exchange.deadline_ns.saturating_sub(clock::now());
                deadline::pass_on(&mut exchange.head.fields, remaining_ns);
            }
            let result = match connected {
                Connected::Http1(conn) => h1::call(&self.core, &self.upstream, conn, &mut exchange).await,
                Connected::Http2(conn) => {
                    Box::pin(h2::call(&self.core, &self.upstream, conn, &mut exchange)).await
                }
            };
            let (error, intact) = match result {
                Ok(mut response) => {
                    response.request = exchange.comes_back.then_some(exchange);
                    return Ok(response);
                }
                Err(lost) => (lost.error, lost.intact),
            };
            // A stream that was reset says nothing of its connection.
            let died_idle = reused
                && !fresh
                && error.retry() == Retry::Idempotent
                && error != Error::StreamReset
                && exchange.is_idempotent();
            if died_idle && intact {
                fresh = true;
                exchange.trace.enter(Phase::Overhead);
                continue;
            }
            return Err(Failure { error, exchange: intact.then_some(exchange) });
        }
    }
}

/// A call that failed, and whether the exchange can still be sent whole.
#[derive(Debug)]
pub struct Lost {
    /// What went wrong.
    pub error: Error,
    /// Whether head and body are as they were.
    pub intact: bool,
}
