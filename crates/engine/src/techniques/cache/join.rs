//! Getting what is not stored: from a fetch that is under way, or by one of its own.

use super::fetch::{Asking, Missing};
use super::figures::Counts;
use super::flight::{For, Landing, Leading, Surviving, Turn};
use super::learned::WAIT_MAX_NS;
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
        let (mut rounds, limit_ns) = (0, clock::now().saturating_add(WAIT_MAX_NS));
        let mut turn = self.turn(&exchange, &url, &missing);
        while rounds < ROUNDS_MAX {
            let mut waiting = match turn {
                Turn::Alone => break,
                Turn::Wait(waiting) => waiting,
                Turn::Lead(leading) => return self.lead(exchange, url, missing, leading, next).await,
            };
            let leads = self.may_lead(&exchange);
            let overdue_ns = if leads { waiting.overdue_ns } else { u64::MAX };
            let until_ns = overdue_ns.min(limit_ns).min(exchange.deadline_ns);
            let within = until_ns.saturating_sub(exchange.trace.enter(Phase::Cache));
            let landed = waiting.landed(Duration::from_nanos(within)).await;
            let now = exchange.trace.enter(Phase::Overhead);
            let Some(landing) = landed else {
                if now >= exchange.deadline_ns {
                    return self.too_late(missing.stale().map(|stored| (&**stored, &*exchange)));
                }
                if now >= limit_ns {
                    break;
                }
                let (key, cap) = (self.key(&exchange, &url, &missing), self.cap(&missing));
                turn = self.store.flights.overtake(&key, waiting, now, cap);
                continue;
            };
            match self.landed(landing, &exchange, &url, &missing) {
                Then::Answer(outcome) => return outcome,
                Then::GoAlone => break,
                Then::LookAgain => rounds += 1,
            }
            match self.find(&exchange, &url, next) {
                Found::Answer(response) => return Ok(response),
                Found::Missing(now) => missing = now,
            }
            turn = self.turn(&exchange, &url, &missing);
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
        self.store.board(url, &key, now, self.may_lead(exchange), self.cap(missing))
    }

    /// Whether it may fetch for others. What answers a condition or is a part is not for others; an answer for others is good for
    /// those who ask so.
    fn may_lead(&self, exchange: &Exchange) -> bool {
        let fields = &exchange.head.fields;
        let is_conditional = fields.has_any(CONDITIONAL)
            || fields.get_named("if-match").is_some()
            || fields.get_named("if-unmodified-since").is_some();
        let is_plain = exchange.head.method != Method::HEAD && !is_conditional;
        // A deadline is passed on to the origin, unless the fetch is more than its caller's.
        is_plain && (self.has_stored() || crate::deadline::asked_ns(fields).is_none())
    }

    /// After how long somebody else sets out beside a fetch of what is missing.
    pub(super) fn cap(&self, missing: &Missing) -> Duration {
        let known = missing.stored.as_ref().map(|(stored, _)| stored.received);
        self.learned.wait_cap(known.map_or(0, |known| known.came_ns.saturating_sub(known.asked_ns)))
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
        // Nobody waits for what may turn out to be another's: with credentials, or where an answer is likely to be good only for
        // requests that do not differ.
        let now_s = clock::now() / 1_000_000_000;
        let differs = || !self.has_stored() && !self.learned.is_new();
        if same::has_credentials(fields) || differs() || self.store.differing.has(self.store.hash(url), now_s)
        {
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
    fn landed(&self, landing: Landing, exchange: &Exchange, url: &[u8], missing: &Missing) -> Then {
        match landing {
            Landing::Refused => Then::GoAlone,
            Landing::Abandoned => Then::LookAgain,
            Landing::Failed(error) => match missing.stale() {
                Some(stored) => Then::Answer(Ok(self.hit(stored, exchange, Status::stale()))),
                None => Then::Answer(Err(error.into())),
            },
            Landing::Shared(stored, whose) => {
                let Some(_hold) = stored.content.hold() else { return Then::GoAlone };
                let request = &exchange.head.fields;
                let is_good = match whose {
                    For::TheSame(identity) if identity != same::identity(request) => {
                        self.store.differing.set(self.store.hash(url), clock::now() / 1_000_000_000);
                        return Then::GoAlone;
                    }
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
