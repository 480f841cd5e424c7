//! The stage in front of an origin that is made up, and its decisions.

mod asking;
mod conditions;
mod guarding;
mod joining;
mod model;

use super::directives::Directives;
use super::freshness::{Freshness, Overrides, Received};
use super::object::{Content, Notes};
use super::policy::{Verdict, judge};
use super::store::Store;
use super::*;
use crate::error::Error;
use crate::exchange::{Failure, Trace};
use crate::http::body::Source;
use crate::http::{Body, Chunk, Fields, RequestHead, Scheme, Version};
use crate::net::alarm::Timer;
use crate::plan::{Action, Route};
use bytes::Bytes;
use std::cell::RefCell;
use std::task::{Context, Poll};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

type Answer = dyn Fn(&Fields) -> Result<(u16, Fields, &'static str), Error>;

/// An origin that answers what it is told to, and remembers what it was asked.
struct Origin {
    delay: std::cell::Cell<Duration>,
    /// Its content is cut off where it would end.
    is_cut: std::cell::Cell<bool>,
    /// Its content comes in pieces of so many bytes, one in each interval.
    pieces: std::cell::Cell<Option<(usize, Duration)>>,
    answer: RefCell<Box<Answer>>,
    asked: RefCell<Vec<(Method, Fields)>>,
}

impl Next for Origin {
    async fn run(&self, exchange: Box<Exchange>) -> Outcome {
        self.asked.borrow_mut().push((exchange.head.method.clone(), exchange.head.fields.clone()));
        // How long it takes to answer, on a clock that is paused: nothing waits for it in earnest.
        if self.delay.get() > Duration::ZERO {
            tokio::time::sleep(self.delay.get()).await;
        }
        let (status, fields, body) = (self.answer.borrow())(&exchange.head.fields).map_err(Failure::from)?;
        let body = match exchange.head.method == Method::HEAD {
            true => Body::Empty,
            false => match self.pieces.get() {
                Some((bytes, every)) => self.stream(Bytes::from_static(body.as_bytes()), bytes, every),
                None => Body::Bytes(Bytes::from_static(body.as_bytes())),
            },
        };
        let mut response = Response::new(ResponseHead { status, fields }, body);
        response.request = exchange.comes_back.then_some(exchange);
        Ok(response)
    }
}

impl Origin {
    fn stream(&self, left: Bytes, bytes: usize, every: Duration) -> Body {
        let end = self.is_cut.get().then_some(Error::Truncated);
        Body::Stream(Box::new(Pieces { left, bytes, timer: tokio::time::interval(every), end }))
    }
}

/// Content of unknown length as it comes.
struct Pieces {
    left: Bytes,
    bytes: usize,
    timer: tokio::time::Interval,
    end: Option<Error>,
}

impl Source for Pieces {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        std::task::ready!(self.timer.poll_tick(cx));
        let piece = self.left.split_to(self.bytes.min(self.left.len()));
        Poll::Ready(match piece.is_empty() {
            true => self.end.take().map(Err),
            false => Some(Ok(Chunk::Data(piece))),
        })
    }
    fn size(&self) -> Size {
        Size::Unknown
    }
}

struct Bed {
    cache: super::Cache,
    origin: Rc<Origin>,
    route: Arc<Route>,
}

/// What came back: status, what the cache says of it, and the content.
#[derive(Debug, PartialEq, Eq)]
struct Got(u16, String, String);

impl Bed {
    fn new(overrides: Overrides) -> Bed {
        let pattern = "/{rest...}".parse().unwrap();
        let config = unlag_config::Route::new(pattern, unlag_config::Action::Proxy(0));
        let route = Route {
            record: unlag_record::RouteId::OTHER,
            action: Action::Proxy(0),
            head_timeout_ns: u64::MAX,
            total_timeout_ns: u64::MAX,
            idle_timeout_ns: u64::MAX,
            allowance: None,
            cache: Some(overrides),
            config,
        };
        let store = Arc::new(Store::new(8 << 20));
        let origin = Origin {
            delay: Default::default(),
            is_cut: Default::default(),
            pieces: Default::default(),
            answer: RefCell::new(Box::new(|_| Err(Error::NoEndpoint))),
            asked: RefCell::default(),
        };
        Bed {
            cache: super::Cache::new(store, overrides, Arc::new(Learned::new(1)), "unlag".into()),
            origin: Rc::new(origin),
            route: Arc::new(route),
        }
    }

