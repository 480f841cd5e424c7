//! Nodes that share what they have fetched through a real Redis, Redis Cluster or Memcached, and do not depend on it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test reports by panicking, and says what it measured"
)]

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    let token = std::fs::read_to_string(unlag.directory().join("state/admin.token")).expect("a token");
    let request = format!(
        "POST /api/v1/cache/purge HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{order}",
        unlag.admin_address(),
        token.trim(),
        order.len()
    );
    let answer = unlag_testkit::RawClient::connect(unlag.admin_address()).send(request).read_response("POST");
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
    purge(&other, "{\"all\": true}");
    wait_until("the purge is heard", || event(&one, "purges_heard") == event(&other, "purges_heard"));
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

/// Callers that ask for something else each time, two on each node; those of the second ask for what the first has fetched a
/// while ago.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Vec<(u16, Duration)>>>,
}

/// How far the callers of the second node stay behind those of the first.
const BEHIND: usize = 20;

impl Load {
    fn on(nodes: [&Unlag; 2], what: &'static str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let fetched = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let threads = (0..4).map(|caller| {
            let (stop, fetched) = (stop.clone(), fetched.clone());
            let (mut client, is_first, pair) = (nodes[caller % 2].connect(), caller % 2 == 0, caller / 2);
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) && seen.len() < 200_000 {
                    if !is_first && fetched[pair].load(Ordering::Relaxed) < seen.len() + BEHIND {
                        unlag_testkit::wait::pause(Duration::from_millis(1));
                        continue;
                    }
                    let request = format!("GET /{what}/{pair}/{} HTTP/1.1\r\nHost: a\r\n\r\n", seen.len());
                    let began = Instant::now();
                    let status = client.send(request).read_response("GET").status();
                    seen.push((status, began.elapsed()));
                    fetched[pair].fetch_add(usize::from(is_first), Ordering::Relaxed);
                }
                seen
            })
        });
        Load { stop: stop.clone(), threads: threads.collect() }
    }

    /// Ends it: what failed, and the times of all, sorted.
    fn end(self) -> (usize, Vec<Duration>) {
        self.stop.store(true, Ordering::Relaxed);
        let all: Vec<(u16, Duration)> =
            self.threads.into_iter().flat_map(|thread| thread.join().expect("a caller")).collect();
        let failed = all.iter().filter(|(status, _)| *status != 200).count();
        let mut times: Vec<Duration> = all.into_iter().map(|(_, time)| time).collect();
        times.sort_unstable();
        (failed, times)
    }
}

fn said(what: &str, times: &[Duration]) -> String {
    let at = |part: usize| times[(times.len() * part / 1_000).min(times.len() - 1)];
    format!("{what}: {} requests, p50 {:?}, p99 {:?}, most {:?}", times.len(), at(500), at(990), at(999))
}

/// Load before, while, and after something happens to the server: no request fails.
fn under_load(nodes: [&Unlag; 2], what: &'static str, happens: impl FnOnce()) -> Vec<Duration> {
    let load = Load::on(nodes, what);
    let before = event(nodes[1], "hits");
    wait_until("load is on, and finds something", || event(nodes[1], "hits") > before + 50);
    happens();
    let (failed, times) = load.end();
    println!("{}", said(what, &times));
    assert_eq!(failed, 0, "{what}");
    times
}

/// The server takes part again.
fn is_back(nodes: [&Unlag; 2]) {
    let mut path = 0;
    wait_until("it is used again", || {
        nodes.iter().all(|node| {
            path += 1;
            text(node, &format!("/again/{path}"));
            shared(node)["servers"][0]["breaker"] == "closed" && shared(node)["listening"] == true
        })
    });
}

/// What may happen to a server while requests are served.
fn trouble(url: &str, pause: impl Fn(bool), kill: impl FnOnce(), restart: impl FnOnce()) {
    let origin = numbering("Cache-Control: max-age=600\r\n");
    let (one, other) = (node(&origin, url), node(&origin, url));
    let nodes = [&one, &other];
    under_load(nodes, "well", || ());
    under_load(nodes, "frozen", || {
        pause(true);
        wait_until("it is noticed", || {
            nodes.iter().any(|node| shared(node)["servers"][0]["breaker"] != "closed")
        });
    });
    for node in nodes {
        let waited = event(node, "timeouts") + event(node, "late");
        assert!(event(node, "timeouts") <= 20, "{waited} requests waited");
    }
    pause(false);
    is_back(nodes);
    under_load(nodes, "killed", || {
        kill();
        wait_until("it is gone", || shared(&one)["listening"] == false);
        restart();
        wait_until("it is back", || shared(&one)["listening"] == true);
    });
    is_back(nodes);
    let mut path = 0;
    wait_until("what one writes down the other finds", || {
        path += 1;
        let answer = write_down(&one, &format!("/after/{path}"), "", 1);
        text(&other, &format!("/after/{path}")) == answer
    });
}

#[test]
fn a_redis_that_freezes_and_dies_under_load_fails_no_request_and_is_used_again() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let (url, redis) = (redis.url(), RefCell::new(redis));
    let pause = |on| if on { redis.borrow().pause() } else { redis.borrow().resume() };
    trouble(&url, pause, || redis.borrow_mut().kill(), || redis.borrow_mut().restart());
}

