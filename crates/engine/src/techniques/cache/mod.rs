//! Cache: answers from what was stored before, by the rules of a shared cache (RFC 9111). Without configuration it stores only
//! what the origin itself declares cacheable; a route's `cache` table gives lifetimes of its own, the rules of privacy still on.
//!
//! Idea: the fastest call is the one that is not made, and the next best is the one that is made once for all who wait. Freshness
//! and validation as RFC 9111 has them, stale answers in two windows (RFC 5861), fields for CDNs alone (RFC 9213), the decision in
//! view (RFC 9211), early refresh (Vattani et al. 2015). When not to: answers that differ per caller without saying so. Knobs:
//! `[cache]`, `cache` and `coalesce` of a route. Seen in `Cache-Status`.

pub mod arrival;
mod changes;
pub mod content;
pub mod directives;
mod disguise;
pub mod envelope;
pub mod expected;
pub mod fetch;
pub mod figures;
pub mod flight;
pub mod freshness;
pub mod glance;
pub mod guard;
pub mod join;
pub mod keep;
pub mod learned;
mod marks;
pub mod memory;
pub mod named;
pub mod nodes;
pub mod object;
mod patience;
pub mod policy;
pub mod purge;
pub mod range;
mod refresh;
pub mod same;
pub mod stamps;
pub mod status;
pub mod storable;
pub mod store;
pub mod tags;
#[cfg(test)]
mod tests;
pub mod url;
pub mod validate;
pub mod vary;

pub use freshness::Overrides;

use crate::clock;
use crate::exchange::{Exchange, Outcome, Response};
use crate::holdout::Extra;
use crate::http::{Body, Name, RequestHead, ResponseHead, Size};
use crate::pipeline::{Next, Stage};
use bytes::Bytes;
use directives::Directives;
use fetch::Missing;
use figures::{Counts, Miss};
use glance::Glance;
use http::Method;
use learned::Learned;
use memory::Variants;
use object::Stored;
use policy::Verdict;
use stamps::Doom;
use status::Status;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use store::Store;
use unlag_record::{CacheUse, Phase, Technique};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The stage, for one route on one core.
#[derive(Clone)]
pub struct Cache {
    store: Arc<Store>,
    overrides: Overrides,
    learned: Arc<Learned>,
    counts: Arc<Counts>,
    glance: Rc<Glance>,
    /// What hold-outs may still ask the origin.
    extra: Rc<Extra>,
    /// Room for the key of the next request.
    spare: Rc<Cell<Vec<u8>>>,
    name: Rc<str>,
}

/// A longer key is not kept room for.
const SPARE_BYTES_MAX: usize = 4 * 1024;

/// What there is for a request.
enum Found {
    /// An answer.
    Answer(Box<Response>),
    /// None, or one that the origin is to be asked about.
    Missing(Missing),
}

impl Cache {
    /// A stage with the rules of its route, which calls itself `name` in answers.
    pub fn new(store: Arc<Store>, overrides: Overrides, learned: Arc<Learned>, name: Rc<str>) -> Cache {
        // Whoever has asked for more than the rules is after every answer from the first on.
        let always = overrides.explains || overrides.heuristic;
        let counts = learned.counts();
        Cache {
            store,
            overrides,
            learned,
            counts,
            glance: Rc::new(Glance::new(always)),
            extra: Rc::default(),
            spare: Rc::default(),
            name,
        }
    }

    /// Whether this stage has anything to do with a request. Where it has not, no room is made for it.
    pub fn takes(&self, exchange: &mut Exchange) -> bool {
        let reads = !self.overrides.is_off
            && (is_look_up(exchange) || content::may_be_keyed(exchange, self.overrides.body))
            && self.is_worth_a_look(exchange)
            && !self.is_held_out(exchange);
        // A change may make wrong what is stored, or on its way into the store.
        let changes = !exchange.head.method.is_safe();
        exchange.comes_back = reads || changes;
        reads || changes && !self.store.is_quiet()
    }

    /// Whether this request is sent on although something stored might answer it. It costs the origin a request, so there is a
    /// bound on that.
    fn is_held_out(&self, exchange: &Exchange) -> bool {
        let share = exchange.route.config.holdout;
        share > 0.0 && exchange.trace.draw(Technique::Cache, share, || self.extra.spend())
    }