    fn answers(&self, status: u16, list: &'static [(&'static str, &'static str)], body: &'static str) {
        *self.origin.answer.borrow_mut() = Box::new(move |_| Ok((status, fields(list), body)));
    }

    fn fails(&self) {
        *self.origin.answer.borrow_mut() = Box::new(|_| Err(Error::ConnectRefused));
    }

    fn asked(&self) -> usize {
        self.origin.asked.borrow().len()
    }

    fn exchange(&self, method: Method, path: &str, list: &[(&str, &str)]) -> Box<Exchange> {
        let mut fields = fields(list);
        let path = fields.store(path.as_bytes());
        let authority = fields.store(b"a");
        let head = RequestHead { method, path, query: None, authority, version: Version::Http11, fields };
        let trace = Trace::new(clock::now(), &head, None, &Timer::default());
        Exchange::new(head, Body::Empty, Arc::clone(&self.route), Scheme::Http, trace)
    }

    async fn raw(&self, method: Method, path: &str, list: &[(&str, &str)]) -> Outcome {
        let mut exchange = self.exchange(method, path, list);
        match self.cache.takes(&mut exchange) {
            true => Stage::serve(&self.cache, exchange, &self.origin).await,
            false => self.origin.run(exchange).await,
        }
    }

    async fn get(&self, path: &str, list: &[(&str, &str)]) -> Got {
        let mut response = match self.raw(Method::GET, path, list).await {
            Ok(response) => response,
            Err(failure) => return Got(failure.error.status(), String::new(), String::new()),
        };
        let mut body = Vec::new();
        while let Some(Ok(Chunk::Data(data))) = response.body.chunk().await {
            body.extend_from_slice(&data);
        }
        let status = response.head.fields.get(Name::CacheStatus).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Got(response.head.status, text(status), text(&body))
    }
}

fn got(status: u16, said: &str, body: &str) -> Got {
    Got(status, said.into(), body.into())
}

