//! The innermost step: one request on one connection to the endpoint that was chosen. Connections come from this core's pool
//! or are opened; a request whose pooled connection turns out to be dead is replayed once on a fresh one.

pub mod connect;
pub mod control;
pub mod discover;
pub mod h1;
pub mod h1_body;
pub mod h2;
pub mod health;
pub mod pool;
pub mod resolve;
pub mod tls;
pub mod warm;

use crate::core::Core;
use crate::error::{Error, Retry};
use crate::exchange::{Exchange, Failure, Outcome, Trace};
use crate::fleet::Endpoint;
use crate::net::turn;
use crate::pipeline::Next;
use crate::plan::Upstream;
use connect::Connected;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::timeout;
use unlag_config::{Protocol, Scheme};
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

    /// A connection from the pool or a new one, and whether it has been used before.
    async fn connection(&self, exchange: &Exchange, fresh: bool) -> Result<(Connected, bool), Error> {
        let Some(endpoint) = exchange.chosen.as_ref().map(|chosen| chosen.endpoint()) else {
            return Err(Error::NoEndpoint);
        };
        let http1_only = exchange.upgrade.is_some() && self.upstream.protocol == Protocol::Auto;
        if !http1_only && let Some(shared) = self.core.pools.shared_h2(endpoint) {
            return Ok((Connected::Http2(shared), true));
        }
        if !fresh {
            // Before anything is taken for it: the connection and the buffer are those that were used last.
            turn::after_the_others().await;
            if let Some(conn) = self.core.pools.take(endpoint) {
                warm::replenish(&self.core, &self.upstream, endpoint, false);
                return Ok((Connected::Http1(conn), true));
            }
        }
        // Boxed: most requests find a connection, and need no room for opening one.
        if !http1_only && self.may_share(endpoint) {
            return Box::pin(self.shared(endpoint, &exchange.trace)).await;
        }
        let opening = connect::open(&self.core, &self.upstream, endpoint, Some(&exchange.trace), http1_only);
        Ok((Box::pin(opening).await?, false))
    }

    /// Whether a new connection may turn out to be one that requests share.
    fn may_share(&self, endpoint: &Endpoint) -> bool {
        match self.upstream.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Auto => endpoint.url.scheme == Scheme::Https && !endpoint.is_http1_only(),
        }
    }

    /// A connection to share, opened by one request while the others wait for it; they wait no longer than for one of their own.
    async fn shared(&self, endpoint: &Arc<Endpoint>, trace: &Trace) -> Result<(Connected, bool), Error> {
        trace.enter(Phase::PoolWait);
        let turn = self.core.pools.turn(endpoint);
        let patience = self.upstream.connect_timeout + self.core.limits().tls_handshake_timeout;
        let guard = timeout(patience, turn.lock()).await.map_err(|_| Error::ConnectTimeout)?;
        if let Some(shared) = self.core.pools.shared_h2(endpoint) {
            return Ok((Connected::Http2(shared), true));
        }
        // Who was first has found out that there is nothing to share: the others need not go one by one.
        let _guard = self.may_share(endpoint).then_some(guard);
        let connected = connect::open(&self.core, &self.upstream, endpoint, Some(trace), false).await?;
        Ok((connected, false))
    }
}

impl Next for Send {
    async fn run(&self, mut exchange: Box<Exchange>) -> Outcome {
        crate::fault::point(&self.core.shared, "stage");
        let mut fresh = false;
        loop {
            let (connected, reused) = match self.connection(&exchange, fresh).await {
                Ok(found) => found,
                Err(error) => return Err(Failure { error, exchange: Some(exchange) }),
            };
            exchange.trace.reused.set(reused);
            let remaining = exchange.deadline_ns.saturating_sub(crate::clock::now());
            crate::deadline::pass_on(&mut exchange.head.fields, remaining);
            let result = match connected {
                Connected::Http1(conn) => h1::call(&self.core, &self.upstream, conn, &mut exchange).await,
                Connected::Http2(conn) => {
                    Box::pin(h2::call(&self.core, &self.upstream, conn, &mut exchange)).await
                }
            };
            let (error, intact) = match result {
                Ok(response) => return Ok(response),
                Err(lost) => (lost.error, lost.intact),
            };
            let died_idle =
                reused && !fresh && error.retry() == Retry::Idempotent && exchange.is_idempotent();
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
