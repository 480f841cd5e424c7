//! The decision, and the stream with a source that pauses.

use super::policy::{self, Verdict, Wish};
use super::stream::Encoded;
use crate::encoding::encoder::tests::decoded;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Fields, Name, RequestHead, ResponseHead, Size, Span, Version};
use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use unlag_config::Encoding;

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

fn wish(list: &[(&str, &str)]) -> Wish {
    let head = RequestHead {
        method: Method::GET,
        path: Span::default(),
        query: None,
        authority: Span::default(),
        version: Version::Http11,
        fields: fields(list),
    };
    Wish::of(&head, &Encoding::CHEAPEST_FIRST)
}

#[test]
fn only_what_may_be_encoded_and_is_worth_it_is() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    let takes = [("accept-encoding", "gzip")];
    let (large, encode) = (Size::Exact(1000), Verdict::Encode(Encoding::Gzip));
    for (status, list, size, expected) in [
        (200, &[JSON][..], large, encode),
        (200, &[JSON], Size::Unknown, encode),
        (404, &[JSON], large, encode),
        (200, &[JSON], Size::Exact(255), Verdict::Plain),
        (200, &[JSON], Size::Exact(0), Verdict::Plain),
        (200, &[JSON, ("content-encoding", "br")], large, Verdict::Pass),
        (200, &[JSON, ("cache-control", "max-age=1, No-Transform")], large, Verdict::Pass),
        (200, &[("content-type", "image/png")], large, Verdict::Pass),
        (200, &[], large, Verdict::Pass),
        (206, &[JSON], large, Verdict::Plain),
        (416, &[JSON, ("content-range", "bytes */9")], large, Verdict::Plain),
        (204, &[JSON], Size::Exact(0), Verdict::Pass),
        (101, &[JSON], Size::Unknown, Verdict::Pass),
        (304, &[], Size::Exact(0), Verdict::NotModified),
    ] {
        let head = ResponseHead { status, fields: fields(list) };
        assert_eq!(policy::judge(&head, size, &wish(&takes)), expected, "{status} {list:?}");
    }
    let head = ResponseHead { status: 200, fields: fields(&[JSON]) };
    for (list, size, expected) in [
        (&[][..], large, Verdict::Plain),
        (&[("accept-encoding", "gzip;q=0")], large, Verdict::Plain),
        (&[("accept-encoding", "gzip"), ("range", "bytes=0-")], large, Verdict::Plain),
        (&[("accept-encoding", "gzip"), ("cache-control", "no-transform")], large, Verdict::Plain),
        (&[("accept-encoding", "gzip, identity;q=0")], Size::Exact(9), encode),
    ] {
        assert_eq!(policy::judge(&head, size, &wish(list)), expected, "{list:?}");
    }
}

#[test]
fn the_upstream_is_asked_for_the_answer_as_it_is_and_by_its_own_tags() {
    for (asked, passed) in [
        ("W/\"a--encoded\", \"b\"", "\"a\", \"b\""),
        ("W/\"a\", \"a\"", "W/\"a\", \"a\""),
        ("\"a--encoded\"", "\"a--encoded\""),
        ("*", "*"),
        ("W/--encoded\", W/\"--encoded\"", "W/--encoded\", W/\"--encoded\""),
    ] {
        let list = [("Accept-Encoding", "gzip"), ("If-None-Match", asked), ("if-match", asked)];
        let mut request = fields(&list);
        policy::ask_plainly(&mut request, &wish(&list));
        assert_eq!(request.get_named("accept-encoding"), Some(&b"identity"[..]));
        for name in ["if-none-match", "if-match"] {
            assert_eq!(request.get_named(name), Some(passed.as_bytes()), "{name}");
        }
    }
}

#[test]
fn the_fields_of_an_encoded_answer_tell_of_its_encoded_form() {
    let mut answer = fields(&[
        ("Content-Length", "1000"),
        ("ETag", "\"a\""),
        ("Accept-Ranges", "bytes"),
        ("Content-Digest", "sha-256=:x:"),
        ("Repr-Digest", "sha-256=:x:"),
        ("Vary", "Origin"),
    ]);
    policy::describe_encoded(&mut answer, Encoding::Brotli);
    let list: Vec<_> =
        answer.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect();
    let expected = [
        ("vary", "Origin"),
        ("content-encoding", "br"),
        ("etag", "W/\"a--encoded\""),
        ("vary", "Accept-Encoding"),
    ];
    assert_eq!(list, expected.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())));
    for (has, etag) in [
        ("W/\"a--encoded\"", "W/\"a--encoded\""),
        ("W/\"a\"", "W/\"a\""),
        ("\"a\"", "\"a\""),
        ("\"a\", W/\"a--encoded\"", "\"a\""),
        ("*", "\"a\""),
    ] {
        let mut answer = fields(&[("ETag", "\"a\""), ("Vary", "accept-encoding")]);
        policy::describe_not_modified(&mut answer, &wish(&[("if-none-match", has)]));
        assert_eq!(answer.get(Name::Etag), Some(etag.as_bytes()), "{has}");
        assert_eq!(answer.all(Name::Vary).count(), 1);
    }
}

