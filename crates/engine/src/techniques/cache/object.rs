//! A response as it is kept, and how it is served.

use super::arrival::{Arrival, Hold, Whole};
use super::freshness::{Freshness, Received};
use super::memory::allocated;
use super::range::{self, Part, Wanted};
use super::validate;
use super::vary::Selected;
use crate::clock;
use crate::encoding::variants::CONTENT_BYTES_MIN;
use crate::exchange::Response;
use crate::http::conditions::Judgement;
use crate::http::{Body, Fields, Name, ResponseHead};
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A response. What changes is another one in its place; only its marks are of the moment.
#[derive(Debug)]
pub struct Stored {
    /// The number of the route that fetched it: another may ask another service.
    pub route: u32,
    /// Status and fields, without those of one hop.
    pub head: ResponseHead,
    /// The content.
    pub content: Content,
    /// Which part of the representation it is, if it is not the whole.
    pub part: Option<Box<Part>>,
    /// What comes after it.
    pub trailers: Option<Box<Fields>>,
    /// Until when it may be used.
    pub freshness: Freshness,
    /// When it came.
    pub received: Received,
    /// The credentials with which it was asked for, hashed; 0 without any.
    pub asker: u64,
    /// The request fields that chose it.
    pub selected: Selected,
    /// By what it is purged: its URL, the origin's tags, the route's own.
    pub tags: Box<[u64]>,
    /// What is noted on it while it is stored.
    pub notes: Notes,
}

/// The content of a response.
#[derive(Clone, Debug)]
pub enum Content {
    /// All of it.
    Whole(Bytes),
    /// It is still on its way.
    Arriving(Arc<Arrival>),
}

/// Notes on a stored response, by whoever serves it.
#[derive(Debug, Default)]
pub struct Notes {
    /// The last purge that it was compared with.
    pub compared: AtomicU64,
    /// A purge has made it stale.
    pub is_stale: AtomicBool,
    /// Purges were missed since it was asked for.
    pub is_unsure: AtomicBool,
    /// It was served since room was last made among the answers to its URL.
    pub is_used: AtomicBool,
    /// It is fetched again beside the requests.
    pub is_refreshed: AtomicBool,
    /// Since it is near its end: who asked for it.
    pub uses: AtomicU32,
    /// The origin has failed: until then it is not asked again, and this served.
    pub not_before_ns: AtomicU64,
}

/// The fetch of something again, beside the requests that are served it: one at a time, until its answer is whole.
pub struct Refreshing(Arc<Stored>);

impl Refreshing {
    /// Begins one, unless there is one.
    pub fn begin(stored: &Arc<Stored>) -> Option<Refreshing> {
        let is_refreshed = stored.notes.is_refreshed.swap(true, Relaxed);
        (!is_refreshed).then(|| Refreshing(Arc::clone(stored)))
    }

    /// It came to nothing.
    pub fn leave_in_peace(&self) {
        self.0.leave_in_peace(None);
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.notes.is_refreshed.store(false, Relaxed);
    }
}

impl Content {
    /// Its length, if that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Content::Whole(bytes) => Some(bytes.len() as u64),
            Content::Arriving(arrival) => arrival.length(),
        }
    }

    /// Whether it can still be read from its beginning, as long as what is returned lives. What turned out to be too large while it
    /// arrives cannot.
    pub fn hold(&self) -> Option<Option<Hold>> {
        match self {
            Content::Whole(_) => Some(None),
            Content::Arriving(arrival) => arrival.hold().map(Some),
        }
    }

    /// It as the body of an answer, or a part of it.
    fn body(&self, part: Option<(u64, u64)>) -> Body {
        match (self, part) {
            (Content::Whole(bytes), None) if bytes.len() < SHARED_BYTES_MIN => {
                Body::Bytes(Bytes::copy_from_slice(bytes))
            }
            (Content::Whole(bytes), None) => Body::Bytes(bytes.clone()),
            (Content::Whole(bytes), Some((first, last))) => {
                Body::Bytes(bytes.slice(first as usize..last as usize + 1))
            }
            (Content::Arriving(arrival), part) => arrival.read(part),
        }
    }
}

/// After a failure the origin is left in peace for so long, unless it says for how long.
const PEACE_S: u64 = 1;
/// An origin that asks for more than this is asked all the same: it may be well again.
const PEACE_MAX_S: u64 = 60;

impl Stored {
    /// Whether the origin can be asked if it still holds: what is still on its way may never be whole, and is the answer of a
    /// moment ago.
    pub fn can_be_asked_about(&self) -> bool {
        self.part.is_none() && matches!(self.content, Content::Whole(_))
    }

