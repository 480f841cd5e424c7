//! Values through real servers: what is put is what comes back, whatever the bytes, and trouble of a server is bounded.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test reports by panicking, and its figures by printing"
)]

mod kit;

use std::time::{Duration, Instant};

use kit::{HOUR, Node, PATIENCE, Path, answer, block_on, patient, without_lifetime};
use unlag_testkit::tls::Authority;
use unlag_testkit::{Memcached, Redis, RedisCluster};
use unlag_tier::{Answer, BreakerState, Settings};

/// Texts, noise of any byte, empty, and large; keys with everything that is special to a store.
fn round_trips(url: &str) {
    let (one, other) = (Node::joined(url), Node::joined(url));
    let noise: Vec<u8> = (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let long_key = [b"a key ".as_slice(), &[0, 255, b'\r', b'\n', b'{', b'}'], &[b'x'; 9000]].concat();
    let cases: [(&[u8], &[u8]); 6] = [
        (b"text", b"value"),
        (b"", b"of the empty key"),
        (b"empty", b""),
        (b"with spaces\r\nand {braces}\0", &[0, 1, 255, b'\r', b'\n']),
        (&long_key, b"of a long key"),
        (b"large", &noise),
    ];
    for (key, _) in cases {
        assert_eq!(one.get(key), Answer::Absent);
    }
    for (key, value) in cases {
        one.put(key, value);
    }
    for (key, value) in cases {
        other.wait_for(key, value);
    }
    one.put(b"text", b"newer");
    other.wait_for(b"text", b"newer");
    // Memcached counts in seconds, and begins anywhere in one.
    let left = block_on(other.tier.get(b"text", PATIENCE));
    let Answer::Value(_, left) = left else { panic!("{left:?}") };
    assert!((HOUR - Duration::from_secs(60)..=HOUR + Duration::from_secs(1)).contains(&left), "{left:?}");
    one.tier.remove(b"text");
    one.tier.remove(b"what was never there");
    other.wait("it is removed", |node| node.get(b"text") == Answer::Absent);
    one.tier.remove(b"large");
    one.put(b"large", b"after it was removed");
    other.wait_for(b"large", b"after it was removed");
    let figures = one.tier.figures();
    assert_eq!((figures.puts, figures.puts_dropped, figures.puts_failed), (11, 0, 0), "{figures:#?}");
    assert_eq!(other.tier.figures().odd, 0);
}

#[test]
fn what_is_put_into_redis_comes_back() {
    let Some(redis) = Redis::start("tier") else { return };
    round_trips(&redis.url());
}

#[test]
fn what_is_put_into_a_redis_cluster_comes_back() {
    let Some(cluster) = RedisCluster::start("tier") else { return };
    round_trips(&cluster.url());
    let sizes: Vec<String> = cluster.nodes.iter().map(|node| node.cli(&["dbsize"])).collect();
    assert!(sizes.iter().filter(|size| *size != "0").count() >= 2, "the keys are spread: {sizes:?}");
}

#[test]
fn what_is_put_into_memcached_comes_back() {
    let (Some(one), Some(two)) = (Memcached::start("tier"), Memcached::start("tier")) else { return };
    round_trips(&format!("memcached://{},{}", one.address(), two.address()));
}

#[test]
fn a_redis_with_password_database_and_tls_is_used() {
    let authority = Authority::new();
    let Some(redis) = Redis::start_tls("tier", &authority) else { return };
    let url = format!("rediss://{}", redis.address());
    let settings = Settings { authorities: Some(authority.pem().into_bytes()), ..patient() };
    let node = Node::ready(&url, settings);
    node.put(b"k", b"over TLS");
    node.wait_for(b"k", b"over TLS");
    let stranger = Settings { authorities: Some(Authority::new().pem().into_bytes()), ..patient() };
    let stranger = Node::open(&url, stranger);
    assert_eq!(stranger.get(b"k"), Answer::Unavailable);

    let Some(redis) = Redis::start_with("tier", &["--requirepass", "s3cret/@"]) else { return };
    let node = Node::joined(&format!("redis://:s3cret%2F%40@{}/5", redis.address()));
    node.put(b"k", b"with a password");
    node.wait_for(b"k", b"with a password");
    assert_eq!(redis.cli(&["-a", "s3cret/@", "-n", "5", "dbsize"]), "3", "the value and two keys of the log");
}

#[test]
fn a_redis_cluster_over_tls_is_used_and_every_server_of_it_has_to_prove_who_it_is() {
    let authority = Authority::new();
    let Some(cluster) = RedisCluster::start_tls("tier", &authority) else { return };
    let url = format!("rediss-cluster://{}", cluster.addresses());
    let trusting =
        |authority: &Authority| Settings { authorities: Some(authority.pem().into_bytes()), ..patient() };
    let (one, other) = (Node::ready(&url, trusting(&authority)), Node::ready(&url, trusting(&authority)));
    let keys: Vec<[u8; 1]> = (0..50).map(|key| [key]).collect();
    keys.iter().for_each(|key| one.put(key, b"over TLS"));
    keys.iter().for_each(|key| other.wait_for(key, b"over TLS"));
    let sizes: Vec<String> = cluster.nodes.iter().map(|node| node.cli(&["dbsize"])).collect();
    assert!(sizes.iter().all(|size| size != "0"), "all of them hold some: {sizes:?}");
    one.announce("a purge");
    other.wait_for_messages(&["a purge"]);
    let stranger = Node::open(&url, trusting(&Authority::new()));
    assert_eq!(stranger.get(&keys[0]), Answer::Unavailable);
}

#[test]
fn a_value_lives_as_long_as_it_was_put_for() {
    let Some(redis) = Redis::start("tier") else { return };
    let node = Node::joined(&redis.url());
    node.tier.put(b"short", "x".into(), Duration::from_millis(300));
    node.tier.put(b"none", "x".into(), Duration::ZERO);
    node.wait_for(b"short", b"x");
    assert_eq!(node.get(b"none"), Answer::Absent);
    node.wait("it expires", |node| node.get(b"short") == Answer::Absent);
    assert_eq!(node.tier.figures().puts_dropped, 1);
}

#[test]
fn what_somebody_else_wrote_is_absent_and_counted_as_odd() {
    let Some(redis) = Redis::start("tier") else { return };
    let node = Node::joined(&redis.url());
    node.put(b"k", b"value");
    node.wait_for(b"k", b"value");
    let name = redis.cli(&["--raw", "keys", "unlag:????????????????????????????????"]);
    assert_eq!(redis.cli(&["append", &name, "x"]), "27");
    assert_eq!(node.get(b"k"), Answer::Absent);
    assert_eq!(node.tier.figures().odd, 1);
    redis.cli(&["del", &name]);
    redis.cli(&["lpush", &name, "x"]);
    assert_eq!(node.get(b"k"), Answer::Unavailable, "a list is an error of the server");
}

#[test]
fn what_is_too_large_for_memcached_is_not_stored_and_counted() {
    let Some(memcached) = Memcached::start("tier") else { return };
    let node = Node::joined(&memcached.url());
    let noise: Vec<u8> = (0..300_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    node.put(b"too large", b"older");
    node.wait_for(b"too large", b"older");
    node.put(b"too large", &noise);
    node.put(b"fits", &noise[..1_000_000]);
    node.wait_for(b"fits", &noise[..1_000_000]);
    assert_eq!(node.get(b"too large"), Answer::Absent, "nor is what is older left there");
    let figures = node.tier.figures();
    assert_eq!((figures.puts_dropped, figures.puts_failed), (1, 0));
}

#[test]
fn with_a_dead_server_asks_are_refused_at_once_and_the_end_is_quick() {
    for url in ["redis://127.0.0.1:1", "redis-cluster://127.0.0.1:1", "memcached://127.0.0.1:1"] {
        let node = Node::open(url, Settings::default());
        let begin = Instant::now();
        for at in 0..1000 {
            assert_eq!(node.get(b"k"), Answer::Unavailable);
            node.put(b"k", b"v");
            node.announce(&format!("p {at}"));
        }
        let figures = node.tier.figures();
        assert_eq!((figures.gets, figures.passed_by, figures.timeouts), (1000, 1000, 0));
        assert_eq!((figures.announcements_pending, figures.announcements_replaced), (1000, 0));
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        let begin = Instant::now();
        node.tier.close();
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
}

/// How many of many asks, all at once and then one by one, wait for longer than a moment.
fn asks_that_wait(node: &Node, budget: Duration) -> usize {
    block_on(async {
        let ask = || async {
            let asked = Instant::now();
            assert_eq!(node.tier.get(b"k", budget).await, Answer::Unavailable);
            asked.elapsed()
        };
        let mut burst = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let (asked, answer) = (Instant::now(), node.tier.get(b"k", budget));
            burst.spawn(async move {
                assert_eq!(answer.await, Answer::Unavailable);
                asked.elapsed()
            });
        }
        let mut waits = burst.join_all().await;
        for _ in 0..500 {
            waits.push(ask().await);
        }
        waits.iter().filter(|wait| **wait >= budget / 2).count()
    })
}

fn survives_a_freeze(url: &str, pause: impl Fn(), resume: impl Fn()) {
    let budget = Duration::from_millis(100);
    let node = Node::ready(url, Settings { answer_timeout: budget, ..patient() });
    node.put(b"k", b"v");
    node.wait_for(b"k", b"v");
    pause();
    node.announce("kept");
    let waited = asks_that_wait(&node, budget);
    println!("{waited} of 1000 asks of a frozen server waited");
    assert!((1..=20).contains(&waited), "{waited} asks waited");
    assert_eq!(node.breaker(), BreakerState::Open);
    let begin = Instant::now();
    let other = Node::open(url, patient());
    other.announce("kept as long as it lasts");
    other.tier.close();
    assert!(begin.elapsed() < Duration::from_secs(2), "the end took {:?}", begin.elapsed());
    resume();
    node.wait_for(b"k", b"v");
    assert_eq!(node.breaker(), BreakerState::Closed);
    node.wait("what was announced is heard", |node| node.messages() == ["kept"]);
}

#[test]
fn a_frozen_redis_costs_at_most_twenty_asks_a_wait_and_is_used_again_when_it_thaws() {
    let Some(redis) = Redis::start("tier") else { return };
    survives_a_freeze(&redis.url(), || redis.pause(), || redis.resume());
}

#[test]
fn a_frozen_memcached_costs_at_most_twenty_asks_a_wait_and_is_used_again_when_it_thaws() {
    let Some(memcached) = Memcached::start("tier") else { return };
    survives_a_freeze(&memcached.url(), || memcached.pause(), || memcached.resume());
}

#[test]
fn connections_whose_path_is_gone_without_a_word_are_replaced() {
    let (Some(redis), Some(memcached)) = (Redis::start("tier"), Memcached::start("tier")) else { return };
    for (scheme, address) in [("redis", redis.address()), ("memcached", memcached.address())] {
        let path = Path::to(address);
        let settings = Settings { answer_timeout: Duration::from_millis(50), ..patient() };
        let node = Node::ready(&format!("{scheme}://{}", path.address()), settings);
        node.put(b"k", b"v");
        node.wait_for(b"k", b"v");
        path.cut();
        node.put(b"k", b"newer");
        node.wait("no answer comes", |node| node.get(b"k") == Answer::Unavailable);
        node.wait_for(b"k", b"v");
        node.put(b"k", b"newest");
        node.wait_for(b"k", b"newest");
        assert_eq!(node.losses(), 0);
    }
}

#[test]
fn a_server_that_was_killed_is_used_again_when_it_is_back() {
    let (Some(mut redis), Some(mut memcached)) = (Redis::start("tier"), Memcached::start("tier")) else {
        return;
    };
    let urls = [redis.url(), memcached.url()];
    let daemons: [&mut unlag_testkit::daemon::Daemon; 2] = [&mut redis, &mut memcached];
    for (url, daemon) in urls.iter().zip(daemons) {
        let node = Node::joined(url);
        node.put(b"k", b"v");
        node.wait_for(b"k", b"v");
        daemon.kill();
        node.wait("asks are refused", |node| node.breaker() == BreakerState::Open);
        assert_eq!(node.get(b"k"), Answer::Unavailable);
        node.put(b"meanwhile", b"w");
        daemon.restart();
        node.wait_ready();
        assert_eq!(node.get(b"k"), Answer::Absent, "an empty server has no values");
        assert_eq!(node.losses(), 1, "an empty server has no log");
        node.put(b"k", b"again");
        node.wait_for(b"k", b"again");
    }
}

#[test]
fn a_full_redis_refuses_writes_which_are_counted_and_goes_on_answering() {
    let limits = ["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"];
    let Some(redis) = Redis::start_with("tier", &limits) else { return };
    let node = Node::joined(&redis.url());
    node.put(b"k", b"v");
    node.wait_for(b"k", b"v");
    let noise: Vec<u8> = (0..50_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    for key in 0..40u8 {
        node.put(&[key], &noise);
    }
    node.wait("writes are refused", |node| node.tier.figures().puts_failed > 0);
    assert_eq!(node.get(b"k"), answer(b"v"));
    assert_eq!(node.breaker(), BreakerState::Closed);
}

#[test]
fn of_two_memcached_servers_the_one_that_is_gone_takes_only_its_own_keys_along() {
    let (Some(one), Some(two)) = (Memcached::start("tier"), Memcached::start("tier")) else { return };
    let node = Node::joined(&format!("memcached://{},{}", one.address(), two.address()));
    // One of them has the log, without which nothing can be judged.
    let has_log = one.say("mg unlag:{log}:epoch v").starts_with("VA");
    let (mut without, kept) = if has_log { (two, one) } else { (one, two) };
    let keys: Vec<Vec<u8>> = (0..100u8).map(|key| vec![key]).collect();
    for key in &keys {
        node.put(key, b"v");
    }
    for key in &keys {
        node.wait_for(key, b"v");
    }
    without.kill();
    let answers = || keys.iter().map(|key| node.get(key)).filter(|found| *found == answer(b"v")).count();
    let left = answers();
    assert!((20..80).contains(&left), "{left} of 100 are on {}", kept.address());
    for _ in 0..5 {
        assert_eq!(answers(), left);
    }
    without.restart();
    node.wait("both answer", |node| node.tier.figures().nodes.iter().all(|node| node.connections > 0));
    assert!(answers() >= left);
}

#[test]
fn a_caller_in_a_hurry_is_told_in_time_and_does_not_speak_against_the_server() {
    let Some(redis) = Redis::start("tier") else { return };
    let node = Node::joined(&redis.url());
    node.put(b"k", b"v");
    node.wait_for(b"k", b"v");
    redis.pause();
    let asked = Instant::now();
    for _ in 0..3 {
        assert_eq!(block_on(node.tier.get(b"k", Duration::from_millis(10))), Answer::Unavailable);
    }
    let told = asked.elapsed();
    redis.resume();
    assert!(told < PATIENCE, "told after {told:?}");
    node.wait("the server answers all the same", |node| node.tier.figures().late == 3);
    assert_eq!(node.tier.figures().timeouts, 0);
    assert_eq!(node.get(b"k"), answer(b"v"));
}

#[test]
fn of_a_cluster_the_master_that_is_gone_takes_only_its_own_keys_along() {
    let Some(mut cluster) = RedisCluster::start("tier") else { return };
    let node = Node::joined(&cluster.url());
    let keys: Vec<Vec<u8>> = (0..100u8).map(|key| vec![key]).collect();
    keys.iter().for_each(|key| node.put(key, b"v"));
    keys.iter().for_each(|key| node.wait_for(key, b"v"));
    // The one with the log would take all along.
    let without = cluster.nodes.iter_mut().find(|node| node.cli(&["exists", "unlag:{log}"]) != "1").unwrap();
    without.kill();
    let answers = || keys.iter().filter(|key| node.get(key) == answer(b"v")).count();
    let left = answers();
    assert!((40..90).contains(&left), "{left} of 100 are left");
    for _ in 0..5 {
        assert_eq!(answers(), left);
    }
}

#[test]
fn futures_that_are_dropped_leave_the_connection_in_order() {
    let (Some(redis), Some(memcached)) = (Redis::start("tier"), Memcached::start("tier")) else { return };
    for url in [redis.url(), memcached.url()] {
        let node = Node::joined(&url);
        let keys: Vec<Vec<u8>> = (0..200u8).map(|key| vec![key; 9]).collect();
        for key in &keys {
            node.put(key, key);
        }
        for key in &keys {
            node.wait_for(key, key);
        }
        block_on(async {
            for round in 0..20 {
                for (at, key) in keys.iter().enumerate() {
                    let asked = node.tier.get(key, PATIENCE);
                    if (at + round) % 3 == 0 {
                        assert_eq!(without_lifetime(asked.await), answer(key));
                    } else {
                        drop(asked);
                    }
                }
            }
        });
        assert_eq!(node.tier.figures().odd, 0);
    }
}

#[test]
fn a_server_that_leaves_nobody_waiting_for_writes_drops_what_waited_longest() {
    let Some(redis) = Redis::start("tier") else { return };
    let node = Node::ready(&redis.url(), Settings { queue_bytes: 100_000, ..patient() });
    redis.pause();
    for key in 0..1000u32 {
        node.tier.put(&key.to_be_bytes(), "x".repeat(1000).into(), HOUR);
    }
    let figures = node.tier.figures();
    assert!(figures.puts_dropped > 700, "{figures:#?}");
    assert!(figures.nodes[0].queue_bytes <= 100_000);
    redis.resume();
    node.wait("what is left is written", |node| node.tier.figures().nodes[0].queue_bytes == 0);
    node.wait_for(&999u32.to_be_bytes(), "x".repeat(1000).as_bytes());
}