/// A source that plays these; `None` is a pause.
struct Played(VecDeque<Option<Result<Chunk, Error>>>);

impl Source for Played {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        match self.0.pop_front() {
            Some(Some(played)) => Poll::Ready(Some(played)),
            Some(None) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size(&self) -> Size {
        Size::Unknown
    }
}

fn data(content: &'static [u8]) -> Option<Result<Chunk, Error>> {
    Some(Ok(Chunk::Data(Bytes::from_static(content))))
}

fn encoded(encoding: Encoding, played: Vec<Option<Result<Chunk, Error>>>) -> Body {
    let source = Body::Stream(Box::new(Played(played.into())));
    Encoded::through(source, encoding, None).unwrap()
}

#[test]
fn what_came_has_come_out_before_anybody_waits_for_more() {
    for encoding in Encoding::CHEAPEST_FIRST {
        let mut body = encoded(encoding, vec![data(b"data: 1\n\n"), None, data(b"data: 2\n\n"), None, None]);
        let mut cx = Context::from_waker(Waker::noop());
        let mut pieces = Vec::new();
        let mut pauses = 0;
        while let Poll::Pending | Poll::Ready(Some(_)) = {
            let polled = body.poll_chunk(&mut cx);
            if let Poll::Ready(Some(Ok(Chunk::Data(piece)))) = &polled {
                pieces.push((pauses, piece.clone()));
            }
            pauses += usize::from(polled.is_pending());
            polled
        } {}
        assert_eq!(
            pieces.iter().map(|(pauses, _)| *pauses).take(2).collect::<Vec<_>>(),
            [0, 0],
            "{encoding:?}"
        );
        assert!(pauses <= 3);
        let all: Vec<u8> = pieces.iter().flat_map(|(_, piece)| piece.to_vec()).collect();
        assert_eq!(decoded(encoding, &all), b"data: 1\n\ndata: 2\n\n");
    }
}

#[tokio::test]
async fn trailers_stay_behind_the_content_and_a_cut_stays_a_cut() {
    let trailers = Some(Ok(Chunk::Trailers(fields(&[("x-sum", "1")]))));
    let mut body = encoded(Encoding::Gzip, vec![data(b"hello"), trailers]);
    let Some(Ok(Chunk::Data(content))) = body.chunk().await else { panic!("content") };
    assert_eq!(decoded(Encoding::Gzip, &content), b"hello");
    assert!(matches!(body.chunk().await, Some(Ok(Chunk::Trailers(_)))));
    assert!(body.chunk().await.is_none());
    let mut body = encoded(Encoding::Gzip, vec![data(b"hello"), Some(Err(Error::Truncated))]);
    assert!(matches!(body.chunk().await, Some(Err(Error::Truncated))));
}

#[tokio::test]
async fn a_large_body_is_encoded_in_turns_and_encoders_have_a_bound() {
    let content = Bytes::from("some text that repeats itself, ".repeat(20_000).into_bytes());
    let mut body = Encoded::through(Body::Bytes(content.clone()), Encoding::Zstd, None).unwrap();
    let (mut out, mut pauses) = (Vec::new(), 0);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match body.poll_chunk(&mut cx) {
            Poll::Pending => pauses += 1,
            Poll::Ready(Some(Ok(Chunk::Data(piece)))) => out.extend_from_slice(&piece),
            Poll::Ready(_) => break,
        }
    }
    assert_eq!(pauses, content.len() / (8 * 1024), "the others have their turn");
    assert_eq!(decoded(Encoding::Zstd, &out), content);
    let many: Vec<_> = (0..200)
        .filter_map(|_| Encoded::through(Body::Bytes(content.clone()), Encoding::Zstd, Some(1000)).ok())
        .collect();
    assert_eq!(many.len(), 128);
    drop(many);
    assert!(Encoded::through(Body::Empty, Encoding::Zstd, None).is_ok());
}

proptest! {
    #[test]
    fn however_content_comes_it_is_what_is_decoded(
        pieces in prop::collection::vec(prop::option::weighted(0.8, (any::<u8>(), 1usize..40_000)), 0..12),
        which in 0usize..3,
    ) {
        let encoding = Encoding::CHEAPEST_FIRST[which];
        let piece = |&(seed, length): &(u8, usize)| -> Bytes {
            (0..length).map(|at| (at as u8 / 7).wrapping_mul(seed)).collect::<Vec<u8>>().into()
        };
        let all: Vec<u8> = pieces.iter().flatten().flat_map(|one| piece(one).to_vec()).collect();
        let played = pieces.iter().map(|one| one.as_ref().map(|one| Ok(Chunk::Data(piece(one))))).collect();
        let mut body = encoded(encoding, played);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut out, mut polls) = (Vec::new(), 0);
        loop {
            polls += 1;
            prop_assert!(polls < 1000, "it does not come to an end");
            match body.poll_chunk(&mut cx) {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(Chunk::Data(data)))) => {
                    prop_assert!(!data.is_empty());
                    out.extend_from_slice(&data);
                }
                Poll::Ready(None) => break,
                Poll::Ready(Some(other)) => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(decoded(encoding, &out), all);
    }
}
