//! Servers of a shared tier that freeze, die, are full or become slow under load.

use super::{
    Memcached, Redis, RedisCluster, SUITE, Unlag, event, node, numbering, shared, text, wait_until,
    write_down,
};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
pub(super) fn is_back(nodes: [&Unlag; 2]) {
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
