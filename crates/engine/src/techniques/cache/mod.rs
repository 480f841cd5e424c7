//! Cache: answers from what was stored before, by the rules of a shared cache (RFC 9111). Without configuration it stores only
//! what the origin itself declares cacheable; a route's `cache` table gives lifetimes of its own, the rules of privacy still on.
//!
//! Idea: the fastest call is the one that is not made. Freshness and validation as RFC 9111 has them, stale answers in two
//! windows (RFC 5861), fields for CDNs alone (RFC 9213), the decision in view (RFC 9211). When not to: answers that differ per
//! caller without saying so. Knobs: `[cache]`, `cache` of a route. Seen in `Cache-Status`.

pub mod date;
pub mod directives;
pub mod fill;
pub mod freshness;
pub mod glance;
pub mod object;
pub mod policy;
pub mod range;
pub mod status;
pub mod storable;
pub mod store;
#[cfg(test)]
mod tests;
pub mod url;
pub mod validate;
pub mod vary;

pub use freshness::Overrides;

use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Outcome, Response, Trace};
use crate::http::{Body, Fields, Name, ResponseHead, Size, date as wall};
use crate::pipeline::{Next, Stage};
use bytes::Bytes;
use directives::Directives;
use fill::Fill;
use freshness::{Freshness, Received};
use glance::Glance;
use http::Method;
use object::Stored;
use policy::Verdict;
use status::Status;
use std::rc::Rc;
use std::sync::Arc;
use storable::Refusal;
use store::{OnItsWay, Store, Variants};
use unlag_record::{Phase, RouteId};

/// The stage, for one route on one core.
#[derive(Clone)]
pub struct Cache {
    store: Arc<Store>,
    overrides: Overrides,
    route: RouteId,
    glance: Glance,
}

/// What there is for a request.
enum Found {
    /// An answer.
    Answer(Response),
    /// Something that the origin is to be asked about.
    Stale { stored: Arc<Stored>, or_serve: bool },
    /// Nothing, or other answers to the same URL.
    Nothing { variants: Option<Arc<Variants>>, no_store: bool },
}

impl Cache {
    /// A stage with the rules of its route.
    pub fn new(store: Arc<Store>, overrides: Overrides, route: RouteId) -> Cache {
        // Whoever has asked for more than the rules is after every answer from the first on.
        let always = overrides.explains || overrides.heuristic;
        Cache { store, overrides, route, glance: Glance::new(always) }
    }

    /// Whether this stage has anything to do with a request. Where it has not, no room is made for it.
    pub fn takes(&self, exchange: &mut Exchange) -> bool {
        // A change may make wrong what is stored, or on its way into the store.
        let reads = is_look_up(exchange) && self.glance.is_due(exchange.trace.timeline().started_ns());
        exchange.comes_back = reads || !(exchange.head.method.is_safe() || self.store.is_quiet());
        exchange.comes_back
    }

    /// What there is for a request that reads. What is served needs nobody to be waited for.
    fn find<N: Next>(&self, exchange: &Exchange, next: &Rc<N>) -> Found {
        let directives = Directives::of_request(&exchange.head.fields);
        if directives.no_store {
            return Found::Nothing { variants: None, no_store: true };
        }
        let now = exchange.trace.enter(Phase::Cache);
        let variants = if self.store.is_used() { self.store.get(&url::of(exchange)) } else { None };
        self.glance.found(variants.is_some());
        let stored = variants.as_ref().and_then(|variants| self.selected(variants, &exchange.head.fields));
        let verdict = stored.map(|stored| policy::judge(&stored.freshness, &directives, now));
        exchange.trace.enter(Phase::Overhead);
        match (stored, verdict) {
            (Some(stored), Some(Verdict::Serve)) => {
                Found::Answer(self.serve(stored, exchange, Status::hit()))
            }
            (Some(stored), Some(Verdict::ServeWhileFetching)) => {
                self.refresh(exchange, stored, next);
                Found::Answer(self.serve(stored, exchange, Status::stale()))
            }
            (Some(stored), Some(Verdict::Ask { or_serve })) => {
                Found::Stale { stored: Arc::clone(stored), or_serve }
            }
            (None, _) if !directives.only_if_cached => Found::Nothing { variants, no_store: false },
            _ => Found::Answer(unavailable()),
        }
    }

