//! Bursts against the origin of the lab: what it counts, what it answers when, and that a wrong answer is found out.

use super::*;
use crate::services::{Origin, Policy, Resource};

fn question(origin: &Origin, policy: Policy, delay_ms: u64, bytes: usize, key: &str) -> Question {
    let (route, key) = ("test".to_owned(), key.to_owned());
    let path = Resource { route, policy, delay: Duration::from_millis(delay_ms), bytes, key }.path();
    let content = Resource::content(&path, bytes);
    Question { address: origin.address, path, content }
}

#[test]
fn callers_at_once_are_each_answered_after_the_delay_and_counted_one_by_one() {
    let origin = Origin::start().expect("starts");
    let question = question(&origin, Policy::NoStore, 60, 3_000, "a");
    let calls = at_once(&question, 20).expect("runs");
    assert_eq!(calls.len(), 20);
    for call in &calls {
        assert_eq!(call.fault, None);
        assert!(call.latency >= Duration::from_millis(60), "{call:?}");
        // Twenty of them, one after another, would take 1.2 s.
        assert!(call.latency < Duration::from_millis(900), "{call:?}");
    }
    assert_eq!(origin.requests_for(&question.path), 20);
    assert_eq!(origin.requests(), 20, "opening the connections does not count");
    origin.forget();
    assert_eq!(origin.requests_for(&question.path), 0);
}

#[test]
fn an_answer_for_another_key_or_a_part_of_one_is_a_fault() {
    let origin = Origin::start().expect("starts");
    let mut other = question(&origin, Policy::Fresh, 0, 100, "b");
    other.content = Resource::content("/test/fresh/0/100/c", 100);
    let calls = at_once(&other, 2).expect("runs");
    assert!(calls.iter().all(|call| call.fault == Some(Fault::WrongContent)), "{calls:?}");
    let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(judge(200, whole, b"abc"), None);
    assert_eq!(judge(200, whole, b"abcd"), Some(Fault::WrongContent));
    assert_eq!(judge(404, whole, b"abc"), Some(Fault::Status(404)));
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
    assert_eq!(judge(200, chunked, b"abc"), None);
    assert_eq!(judge(200, chunked, b"ab"), Some(Fault::WrongContent));
}

#[test]
fn a_stream_begins_at_once_and_ends_after_its_delay() {
    let origin = Origin::start().expect("starts");
    let question = question(&origin, Policy::Stream, 450, 1_800, "d");
    let [first, second] = joined(&question, Duration::from_millis(100)).expect("runs");
    for call in [first, second] {
        assert_eq!(call.fault, None);
        assert!(call.first_byte < Duration::from_millis(200), "{call:?}");
        assert!(call.latency >= Duration::from_millis(400), "{call:?}");
    }
    assert_eq!(origin.requests_for(&question.path), 2);
}

#[test]
fn a_failing_origin_answers_503_until_it_is_told_otherwise() {
    let origin = Origin::start().expect("starts");
    let question = question(&origin, Policy::IfError, 0, 10, "e");
    origin.fail(true);
    let calls = paced(&question, 3, Duration::from_millis(30)).expect("runs");
    assert!(calls.iter().all(|call| call.fault == Some(Fault::Status(503))), "{calls:?}");
    origin.fail(false);
    assert_eq!(paced(&question, 1, Duration::from_millis(1)).expect("runs")[0].fault, None);
    assert_eq!(origin.requests_for(&question.path), 4);
}
