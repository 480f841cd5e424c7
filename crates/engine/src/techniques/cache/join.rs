//! Getting what is not stored: from a fetch that is under way, or by one of its own.

use super::fetch::{Asking, Missing};
use super::figures::Counts;
use super::flight::{For, Landing, Leading, Surviving, Turn};
use super::object::Stored;
use super::status::Status;
use super::{Cache, Found, range, same, vary};
use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Outcome};
use crate::http::Name;
use crate::pipeline::Next;
use http::Method;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use unlag_record::Phase;

/// How often one request waits for others' fetches before it goes on its own: once for the URL, once for its own variant of it,
/// and once more if a leader gives up.
const ROUNDS_MAX: usize = 3;

/// What follows from another's fetch.
enum Then {
    Answer(Outcome),
    LookAgain,
    GoAlone,
}

impl Cache {
    /// Gets what is missing.
    pub(super) async fn obtain<N: Next>(
        &self,
        exchange: Box<Exchange>,
        url: Vec<u8>,
        mut missing: Missing,
        next: &Rc<N>,
    ) -> Outcome {
        for _ in 0..ROUNDS_MAX {
            let waiting = match self.turn(&exchange, &url, &missing) {
                Turn::Alone => break,
                Turn::Wait(waiting) => waiting,
                Turn::Lead(leading) => return self.lead(exchange, url, missing, leading, next).await,
            };
            let left_ns = exchange.deadline_ns.saturating_sub(exchange.trace.enter(Phase::Cache));
            let (own, cap) = (Duration::from_nanos(left_ns), self.learned.wait_cap());
            let landed = waiting.landed(own.min(cap)).await;
            exchange.trace.enter(Phase::Overhead);
            if landed.is_none() && own < cap {
                return self.too_late(missing.stale().map(|stored| (&**stored, &*exchange)));
            }
            match self.landed(landed, &exchange, &url, &missing) {
                Then::Answer(outcome) => return outcome,
                Then::GoAlone => break,
                Then::LookAgain => {}
            }
            match self.find(&exchange, &url, next) {
                Found::Answer(response) => return Ok(response),
                Found::Missing(now) => missing = now,
            }
        }
        let asking = Asking::alone(self, url);
        self.clone().go(exchange, missing, asking, Rc::clone(next)).await
    }

    /// Fetches for all who come meanwhile. How long they get is the route's word: one caller's own deadline ends its waiting, and
    /// not the answer of the others.
    async fn lead<N: Next>(
        &self,
        mut exchange: Box<Exchange>,
        url: Vec<u8>,
        missing: Missing,
        leading: Leading,
        next: &Rc<N>,
    ) -> Outcome {
        let (watch, now, own_ns) = (leading.watch(), clock::now(), exchange.deadline_ns);
        let asking = Asking::leading(self, url, leading, &exchange);
        exchange.deadline_ns = now.saturating_add(exchange.route.total_timeout_ns);
        let has_own_limit = own_ns < exchange.deadline_ns;
        if !has_own_limit {
            let fetch = self.clone().go(exchange, missing, asking, Rc::clone(next));
            return Surviving::new(fetch, watch).await;
        }
        // What is left of it is not passed on: it is not the fetch's.
        exchange.head.fields.remove_known(Name::GrpcTimeout);
        exchange.head.fields.remove_known(Name::XRequestTimeoutMs);
        let stale = missing.stale().and_then(|stored| Some((Arc::clone(stored), exchange.replica()?)));
        let fetch = Surviving::new(self.clone().go(exchange, missing, asking, Rc::clone(next)), watch);
        let own = Duration::from_nanos(own_ns.saturating_sub(now));
        match tokio::time::timeout(own, fetch).await {
            Ok(outcome) => outcome,
            Err(_) => self.too_late(stale.as_ref().map(|(stored, request)| (&**stored, &**request))),
        }
    }

    /// The time of a request is up before anybody has answered it: what is stale is better than nothing, where it may be served.
    fn too_late(&self, stale: Option<(&Stored, &Exchange)>) -> Outcome {
        let Some((stored, request)) = stale else { return Err(Error::Deadline.into()) };
        stored.leave_in_peace(None);
        Ok(self.hit(stored, request, Status::stale()))
    }

