//! A response as it is kept, and how it is served.

use super::freshness::{Freshness, Received};
use super::range::{self, Wanted};
use super::validate;
use super::vary::Selected;
use crate::exchange::Response;
use crate::http::{Body, Fields, Name, ResponseHead};
use bytes::Bytes;
use http::Method;
use unlag_record::RouteId;

/// A whole response. Immutable: what changes is another one in its place.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The route that fetched it: another may ask another service.
    pub route: RouteId,
    /// Status and fields, without those of one hop.
    pub head: ResponseHead,
    /// The content.
    pub body: Bytes,
    /// Until when it may be used.
    pub freshness: Freshness,
    /// When it came.
    pub received: Received,
    /// The request fields that chose it.
    pub selected: Selected,
    length: Box<str>,
}

impl Stored {
    /// Keeps a response.
    pub fn new(
        route: RouteId,
        head: ResponseHead,
        body: Bytes,
        freshness: Freshness,
        received: Received,
        selected: Selected,
    ) -> Stored {
        let length = body.len().to_string().into();
        Stored { route, head, body, freshness, received, selected, length }
    }

    /// Whether it takes the place of another one: the same request would find both.
    pub fn replaces(&self, other: &Stored) -> bool {
        self.route == other.route && self.selected == other.selected
    }

    /// The length of its content, as text.
    pub fn length_text(&self) -> &str {
        &self.length
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> u64 {
        let selected: usize = self
            .selected
            .iter()
            .map(|(name, value)| 64 + name.len() + value.as_ref().map_or(0, |v| v.len()))
            .sum();
        (OVERHEAD_BYTES + self.body.len() + self.head.fields.bytes() + selected) as u64
    }

    /// The answer to a request that it is good for.
    pub fn answer(&self, method: &Method, request: &Fields, now: u64) -> Response {
        let mut head = self.head.clone();
        head.fields.set_known(
            Name::Age,
            itoa::Buffer::new().format(self.freshness.age_ns(now) / 1_000_000_000).as_bytes(),
        );
        if self.head.status == 200 && validate::is_not_modified(request, self) {
            head.status = 304;
            head.fields.retain(|field| {
                validate::belongs_in_304(field.known)
                    || matches!(field.known, Name::Age)
                    || field.name.eq_ignore_ascii_case(b"content-location")
            });
            return Response::new(head, Body::Empty);
        }
        if *method == Method::HEAD {
            if !head.is_bodiless(&Method::GET) {
                head.fields.push_known(Name::ContentLength, self.length.as_bytes());
            }
            return Response::new(head, Body::Empty);
        }
        let length = self.body.len();
        match range::wanted(request, self) {
            Wanted::Whole => {}
            Wanted::Part(first, last) => {
                head.status = 206;
                head.fields
                    .push_known(Name::ContentRange, format!("bytes {first}-{last}/{length}").as_bytes());
                let part = self.body.slice(first as usize..last as usize + 1);
                return Response::new(head, Body::Bytes(part));
            }
            Wanted::Nothing => {
                let mut refused = ResponseHead::new(416);
                refused.fields.push_known(Name::ContentRange, format!("bytes */{length}").as_bytes());
                return Response::new(refused, Body::Bytes(Bytes::new()));
            }
        }
        let body = if head.is_bodiless(method) { Body::Empty } else { Body::Bytes(self.body.clone()) };
        Response::new(head, body)
    }
}

/// The structure itself, its place in the index, and what the allocator adds.
const OVERHEAD_BYTES: usize = 512;
