//! Nodes that share what they have fetched through a real Redis, Redis Cluster or Memcached, and do not depend on it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test reports by panicking, and says what it measured"
)]

#[path = "cache_shared/ages.rs"]
mod ages;
#[path = "cache_shared/trouble.rs"]
mod trouble;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use unlag_testkit::memcached::Memcached;
use unlag_testkit::redis::{Redis, RedisCluster};
use unlag_testkit::response::Response;
use unlag_testkit::{DEADLINE, RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
const SUITE: &str = "shared cache";

/// What the origin takes: a shared tier is not asked where the origin is as fast.
const ORIGIN: Duration = Duration::from_millis(20);

/// An origin whose answers are numbered and carry these lines.
fn numbering(lines: &'static str) -> RawOrigin {
    let count = AtomicUsize::new(0);
    RawOrigin::answering(move |request| {
        if request.method() == "POST" {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        unlag_testkit::wait::pause(ORIGIN);
        let body = format!("answer {}", 1 + count.fetch_add(1, Ordering::Relaxed));
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
}

fn sharing(origin: &RawOrigin, url: &str) -> Setup {
    Setup::of(UNLAG).to([origin.url()]).toml(&format!("[cache]\nshared = \"{url}\"\n")).workers(2)
}

fn node(origin: &RawOrigin, url: &str) -> Unlag {
    let unlag = sharing(origin, url).start();
    wait_until("purges are heard", || shared(&unlag)["listening"] == true);
    unlag
}

fn shared(unlag: &Unlag) -> serde_json::Value {
    let cache: serde_json::Value = serde_json::from_slice(&unlag.admin("/api/v1/cache").body).expect("JSON");
    cache["shared"].clone()
}

fn event(unlag: &Unlag, name: &str) -> u64 {
    shared(unlag)["events"][name].as_u64().unwrap_or(0)
}

fn get(unlag: &Unlag, path: &str, fields: &str) -> Response {
    unlag.connect().send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).read_response("GET")
}

fn text(unlag: &Unlag, path: &str) -> String {
    get(unlag, path, "").text()
}

/// Asks, and waits until the answer is written down for others.
fn write_down(unlag: &Unlag, path: &str, fields: &str, values: u64) -> String {
    let before = event(unlag, "writes");
    let answer = get(unlag, path, fields).text();
    wait_until("it is written down", || event(unlag, "writes") >= before + values);
    answer
}

fn purge(unlag: &Unlag, order: &str) {
    let answer = unlag.order("/api/v1/cache/purge", order);
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// Waits until one node finds what another has fetched, below this path; where that was.
fn wait_found(one: &Unlag, other: &Unlag, below: &str) -> String {
    let (mut path, mut number) = (String::new(), 0);
    // On a busy machine the origin may win the race once.
    wait_until("the other node finds what one has fetched", || {
        number += 1;
        path = format!("{below}/{number}");
        let fetched = write_down(one, &path, "", 1);
        let found = get(other, &path, "");
        let said = found.header("cache-status").unwrap_or_default();
        found.text() == fetched && said.contains("hit; ttl=") && said.ends_with("detail=shared")
    });
    path
}

/// What two nodes that share do for each other.
fn two_nodes(url: &str) {
    let origin = numbering("Cache-Control: max-age=600\r\nSurrogate-Key: some\r\n");
    let (one, other) = (node(&origin, url), node(&origin, url));
    let path = wait_found(&one, &other, "/x");
    let asks = event(&other, "asks");
    assert!(get(&other, &path, "").header("age").is_some());
    assert_eq!(event(&other, "asks"), asks, "what is in memory is not asked for");
    let mut waits: Vec<Duration> =
        (0..9).map(|number| purge_and_wait(&one, &other, &format!("/purged/{number}"))).collect();
    waits.sort_unstable();
    println!("a purge was seen on the other node after {:?} at the median, {:?} at most", waits[4], waits[8]);
    write_down(&one, "/y", "", 1);
    // Each hears its own as well.
    wait_until("all so far are heard", || event(&one, "purges_heard") == event(&other, "purges_heard"));
    let heard = event(&one, "purges_heard");
    purge(&other, "{\"all\": true}");
    wait_until("the purge is heard", || event(&one, "purges_heard") > heard);
    let before = origin.request_count();
    text(&one, "/y");
    assert_eq!(origin.request_count(), before + 1, "neither in memory nor shared");
}

/// How long after a purge on one node its effect is seen on the other.
fn purge_and_wait(one: &Unlag, other: &Unlag, path: &str) -> Duration {
    write_down(one, path, "", 1);
    text(other, path);
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nCache-Control: only-if-cached\r\n\r\n");
    let mut caller = other.connect();
    assert_eq!(caller.send(&request).read_response("GET").status(), 200);
    let began = Instant::now();
    purge(one, "{\"tag\": \"some\"}");
    while caller.send(&request).read_response("GET").status() == 200 {
        assert!(began.elapsed() < DEADLINE, "the purge is seen");
    }
    began.elapsed()
}

#[test]
fn a_redis_that_refuses_the_password_is_said_to_refuse_it() {
    let Some(redis) = Redis::start_with(SUITE, &["--requirepass", "right"]) else { return };
    let origin = numbering("");
    for login in ["", ":wrong@"] {
        let url = format!("redis://{login}{}", redis.address());
        let toml = format!("[cache]\nshared = \"{url}\"\n");
        let unlag = Setup::of(UNLAG).to([origin.url()]).toml(&toml).start();
        wait_until("it is refused", || shared(&unlag)["refused"] == true);
        let mut command = std::process::Command::new(UNLAG);
        command.args(["cache", "stats", "--admin", &format!("http://{}", unlag.admin_address())]);
        let output = command.output().expect("run unlag");
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(table.contains(", refuses our login") && !table.contains("not reachable"), "{table}");
    }
}

#[test]
fn nodes_share_answers_and_purges_through_redis() {
    let Some(redis) = Redis::start(SUITE) else { return };
    two_nodes(&redis.url());
}

#[test]
fn nodes_share_answers_and_purges_through_a_redis_cluster() {
    let Some(cluster) = RedisCluster::start(SUITE) else { return };
    two_nodes(&cluster.url());
}

#[test]
fn nodes_share_answers_and_purges_through_memcached() {
    let Some(memcached) = Memcached::start(SUITE) else { return };
    two_nodes(&memcached.url());
}

#[test]
fn variants_are_shared_each_for_itself_and_what_is_about_one_caller_is_not() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\nVary: Accept-Language\r\n");
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    assert_eq!(write_down(&one, "/x", "Accept-Language: de\r\n", 2), "answer 1");
    assert_eq!(write_down(&one, "/x", "Accept-Language: en\r\n", 2), "answer 2");
    assert_eq!(get(&other, "/x", "Accept-Language: en\r\n").text(), "answer 2");
    assert_eq!(get(&other, "/x", "Accept-Language: de\r\n").text(), "answer 1");
    let french = get(&other, "/x", "Accept-Language: fr\r\n").text();
    assert!(!["answer 1", "answer 2"].contains(&french.as_str()), "{french}");
    let private = numbering("Cache-Control: private, max-age=600\r\n");
    let (one, other) = (node(&private, &redis.url()), node(&private, &redis.url()));
    assert_eq!((text(&one, "/p"), text(&other, "/p")), ("answer 1".into(), "answer 2".into()));
}

#[test]
fn a_change_on_one_node_is_not_answered_from_before_it_on_another() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\n");
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    write_down(&one, "/x", "", 1);
    assert_eq!(text(&other, "/x"), "answer 1");
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    other.connect().send(request).read_response("POST");
    assert_ne!(text(&other, "/x"), "answer 1", "at once on the node that it went through");
    wait_until("it is seen on the other", || text(&one, "/x") != "answer 1");
}

#[test]
fn more_changes_than_can_wait_for_a_server_that_is_away_lose_no_purge_and_it_is_used_again() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\nSurrogate-Key: some\r\n");
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    let path = wait_found(&one, &other, "/before");
    redis.pause();
    wait_until("it is away", || shared(&one)["listening"] == false && shared(&other)["listening"] == false);
    let mut caller = one.connect();
    // The queue holds 4,096.
    for number in 0..4_200 {
        let change = format!("POST /changed/{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(caller.send(change).read_response("POST").status(), 200);
    }
    purge(&one, "{\"tag\": \"some\"}");
    assert!(event(&one, "purges_replaced") > 0);
    let stored = format!("GET {path} HTTP/1.1\r\nHost: a\r\nCache-Control: only-if-cached\r\n\r\n");
    assert_eq!(other.connect().send(&stored).read_response("GET").status(), 200, "nobody has told it");
    redis.resume();
    wait_until("the other hears that", || other.connect().send(&stored).read_response("GET").status() != 200);
    wait_until("both hear all", || event(&one, "purges_heard") == event(&other, "purges_heard"));
    trouble::is_back([&one, &other]);
    wait_found(&one, &other, "/after");
    wait_found(&other, &one, "/after-too");
}

#[test]
fn another_shared_tier_is_used_after_a_reload_whatever_the_numbers_of_the_one_before() {
    let (Some(redis), Some(memcached)) = (Redis::start(SUITE), Memcached::start(SUITE)) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\n");
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    wait_found(&one, &other, "/before");
    purge(&one, "{\"all\": true}");
    wait_until("the purge is heard", || event(&other, "purges_heard") > 0);
    for node in [&one, &other] {
        node.write_config(&sharing(&origin, &memcached.url()));
        node.signal("HUP");
        wait_until("the other tier is used", || {
            shared(node)["address"] == memcached.url().as_str() && shared(node)["listening"] == true
        });
    }
    wait_found(&one, &other, "/after");
}

#[test]
fn a_purge_that_waits_for_a_server_that_is_away_reaches_the_nodes_through_the_next() {
    let (Some(redis), Some(memcached)) = (Redis::start(SUITE), Memcached::start(SUITE)) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\n");
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &memcached.url()));
    let before = text(&other, "/x");
    redis.pause();
    wait_until("it is away", || shared(&one)["listening"] == false);
    purge(&one, "{\"all\": true}");
    one.write_config(&sharing(&origin, &memcached.url()));
    one.signal("HUP");
    wait_until("the other node hears it", || text(&other, "/x") != before);
    redis.resume();
}
