//! Getting what is not stored: from a fetch that is under way, or by one of its own.

use super::directives::Directives;
use super::fetch::{Asking, Missing};
use super::figures::Counts;
use super::flight::{For, Landing, Leading, Surviving, Turn, Watch};
use super::learned::WAIT_MAX_NS;
use super::object::Stored;
use super::policy::{self, Verdict};
use super::status::Status;
use super::{Cache, Found, object, range, same, validate, vary};
use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Outcome, Response};
use crate::http::{Fields, Name, NameSet, date as wall};
use crate::pipeline::Next;
use http::Method;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use unlag_record::{Phase, Technique};

/// How often one request waits for others' fetches before it goes on its own: once for the URL, once for its own variant of it,
/// and once more if a leader gives up.
const ROUNDS_MAX: usize = 3;

/// Who may be served something stale waits no longer than this for an origin that does not answer, or twice what a slow fetch
/// takes.
const PATIENCE: Duration = Duration::from_secs(1);

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
                // Its own fetch shows what waiting for the other's saves.
                Turn::Wait(_) if self.waits_for_nobody(&exchange) => break,
                Turn::Wait(waiting) => waiting,
                Turn::Lead(leading) => return self.lead(exchange, url, missing, leading, next).await,
            };
            let too_late_ns = exchange.deadline_ns.min(self.patience_ns(&exchange, &missing));
            let until_ns = waiting.overdue_ns.min(limit_ns).min(too_late_ns);
            let within = until_ns.saturating_sub(exchange.trace.enter(Phase::Cache));
            let landed = waiting.landed(Duration::from_nanos(within)).await;
            let now = exchange.trace.enter(Phase::Overhead);
            let Some(landing) = landed else {
                if now >= too_late_ns {
                    return self.too_late(missing.stale().map(|stored| (&**stored, &*exchange)));
                }
                // Who may not fetch for others fetches for itself, and nobody waits for ever.
                if now >= limit_ns || !self.may_lead(&exchange, &missing) {
                    break;
                }
                turn = self.store.flights.overtake(waiting, now, self.cap(&missing));
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
        self.patiently(exchange, missing, asking, u64::MAX, None, next).await
    }

    fn waits_for_nobody(&self, exchange: &Exchange) -> bool {
        let share = exchange.route.config.holdout;
        share > 0.0 && exchange.trace.draw(Technique::Coalesce, share, || self.extra.spend())
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
        let copies = self.copies(&mut exchange, &missing);
        let (watch, now, own_ns) = (leading.watch(), clock::now(), exchange.deadline_ns);
        let asking = Asking::leading(self, url, leading, &exchange);
        exchange.deadline_ns = now.saturating_add(exchange.route.total_timeout_ns);
        let has_own_limit = own_ns < exchange.deadline_ns;
        if has_own_limit {
            // What is left of it is not passed on: it is not the fetch's.
            crate::deadline::forget(&mut exchange.head.fields);
        }
        let limit_ns = if has_own_limit { own_ns } else { u64::MAX };
        let outcome = self.patiently(exchange, missing, asking, limit_ns, Some(watch), next).await;
        outcome.map(|response| answered(response, copies.as_ref()))
    }

    /// Asks, and waits for the answer until the caller's own limit, and no longer than is worth it where something stale may be
    /// served.
    async fn patiently<N: Next>(
        &self,
        exchange: Box<Exchange>,
        missing: Missing,
        mut asking: Asking,
        limit_ns: u64,
        watch: Option<Watch>,
        next: &Rc<N>,
    ) -> Outcome {
        let limit_ns = limit_ns.min(self.patience_ns(&exchange, &missing));
        if limit_ns == u64::MAX && watch.is_none() {
            return self.clone().go(exchange, missing, asking, Rc::clone(next)).await;
        }
        let stale = missing.stale().and_then(|stored| Some((Arc::clone(stored), exchange.replica()?)));
        let is_answered = Rc::clone(&asking.is_answered);
        asking.before = stale.as_ref().map(|(stored, _)| Arc::clone(stored));
        let mut fetch = Surviving::new(self.clone().go(exchange, missing, asking, Rc::clone(next)), watch);
        if limit_ns == u64::MAX {
            return fetch.await;
        }
        let within = Duration::from_nanos(limit_ns.saturating_sub(clock::now()));
        if let Ok(outcome) = tokio::time::timeout(within, &mut fetch).await {
            return outcome;
        }
        is_answered.set(stale.is_some());
        if let (Some(_), Some(turn)) = (&stale, self.store.begin_refresh(&self.learned)) {
            fetch.goes_on(turn);
        }
        self.too_late(stale.as_ref().map(|(stored, request)| (&**stored, &**request)))
    }

    /// Until when a request waits that may be served something stale.
    fn patience_ns(&self, exchange: &Exchange, missing: &Missing) -> u64 {
        let patience_ns = clock::ns(self.cap(missing).max(PATIENCE));
        let until_ns = exchange.trace.timeline().started_ns().saturating_add(patience_ns);
        missing.stale().map_or(u64::MAX, |_| until_ns)
    }

    /// What the caller has copies of, taken out of the request: the fetch is for others too.
    fn copies(&self, exchange: &mut Exchange, missing: &Missing) -> Option<Fields> {
        let fields = &mut exchange.head.fields;
        if missing.stored.is_some() || !fields.has_any(COPIES) {
            return None;
        }
        let copies = fields.clone();
        fields.remove_known(Name::IfNoneMatch);
        fields.remove_known(Name::IfModifiedSince);
        Some(copies)
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
        let now = clock::now();
        if self.store.marks.has(|| self.mark(exchange, url), now) {
            return Turn::Alone;
        }
        let key = self.key(exchange, url, missing);
        self.store.board(url, &key, now, self.may_lead(exchange, missing), self.cap(missing))
    }

    /// Whether it may fetch for others. A part is not for others, nor what HEAD brings; whether something still holds is asked for
    /// all. So is what a caller has a copy of, where answers are stored: whether it is the same is seen here.
    fn may_lead(&self, exchange: &Exchange, missing: &Missing) -> bool {
        let fields = &exchange.head.fields;
        // A deadline is passed on to the origin, unless the fetch is more than its caller's.
        let is_for_others = self.has_stored() || crate::deadline::asked_ns(fields).is_none();
        if exchange.head.method == Method::HEAD || !is_for_others {
            return false;
        }
        let asks_for_whole = !fields.has(Name::Range)
            && fields.get_named("if-match").is_none()
            && fields.get_named("if-unmodified-since").is_none();
        missing.stored.is_some()
            || asks_for_whole && (self.has_stored() || self.learned.is_new() || !fields.has_any(COPIES))
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
        let differs = || {
            !self.has_stored() && !self.learned.is_new()
                || self.store.differing.has(|| self.store.hash(url), clock::now())
        };
        if same::has_credentials(fields) || differs() {
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
                        self.store.differing.set(self.store.hash(url), clock::now());
                        return Then::GoAlone;
                    }
                    For::TheSame(_) => true,
                    For::Everybody => vary::matches(&stored.selected, &stored.head.fields, request),
                };
                // What may be served although the origin fails is so by each caller's own word.
                let is_last_resort =
                    missing.stored.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &stored));
                if is_last_resort && missing.stale().is_none() || !self.is_recent_enough(&stored, exchange) {
                    return Then::GoAlone;
                }
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

    /// Whether an answer that has just come is what this caller asks for, who may want none that is as old.
    fn is_recent_enough(&self, stored: &Stored, exchange: &Exchange) -> bool {
        if !exchange.head.fields.has(Name::CacheControl) {
            return true;
        }
        let directives = Directives::of_request(&exchange.head.fields);
        let asks = directives.max_age.is_some() || directives.min_fresh.is_some();
        !asks || policy::judge(&stored.freshness, &directives, clock::now()) == Verdict::Serve
    }
}

/// The answer to a caller that has copies.
fn answered(response: Box<Response>, copies: Option<&Fields>) -> Box<Response> {
    let fields = &response.head.fields;
    // A cookie that is set with the whole is not for a 304 to lose; and what has no date of its own is no older than anything.
    let may_be_known = response.head.status == 200 && !fields.has(Name::SetCookie);
    let has_date = |copies: &&Fields| copies.has(Name::IfNoneMatch) || fields.has(Name::LastModified);
    let Some(copies) = copies.filter(|_| may_be_known).filter(has_date) else { return response };
    if !validate::is_known(copies, fields, wall::unix_ms(clock::now()) / 1_000) {
        return response;
    }
    let status = fields.get(Name::CacheStatus).map(<[u8]>::to_vec);
    let mut known = object::not_modified(response.head);
    status.into_iter().for_each(|status| known.head.fields.push_known(Name::CacheStatus, &status));
    known
}

/// Fields by which a caller says what it has a copy of.
const COPIES: NameSet = Name::IfNoneMatch.bit() | Name::IfModifiedSince.bit();
