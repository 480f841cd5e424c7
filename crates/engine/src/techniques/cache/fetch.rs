//! Asking the origin, and what becomes of its answer: handed on, stored while it passes, shared with those who wait.

use super::directives::Directives;
use super::figures::Miss;
use super::flight::{For, Landing, Leading};
use super::freshness::Received;
use super::memory::Variants;
use super::object::{Refreshing, Stored};
use super::policy::{self, Verdict};
use super::status::Status;
use super::storable;
use super::store::OnItsWay;
use super::{Cache, same, validate};
use crate::clock;
use crate::error::{Error, Fault};
use crate::exchange::{Exchange, Outcome, Response};
use crate::http::{Name, date as wall};
use crate::pipeline::Next;
use http::Method;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use unlag_record::Phase;

/// What there is not.
#[derive(Default)]
pub struct Missing {
    /// Something that the origin is to be asked about, and whether it may be served if it fails.
    pub stored: Option<(Arc<Stored>, bool)>,
    /// Why the origin is asked.
    pub reason: Miss,
    /// All that is stored for the URL.
    pub variants: Option<Variants>,
    /// The caller forbids storing.
    pub no_store: bool,
    /// Another's answer will do as well.
    pub joins: bool,
}

impl Missing {
    /// What may be served if nobody answers.
    pub fn stale(&self) -> Option<&Arc<Stored>> {
        self.stored.as_ref().filter(|(_, or_serve)| *or_serve).map(|(stored, _)| stored)
    }
}

/// A question to the origin, from the moment at which it is asked.
pub struct Asking {
    /// Under which the answer is kept.
    pub url: Vec<u8>,
    /// When.
    pub asked_ns: u64,
    /// The last purge that was known then.
    pub seq: super::stamps::Number,
    /// Why.
    pub reason: Miss,
    /// What is said of it in the answer.
    pub status: Status,
    /// The caller forbids storing.
    pub no_store: bool,
    /// Something good is served meanwhile, and stays until this is whole.
    pub beside: Option<Refreshing>,
    /// What stands there until this comes, and again if it comes to nothing.
    pub before: Option<Arc<Stored>>,
    /// Whether whoever asked has been answered meanwhile.
    pub is_answered: Rc<Cell<bool>>,
    _way: OnItsWay,
    others: Option<Others>,
}

/// Those who may wait for the answer.
struct Others {
    leading: Leading,
    /// Who asked, for answers that are good for nobody else.
    identity: u64,
    _counted: Counted,
}

/// Counts a fetch that others may join.
struct Counted(Arc<super::learned::Learned>);

impl Counted {
    fn new(learned: &Arc<super::learned::Learned>) -> Counted {
        learned.flights.fetch_add(1, Relaxed);
        Counted(Arc::clone(learned))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.flights.fetch_sub(1, Relaxed);
    }
}

impl Asking {
    /// For one request alone.
    pub fn alone(cache: &Cache, url: Vec<u8>) -> Asking {
        let (asked_ns, way) = (clock::now(), cache.store.on_its_way());
        let seq = cache.store.seq();
        let (reason, status) = (Miss::default(), Status::default());
        Asking {
            url,
            asked_ns,
            seq,
            reason,
            status,
            no_store: false,
            beside: None,
            before: None,
            is_answered: Rc::default(),
            _way: way,
            others: None,
        }
    }

    /// For all who come meanwhile.
    pub fn leading(cache: &Cache, url: Vec<u8>, leading: Leading, exchange: &Exchange) -> Asking {
        let identity = same::identity(&exchange.head.fields);
        let others = Others { leading, identity, _counted: Counted::new(&cache.learned) };
        Asking { others: Some(others), ..Asking::alone(cache, url) }
    }

    /// Whether nobody waits for the answer to serve it: whoever asked has one.
    pub fn is_beside(&self) -> bool {
        self.beside.is_some() || self.is_answered.get()
    }

    /// Beside the requests, which are served what there is.
    pub fn beside(self, refreshing: Refreshing) -> Asking {
        Asking { beside: Some(refreshing), ..self }
    }

    /// About what another request has changed just now: that change does not make it one of before.
    pub fn after_change(self, now: u64) -> Asking {
        Asking { asked_ns: now + 1, status: Status::forwarded(Miss::Method), ..self }
    }

