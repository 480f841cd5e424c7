//! How old a shared answer is, and which of two is the newer one.

use super::{
    ORIGIN, RawOrigin, Redis, Response, SUITE, Unlag, event, get, node, numbering, text, wait_found,
    wait_until, write_down,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn age(answer: &Response) -> u64 {
    answer.header("age").and_then(|age| age.parse().ok()).expect("an age")
}

#[test]
fn an_answer_is_as_old_on_a_node_that_has_just_begun_as_where_it_was_fetched() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let origin = numbering("Cache-Control: max-age=2000000000\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    let path = wait_found(&one, &other, "/x");
    let (there, here) = (age(&get(&one, &path, "")), age(&get(&other, &path, "")));
    assert!((there..there + 5).contains(&here), "{there} s old there, {here} s here");
}

#[test]
fn an_age_that_the_origin_declares_counts_once() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\nAge: 2\r\n");
    let began = Instant::now();
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    wait_until("the nodes are older than their answers", || began.elapsed() > Duration::from_secs(5));
    let path = wait_found(&one, &other, "/x");
    let (there, here) = (age(&get(&one, &path, "")), age(&get(&other, &path, "")));
    assert!(here <= there + 1, "{there} s old there, {here} s here");
}

#[test]
fn an_answer_is_no_younger_than_the_server_of_the_tier_says_whatever_the_clocks_of_the_nodes() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\n");
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    write_down(&one, "/x", "", 1);
    // As if it had been there for five minutes.
    let name = redis.cli(&["--raw", "keys", "unlag:????????????????????????????????"]);
    assert_eq!(redis.cli(&["pexpire", &name, "300000"]), "1");
    let found = get(&other, "/x", "");
    assert_eq!(found.text(), "answer 1");
    assert!((230..=310).contains(&age(&found)), "{} s", age(&found));
}

/// An origin whose second answer is this one; the others may be kept for long.
fn changing(second: &'static str) -> RawOrigin {
    let count = AtomicUsize::new(0);
    RawOrigin::answering(move |_| {
        unlag_testkit::wait::pause(ORIGIN);
        match 1 + count.fetch_add(1, Ordering::Relaxed) {
            2 => second.as_bytes().to_vec(),
            number => format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 8\r\n\r\nanswer {number}"
            )
            .into_bytes(),
        }
    })
}

/// Stores an answer, has one node fetch the next, and says what another node finds after it.
fn found_after(redis: &Redis, second: &'static str, is_done: impl Fn(&Unlag, &Unlag) -> bool) -> String {
    redis.cli(&["flushall"]);
    let origin = changing(second);
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    assert_eq!(write_down(&one, "/x", "", 1), "answer 1");
    get(&one, "/x", "Cache-Control: no-cache\r\n");
    wait_until("that has come of it", || is_done(&one, &other));
    text(&other, "/x")
}

#[test]
fn what_is_newer_takes_what_is_older_out_also_where_it_is_not_shared_itself() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let is_written = |one: &Unlag, _: &Unlag| event(one, "writes") >= 2;
    for second in [
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nContent-Length: 8\r\n\r\nanswer 2",
        "HTTP/1.1 404 Not Found\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\nanswer 2",
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 8\r\n\r\nanswer 2",
    ] {
        assert_eq!(found_after(&redis, second, is_written), "answer 3", "{second}");
    }
    let cut = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nanswer 2\r\nno size\r\n";
    assert_eq!(found_after(&redis, cut, |_, _| true), "answer 1", "nothing is known instead");
}

#[test]
fn of_several_variants_a_newer_one_takes_out_only_its_own() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let count = AtomicUsize::new(0);
    let origin = RawOrigin::answering(move |_| {
        unlag_testkit::wait::pause(ORIGIN);
        let number = 1 + count.fetch_add(1, Ordering::Relaxed);
        let lifetime_s = if number == 3 { 1 } else { 600 };
        format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age={lifetime_s}\r\nVary: Accept-Language\r\n\
             Content-Length: 8\r\n\r\nanswer {number}"
        )
        .into_bytes()
    });
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    write_down(&one, "/x", "Accept-Language: de\r\n", 2);
    write_down(&one, "/x", "Accept-Language: en\r\n", 2);
    write_down(&one, "/x", "Accept-Language: de\r\nCache-Control: no-cache\r\n", 2);
    assert_eq!(get(&other, "/x", "Accept-Language: en\r\n").text(), "answer 2");
    assert_eq!(get(&other, "/x", "Accept-Language: de\r\n").text(), "answer 4");
}

#[test]
fn a_node_takes_nothing_from_the_tier_that_is_older_than_what_it_has() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let second = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nContent-Length: 8\r\n\r\nanswer 2";
    let origin = changing(second);
    let one = node(&origin, &redis.url());
    assert_eq!(write_down(&one, "/x", "", 1), "answer 1");
    // So that it stays there.
    redis.cli(&["acl", "setuser", "default", "-del"]);
    assert_eq!(get(&one, "/x", "Cache-Control: no-cache\r\n").text(), "answer 2");
    let mut next = String::new();
    wait_until("its lifetime is over", || {
        next = text(&one, "/x");
        next != "answer 2"
    });
    assert_eq!(next, "answer 3");
}