    /// Whether it waits, leads, or has nothing to do with others.
    fn turn(&self, exchange: &Exchange, url: &[u8], missing: &Missing) -> Turn {
        let is_worth_it = missing.stored.is_some() || self.learned.is_shareable();
        if !missing.joins || !is_worth_it || !same::may_share(exchange) {
            return Turn::Alone;
        }
        let key = self.key(exchange, url, missing);
        let now = clock::now();
        if self.store.marks.has(self.store.hash(&key), now / 1_000_000_000) {
            return Turn::Alone;
        }
        // What answers a condition or is a part is not for others; an answer for others is good for those who ask so.
        let fields = &exchange.head.fields;
        let is_conditional = fields.has_any(CONDITIONAL)
            || fields.get_named("if-match").is_some()
            || fields.get_named("if-unmodified-since").is_some();
        let is_plain = exchange.head.method != Method::HEAD && !is_conditional;
        // A deadline is passed on to the origin, unless the fetch is more than its caller's.
        let is_for_others = self.has_stored() || crate::deadline::asked_ns(fields).is_none();
        self.store.board(url, &key, now, is_plain && is_for_others)
    }

    /// Whether answers of the route are stored, or are meant to be.
    fn has_stored(&self) -> bool {
        self.overrides.explains || self.learned.stores.load(Relaxed)
    }

    /// Under what others look for the same: the URL, the route, and what is known to select among variants.
    pub(super) fn key(&self, exchange: &Exchange, url: &[u8], missing: &Missing) -> Vec<u8> {
        let mut key = Vec::with_capacity(url.len() + 8);
        key.extend_from_slice(url);
        key.push(0);
        key.extend_from_slice(&self.learned.route.to_le_bytes());
        let fields = &exchange.head.fields;
        // Nobody waits for what may turn out to be another's: with credentials, or where nothing was ever stored and the answer may
        // be good only for requests that do not differ.
        if same::has_credentials(fields) || !self.has_stored() {
            key.extend_from_slice(&same::identity(fields).to_le_bytes());
        }
        let known = missing.stored.as_ref().map(|(stored, _)| stored);
        let known = known.or_else(|| missing.variants.as_ref()?.of(self.learned.route).next());
        if let Some(stored) = known {
            vary::write_selection(&stored.head.fields, fields, &mut key);
        }
        key
    }

    /// What another's fetch has come to for this request.
    fn landed(&self, landing: Option<Landing>, exchange: &Exchange, url: &[u8], missing: &Missing) -> Then {
        match landing {
            None | Some(Landing::Refused) => Then::GoAlone,
            Some(Landing::Abandoned) => Then::LookAgain,
            Some(Landing::Failed(error)) => match missing.stale() {
                Some(stored) => Then::Answer(Ok(self.hit(stored, exchange, Status::stale()))),
                None => Then::Answer(Err(error.into())),
            },
            Some(Landing::Shared(stored, whose)) => {
                let Some(_hold) = stored.content.hold() else { return Then::GoAlone };
                let request = &exchange.head.fields;
                let is_good = match whose {
                    For::TheSame(identity) if identity != same::identity(request) => return Then::GoAlone,
                    For::TheSame(_) => true,
                    For::Everybody => vary::matches(&stored.selected, &stored.head.fields, request),
                };
                let is_good = is_good && range::covers(&exchange.head.method, request, &stored);
                // Whoever came after a purge must not get what was asked for before it, stored or not.
                if !is_good || self.store.is_of_before(url, &stored) {
                    return Then::LookAgain;
                }
                Counts::one(&self.counts.collapsed);
                Then::Answer(Ok(self.serve(&stored, exchange, Status::forwarded(missing.reason).collapsed())))
            }
        }
    }
}

/// Fields that make an answer one to this request alone.
const CONDITIONAL: u64 = Name::IfNoneMatch.bit() | Name::IfModifiedSince.bit() | Name::Range.bit();
