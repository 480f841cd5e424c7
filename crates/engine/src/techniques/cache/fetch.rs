//! Asking the origin, and what becomes of its answer: handed on, stored while it passes, shared with those who wait.

use super::arrival::{Arrival, OBJECT_BYTES_MAX};
use super::content::{graphql, grpc};
use super::directives::Directives;
use super::figures::{Counts, Miss};
use super::flight::{For, Landing, Leading};
use super::freshness::{self, Freshness, Overrides, Received};
use super::memory::Variants;
use super::object::{Content, Marks, Stored};
use super::policy::{self, Verdict};
use super::status::Status;
use super::storable::{self, Refusal};
use super::store::OnItsWay;
use super::{Cache, same, tags, url, validate, vary};
use crate::clock;
use crate::error::{Error, Fault};
use crate::exchange::{Exchange, Outcome, Response};
use crate::http::{Body, Fields, Name, ResponseHead, Size, date as wall};
use crate::pipeline::Next;
use bytes::Bytes;
use http::Method;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use unlag_config::KeyedBody;
use unlag_record::Phase;

/// After a failure that was answered with something stale, the origin is left in peace for so long.
const PEACE_NS: u64 = 1_000_000_000;

/// What there is not.
#[derive(Default)]
pub struct Missing {
    /// Something that the origin is to be asked about, and whether it may be served if it fails.
    pub stored: Option<(Arc<Stored>, bool)>,
    /// All that is stored for the URL.
    pub variants: Option<Arc<Variants>>,
    /// The caller forbids storing.
    pub no_store: bool,
    /// Another's answer will do as well.
    pub joins: bool,
}

/// A question to the origin, from the moment at which it is asked.
pub struct Asking {
    url: Vec<u8>,
    /// When.
    pub asked_ns: u64,
    /// The last purge that was known then.
    seq: u64,
    /// What is said of it in the answer.
    pub status: Status,
    no_store: bool,
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
        Asking { url, asked_ns, seq, status: Status::default(), no_store: false, _way: way, others: None }
    }

    /// For all who come meanwhile.
    pub fn leading(cache: &Cache, url: Vec<u8>, leading: Leading, exchange: &Exchange) -> Asking {
        let identity = same::identity(&exchange.head.fields);
        let others = Others { leading, identity, _counted: Counted::new(&cache.learned) };
        Asking { others: Some(others), ..Asking::alone(cache, url) }
    }

    /// About what another request has changed just now: that change does not make it one of before.
    pub fn after_change(self, now: u64, status: Status) -> Asking {
        Asking { asked_ns: now + 1, status, ..self }
    }

    fn is_awaited(&self) -> bool {
        self.others.as_ref().is_some_and(|others| others.leading.is_awaited())
    }

    fn land(&mut self, landing: impl FnOnce(u64) -> Landing) {
        if let Some(others) = self.others.take() {
            others.leading.land(landing(others.identity));
        }
    }

    /// The failure of one request is that of all, unless it is the caller's own or its deadline's.
    fn fail(&mut self, error: Error) {
        if error.fault() == Fault::Upstream || error == Error::NoEndpoint {
            self.land(|_| Landing::Failed(error));
        }
    }
}

/// An answer that may be stored.
struct Kept {
    directives: Directives,
    received: Received,
    whose: Whose,
}