async fn seconds(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_cacheable_is_asked_for_once_and_grows_older() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=60")], "one");
    assert_eq!(bed.get("/x", &[]).await, got(200, "unlag; fwd=uri-miss; stored; ttl=60", "one"));
    seconds(10).await;
    bed.answers(200, &[("cache-control", "max-age=60")], "two");
    assert_eq!(bed.get("/x", &[]).await, got(200, "unlag; hit; ttl=50", "one"));
    assert_eq!(bed.get("/y", &[]).await.2, "two", "another path");
    let head = bed.raw(Method::HEAD, "/x", &[]).await.unwrap().head;
    assert_eq!(
        (head.fields.get(Name::ContentLength), head.fields.get(Name::Age)),
        (Some(&b"3"[..]), Some(&b"10"[..]))
    );
    seconds(50).await;
    assert_eq!(bed.get("/x", &[]).await.2, "two");
    assert_eq!(bed.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_about_one_caller_is_asked_for_by_each() {
    let bed = Bed::new(Overrides { ttl_ns: Some(60 * SECOND), ..Overrides::default() });
    for list in
        [&[("cache-control", "private")][..], &[("cache-control", "no-store")], &[("set-cookie", "a=b")]]
    {
        bed.answers(200, list, "mine");
        let before = bed.asked();
        bed.get("/x", &[]).await;
        bed.get("/x", &[]).await;
        assert_eq!(bed.asked(), before + 2, "{list:?}");
    }
    bed.answers(200, &[("cache-control", "max-age=60")], "mine");
    bed.get("/y", &[("authorization", "me")]).await;
    bed.get("/y", &[("authorization", "you")]).await;
    assert_eq!(bed.asked(), 8);
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_asked_about_and_kept_when_it_still_holds() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=1"), ("etag", "\"v1\""), ("x-kept", "1")], "one");
    bed.get("/x", &[]).await;
    seconds(2).await;
    bed.answers(304, &[("cache-control", "max-age=9"), ("etag", "\"v1\"")], "");
    let asks = [("if-none-match", "\"mine\""), ("range", "bytes=0-0")];
    let answer = bed.raw(Method::GET, "/x", &asks[..1]).await.unwrap();
    assert_eq!(answer.head.fields.get_named("x-kept"), Some(&b"1"[..]));
    let sent = bed.origin.asked.borrow().last().unwrap().1.clone();
    assert_eq!(sent.all(Name::IfNoneMatch).collect::<Vec<_>>(), [b"\"v1\""], "our own question");
    assert_eq!(bed.get("/x", &[]).await, got(200, "unlag; hit; ttl=9", "one"));
    let part = bed.raw(Method::GET, "/x", &asks[1..]).await.unwrap().head;
    assert_eq!((part.status, part.fields.get(Name::ContentRange)), (206, Some(&b"bytes 0-0/3"[..])));
    let same = bed.raw(Method::GET, "/x", &[("if-none-match", "W/\"v1\"")]).await.unwrap();
    assert_eq!((same.head.status, same.body.is_empty()), (304, true));
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_served_when_the_origin_fails_for_as_long_as_was_allowed() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=1, stale-if-error=10")], "one");
    bed.get("/x", &[]).await;
    seconds(5).await;
    bed.fails();
    assert_eq!(bed.get("/x", &[]).await.2, "one");
    bed.answers(503, &[("retry-after", "3")], "down");
    let at_once = got(200, "unlag; hit; fwd=stale; ttl=-4", "one");
    assert_eq!(bed.get("/x", &[]).await, at_once, "it has failed just now and is left in peace");
    seconds(1).await;
    assert_eq!(bed.get("/x", &[]).await, got(200, "unlag; hit; fwd=stale; fwd-status=503; ttl=-5", "one"));
    seconds(2).await;
    bed.get("/x", &[]).await;
    assert_eq!(bed.asked(), 3, "for as long as it says");
    seconds(5).await;
    assert_eq!(bed.get("/x", &[]).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn what_is_just_stale_is_served_at_once_and_fetched_once_beside() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let bed = Bed::new(Overrides::default());
            bed.answers(200, &[("cache-control", "max-age=1, stale-while-revalidate=10")], "one");
            bed.get("/x", &[]).await;
            seconds(3).await;
            bed.answers(200, &[("cache-control", "max-age=60")], "two");
            for _ in 0..3 {
                assert_eq!(bed.get("/x", &[]).await, got(200, "unlag; hit; fwd=stale; ttl=-2", "one"));
            }
            tokio::task::yield_now().await;
            assert_eq!(bed.get("/x", &[]).await.2, "two");
            assert_eq!(bed.asked(), 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_makes_what_is_stored_of_it_wrong() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=60"), ("location", "/y")], "one");
    bed.get("/x", &[]).await;
    bed.get("/y", &[]).await;
    seconds(1).await;
    bed.raw(Method::POST, "/x", &[]).await.unwrap();
    seconds(1).await;
    bed.answers(200, &[("cache-control", "max-age=60")], "two");
    assert_eq!((bed.get("/x", &[]).await.2, bed.get("/y", &[]).await.2), ("two".into(), "two".into()));
    bed.answers(500, &[], "failed");
    bed.raw(Method::PUT, "/x", &[]).await.unwrap();
    assert_eq!(bed.get("/x", &[]).await.2, "two", "a change that failed changed nothing");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_on_its_way_during_a_change_is_passed_on_and_not_kept() {
    let bed = Bed::new(Overrides::default());
    let store = Arc::clone(&bed.cache.store);
    *bed.origin.answer.borrow_mut() = Box::new(move |_| {
        store.remove(b"http://a/x", clock::now());
        Ok((200, fields(&[("cache-control", "max-age=60")]), "of before"))
    });
    seconds(1).await;
    assert_eq!(bed.get("/x", &[]).await.2, "of before");
    bed.get("/x", &[]).await;
    assert_eq!(bed.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_selection_is_stored_beside_the_others() {
    let bed = Bed::new(Overrides::default());
    bed.answers(
        200,
        &[("cache-control", "max-age=60"), ("vary", "accept-language"), ("etag", "\"de\"")],
        "hallo",
    );
    bed.get("/x", &[("accept-language", "de")]).await;
    bed.answers(
        200,
        &[("cache-control", "max-age=60"), ("vary", "accept-language"), ("etag", "\"en\"")],
        "hello",
    );
    let miss = bed.get("/x", &[("accept-language", "en")]).await;
    assert_eq!(miss, got(200, "unlag; fwd=vary-miss; stored; ttl=60", "hello"));
    let offered = bed.origin.asked.borrow().last().unwrap().1.clone();
    assert_eq!(
        offered.get(Name::IfNoneMatch),
        Some(&b"\"de\""[..]),
        "it may say that the other one is right"
    );
    for (language, body) in [("de", "hallo"), ("EN", "hello")] {
        assert_eq!(bed.get("/x", &[("accept-language", language)]).await.2, body);
    }
    bed.answers(304, &[("etag", "\"de\"")], "");
    assert_eq!(bed.get("/x", &[("accept-language", "de-AT")]).await.2, "hallo");
    assert_eq!(bed.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_wants_only_what_is_stored_asks_nobody() {
    let bed = Bed::new(Overrides::default());
    assert_eq!(bed.get("/x", &[("cache-control", "only-if-cached")]).await.0, 504);
    assert_eq!(bed.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_private_when_it_is_asked_about_is_served_to_nobody_else() {
    for said in [
        &[("set-cookie", "session=mine"), ("etag", "\"v\"")][..],
        &[("cache-control", "private, max-age=60"), ("etag", "\"v\"")],
        &[("cache-control", "no-store"), ("etag", "\"v\"")],
    ] {
        let bed = Bed::new(Overrides::default());
        bed.answers(200, &[("cache-control", "max-age=1"), ("etag", "\"v\"")], "one");
        bed.get("/x", &[]).await;
        seconds(2).await;
        bed.answers(304, said, "");
        assert_eq!(bed.get("/x", &[]).await.2, "one", "whoever asked gets it");
        bed.answers(200, &[], "another");
        let next = bed.raw(Method::GET, "/x", &[]).await.unwrap().head;
        assert_eq!((next.fields.get(Name::SetCookie), bed.asked()), (None, 3), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_the_answers_to_one_url_the_newest_and_those_asked_for_are_kept_up_to_the_bound() {
    let bed = Bed::new(Overrides::default());
    bed.answers(200, &[("cache-control", "max-age=60"), ("vary", "x")], "one");
    for number in 0..65 {
        bed.get("/x", &[("x", &number.to_string())]).await;
    }
    assert_eq!(bed.get("/x", &[("x", "1")]).await.1, "unlag; hit; ttl=60");
    assert_eq!(bed.asked(), 65);
    assert!(bed.get("/x", &[("x", "0")]).await.1.contains("vary-miss"), "the oldest made room");
    for number in 100..300 {
        assert!(bed.get("/x", &[("x", &number.to_string())]).await.1.contains("vary-miss"));
        let wanted = if number % 50 == 0 { "1" } else { "2" };
        bed.get("/x", &[("x", wanted)]).await;
    }
    assert_eq!(bed.asked(), 67 + 200, "only what was not wanted for long enough is fetched again");
}

#[test]
fn callers_may_ask_for_more_or_less_than_the_origin_declares() {
    let verdict = |said: &str, asked: &str, age_s: u64| {
        let (said, asked) = (fields(&[("cache-control", said)]), fields(&[("cache-control", asked)]));
        let directives = Directives::of_response(&said);
        let freshness = Freshness::new(200, &said, &directives, Received::default(), &Overrides::default());
        judge(&freshness, &Directives::of_request(&asked), age_s * SECOND)
    };
    let ask = Verdict::Ask { or_serve: false };
    assert_eq!(verdict("max-age=10", "", 9), Verdict::Serve);
    assert_eq!(verdict("max-age=10", "", 10), ask);
    assert_eq!(verdict("max-age=10", "no-cache", 1), ask);
    assert_eq!(verdict("max-age=10, immutable", "no-cache", 1), Verdict::Serve);
    assert_eq!(verdict("max-age=10", "max-age=5", 6), ask);
    assert_eq!(verdict("max-age=10", "min-fresh=5", 6), ask);
    assert_eq!(verdict("max-age=10", "max-stale", 99), Verdict::Serve);
    assert_eq!(verdict("max-age=10", "max-stale=5", 14), Verdict::Serve);
    assert_eq!(verdict("max-age=10", "max-stale=5", 16), ask);
    assert_eq!(verdict("max-age=10, must-revalidate", "max-stale", 16), ask);
    assert_eq!(verdict("max-age=10, no-cache", "", 1), ask);
    assert_eq!(verdict("max-age=10", "stale-if-error=5", 14), Verdict::Ask { or_serve: true });
    assert_eq!(verdict("max-age=10, stale-while-revalidate=5", "", 14), Verdict::ServeWhileFetching);
    assert_eq!(verdict("max-age=10, s-maxage=10, stale-while-revalidate=5", "", 14), ask);
    assert_eq!(verdict("max-age=10", "only-if-cached", 11), Verdict::Refuse);
}

#[test]
fn what_is_stored_stays_within_its_bound() {
    let store = Store::new(256 * 1024);
    let directives = Directives { max_age: Some(directives::Seconds::Of(60)), ..Directives::default() };
    for number in 0..2_000 {
        let head = ResponseHead { status: 200, fields: fields(&[("x", "y")]) };
        let received = Received { asked_ns: 1, ..Received::default() };
        let freshness = Freshness::new(200, &head.fields, &directives, received, &Overrides::default());
        let body = Bytes::from(vec![0; 1_000]);
        let stored = Stored {
            route: 1,
            head,
            content: Content::Whole(body),
            part: None,
            trailers: None,
            freshness,
            received,
            asker: 0,
            selected: Box::default(),
            tags: Box::default(),
            notes: Notes::default(),
        };
        store.put(format!("http://a/{number}").as_bytes(), Arc::new(stored));
    }
    assert!(
        store.bytes() <= 256 * 1024 && store.len() > 50,
        "{} bytes, {} objects",
        store.bytes(),
        store.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_exact_is_kept_for_whoever_wants_some_of_it_and_nothing_else() {
    let bed = Bed::new(Overrides::default());
    let part = [("cache-control", "max-age=60"), ("etag", "\"v\""), ("content-range", "bytes 2-5/10")];
    *bed.origin.answer.borrow_mut() = Box::new(move |_| Ok((206, fields(&part), "cdef")));
    let asked = |range: &'static str| [("range", range)];
    assert_eq!(bed.get("/x", &asked("bytes=2-5")).await.2, "cdef");
    let inside = bed.raw(Method::GET, "/x", &asked("bytes=3-4")).await.unwrap();
    assert_eq!(inside.head.fields.get(Name::ContentRange), Some(&b"bytes 3-4/10"[..]));
    let got = bed.get("/x", &asked("bytes=3-4")).await;
    assert_eq!((got.0, got.2.as_str(), bed.asked()), (206, "de", 1));
    bed.answers(200, &[("cache-control", "max-age=60"), ("etag", "\"v\"")], "abcdefghij");
    assert_eq!(bed.get("/x", &[("range", "bytes=3-4"), ("if-range", "\"w\"")]).await.2, "abcdefghij");
    assert_eq!(bed.get("/y", &[]).await.2, "abcdefghij");
    seconds(61).await;
    bed.answers(
        206,
        &[("cache-control", "max-age=60"), ("etag", "\"v\""), ("content-range", "bytes 2-5/10")],
        "cde",
    );
    let (before, inexact) = (bed.asked(), asked("bytes=2-5"));
    bed.get("/z", &inexact).await;
    bed.get("/z", &inexact).await;
    assert_eq!(bed.asked(), before + 2, "its content is not what it says");
}
