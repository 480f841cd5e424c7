//! What becomes of the origin's answer: handed on, stored while it passes, shared with those who wait, or none of it.

use super::arrival::{Arrival, OBJECT_BYTES_MAX, PASSING_BYTES_MAX};
use super::content::{graphql, grpc};
use super::directives::Directives;
use super::fetch::{Asking, received};
use super::figures::Counts;
use super::flight::{For, Landing};
use super::freshness::{self, Freshness, Overrides, Received};
use super::nodes::is_for_others;
use super::object::{Content, Notes, Stored};
use super::range::{self, Part};
use super::storable::{self, Refusal};
use super::store::Room;
use super::{Cache, same, tags, url, validate, vary};
use crate::clock;
use crate::exchange::{Exchange, Response};
use crate::http::{Body, Fields, Name, ResponseHead, Size};
use crate::panics;
use crate::plan::Route;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use unlag_config::KeyedBody;

/// An answer that may be stored.
struct Kept {
    part: Option<Part>,
    directives: Directives,
    received: Received,
    whose: Whose,
    tags: Box<[u64]>,
}

/// Content that is on its way.
struct Arriving {
    arrival: Arc<Arrival>,
    body: Body,
    room: Room,
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
    /// The same content under what the origin has just said about it, stored again if it still may be: what it says now may be
    /// about this caller alone.
    pub(super) fn freshened(
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
        let asked = storable::Asked::of(request, false);
        let verdict = storable::may_store(asked, &head, false, &directives, received, &self.overrides);
        let tags = tags::of(&self.store.purges, &asking.url, &head.fields, request);
        let verdict = verdict.and(tags.as_ref().map(drop).ok_or(Refusal::Tags));
        let tags = tags.unwrap_or_default();
        let kept = Kept { part: None, directives, received, whose: Whose::Everybody, tags };
        let fresh = Arc::new(self.stored(head, stored.content.clone(), request, &kept));
        match verdict {
            Ok(()) => {
                let is_kept = self.store.put(&asking.url, Arc::clone(&fresh));
                // What was not for others before was taken out of the tier then.
                if is_kept && (is_for_others(stored) || is_for_others(&fresh)) {
                    self.write_down(&fresh, &asking.url, &request.route.config.name, asking.seq);
                }
                self.share(&fresh, &kept, request, &mut asking);
            }
            // That is about this caller, and what is stored is not.
            Err(Refusal::Authorization | Refusal::NoLifetime | Refusal::SetCookie) => {
                asking.land(|_| Landing::Refused);
            }
            Err(_) => {
                self.store.remove(&asking.url, clock::now());
                asking.land(|_| Landing::Refused);
            }
        }
        fresh
    }