    /// Whether anybody waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.others.as_ref().is_some_and(|others| others.leading.is_awaited())
    }

    /// Tells those who wait what it came to.
    pub fn land(&mut self, landing: impl FnOnce(u64) -> Landing) {
        if let Some(others) = self.others.take() {
            others.leading.land(landing(others.identity));
        }
    }

    /// Whether others may wait for it.
    pub fn is_led(&self) -> bool {
        self.others.is_some()
    }

    /// The failure of one request is that of all, unless it is the caller's own or its deadline's.
    fn fail(&mut self, error: Error) {
        if error.fault() == Fault::Upstream || matches!(error, Error::NoEndpoint | Error::Undiscovered) {
            self.land(|_| Landing::Failed(error));
        }
    }
}

impl Cache {
    /// Asks the tier that other nodes share, where that is worth it, and the origin.
    pub(super) async fn go<N: Next>(
        self,
        exchange: Box<Exchange>,
        missing: Missing,
        mut asking: Asking,
        next: Rc<N>,
    ) -> Outcome {
        (asking.no_store, asking.reason) = (missing.no_store, missing.reason);
        let lookup = match missing.no_store || exchange.head.method == Method::HEAD {
            true => None,
            false => self.look_up(&exchange, &asking),
        };
        let Some((mut lookup, head_start)) = lookup else {
            return self.ask_origin(exchange, missing, asking, &next).await;
        };
        exchange.trace.enter(Phase::Cache);
        let first = tokio::time::timeout(head_start, &mut lookup).await;
        exchange.trace.enter(Phase::Overhead);
        let is_good = |found: &Arc<Stored>, exchange: &Exchange| self.is_served_as_it_is(found, exchange);
        match first {
            Ok(found) => match found.filter(|found| is_good(found, &exchange)) {
                Some(found) => {
                    // Stale by the word of this caller alone, it is for nobody else.
                    if found.freshness.is_fresh(clock::now()) {
                        asking.land(|_| Landing::Shared(Arc::clone(&found), For::Everybody));
                    }
                    Ok(self.shared_hit(&found, &exchange))
                }
                None => self.ask_origin(exchange, missing, asking, &next).await,
            },
            Err(_) => {
                let Some(request) = exchange.replica() else { return Err(Error::Internal.into()) };
                let origin = self.ask_origin(exchange, missing, asking, &next);
                let found = async { lookup.await.filter(|found| is_good(found, &request)) };
                tokio::select! {
                    biased;
                    outcome = origin => outcome,
                    // Those who wait look again, and find it stored.
                    Some(found) = found => Ok(self.shared_hit(&found, &request)),
                }
            }
        }
    }

    /// Whether an object of another node answers a request without the origin.
    fn is_served_as_it_is(&self, found: &Stored, exchange: &Exchange) -> bool {
        let directives = Directives::of_request(&exchange.head.fields);
        let is_stale = found.notes.is_stale.load(Relaxed);
        !is_stale && policy::judge(&found.freshness, &directives, clock::now()) == Verdict::Serve
    }

    /// Serves what another node has fetched.
    fn shared_hit(&self, found: &Stored, request: &Exchange) -> Box<Response> {
        let bytes = found.content.length().unwrap_or(0);
        self.counts.hit(bytes, self.learned.fetch_ns(), false);
        self.glance.found(true);
        self.serve(found, request, Status::hit().detail("shared"))
    }

    /// Asks the origin: whether what is stored still holds, or for what is not.
    async fn ask_origin<N: Next>(
        &self,
        exchange: Box<Exchange>,
        missing: Missing,
        asking: Asking,
        next: &Rc<N>,
    ) -> Outcome {
        match missing.stored {
            Some((stored, or_serve)) => self.ask(exchange, stored, or_serve, asking, next).await,
            None => self.fetch(exchange, missing.variants, asking, next).await,
        }
    }

    /// Fetches what is not stored, and stores it if it may be.
    async fn fetch<N: Next>(
        &self,
        mut exchange: Box<Exchange>,
        variants: Option<Variants>,
        mut asking: Asking,
        next: &Rc<N>,
    ) -> Outcome {
        let reason = asking.reason;
        asking.status = Status::forwarded(reason);
        storable::strip_unkeyed(&mut exchange.head.fields);
        let others = variants.iter().flat_map(|variants| variants.of(self.learned.route));
        let others: Vec<&Arc<Stored>> = others.filter(|stored| stored.can_be_asked_about()).collect();
        let offered = exchange.head.method != Method::POST
            && validate::offer(&mut exchange.head.fields, others.iter().map(|stored| &***stored));
        self.extra.earn();
        let mut response = match next.run(exchange).await {
            Ok(response) => response,
            Err(failure) => {
                self.counts.miss(reason);
                asking.fail(failure.error);
                return Err(failure);
            }
        };
        let Some(mut request) = response.request.take() else { return Ok(response) };
        if offered {
            request.head.fields.remove_known(Name::IfNoneMatch);
            if response.head.status == 304 {
                let Some(stored) = validate::meant(&others, &response.head.fields) else {
                    // It answers a condition of ours that the caller has not made.
                    return Box::pin(self.fetch(request, None, asking, next)).await;
                };
                self.counts.miss(reason);
                let status = asking.status.clone().got(304);
                let fresh = self.freshened(stored, &response.head.fields, &request, asking);
                return Ok(self.serve(&fresh, &request, status));
            }
        }
        self.counts.miss(reason);
        Ok(self.take(response, &request, asking))
    }