/// Who may have an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Everybody, for as long as it lasts.
    Everybody,
    /// Those who asked the same at the same time; it is not stored.
    TheSame,
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
        asking.no_store = missing.no_store;
        let lookup = match missing.no_store || exchange.head.method == Method::HEAD {
            true => None,
            false => self.look_up(&exchange, &asking.url),
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
                    asking.land(|_| Landing::Shared(Arc::clone(&found), For::Everybody));
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
        let is_stale = found.marks.is_stale.load(Relaxed);
        !is_stale && policy::judge(&found.freshness, &directives, clock::now()) == Verdict::Serve
    }

    /// Serves what another node has fetched.
    fn shared_hit(&self, found: &Stored, request: &Exchange) -> Response {
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
        variants: Option<Arc<Variants>>,
        mut asking: Asking,
        next: &Rc<N>,
    ) -> Outcome {
        let reason = match (asking.no_store, &variants) {
            (true, _) => Miss::Request,
            (false, Some(_)) => Miss::VaryMiss,
            (false, None) => Miss::UriMiss,
        };
        self.counts.miss(reason);
        asking.status = Status::forwarded(reason);
        storable::strip_unkeyed(&mut exchange.head.fields);
        let offered = variants.as_ref().is_some_and(|variants| {
            let others = variants.of(self.learned.route).map(|stored| &**stored);
            validate::offer(&mut exchange.head.fields, others)
        });
        let mut response = match next.run(exchange).await {
            Ok(response) => response,
            Err(failure) => {
                asking.fail(failure.error);
                return Err(failure);
            }
        };
        let Some(mut request) = response.request.take() else { return Ok(response) };
        if offered {
            request.head.fields.remove_known(Name::IfNoneMatch);
            let etag = response.head.fields.get(Name::Etag).filter(|_| response.head.status == 304);
            let is_meant = |stored: &&Arc<Stored>| {
                let known = stored.head.fields.get(Name::Etag);
                known.zip(etag).is_some_and(|(known, etag)| validate::is_same(known, etag))
            };
            let meant = variants.iter().flat_map(|variants| variants.of(self.learned.route)).find(is_meant);
            if let Some(stored) = meant {
                let status = asking.status.clone().got(304);
                let fresh = self.freshened(stored, &response.head.fields, &request, asking);
                return Ok(self.serve(&fresh, &request, status));
            }
        }
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
        self.counts.miss(Miss::Stale);
        let is_head = request.head.method == Method::HEAD;
        let is_question = !is_head && request.head.method != Method::POST;
        storable::strip_unkeyed(&mut exchange.head.fields);
        if is_question {
            validate::ask(&mut exchange.head.fields, &stored);
        }
        let response = match next.run(exchange).await {
            Ok(response) => response,
            Err(failure) => {
                asking.fail(failure.error);
                if or_serve && failure.error != Error::CallerGone {
                    leave_in_peace(&stored, None);
                    return Ok(self.hit(&stored, &request, Status::stale()));
                }
                return Err(failure);
            }
        };
        let status = Status::forwarded(Miss::Stale).got(response.head.status);
        asking.status = status.clone();
        match response.head.status {
            304 if is_question => {
                let fresh = self.freshened(&stored, &response.head.fields, &request, asking);
                Ok(self.serve(&fresh, &request, status.and_hit()))
            }
            500 | 502 | 503 | 504 if or_serve => {
                leave_in_peace(&stored, response.head.fields.get_named("retry-after"));
                asking.land(|_| Landing::Shared(Arc::clone(&stored), For::Everybody));
                Ok(self.hit(&stored, &request, status.and_hit()))
            }
            200 if is_head && validate::agrees(&stored, &response.head.fields) => {
                let fresh = self.freshened(&stored, &response.head.fields, &request, asking);
                Ok(self.serve(&fresh, &request, status))
            }
            200 if is_head => {
                self.store.remove(&asking.url, clock::now());
                Ok(response)
            }
            _ => Ok(self.take(response, &request, asking)),
        }
    }

    /// The same content under what the origin has just said about it, stored again if it still may be: what it says now may be
    /// about this caller alone.
    fn freshened(
        &self,
        stored: &Arc<Stored>,
        said: &Fields,
        request: &Exchange,
        mut asking: Asking,
    ) -> Arc<Stored> {
        Counts::one(&self.counts.revalidated);
        let received = received(asking.asked_ns);
        let mut head = stored.head.clone();
        validate::update(&mut head.fields, said);
        let directives = Directives::of_response(&head.fields);
        let asked = storable::Asked::of(&request.head.fields, false);
        let verdict = storable::may_store(asked, &head, &directives, received, &self.overrides);
        let kept = Kept { directives, received, whose: Whose::Everybody };
        let fresh = Arc::new(self.stored(head, stored.content.clone(), request, &asking.url, &kept));
        match verdict {
            Ok(()) => {
                self.store.put(&asking.url, Arc::clone(&fresh));
                self.write_down(&fresh, &asking.url, &request.route.config.name, asking.seq);
                self.share(&fresh, &kept, &mut asking);
            }
            Err(_) => {
                self.store.remove(&asking.url, clock::now());
                asking.land(|_| Landing::Refused);
            }
        }
        fresh
    }

    /// Hands an answer on, stores it on its way if it may be, and tells those who wait.
    pub(super) fn take(&self, mut response: Response, request: &Exchange, mut asking: Asking) -> Response {
        let judged = self.judged(&response, request, &asking);
        let teaches =
            !matches!(judged, Err(Refusal::Authorization | Refusal::RequestNoStore | Refusal::Method));
        if teaches {
            let may_be_shared = judged.is_ok() || judged.as_ref().err() == Some(&Refusal::NoLifetime);
            self.learned.came(may_be_shared, clock::now().saturating_sub(asking.asked_ns));
        }
        match judged {
            Ok(kept) => {
                self.glance.found(true);
                self.keep(response, request, &kept, asking)
            }
            Err(refusal) => {
                self.counts.refuse(refusal);
                if refusal != Refusal::NoLifetime {
                    self.refuse(&mut asking);
                }
                if self.overrides.explains {
                    asking.status.detail(refusal.word()).write(&mut response.head.fields);
                }
                response
            }
        }
    }

    /// Sets free who waits, and has nobody wait for the same again for a while.
    fn refuse(&self, asking: &mut Asking) {
        if let Some(others) = &asking.others {
            let key = self.store.hash(others.leading.key());
            self.store.marks.set(key, clock::now() / 1_000_000_000);
        }
        asking.land(|_| Landing::Refused);
    }

    /// Whether it may be stored, or at least shared.
    fn judged(&self, response: &Response, request: &Exchange, asking: &Asking) -> Result<Kept, Refusal> {
        let fields = &response.head.fields;
        if matches!(response.body.size(), Size::Exact(length) if length > OBJECT_BYTES_MAX) {
            return Err(Refusal::TooLarge);
        }
        if self.store.is_bypassed(&asking.url, clock::now()) {
            return Err(Refusal::Identity);
        }
        let directives = Directives::of_response(fields);
        let received = received(asking.asked_ns);
        let overrides = match request.head.method {
            Method::GET => self.overrides,
            // A read, by its method or by the route's word. POSTs cannot be asked whether they still hold.
            _ if url::has_content(&asking.url) => {
                let is_post = request.head.method == Method::POST;
                let has_lifetime = self.overrides.ttl_ns.is_some()
                    || freshness::declared_s(fields, &directives, received).is_some();
                if is_post && !has_lifetime && !asking.is_awaited() {
                    return Err(Refusal::NoLifetime);
                }
                self.overrides
            }
            // Only with a lifetime of its own (RFC 9110 §9.3.3).
            Method::POST if freshness::declared_s(fields, &directives, received).is_some() => {
                Overrides::default()
            }
            _ => return Err(Refusal::Method),
        };
        let asked = storable::Asked::of(&request.head.fields, asking.no_store);
        match storable::may_store(asked, &response.head, &directives, received, &overrides) {
            Ok(()) if tags::of(&self.store.purges, &asking.url, fields, request).is_none() => {
                Err(Refusal::Tags)
            }
            Ok(()) => Ok(Kept { directives, received, whose: Whose::Everybody }),
            // Nobody has said that it may be used again, nor that those who wait may not have it.
            // Credentials among them are the same, where requests with any wait at all.
            Err(Refusal::NoLifetime | Refusal::Authorization) if asking.is_awaited() => {
                Ok(Kept { directives, received, whose: Whose::TheSame })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Stores an answer while it passes.
    fn keep(&self, mut response: Response, request: &Exchange, kept: &Kept, mut asking: Asking) -> Response {
        let mut head = response.head.clone();
        storable::strip(&mut head.fields, &kept.directives);
        let mut stores = kept.whose == Whose::Everybody;
        // What its content or its trailers may still forbid is found by others once it is whole.
        let is_open = url::has_content(&asking.url);
        let body = std::mem::take(&mut response.body);
        let length = match body.size() {
            Size::Exact(length) => Some(length),
            Size::Unknown => None,
        };
        let (content, arrives) = match body {
            // Of its own: a piece would hold on to all of the buffer that it was cut from.
            Body::Bytes(bytes) => {
                response.body = Body::Bytes(bytes.clone());
                (Content::Whole(Bytes::copy_from_slice(&bytes)), None)
            }
            Body::Empty => (Content::Whole(Bytes::new()), None),
            Body::Stream(body) => {
                let body = Body::Stream(body);
                let Some(room) = self.store.room(length.unwrap_or(OBJECT_BYTES_MAX)) else {
                    response.body = body;
                    asking.land(|_| Landing::Refused);
                    return response;
                };
                let arrival = Arrival::new(length);
                response.body = arrival.read(None);
                (Content::Arriving(Arc::clone(&arrival)), Some((arrival, body, room)))
            }
        };
        let stored = Arc::new(self.stored(head, content, request, &asking.url, kept));
        if let Content::Whole(content) = &stored.content {
            stores &= self.is_good(content, None, &stored.head);
        }
        // So is what is of unknown length: it may turn out to be too large.
        let is_early = length.is_some() && (arrives.is_none() || !is_open);
        if stores && is_early {
            self.store.put(&asking.url, Arc::clone(&stored));
        }
        if stores && arrives.is_none() {
            self.write_down(&stored, &asking.url, &request.route.config.name, asking.seq);
        }
        self.share(&stored, kept, &mut asking);
        let status = std::mem::take(&mut asking.status);
        let status = if stores { status.stored() } else { status };
        if stores {
            Counts::one(&self.counts.stored);
        }
        status.ttl(stored.freshness.ttl_s(kept.received.came_ns)).write(&mut response.head.fields);
        if let Some((arrival, body, room)) = arrives {
            let (this, in_flight) = (self.clone(), response.in_flight.take());
            let route = Arc::clone(&request.route);
            tokio::task::spawn_local(async move {
                // To the end: what it is counted by as well.
                let (asking, _in_flight, _room) = (asking, in_flight, room);
                let whole = arrival.take_in(body).await;
                if stores {
                    let whole = whole
                        .filter(|whole| this.is_good(&whole.content, whole.trailers.as_ref(), &stored.head));
                    let whole = whole.map(|whole| stored.with(whole));
                    if let Some(whole) = &whole {
                        this.write_down(whole, &asking.url, &route.config.name, asking.seq);
                    }
                    match (is_early, whole) {
                        (true, whole) => this.store.replace(&asking.url, &stored, whole),
                        (false, Some(whole)) => this.store.put(&asking.url, Arc::new(whole)),
                        (false, None) => {}
                    }
                }
            });
        }
        response
    }

    /// Whether content that is whole may be stored: some protocols say in it, or behind it, how the call went.
    fn is_good(&self, content: &[u8], trailers: Option<&Fields>, head: &ResponseHead) -> bool {
        match self.overrides.body {
            Some(KeyedBody::Grpc) => trailers.map_or_else(|| grpc::is_ok(&head.fields), grpc::is_ok),
            // A part of it might be missing without them.
            _ if trailers.is_some() => false,
            Some(KeyedBody::GraphQl) => !graphql::has_errors(content),
            _ => true,
        }
    }

    /// Gives an answer to those who wait for it.
    fn share(&self, stored: &Arc<Stored>, kept: &Kept, asking: &mut Asking) {
        if asking.is_awaited() {
            // Worth a look from now on, whether or not anything is stored.
            self.glance.found(true);
        }
        let directives = &kept.directives;
        let is_fresh = kept.whose == Whose::Everybody && stored.freshness.is_fresh(clock::now());
        // Nobody may use it without asking, at the same time or later (RFC 9111 §5.2.2.4).
        let is_for_one = directives.no_cache.is_all() || directives.must_revalidate;
        if !is_fresh && is_for_one && self.overrides.ttl_ns.is_none() {
            return self.refuse(asking);
        }
        asking.land(|identity| {
            let whose = if is_fresh { For::Everybody } else { For::TheSame(identity) };
            Landing::Shared(Arc::clone(stored), whose)
        });
    }

    /// An answer in the form in which it is kept.
    fn stored(
        &self,
        mut head: ResponseHead,
        content: Content,
        request: &Exchange,
        url: &[u8],
        kept: &Kept,
    ) -> Stored {
        storable::strip(&mut head.fields, &kept.directives);
        head.fields = head.fields.compact();
        let fields = &head.fields;
        let freshness = Freshness::new(head.status, fields, &kept.directives, kept.received, &self.overrides);
        let selected = vary::selected(fields, &request.head.fields);
        let tags = tags::of(&self.store.purges, url, fields, request).unwrap_or_default();
        let (asker, marks) = (same::credentials(&request.head.fields), Marks::default());
        Stored {
            asker,
            route: self.learned.route,
            head,
            content,
            trailers: None,
            freshness,
            received: kept.received,
            selected,
            tags,
            marks,
        }
    }
}

/// Has a stale answer served for a while without asking again, as long as the origin says or a second.
fn leave_in_peace(stored: &Stored, retry_after: Option<&[u8]>) {
    let seconds = retry_after.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok());
    let peace_ns = seconds.map_or(PEACE_NS, |seconds| seconds.clamp(1, PEACE_MAX_S) * 1_000_000_000);
    stored.marks.not_before_ns.store(clock::now() + peace_ns, Relaxed);
}

/// An origin that asks for more than this is asked all the same: it may be well again.
const PEACE_MAX_S: u64 = 60;

fn received(asked_ns: u64) -> Received {
    let came_ns = clock::now();
    Received { asked_ns, came_ns, came_unix_s: wall::unix_ms(came_ns) / 1_000 }
}