    fn is_worth_a_look(&self, exchange: &Exchange) -> bool {
        // Where answers are about one caller, that many ask says nothing.
        let asked = || {
            self.learned.is_shareable().then(|| {
                let path = xxh3_64(exchange.head.path());
                exchange.head.query().map_or(path, |query| xxh3_64_with_seed(query, path))
            })
        };
        self.learned.flights.load(Relaxed) > 0
            || self.glance.is_due(exchange.trace.timeline().started_ns(), asked)
            || exchange.head.fields.has(Name::CacheControl)
    }

    /// What there is for a request that reads. What is served needs nobody to be waited for.
    fn find<N: Next>(&self, exchange: &Exchange, url: &[u8], next: &Rc<N>) -> Found {
        let directives = Directives::of_request(&exchange.head.fields);
        if directives.no_store {
            return Found::Missing(Missing { no_store: true, reason: Miss::Request, ..Missing::default() });
        }
        let now = exchange.trace.enter(Phase::Cache);
        let variants = if self.store.is_used() { self.store.get(url) } else { None };
        self.glance.found(variants.is_some());
        let stored = variants.as_ref().and_then(|variants| self.selected(variants, &exchange.head));
        // The rule may be another one than it was when this was stored.
        let stored =
            stored.filter(|stored| self.overrides.set_cookie || !stored.head.fields.has(Name::SetCookie));
        if let (Some(stored), Some(Variants::More(_))) = (stored, &variants) {
            stored.notes.is_used.store(true, Relaxed);
        }
        let (stored, _hold) = match stored.map(|stored| (stored, stored.content.hold())) {
            Some((stored, Some(hold))) => (Some(stored), hold),
            _ => (None, None),
        };
        let verdict = stored.and_then(|stored| self.judge(stored, url, &directives, now));
        // A part is served while it is fresh, and what is on its way while it may be.
        let verdict = verdict.filter(|verdict| match verdict {
            Verdict::Ask { .. } => stored.is_some_and(|stored| stored.can_be_asked_about()),
            Verdict::ServeWhileFetching => stored.is_some_and(|stored| stored.part.is_none()),
            Verdict::Serve | Verdict::Refuse => true,
        });
        let now = exchange.trace.enter(Phase::Overhead);
        let (Some(stored), Some(verdict)) = (stored, verdict) else {
            if directives.only_if_cached {
                return Found::Answer(unavailable());
            }
            // What a purge has taken is not offered to the origin either.
            let variants = variants.and_then(|variants| self.store.left(url, variants));
            let (reason, joins) = (self.reason(variants.as_ref(), &exchange.head), !directives.insists());
            return Found::Missing(Missing { reason, variants, joins, ..Missing::default() });
        };
        match verdict {
            Verdict::Refuse => Found::Answer(unavailable()),
            Verdict::Serve => {
                if self.is_due_early(stored, now) {
                    self.refresh(exchange, url, stored, next);
                }
                self.guard(exchange, url, stored, next, now);
                Found::Answer(self.hit_at(stored, exchange, Status::hit(), now))
            }
            Verdict::ServeWhileFetching => {
                self.refresh(exchange, url, stored, next);
                Found::Answer(self.hit_at(stored, exchange, Status::stale(), now))
            }
            // It has failed just now; asking again would only make callers wait for it.
            Verdict::Ask { or_serve: true } if stored.is_left_in_peace(now) => {
                Found::Answer(self.hit_at(stored, exchange, Status::stale(), now))
            }
            Verdict::Ask { or_serve } => {
                let is_fresh = self.store.doom(url, stored) == Doom::None && stored.freshness.is_fresh(now);
                let reason = if is_fresh { Miss::Request } else { Miss::Stale };
                let (stored, joins) = (Some((Arc::clone(stored), or_serve)), !directives.insists());
                Found::Missing(Missing { stored, reason, variants, no_store: false, joins })
            }
        }
    }

    /// What is to be done with something stored, unless a purge has taken it.
    fn judge(&self, stored: &Stored, url: &[u8], asked: &Directives, now: u64) -> Option<Verdict> {
        match self.store.doom(url, stored) {
            Doom::Gone => None,
            Doom::Stale => Some(policy::judge(&stored.freshness.ended(now), asked, now)),
            Doom::Unsure => Some(policy::judge(&stored.freshness.unsure(now), asked, now)),
            Doom::None => Some(policy::judge(&stored.freshness, asked, now)),
        }
    }