    /// What is stored that this request selects.
    fn selected<'a>(&self, variants: &'a Variants, request: &Fields) -> Option<&'a Arc<Stored>> {
        variants.of(self.route).find(|stored| vary::matches(&stored.selected, &stored.head.fields, request))
    }

    fn serve(&self, stored: &Stored, request: &Exchange, status: Status) -> Response {
        let now = clock::now();
        let mut response = stored.answer(&request.head.method, &request.head.fields, now);
        status.ttl(stored.freshness.ttl_s(now)).write(&mut response.head.fields);
        response
    }

    /// Fetches what is not stored, and stores it if it may be.
    async fn fetch<N: Next>(
        &self,
        mut exchange: Box<Exchange>,
        variants: Option<Arc<Variants>>,
        no_store: bool,
        next: &Rc<N>,
    ) -> Outcome {
        let status = match (no_store, &variants) {
            (true, _) => Status::forwarded("request"),
            (false, Some(_)) => Status::forwarded("vary-miss"),
            (false, None) => Status::forwarded("uri-miss"),
        };
        let offered = variants.as_ref().is_some_and(|variants| {
            let others = variants.of(self.route).map(|stored| &**stored);
            validate::offer(&mut exchange.head.fields, others)
        });
        let (asked_ns, way) = (clock::now(), self.store.on_its_way());
        let mut response = next.run(exchange).await?;
        let Some(mut request) = response.request.take() else { return Ok(response) };
        if offered {
            request.head.fields.remove_known(Name::IfNoneMatch);
            let etag = response.head.fields.get(Name::Etag).filter(|_| response.head.status == 304);
            let is_meant = |stored: &&Arc<Stored>| {
                let known = stored.head.fields.get(Name::Etag);
                known.zip(etag).is_some_and(|(known, etag)| validate::is_same(known, etag))
            };
            let meant = variants.iter().flat_map(|variants| variants.of(self.route)).find(is_meant);
            if let Some(stored) = meant {
                let fresh = self.freshened(stored, &response.head.fields, &request, asked_ns);
                return Ok(self.serve(&fresh, &request, status.got(304)));
            }
        }
        Ok(self.take(response, &request, asked_ns, way, no_store, status))
    }

    /// Asks whether what is stored still holds, and serves it if so, or if nobody can say and it may be served then.
    async fn ask<N: Next>(
        &self,
        mut exchange: Box<Exchange>,
        stored: Arc<Stored>,
        or_serve: bool,
        next: &Rc<N>,
    ) -> Outcome {
        // The question is another one than the caller's, who may have a copy of its own.
        let Some(request) = exchange.replica() else { return Err(Error::Internal.into()) };
        let is_get = request.head.method == Method::GET;
        if is_get {
            validate::ask(&mut exchange.head.fields, &stored);
        }
        let asked_ns = clock::now();
        let response = match next.run(exchange).await {
            Ok(response) => response,
            Err(failure) if or_serve && failure.error != Error::CallerGone => {
                return Ok(self.serve(&stored, &request, Status::stale()));
            }
            Err(failure) => return Err(failure),
        };
        let status = Status::forwarded("stale").got(response.head.status);
        match response.head.status {
            304 if is_get => {
                let fresh = self.freshened(&stored, &response.head.fields, &request, asked_ns);
                Ok(self.serve(&fresh, &request, status.and_hit()))
            }
            500 | 502 | 503 | 504 if or_serve => Ok(self.serve(&stored, &request, status.and_hit())),
            200 if !is_get && validate::agrees(&stored, &response.head.fields) => {
                let fresh = self.freshened(&stored, &response.head.fields, &request, asked_ns);
                Ok(self.serve(&fresh, &request, status))
            }
            200 if !is_get => {
                self.store.remove(&url::of(&request), clock::now());
                Ok(response)
            }
            _ => Ok(self.take(response, &request, asked_ns, self.store.on_its_way(), false, status)),
        }
    }

    /// The same content under what the origin has just said about it, stored again if it still may be: what it says now may be
    /// about this caller alone.
    fn freshened(&self, stored: &Arc<Stored>, said: &Fields, request: &Exchange, asked_ns: u64) -> Stored {
        let received = received(asked_ns);
        let mut head = stored.head.clone();
        validate::update(&mut head.fields, said);
        let directives = Directives::of_response(&head.fields);
        let asked = storable::Asked::of(&request.head.fields, false);
        let verdict = storable::may_store(asked, &head, &directives, received, &self.overrides);
        storable::strip(&mut head.fields, &directives);
        let freshness = Freshness::new(head.status, &head.fields, &directives, received, &self.overrides);
        let selected = vary::selected(&head.fields, &request.head.fields);
        head.fields = head.fields.compact();
        let fresh = Stored::new(self.route, head, stored.body.clone(), freshness, received, selected);
        match verdict {
            Ok(()) => self.store.put(&url::of(request), fresh.clone()),
            Err(_) => self.store.remove(&url::of(request), clock::now()),
        }
        fresh
    }

    /// Hands an answer on, and stores it on its way if it may be.
    fn take(
        &self,
        mut response: Response,
        request: &Exchange,
        asked_ns: u64,
        way: OnItsWay,
        no_store: bool,
        status: Status,
    ) -> Response {
        match self.judged(&response, request, asked_ns, no_store) {
            Ok((directives, received)) => {
                self.glance.found(true);
                self.keep(response, request, &directives, received, way, status)
            }
            Err(refusal) => {
                if self.overrides.explains {
                    status.detail(refusal.word()).write(&mut response.head.fields);
                }
                response
            }
        }
    }

    /// Whether it may be stored.
    fn judged(
        &self,
        response: &Response,
        request: &Exchange,
        asked_ns: u64,
        no_store: bool,
    ) -> Result<(Directives, Received), Refusal> {
        let fields = &response.head.fields;
        if matches!(response.body.size(), Size::Exact(length) if length > fill::OBJECT_BYTES_MAX) {
            return Err(Refusal::TooLarge);
        }
        let directives = Directives::of_response(fields);
        let received = received(asked_ns);
        let overrides = match request.head.method {
            Method::GET => self.overrides,
            // Only with a lifetime of its own (RFC 9110 §9.3.3).
            Method::POST if freshness::declared_s(fields, &directives, received).is_some() => {
                Overrides::default()
            }
            _ => return Err(Refusal::Method),
        };
        let asked = storable::Asked::of(&request.head.fields, no_store);
        storable::may_store(asked, &response.head, &directives, received, &overrides)?;
        Ok((directives, received))
    }

    fn keep(
        &self,
        mut response: Response,
        request: &Exchange,
        directives: &Directives,
        received: Received,
        way: OnItsWay,
        status: Status,
    ) -> Response {
        let mut head = response.head.clone();
        storable::strip(&mut head.fields, directives);
        head.fields = head.fields.compact();
        let freshness = Freshness::new(head.status, &head.fields, directives, received, &self.overrides);
        let ttl_s = freshness.ttl_s(received.came_ns);
        let selected = vary::selected(&head.fields, &request.head.fields);
        let (store, route, url) = (Arc::clone(&self.store), self.route, url::of(request));
        let keep = move |body| {
            let _way = way;
            store.put(&url, Stored::new(route, head, body, freshness, received, selected));
        };
        response.body = Fill::through(std::mem::take(&mut response.body), Box::new(keep));
        status.stored().ttl(ttl_s).write(&mut response.head.fields);
        response
    }

    /// Fetches again what has just been served stale, once at a time for each URL.
    fn refresh<N: Next>(&self, exchange: &Exchange, stored: &Arc<Stored>, next: &Rc<N>) {
        let Some(turn) = self.store.begin_refresh(&url::of(exchange)) else { return };
        let Some(mut exchange) = exchange.replica() else { return };
        let now = clock::now();
        // On its own: it must not move the timeline of the caller, who has an answer already.
        exchange.trace = Rc::new(Trace::new(now, &exchange.head, None));
        exchange.deadline_ns = now.saturating_add(exchange.route.total_timeout_ns);
        exchange.interim = None;
        exchange.head.method = Method::GET;
        let (this, next, stored) = (self.clone(), Rc::clone(next), Arc::clone(stored));
        tokio::task::spawn_local(async move {
            let _turn = turn;
            if let Ok(mut response) = this.ask(exchange, stored, false, &next).await {
                while let Some(Ok(_)) = response.body.chunk().await {}
            }
        });
    }

    /// Passes on what was not looked up. What changes something makes what is stored of it wrong (RFC 9111 §4.4), unless it says
    /// what is there now (RFC 9110 §9.3.3).
    fn passed(&self, mut response: Response) -> Response {
        let Some(request) = response.request.take() else { return response };
        let told = &response.head.fields;
        let content = told.get_named("content-location");
        if !(200..400).contains(&response.head.status) {
            return response;
        }
        let (url, origin, now) = (url::of(&request), url::origin(&request), clock::now());
        let content = content.and_then(|value| url::resolve(&origin, value));
        let location = told.get(Name::Location).and_then(|value| url::resolve(&origin, value));
        for changed in content.iter().chain(&location).chain([&url]) {
            self.store.remove(changed, now);
        }
        let tells = request.head.method == Method::POST && response.head.status == 200;
        if !tells || content.as_ref() != Some(&url) {
            return response;
        }
        let way = self.store.on_its_way();
        self.take(response, &request, now + 1, way, false, Status::forwarded("method"))
    }
}

/// What is not stored and was not to be asked for (RFC 9111 §5.2.1.7).
fn unavailable() -> Response {
    Response::new(ResponseHead::new(504), Body::Bytes(Bytes::new()))
}

fn received(asked_ns: u64) -> Received {
    let came_ns = clock::now();
    Received { asked_ns, came_ns, came_unix_s: wall::unix_ms(came_ns) / 1_000 }
}

/// Whether a request may find something. Content of a GET is part of no key: such a request neither finds nor leaves anything.
fn is_look_up(exchange: &Exchange) -> bool {
    let reads = exchange.head.method == Method::GET || exchange.head.method == Method::HEAD;
    reads && exchange.upgrade.is_none() && exchange.body.size() == Size::Exact(0)
}

impl Stage for Cache {
    async fn serve<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        if !is_look_up(&exchange) {
            return next.run(exchange).await.map(|response| self.passed(response));
        }
        match self.find(&exchange, next) {
            Found::Answer(response) => Ok(response),
            Found::Stale { stored, or_serve } => Box::pin(self.ask(exchange, stored, or_serve, next)).await,
            Found::Nothing { variants, no_store } => {
                Box::pin(self.fetch(exchange, variants, no_store, next)).await
            }
        }
    }
}
