//! Fetching again what is served, beside the requests for it: before its end, because many ask for it, or after it, while stale
//! answers are allowed. One at a time, and its answer takes the place of what there is when it is whole.

use super::arrival::OBJECT_BYTES_MAX;
use super::fetch::{Asking, Missing};
use super::figures::Miss;
use super::flight::Turn;
use super::object::{Refreshing, Stored};
use super::{Cache, policy};
use crate::clock;
use crate::exchange::{Exchange, Outcome, Trace};
use crate::http::Chunk;
use crate::net::alarm::Timer;
use crate::panics;
use crate::pipeline::Next;
use http::Method;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Cache {
    /// Whether something that is fresh is fetched again before its end, because many ask for it.
    pub(super) fn is_due_early(&self, stored: &Arc<Stored>, now: u64) -> bool {
        if !policy::is_near_its_end(&stored.freshness, stored.received, now) {
            return false;
        }
        let uses = stored.notes.uses.fetch_add(1, Relaxed);
        let draw = self.store.hash(&now.to_le_bytes());
        let own = self.store.hash(&stored.received.came_ns.to_le_bytes());
        uses >= 2 && policy::is_due_early(&stored.freshness, stored.received, now, draw, own)
    }

    /// Fetches again what has just been served, once at a time.
    pub(super) fn refresh<N: Next>(
        &self,
        exchange: &Exchange,
        url: &[u8],
        stored: &Arc<Stored>,
        next: &Rc<N>,
    ) {
        // What fails at once would be asked again with every request.
        if !stored.can_be_asked_about() || stored.is_left_in_peace(clock::now()) {
            return;
        }
        let Some(refreshing) = Refreshing::begin(stored) else { return };
        let missing =
            Missing { stored: Some((Arc::clone(stored), true)), reason: Miss::Stale, ..Missing::default() };
        let (key, now) = (self.key(exchange, url, &missing), clock::now());
        let Some(turn) = self.store.begin_refresh(&self.learned) else { return };
        // Most find that somebody does already: the request is copied after that.
        let Turn::Lead(leading) = self.store.board(url, &key, now, true, self.cap(&missing)) else { return };
        let Some(exchange) = beside(exchange) else { return };
        let asking = Asking::leading(self, url.into(), leading, &exchange).beside(refreshing);
        let fetch = self.clone().go(exchange, missing, asking, Rc::clone(next));
        panics::spawn("refresh", async move {
            let _turn = turn;
            read_to_its_end(fetch.await).await;
        });
    }
}

/// The same request, beside the one that has its answer already: it must not move that one's timeline.
pub(super) fn beside(exchange: &Exchange) -> Option<Box<Exchange>> {
    let mut exchange = exchange.replica()?;
    let now = clock::now();
    exchange.trace = Trace::new(now, &exchange.head, None, &Timer::default());
    exchange.deadline_ns = now.saturating_add(exchange.route.total_timeout_ns);
    exchange.interim = None;
    if exchange.head.method == Method::HEAD {
        exchange.head.method = Method::GET;
    }
    Some(exchange)
}

/// Reads an answer that nobody else may find before it is whole, as far as it may be kept.
pub(super) async fn read_to_its_end(outcome: Outcome) {
    let Ok(mut response) = outcome else { return };
    let mut bytes = 0;
    while let Some(Ok(Chunk::Data(data))) = response.body.chunk().await {
        bytes += data.len() as u64;
        if bytes > OBJECT_BYTES_MAX {
            return;
        }
    }
}