    /// Why a request finds nothing among what is stored for its URL.
    fn reason(&self, variants: Option<&Variants>, request: &RequestHead) -> Miss {
        let others = variants.into_iter().flat_map(|variants| variants.of(self.learned.route));
        let selects = |stored: &Stored| vary::matches(&stored.selected, &stored.head.fields, &request.fields);
        let mut reason = Miss::UriMiss;
        for stored in others {
            match (selects(stored), &stored.part) {
                (true, Some(_)) => return Miss::Partial,
                (false, _) => reason = Miss::VaryMiss,
                // It is on its way and cannot be had from its beginning any more.
                (true, None) => {}
            }
        }
        reason
    }

    /// What is stored that this request selects.
    fn selected<'a>(&self, variants: &'a Variants, request: &RequestHead) -> Option<&'a Arc<Stored>> {
        let fields = &request.fields;
        variants.of(self.learned.route).find(|stored| {
            range::covers(&request.method, fields, stored)
                && vary::matches(&stored.selected, &stored.head.fields, fields)
        })
    }

    fn hit(&self, stored: &Stored, request: &Exchange, status: Status) -> Box<Response> {
        self.hit_at(stored, request, status, clock::now())
    }

    /// Serves what is stored, instead of asking.
    fn hit_at(&self, stored: &Stored, request: &Exchange, status: Status, now: u64) -> Box<Response> {
        let bytes = stored.content.length().unwrap_or(0);
        let fetch_ns = stored.received.came_ns.saturating_sub(stored.received.asked_ns);
        self.counts.hit(bytes, fetch_ns, status.is_stale());
        self.serve_at(stored, request, status, now)
    }

    fn serve(&self, stored: &Stored, request: &Exchange, status: Status) -> Box<Response> {
        self.serve_at(stored, request, status, clock::now())
    }

    fn serve_at(&self, stored: &Stored, request: &Exchange, status: Status, now: u64) -> Box<Response> {
        request.trace.cache.set(Some(status.record()));
        let mut response = stored.answer(&request.head.method, &request.head.fields, now);
        let ttl_s = stored.freshness.ttl_s(now);
        // A purge may have ended it early.
        let ttl_s = if stored.notes.is_stale.load(Relaxed) { ttl_s.min(0) } else { ttl_s };
        status.ttl(ttl_s).write(&self.name, &mut response.head.fields);
        response
    }
}

/// What is not stored and was not to be asked for (RFC 9111 §5.2.1.7).
fn unavailable() -> Box<Response> {
    Response::new(ResponseHead::new(504), Body::Bytes(Bytes::new()))
}

/// Whether a request may find something. Content of a GET is part of no key: such a request neither finds nor leaves anything.
fn is_look_up(exchange: &Exchange) -> bool {
    let reads = exchange.head.method == Method::GET || exchange.head.method == Method::HEAD;
    reads && exchange.upgrade.is_none() && exchange.body.size() == Size::Exact(0)
}

impl Stage for Cache {
    async fn serve<N: Next>(&self, mut exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        let mut key = self.spare.take();
        url::write(&exchange, &mut key);
        if !is_look_up(&exchange) {
            let is_keyed =
                content::may_be_keyed(&exchange, self.overrides.body) && exchange.upgrade.is_none();
            let taken = match is_keyed {
                true => Box::pin(content::take_in(&mut exchange, self.overrides.body)).await,
                false => None,
            };
            let Some(content) = taken else {
                self.extra.earn();
                return next.run(exchange).await.map(|response| self.passed(response));
            };
            key.extend_from_slice(&content);
        }
        exchange.trace.cache.set(Some(CacheUse::Miss));
        match self.find(&exchange, &key, next) {
            Found::Answer(response) => {
                if key.capacity() <= SPARE_BYTES_MAX {
                    self.spare.set(key);
                }
                Ok(response)
            }
            Found::Missing(missing) => Box::pin(self.obtain(exchange, key, missing, next)).await,
        }
    }
}
