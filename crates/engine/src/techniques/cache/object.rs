//! A response as it is kept, and how it is served.

use super::arrival::{Arrival, Hold, Whole};
use super::freshness::{Freshness, Received};
use super::range::{self, Wanted};
use super::validate;
use super::vary::Selected;
use crate::exchange::Response;
use crate::http::{Body, Fields, Name, ResponseHead};
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// A response. What changes is another one in its place; only its marks are of the moment.
#[derive(Debug)]
pub struct Stored {
    /// The number of the route that fetched it: another may ask another service.
    pub route: u32,
    /// Status and fields, without those of one hop.
    pub head: ResponseHead,
    /// The content.
    pub content: Content,
    /// What comes after it.
    pub trailers: Option<Fields>,
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
    pub marks: Marks,
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
pub struct Marks {
    /// The last purge that it was compared with.
    pub compared: AtomicU64,
    /// A purge has made it stale.
    pub is_stale: AtomicBool,
    /// Since it is near its end: who asked for it.
    pub uses: AtomicU32,
    /// The origin has failed: until then it is not asked again, and this served.
    pub not_before_ns: AtomicU64,
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
            (Content::Whole(bytes), None) => Body::Bytes(bytes.clone()),
            (Content::Whole(bytes), Some((first, last))) => {
                Body::Bytes(bytes.slice(first as usize..last as usize + 1))
            }
            (Content::Arriving(arrival), part) => arrival.read(part),
        }
    }
}

impl Stored {
    /// Whether it takes the place of another one: the same request would find both.
    pub fn replaces(&self, other: &Stored) -> bool {
        self.route == other.route && self.selected == other.selected
    }

    /// The same with all of its content.
    pub fn with(&self, whole: Whole) -> Stored {
        Stored {
            route: self.route,
            head: self.head.clone(),
            content: Content::Whole(whole.content),
            trailers: whole.trailers,
            freshness: self.freshness.clone(),
            received: self.received,
            asker: self.asker,
            selected: self.selected.clone(),
            tags: self.tags.clone(),
            marks: Marks::default(),
        }
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> u64 {
        let selected: usize = self
            .selected
            .iter()
            .map(|(name, value)| 64 + name.len() + value.as_ref().map_or(0, |v| v.len()))
            .sum();
        let content = self.content.length().unwrap_or(0)
            + self.trailers.as_ref().map_or(0, |trailers| trailers.bytes() as u64);
        (OVERHEAD_BYTES + self.head.fields.bytes() + selected + self.tags.len() * 8) as u64 + content
    }

    /// The answer to a request that it is good for.
    pub fn answer(&self, method: &Method, request: &Fields, now: u64) -> Response {
        let mut head = self.head.clone();
        let age_s = self.freshness.age_ns(now) / 1_000_000_000;
        head.fields.set_known(Name::Age, itoa::Buffer::new().format(age_s).as_bytes());
        let is_get = *method != Method::POST;
        if self.head.status == 200 && is_get && validate::is_not_modified(request, self) {
            return not_modified(head);
        }
        if *method == Method::HEAD {
            if let (false, Some(length)) = (head.is_bodiless(&Method::GET), self.content.length()) {
                head.fields.push_known(Name::ContentLength, itoa::Buffer::new().format(length).as_bytes());
            }
            return Response::new(head, Body::Empty);
        }
        let length = self.content.length().unwrap_or(0);
        match range::wanted(request, self) {
            _ if !is_get => {}
            Wanted::Whole => {}
            Wanted::Part(first, last) => {
                head.status = 206;
                head.fields
                    .push_known(Name::ContentRange, format!("bytes {first}-{last}/{length}").as_bytes());
                return Response::new(head, self.content.body(Some((first, last))));
            }
            Wanted::Nothing => {
                let mut refused = ResponseHead::new(416);
                refused.fields.push_known(Name::ContentRange, format!("bytes */{length}").as_bytes());
                return Response::new(refused, Body::Bytes(Bytes::new()));
            }
        }
        let body = if head.is_bodiless(method) { Body::Empty } else { self.content.body(None) };
        let body = match &self.trailers {
            Some(trailers) => body.before(trailers.clone()),
            None => body,
        };
        Response::new(head, body)
    }
}

fn not_modified(mut head: ResponseHead) -> Response {
    head.status = 304;
    head.fields.retain(|field| {
        validate::belongs_in_304(field.known)
            || matches!(field.known, Name::Age)
            || field.name.eq_ignore_ascii_case(b"content-location")
    });
    Response::new(head, Body::Empty)
}

/// The structure itself, its place in the index, and what the allocator adds.
const OVERHEAD_BYTES: usize = 512;
