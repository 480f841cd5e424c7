//! Which HTTP/2 connection a request gets when none has room: a new one, opened by one request while the others wait for it, or,
//! when there are enough, the next stream that ends. It waits no longer than for a connection of its own.

use super::connect::{self, Connected};
use super::h2_shared::Shared;
use crate::clock;
use crate::core::Core;
use crate::error::Error;
use crate::exchange::Trace;
use crate::fleet::Endpoint;
use crate::plan::Upstream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use unlag_config::{Protocol, Scheme};
use unlag_record::Phase;

/// Connections from one core to one endpoint: at 75 streams each more requests than a core has in flight, and few enough
/// where the endpoint allows a stream each.
const CONNECTIONS_MAX: usize = 32;
/// The peer's settings change without telling anybody.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whether a new connection may turn out to be one that requests share.
pub fn may_share(upstream: &Upstream, endpoint: &Endpoint) -> bool {
    match upstream.protocol {
        Protocol::Http1 => false,
        Protocol::Http2 => true,
        Protocol::Auto => endpoint.url.scheme == Scheme::Https && !endpoint.is_http1_only(),
    }
}

/// A connection with a stream for this request, and whether it was there before.
pub async fn take(
    core: &Rc<Core>,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    trace: &Trace,
) -> Result<(Connected, bool), Error> {
    let until = trace.enter(Phase::PoolWait) + clock::ns(upstream.connect_timeout);
    let turn = core.pools.turn(endpoint);
    // Who is before us may also be shaking hands.
    let patience = upstream.connect_timeout + core.limits().tls_handshake_timeout;
    let guard = timeout(patience, turn.lock()).await.map_err(|_| starved(core, endpoint))?;
    if let Some(shared) = core.pools.shared_h2(endpoint) {
        return Ok((Connected::Http2(shared), true));
    }
    if !may_share(upstream, endpoint) {
        // Who was first has found out that there is nothing to share: the others need not go one by one.
        drop(guard);
        return Ok((connect::open(core, upstream, endpoint, Some(trace), false).await?, false));
    }
    if clock::now() >= until {
        // Who was before us has failed, after as long as this request may wait.
        return Err(starved(core, endpoint));
    }
    if may_open(&core.pools.h2_connections(endpoint)) {
        match connect::open(core, upstream, endpoint, Some(trace), false).await? {
            Connected::Http2(shared) if !shared.has_stream() => {}
            connected => return Ok((connected, false)),
        }
        trace.enter(Phase::PoolWait);
    }
    let shared = next_stream(core, endpoint, until).await.ok_or(Error::NoStream)?;
    Ok((Connected::Http2(shared), true))
}

fn may_open(open: &[Rc<Shared>]) -> bool {
    open.len() < CONNECTIONS_MAX && !open.iter().any(|shared| shared.is_barred())
}

fn starved(core: &Core, endpoint: &Endpoint) -> Error {
    match core.pools.h2_connections(endpoint).is_empty() {
        true => Error::ConnectTimeout,
        false => Error::NoStream,
    }
}

/// The first connection with a stream to be had, until it is too late.
async fn next_stream(core: &Core, endpoint: &Endpoint, until: u64) -> Option<Rc<Shared>> {
    loop {
        let mut ended = std::pin::pin!(core.stream_ended.notified());
        ended.as_mut().enable();
        let found = core.pools.h2_connections(endpoint).into_iter().find(|shared| shared.has_stream());
        if found.is_some() || clock::now() >= until {
            return found;
        }
        let left = Duration::from_nanos(until.saturating_sub(clock::now()));
        let _ = timeout(left.min(LOOK_AGAIN), ended).await;
    }
}