    /// Has the origin not asked again for a while after it failed, as long as it says or a second.
    pub fn leave_in_peace(&self, retry_after: Option<&[u8]>) {
        let asked = retry_after.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok());
        let peace_s = asked.map_or(PEACE_S, |seconds| seconds.clamp(1, PEACE_MAX_S));
        self.notes.not_before_ns.store(clock::now() + peace_s * 1_000_000_000, Relaxed);
    }

    /// Whether its origin has failed just now.
    pub fn is_left_in_peace(&self, now: u64) -> bool {
        now < self.notes.not_before_ns.load(Relaxed)
    }

    /// Whether it takes the place of another one: the same request would find both.
    pub fn replaces(&self, other: &Stored) -> bool {
        self.route == other.route && self.selected == other.selected && self.part == other.part
    }

    /// The same with all of its content.
    pub fn with(&self, whole: Whole) -> Stored {
        Stored {
            route: self.route,
            head: self.head.clone(),
            content: Content::Whole(whole.content),
            part: self.part.clone(),
            trailers: whole.trailers.map(Box::new),
            freshness: self.freshness.clone(),
            received: self.received,
            asker: self.asker,
            selected: self.selected.clone(),
            tags: self.tags.clone(),
            notes: Notes::default(),
        }
    }

    /// What it takes in memory, as the allocator gives it.
    pub fn bytes(&self) -> u64 {
        let list = |fields: &Fields| fields.allocations().into_iter().map(allocated).sum::<u64>();
        let selected = self.selected.iter().map(|(name, value)| {
            allocated(name.len()) + value.as_ref().map_or(0, |value| allocated(value.len()))
        });
        let trailers = self.trailers.as_deref();
        let content = match usize::try_from(self.content.length().unwrap_or(0)) {
            Ok(0) => 0,
            Ok(length) if length < SHARED_BYTES_MIN => allocated(length),
            Ok(length) => allocated(length) + COUNTER_BYTES,
            Err(_) => u64::MAX / 2,
        };
        allocated(COUNTS_BYTES + size_of::<Stored>())
            + list(&self.head.fields)
            + content
            + trailers.map_or(0, |trailers| allocated(size_of::<Fields>()) + list(trailers))
            + allocated(size_of_val(&*self.selected))
            + selected.sum::<u64>()
            + allocated(size_of_val(&*self.tags))
            + self.part.as_ref().map_or(0, |_| allocated(size_of::<Part>()))
    }

    /// The answer to a request that it is good for.
    pub fn answer(&self, method: &Method, request: &Fields, now: u64) -> Box<Response> {
        let fields = self.head.fields.with_room(ADDED_TEXT_BYTES, ADDED_FIELDS);
        let mut head = ResponseHead { status: self.head.status, fields };
        let age_s = self.freshness.age_ns(now) / 1_000_000_000;
        head.fields.set_known(Name::Age, itoa::Buffer::new().format(age_s).as_bytes());
        let is_get = *method != Method::POST;
        if is_get && matches!(self.head.status, 200 | 206) {
            match validate::judge(request, self) {
                Judgement::Go => {}
                Judgement::NotModified => return not_modified(head),
                Judgement::Failed => return Response::new(ResponseHead::new(412), Body::Bytes(Bytes::new())),
            }
        }
        if *method == Method::HEAD {
            if let (false, Some(length)) = (head.is_bodiless(&Method::GET), self.content.length()) {
                head.fields.push_known(Name::ContentLength, itoa::Buffer::new().format(length).as_bytes());
            }
            let unsent = match &self.content {
                Content::Whole(bytes) if self.trailers.is_none() => Some(bytes.clone()),
                _ => None,
            };
            let mut response = Response::new(head, Body::Empty);
            response.unsent = unsent;
            return response;
        }
        let part = self.part.as_deref();
        let length = part.map_or_else(|| self.content.length().unwrap_or(0), |part| part.total);
        match range::wanted(request, self) {
            _ if !is_get => {}
            Wanted::Whole => {}
            Wanted::Part(first, last) => {
                head.status = 206;
                let said = format!("bytes {first}-{last}/{length}");
                head.fields.set_known(Name::ContentRange, said.as_bytes());
                let begins = part.map_or(0, |part| part.first);
                return Response::new(head, self.content.body(Some((first - begins, last - begins))));
            }
            Wanted::Nothing => {
                let mut refused = ResponseHead::new(416);
                refused.fields.push_known(Name::ContentRange, format!("bytes */{length}").as_bytes());
                return Response::new(refused, Body::Bytes(Bytes::new()));
            }
        }
        let body = if head.is_bodiless(method) { Body::Empty } else { self.content.body(None) };
        let body = match &self.trailers {
            Some(trailers) => {
                let trailers = Fields::clone(trailers);
                body.ending(|_| Some(trailers))
            }
            None => body,
        };
        Response::new(head, body)
    }
}

/// A 304 with what belongs into one.
pub fn not_modified(mut head: ResponseHead) -> Box<Response> {
    head.status = 304;
    head.fields.retain(|field| {
        validate::belongs_in_304(field.known)
            || matches!(field.known, Name::Age)
            || field.name.eq_ignore_ascii_case(b"content-location")
    });
    Response::new(head, Body::Empty)
}

/// The two counts of an `Arc`.
const COUNTS_BYTES: usize = 16;
/// Smaller content is copied for whoever is served it: the counter of those who still read it would take a good part of what it
/// counts for. What is encoded must not be: it is known by its place.
const SHARED_BYTES_MIN: usize = CONTENT_BYTES_MIN as usize;
/// Larger content gets that counter, of 32 bytes, with the first of them. Half of it is counted: whether it is ever served is not
/// known when it is stored.
const COUNTER_BYTES: u64 = 16;
/// What is usually added to the head of an answer: age, status of the cache, request id, edits of the route.
const ADDED_TEXT_BYTES: usize = 256;
const ADDED_FIELDS: usize = 6;