    /// Hands an answer on, stores it on its way if it may be, and tells those who wait.
    pub(super) fn take(
        &self,
        mut response: Box<Response>,
        request: &Exchange,
        mut asking: Asking,
    ) -> Box<Response> {
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
                if kept.whose == Whose::TheSame {
                    self.supersede(&asking, request, &response.head);
                }
                self.keep(response, request, &kept, asking)
            }
            Err(refusal) => {
                self.counts.refuse(refusal);
                // What the caller or this node is to blame for says nothing of what there is.
                if !matches!(
                    refusal,
                    Refusal::RequestNoStore | Refusal::Authorization | Refusal::SetCookie | Refusal::Identity
                ) {
                    self.supersede(&asking, request, &response.head);
                }
                if refusal != Refusal::NoLifetime {
                    self.refuse(&mut asking, request, response.head.status);
                }
                if self.overrides.explains {
                    asking.status.detail(refusal.word()).write(&self.name, &mut response.head.fields);
                }
                response
            }
        }
    }

    /// Sets free who waits, and has nobody wait for the same again for a while. That an origin fails says nothing about what it
    /// answers when it is well.
    fn refuse(&self, asking: &mut Asking, request: &Exchange, status: u16) {
        if asking.is_led() && status < 500 {
            self.store.marks.set(self.mark(request, &asking.url), clock::now());
        }
        asking.land(|_| Landing::Refused);
    }

    /// By what it is remembered that nobody waits for a URL: what callers with credentials get is another matter.
    pub(super) fn mark(&self, request: &Exchange, url: &[u8]) -> u64 {
        let who = u64::from(self.learned.route) << 1 | u64::from(same::has_credentials(&request.head.fields));
        self.store.hash(url) ^ who
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
        let asked = storable::Asked::of(request, asking.no_store);
        let part = self.part_of(response, request, &directives, received)?;
        let tags = || tags::of(&self.store.purges, &asking.url, fields, request).ok_or(Refusal::Tags);
        match storable::may_store(asked, &response.head, part.is_some(), &directives, received, &overrides) {
            Ok(()) => Ok(Kept { part, directives, received, whose: Whose::Everybody, tags: tags()? }),
            // Nobody has said that it may be used again, nor that those who wait may not have it.
            // Credentials among them are the same, where requests with any wait at all.
            Err(Refusal::NoLifetime | Refusal::Authorization)
                if asking.is_awaited() && !fields.has(Name::SetCookie) =>
            {
                Ok(Kept { part: None, directives, received, whose: Whose::TheSame, tags: tags()? })
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// The part that an answer is, if it is one that may be stored: it cannot be asked about, so it needs a lifetime.
    fn part_of(
        &self,
        response: &Response,
        request: &Exchange,
        directives: &Directives,
        received: Received,
    ) -> Result<Option<Part>, Refusal> {
        if response.head.status != 206 {
            return Ok(None);
        }
        if !request.head.fields.has(Name::Range) {
            return Err(Refusal::Status);
        }
        let part = range::exact(&response.head, response.body.size()).ok_or(Refusal::Status)?;
        let declared = freshness::declared_s(&response.head.fields, directives, received);
        let has_lifetime = self.overrides.ttl_ns.is_some() || declared.is_some_and(|seconds| seconds > 0);
        has_lifetime.then_some(Some(part)).ok_or(Refusal::NoLifetime)
    }

    /// Stores an answer while it passes.
    fn keep(
        &self,
        mut response: Box<Response>,
        request: &Exchange,
        kept: &Kept,
        mut asking: Asking,
    ) -> Box<Response> {
        let head = response.head.clone();
        let Some((content, arriving)) = self.content_of(&mut response) else {
            self.supersede(&asking, request, &response.head);
            asking.land(|_| Landing::Refused);
            return response;
        };
        let stored = Arc::new(self.stored(head, content, request, kept));
        let mut stores = kept.whose == Whose::Everybody;
        if let Content::Whole(content) = &stored.content {
            stores &= self.is_good(content, None, &stored.head);
        }
        // What its content or its trailers may still forbid is found by others once it is whole.
        // So is what ends with its caller's own deadline.
        let may_end = crate::deadline::asked_ns(&request.head.fields).is_some();
        // Nor must what ends early take the place of something good.
        let may_end = may_end || asking.beside.is_some();
        let is_early = arriving.is_none() || !may_end && !url::has_content(&asking.url);
        let is_kept = stores && (!is_early || self.store.put(&asking.url, Arc::clone(&stored)));
        if is_kept && arriving.is_none() {
            self.write_down(&stored, &asking.url, &request.route.config.name, asking.seq);
        }
        let is_shared = self.share(&stored, kept, request, &mut asking);
        let mut status = std::mem::take(&mut asking.status);
        if is_kept {
            Counts::one(&self.counts.stored);
            if is_shared {
                self.store.marks.clear(|| self.mark(request, &asking.url));
            }
            self.learned.stores.store(true, Relaxed);
            status = status.stored();
        }
        status
            .ttl(stored.freshness.ttl_s(kept.received.came_ns))
            .write(&self.name, &mut response.head.fields);
        if let Some(arriving) = arriving {
            let keeps = is_kept.then(|| (stored, is_early, Arc::clone(&request.route)));
            let (this, in_flight) = (self.clone(), response.in_flight.take());
            panics::spawn("intake", async move {
                this.take_in(arriving, keeps, asking).await;
                drop(in_flight);
            });
        }
        response
    }

    /// The content of an answer in the form in which it is kept, the answer itself reading it from there; none where there is no
    /// room for it.
    fn content_of(&self, response: &mut Response) -> Option<(Content, Option<Arriving>)> {
        match std::mem::take(&mut response.body) {
            Body::Empty => Some((Content::Whole(Bytes::new()), None)),
            // Of its own: a piece would hold on to all of the buffer that it was cut from.
            Body::Bytes(bytes) => {
                response.body = Body::Bytes(bytes.clone());
                Some((Content::Whole(Bytes::copy_from_slice(&bytes)), None))
            }
            body @ Body::Stream(_) => {
                let length = match body.size() {
                    Size::Exact(length) => Some(length),
                    Size::Unknown => None,
                };
                let Some(room) = self.store.room(length.unwrap_or(OBJECT_BYTES_MAX)) else {
                    response.body = body;
                    return None;
                };
                let arrival = Arrival::new(length, body.may_trail());
                response.body = arrival.read(None);
                Some((Content::Arriving(Arc::clone(&arrival)), Some(Arriving { arrival, body, room })))
            }
        }
    }

    /// Takes content in to its end, and puts the whole in the place of what was arriving.
    async fn take_in(
        &self,
        arriving: Arriving,
        keeps: Option<(Arc<Stored>, bool, Arc<Route>)>,
        asking: Asking,
    ) {
        let Arriving { arrival, body, mut room } = arriving;
        let whole = arrival.take_in(body, || room.shrink(PASSING_BYTES_MAX)).await;
        let is_outgrown = whole.is_none() && arrival.is_outgrown();
        if let (None, Some(refreshing)) = (&whole, &asking.beside) {
            refreshing.leave_in_peace();
        }
        let Some((stored, is_early, route)) = keeps else { return };
        let whole = whole.filter(|whole| self.is_good(&whole.content, whole.trailers.as_ref(), &stored.head));
        let whole = whole.map(|whole| Arc::new(stored.with(whole)));
        // What comes to nothing leaves what there was.
        let in_its_place = whole.clone().or(asking.before);
        let is_kept = match (is_early, &whole) {
            (true, _) => self.store.replace(&asking.url, &stored, in_its_place),
            (false, Some(whole)) => self.store.put(&asking.url, Arc::clone(whole)),
            (false, None) => false,
        };
        match whole {
            Some(whole) if is_kept => {
                self.write_down(&whole, &asking.url, &route.config.name, asking.seq);
            }
            None if is_outgrown => {
                self.take_out_of_tier(&asking.url, &route.config.name, &stored.selected);
            }
            _ => {}
        }
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

    /// Gives an answer to those who wait for it, and says whether it is one for others.
    fn share(&self, stored: &Arc<Stored>, kept: &Kept, request: &Exchange, asking: &mut Asking) -> bool {
        if asking.is_awaited() {
            // Worth a look from now on, whether or not anything is stored.
            self.glance.found(true);
        }
        let directives = &kept.directives;
        let is_fresh = kept.whose == Whose::Everybody && stored.freshness.is_fresh(clock::now());
        // Nobody may use it without asking, at the same time or later (RFC 9111 §5.2.2.4).
        let is_for_one = directives.no_cache.is_all() || directives.must_revalidate;
        if !is_fresh && is_for_one && self.overrides.ttl_ns.is_none() {
            self.refuse(asking, request, stored.head.status);
            return false;
        }
        asking.land(|identity| {
            let whose = if is_fresh { For::Everybody } else { For::TheSame(identity) };
            Landing::Shared(Arc::clone(stored), whose)
        });
        true
    }

    /// An answer in the form in which it is kept.
    fn stored(&self, mut head: ResponseHead, content: Content, request: &Exchange, kept: &Kept) -> Stored {
        storable::strip(&mut head.fields, &kept.directives);
        if kept.part.is_some() {
            head.fields.remove_known(Name::ContentRange);
        }
        head.fields = head.fields.compact();
        let fields = &head.fields;
        let freshness = Freshness::new(head.status, fields, &kept.directives, kept.received, &self.overrides);
        let selected = vary::selected(fields, &request.head.fields);
        let (asker, notes) = (same::credentials(&request.head.fields), Notes::default());
        Stored {
            asker,
            route: self.learned.route,
            head,
            content,
            part: kept.part.map(Box::new),
            trailers: None,
            freshness,
            received: kept.received,
            selected,
            tags: kept.tags.clone(),
            notes,
        }
    }
}