    /// Asks whether what is stored still holds, and serves it if so, or if nobody can say and it may be served then.
    async fn ask<N: Next>(
        &self,
        mut exchange: Box<Exchange>,
        stored: Arc<Stored>,
        or_serve: bool,
        mut asking: Asking,
        next: &Rc<N>,
    ) -> Outcome {
        // The question is another one than the caller's, who may have a copy of its own.
        let Some(request) = exchange.replica() else { return Err(Error::Internal.into()) };
        storable::strip_unkeyed(&mut exchange.head.fields);
        if request.head.method != Method::HEAD && request.head.method != Method::POST {
            validate::ask(&mut exchange.head.fields, &stored);
        }
        self.extra.earn();
        match next.run(exchange).await {
            Ok(response) => self.told(response, &stored, or_serve, request, asking, next).await,
            Err(failure) => {
                asking.fail(failure.error);
                let may_serve = or_serve && failure.error != Error::CallerGone;
                if failure.error != Error::CallerGone {
                    stored.leave_in_peace(None);
                }
                if !may_serve || asking.is_beside() {
                    self.counts.miss(asking.reason);
                }
                match may_serve {
                    true => Ok(self.last_resort(&stored, &request, &asking, Status::stale())),
                    false => Err(failure),
                }
            }
        }
    }

    /// What the origin says about something stored.
    async fn told<N: Next>(
        &self,
        mut response: Box<Response>,
        stored: &Arc<Stored>,
        or_serve: bool,
        request: Box<Exchange>,
        mut asking: Asking,
        next: &Rc<N>,
    ) -> Outcome {
        let (told, fields) = (response.head.status, &response.head.fields);
        let is_head = request.head.method == Method::HEAD;
        let is_question = !is_head && request.head.method != Method::POST;
        if told == 304 && is_question && !validate::is_about(stored, fields) {
            // It holds for something else, which is not here.
            let Some(mut again) = response.request.take() else { return Err(Error::Internal.into()) };
            validate::unask(&mut again.head.fields);
            return Box::pin(self.fetch(again, None, asking, next)).await;
        }
        let status = Status::forwarded(asking.reason).got(told);
        asking.status = status.clone();
        let fails = matches!(told, 500 | 502 | 503 | 504);
        if fails {
            stored.leave_in_peace(fields.get_named("retry-after"));
        }
        if !(fails && or_serve) || asking.is_beside() {
            self.counts.miss(asking.reason);
        }
        match told {
            _ if fails && or_serve => {
                asking.land(|_| Landing::Shared(Arc::clone(stored), For::Everybody));
                Ok(self.last_resort(stored, &request, &asking, status.and_hit()))
            }
            304 if is_question => {
                let fresh = self.freshened(stored, fields, &request, asking);
                Ok(self.serve(&fresh, &request, status.and_hit()))
            }
            200 if is_head && validate::agrees(stored, fields) => {
                let fresh = self.freshened(stored, fields, &request, asking);
                Ok(self.serve(&fresh, &request, status))
            }
            200 if is_head => {
                self.store.remove(&asking.url, clock::now());
                Ok(response)
            }
            _ => Ok(self.take(response, &request, asking)),
        }
    }

    /// Serves what is stored although the origin fails. A hit, unless this is only a refresh beside one.
    fn last_resort(
        &self,
        stored: &Stored,
        request: &Exchange,
        asking: &Asking,
        status: Status,
    ) -> Box<Response> {
        match asking.is_beside() {
            true => self.serve(stored, request, status),
            false => self.hit(stored, request, status),
        }
    }
}

pub(super) fn received(asked_ns: u64) -> Received {
    let came_ns = clock::now();
    Received { asked_ns, came_ns, came_unix_s: wall::unix_ms(came_ns) / 1_000 }
}