#[test]
fn a_memcached_that_freezes_and_dies_under_load_fails_no_request_and_is_used_again() {
    let Some(memcached) = Memcached::start(SUITE) else { return };
    let (url, memcached) = (memcached.url(), RefCell::new(memcached));
    let pause = |on| if on { memcached.borrow().pause() } else { memcached.borrow().resume() };
    trouble(&url, pause, || memcached.borrow_mut().kill(), || memcached.borrow_mut().restart());
}

#[test]
fn a_redis_that_is_full_takes_nothing_more_and_fails_no_request() {
    let Some(redis) = Redis::start_with(SUITE, &["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"])
    else {
        return;
    };
    // Nothing that packing would make small.
    let noise: String =
        (0..4_000_u64).map(|at| format!("{:04x}", (at * at * 0x9e37_79b9) >> 16 & 0xffff)).collect();
    let large = format!("Cache-Control: max-age=600\r\nX-Large: {noise}\r\n");
    let origin = numbering(large.leak());
    let (one, other) = (node(&origin, &redis.url()), node(&origin, &redis.url()));
    let load = Load::on([&one, &other], "full");
    wait_until("it is full", || event(&one, "writes_failed") > 0);
    let (failed, times) = load.end();
    println!("{}", said("full", &times));
    assert_eq!(failed, 0);
}

/// Passes bytes on between nodes and a server, late in both directions.
struct SlowWay {
    address: String,
    delay_ms: Arc<AtomicUsize>,
}

impl SlowWay {
    fn to(server: String) -> SlowWay {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let delay_ms = Arc::new(AtomicUsize::new(0));
        let delay = delay_ms.clone();
        std::thread::spawn(move || {
            for caller in listener.incoming().take(200).flatten() {
                let Ok(server) = std::net::TcpStream::connect(&server) else { continue };
                for (from, to) in [(&caller, &server), (&server, &caller)] {
                    let pair = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let delay = delay.clone();
                    std::thread::spawn(move || pass_on(pair.0, pair.1, &delay));
                }
            }
        });
        SlowWay { address, delay_ms }
    }
}

fn pass_on(mut from: std::net::TcpStream, mut to: std::net::TcpStream, delay_ms: &AtomicUsize) {
    use std::io::{Read, Write};
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut bytes) {
        if count == 0 {
            break;
        }
        unlag_testkit::wait::pause(Duration::from_millis(delay_ms.load(Ordering::Relaxed) as u64));
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_redis_that_has_become_slow_costs_a_few_requests_their_wait_and_then_nothing() {
    let Some(redis) = Redis::start(SUITE) else { return };
    let way = SlowWay::to(redis.address());
    let url = format!("redis://{}", way.address);
    let origin = numbering("Cache-Control: max-age=600\r\n");
    let (one, other) = (node(&origin, &url), node(&origin, &url));
    under_load([&one, &other], "well", || ());
    let times = under_load([&one, &other], "slow", || {
        way.delay_ms.store(30, Ordering::Relaxed);
        wait_until("it is noticed", || shared(&other)["servers"][0]["breaker"] != "closed");
    });
    assert!(event(&other, "timeouts") <= 20, "{} requests waited", event(&other, "timeouts"));
    assert!(times.last().is_some_and(|most| *most < Duration::from_secs(1)));
    way.delay_ms.store(0, Ordering::Relaxed);
    is_back([&one, &other]);
}

#[test]
fn a_cluster_of_which_a_master_freezes_and_dies_under_load_fails_no_request() {
    let Some(cluster) = RedisCluster::start(SUITE) else { return };
    let origin = numbering("Cache-Control: max-age=600\r\n");
    let (one, other) = (node(&origin, &cluster.url()), node(&origin, &cluster.url()));
    let cluster = RefCell::new(cluster);
    under_load([&one, &other], "well", || ());
    under_load([&one, &other], "frozen", || {
        cluster.borrow().nodes[1].pause();
        let is_noticed = |node| {
            let servers = shared(node)["servers"].as_array().cloned().unwrap_or_default();
            servers.iter().any(|server| server["breaker"] != "closed") || shared(node)["listening"] == false
        };
        wait_until("it is noticed", || is_noticed(&one) || is_noticed(&other));
    });
    assert!(event(&one, "timeouts").max(event(&other, "timeouts")) <= 20, "requests waited");
    cluster.borrow().nodes[1].resume();
    wait_until("purges are heard", || {
        shared(&one)["listening"] == true && shared(&other)["listening"] == true
    });
    under_load([&one, &other], "killed", || cluster.borrow_mut().nodes[2].kill());
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
    is_back([&one, &other]);
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
    ] {
        assert_eq!(found_after(&redis, second, is_written), "answer 3", "{second}");
    }
    let is_heard = |_: &Unlag, other: &Unlag| event(other, "purges_heard") >= 1;
    let second = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 8\r\n\r\nanswer 2";
    assert_eq!(found_after(&redis, second, is_heard), "answer 3");
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
