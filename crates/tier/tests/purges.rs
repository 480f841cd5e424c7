//! Purges through real servers: every node hears all of them in one order, and none is missed without being told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test reports by panicking, and its figures by printing"
)]

mod kit;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use kit::{Node, Path, patient};
use unlag_testkit::wait::{DEADLINE, holds_within};
use unlag_testkit::{Memcached, Redis, RedisCluster};
use unlag_tier::{Announced, Answer, Heard, MESSAGE_MAX, Tier};

/// One announces, the other hears; prints how long that takes.
fn all_hear_the_same(url: &str, what: &str) {
    let (one, other) = (Node::joined(url), Node::joined(url));
    let mut taken: Vec<Duration> = Vec::new();
    for round in 0..100 {
        let text = format!("purge {round}");
        let announced = Instant::now();
        (if round % 2 == 0 { &one } else { &other }).announce(&text);
        let ear = if round % 2 == 0 { &other } else { &one };
        ear.wait("it is heard", |node| node.heard_at(&text).is_some());
        taken.push(ear.heard_at(&text).unwrap() - announced);
    }
    one.wait("all are heard", |node| node.purges().len() == 100);
    other.wait("all are heard", |node| node.purges().len() == 100);
    assert_eq!(one.purges(), other.purges());
    let rising = one.purges().windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(rising, "numbers rise: {:?}", one.purges());
    assert_eq!(one.tier.seq(), one.purges()[99].0);
    taken.sort();
    println!(
        "{what}: a purge is heard after {:?} at the median, {:?} at the 95th percentile",
        taken[50], taken[95]
    );
    let bursts = |name: &str| -> Vec<String> { (0..300).map(|at| format!("{name} {at}")).collect() };
    for (of_one, of_other) in bursts("one").iter().zip(&bursts("other")) {
        one.announce(of_one);
        other.announce(of_other);
    }
    for node in [&one, &other] {
        node.wait("both bursts are heard", |node| node.purges().len() == 700);
        for name in ["one", "other"] {
            let of_name = |text: &String| text.starts_with(&format!("{name} "));
            let heard: Vec<String> = node.messages().into_iter().filter(of_name).collect();
            assert_eq!(heard, bursts(name), "in the order of their announcement");
        }
    }
    assert_eq!(one.purges(), other.purges());
}

#[test]
fn through_redis_all_nodes_hear_the_same_purges_in_one_order() {
    let Some(redis) = Redis::start("tier") else { return };
    all_hear_the_same(&redis.url(), "redis");
}

#[test]
fn through_a_redis_cluster_all_nodes_hear_the_same_purges_in_one_order() {
    let Some(cluster) = RedisCluster::start("tier") else { return };
    all_hear_the_same(&cluster.url(), "redis cluster");
}

#[test]
fn through_memcached_all_nodes_hear_the_same_purges_in_one_order() {
    let Some(memcached) = Memcached::start("tier") else { return };
    all_hear_the_same(&memcached.url(), "memcached");
}

#[test]
fn a_node_that_joins_late_hears_what_the_log_holds_before_it_is_asked_anything() {
    let (Some(redis), Some(memcached)) = (Redis::start("tier"), Memcached::start("tier")) else { return };
    for url in [redis.url(), memcached.url()] {
        let one = Node::joined(&url);
        let stamp = one.tier.seq();
        for text in ["a", "b", "c"] {
            one.announce(text);
        }
        one.wait_for_messages(&["a", "b", "c"]);
        let late = Node::joined(&url);
        assert_eq!(late.purges(), one.purges());
        assert_eq!(late.tier.seq(), one.tier.seq());
        let Some(Heard::Joined { floor }) = late.heard().pop() else { panic!("{:?}", late.heard()) };
        assert!(
            floor <= stamp,
            "an object stamped {stamp} before the purges can be judged with a floor of {floor}"
        );
        assert_eq!(late.tier.epoch(), one.tier.epoch());
    }
}

#[test]
fn what_is_announced_while_the_link_is_down_is_heard_afterwards() {
    let Some(redis) = Redis::start("tier") else { return };
    let Some(memcached) = Memcached::start("tier") else { return };
    let freezes = |url: &str, pause: &dyn Fn(), resume: &dyn Fn()| {
        let (one, other) = (Node::joined(url), Node::joined(url));
        one.announce("before");
        other.wait_for_messages(&["before"]);
        pause();
        one.announce("meanwhile");
        other.announce("meanwhile too");
        one.wait("the link is down", |node| !node.tier.is_listening());
        assert_eq!(one.get(b"k"), Answer::Unavailable);
        assert_eq!(one.tier.figures().announcements_pending, 1);
        resume();
        for node in [&one, &other] {
            node.wait("all is heard", |node| {
                ["meanwhile", "meanwhile too"].iter().all(|text| node.heard_at(text).is_some())
            });
            node.wait("nothing is pending", |node| node.tier.figures().announcements_pending == 0);
            assert_eq!(node.tier.figures().announcements_replaced, 0);
        }
    };
    freezes(&redis.url(), &|| redis.pause(), &|| redis.resume());
    freezes(&memcached.url(), &|| memcached.pause(), &|| memcached.resume());
}

#[test]
fn a_link_that_breaks_loses_no_purge_while_the_log_reaches_back() {
    let Some(redis) = Redis::start("tier") else { return };
    let (one, other) = (Node::joined(&redis.url()), Node::joined(&redis.url()));
    let mut expected = Vec::new();
    for round in 0..10 {
        redis.cli(&["client", "kill", "type", "normal"]);
        for at in 0..5 {
            expected.push(format!("{round} {at}"));
            one.announce(&expected[expected.len() - 1]);
        }
    }
    for node in [&one, &other] {
        node.wait("all is heard", |node| expected.iter().all(|text| node.heard_at(text).is_some()));
        assert_eq!(node.losses(), 0);
    }
}

/// After a loss: everybody knows, nothing of before can be read, and all goes on in a new epoch with higher numbers.
fn loses_the_log(url: &str, lose: impl FnOnce()) {
    let (one, other) = (Node::joined(url), Node::joined(url));
    one.put(b"k", b"of before");
    other.wait_for(b"k", b"of before");
    one.announce("before");
    other.wait_for_messages(&["before"]);
    let (epoch, seq) = (one.tier.epoch(), one.tier.seq());
    lose();
    for node in [&one, &other] {
        node.wait("the loss is heard", |node| node.losses() == 1);
        node.wait("and a new beginning", |node| node.tier.is_listening() && node.tier.epoch() != epoch);
        let Some(Heard::Joined { floor }) = node.heard().pop() else { panic!("{:?}", node.heard()) };
        assert!(floor > seq, "what was stamped {seq} before is below the floor {floor}");
        node.wait_ready();
        assert_eq!(node.get(b"k"), Answer::Absent);
    }
    assert_eq!(one.tier.epoch(), other.tier.epoch());
    other.announce("after");
    for node in [&one, &other] {
        node.wait("it is heard", |node| node.heard_at("after").is_some());
        assert!(node.tier.seq() > seq);
    }
}

#[test]
fn a_flushed_redis_is_a_loss_and_a_new_epoch() {
    let Some(redis) = Redis::start("tier") else { return };
    loses_the_log(&redis.url(), || drop(redis.cli(&["flushall"])));
}

#[test]
fn a_log_that_was_evicted_alone_is_a_loss_and_what_it_judged_cannot_be_read() {
    let Some(redis) = Redis::start("tier") else { return };
    loses_the_log(&redis.url(), || drop(redis.cli(&["del", "unlag:{log}"])));
}

#[test]
fn a_purge_that_meets_no_log_does_not_pass_for_the_first_of_one() {
    let Some(redis) = Redis::start("tier") else { return };
    let (one, other) = (Node::joined(&redis.url()), Node::joined(&redis.url()));
    let epoch = one.tier.epoch();
    redis.cli(&["del", "unlag:{log}"]);
    one.announce("after");
    for node in [&one, &other] {
        node.wait("the loss is heard", |node| node.losses() == 1);
        node.wait("and a new beginning", |node| node.tier.is_listening() && node.tier.epoch() != epoch);
        node.wait("and the purge", |node| node.heard_at("after").is_some());
    }
}

#[test]
fn a_flushed_memcached_is_a_loss_and_a_new_epoch() {
    let Some(memcached) = Memcached::start("tier") else { return };
    loses_the_log(&memcached.url(), || assert_eq!(memcached.say("flush_all"), "OK"));
}

#[test]
fn a_flushed_node_of_a_cluster_that_had_the_log_is_a_loss() {
    let Some(cluster) = RedisCluster::start("tier") else { return };
    loses_the_log(&cluster.url(), || {
        for node in &cluster.nodes {
            node.cli(&["flushall"]);
        }
    });
}

/// Several commands at once, on one connection of its own.
fn transaction(redis: &Redis, commands: &[&str]) {
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    let lines = format!("MULTI\r\n{}\r\nEXEC\r\nQUIT\r\n", commands.join("\r\n"));
    stream.write_all(lines.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(!answers.contains("-ERR") && !answers.contains("-EXEC"), "{answers}");
}

#[test]
fn a_log_that_was_trimmed_while_a_node_was_cut_off_is_a_loss_for_it() {
    let Some(redis) = Redis::start("tier") else { return };
    let node = Node::joined(&redis.url());
    node.announce("a");
    node.wait_for_messages(&["a"]);
    let epoch = node.tier.epoch();
    let missed = "XADD unlag:{log} * p missed";
    let trimmed = "XADD unlag:{log} MAXLEN 1 * p last";
    transaction(&redis, &["CLIENT KILL TYPE normal", missed, trimmed]);
    node.wait("the loss is heard", |node| node.losses() == 1);
    node.wait("it joins anew", |node| node.tier.is_listening());
    let Some(Heard::Joined { floor }) = node.heard().pop() else { panic!("{:?}", node.heard()) };
    assert_eq!(node.messages(), ["a", "last"]);
    assert_eq!(floor, node.tier.seq(), "the log reaches back to its only entry");
    assert_eq!(node.tier.epoch(), epoch, "nothing is lost for those who heard it all");
}

#[test]
fn a_redis_that_comes_back_with_an_older_snapshot_is_a_loss_and_a_new_epoch() {
    let Some(mut redis) = Redis::start("tier") else { return };
    let node = Node::joined(&redis.url());
    node.put(b"k", b"v");
    node.wait_for(b"k", b"v");
    assert_eq!(redis.cli(&["save"]), "OK");
    node.announce("k");
    node.wait_for_messages(&["k"]);
    let epoch = node.tier.epoch();
    redis.kill();
    redis.restart();
    node.wait("the loss is heard", |node| node.losses() == 1);
    node.wait("and a new beginning", |node| node.tier.is_listening() && node.tier.epoch() != epoch);
    node.wait_ready();
    assert_eq!(node.get(b"k"), Answer::Absent, "what was purged does not come back");
}

#[test]
fn a_purge_whose_text_is_gone_from_memcached_is_a_loss_and_not_passed_over() {
    let Some(memcached) = Memcached::start("tier") else { return };
    let node = Node::joined(&memcached.url());
    let epoch = node.tier.epoch().unwrap();
    let number = memcached.say(&format!("ma unlag:{{log}}:{epoch:016x}:n"));
    assert_eq!(number, "HD");
    node.wait("the loss is heard", |node| node.losses() == 1);
    node.wait("it joins anew", |node| node.tier.is_listening());
    let Some(Heard::Joined { floor }) = node.heard().pop() else { panic!("{:?}", node.heard()) };
    assert_eq!(floor, node.tier.seq(), "nothing stamped before the gap can be judged");
    assert_eq!(node.tier.epoch(), Some(epoch));
    node.announce("after");
    node.wait_for_messages(&["after"]);
}

#[test]
fn slots_that_move_within_a_cluster_take_values_and_purges_along() {
    let Some(cluster) = RedisCluster::start("tier") else { return };
    let (one, other) = (Node::joined(&cluster.url()), Node::joined(&cluster.url()));
    let keys: Vec<[u8; 1]> = (0..100u8).map(|key| [key]).collect();
    keys.iter().for_each(|key| one.put(key, b"v"));
    keys.iter().for_each(|key| other.wait_for(key, b"v"));
    let has_log = |node: &Redis| node.cli(&["exists", "unlag:{log}"]) == "1";
    let from = cluster.nodes.iter().find(|node| has_log(node)).unwrap();
    let to = cluster.nodes.iter().find(|node| !has_log(node)).unwrap();
    let slot = from.cli(&["cluster", "keyslot", "unlag:{log}"]);
    let id = to.cli(&["cluster", "myid"]);
    move_slot(from, to, &slot, &id, &cluster);
    assert!(has_log(to));
    one.announce("after the move");
    for node in [&one, &other] {
        node.wait("it is heard", |node| node.heard_at("after the move").is_some());
        assert_eq!(node.losses(), 0);
    }
    keys.iter().for_each(|key| other.wait_for(key, b"v"));
}

/// As `redis-cli --cluster reshard` does it, for one slot.
fn move_slot(from: &Redis, to: &Redis, slot: &str, id: &str, cluster: &RedisCluster) {
    let source = from.cli(&["cluster", "myid"]);
    assert_eq!(to.cli(&["cluster", "setslot", slot, "importing", &source]), "OK");
    assert_eq!(from.cli(&["cluster", "setslot", slot, "migrating", id]), "OK");
    let keys = from.cli(&["cluster", "getkeysinslot", slot, "100"]);
    let port = to.port().to_string();
    let mut migrate = vec!["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
    migrate.extend(keys.lines());
    assert_eq!(from.cli(&migrate), "OK");
    for node in [to, from].into_iter().chain(&cluster.nodes) {
        assert_eq!(node.cli(&["cluster", "setslot", slot, "node", id]), "OK");
    }
}

#[test]
fn what_is_too_long_to_be_announced_is_refused() {
    let Some(redis) = Redis::start("tier") else { return };
    let node = Node::ready(&redis.url(), patient());
    assert_eq!(node.announce(&"x".repeat(MESSAGE_MAX + 1)), Announced::Full);
    node.announce(&"y".repeat(MESSAGE_MAX));
    node.wait("the other is heard", |node| node.purges().len() == 1);
}

#[test]
fn who_announces_learns_under_which_number_it_is_heard() {
    let (Some(redis), Some(memcached)) = (Redis::start("tier"), Memcached::start("tier")) else { return };
    for url in [redis.url(), memcached.url()] {
        let (one, other) = (Node::joined(&url), Node::joined(&url));
        other.announce("the same");
        one.wait_for_messages(&["the same"]);
        let Announced::Kept(ticket) = one.announce("the same") else { panic!("there is room") };
        one.wait("it is in the log", |node| node.number_of(ticket).is_some());
        other.wait_for_messages(&["the same", "the same"]);
        assert_eq!(one.number_of(ticket), Some(other.purges()[1].0));
    }
}

#[test]
fn what_has_no_room_while_the_link_is_down_is_heard_as_what_covers_it() {
    let (Some(redis), Some(memcached)) = (Redis::start("tier"), Memcached::start("tier")) else { return };
    let overflows = |url: &str, pause: &dyn Fn(), resume: &dyn Fn()| {
        let (one, other) = (Node::joined(url), Node::joined(url));
        pause();
        one.wait("the link is down", |node| !node.tier.is_listening());
        for round in 0..2 {
            let kept =
                (0..100_000).take_while(|at| one.announce(&format!("{round} {at}")) != Announced::Full);
            assert!(kept.count() > 1_000);
            one.tier.announce_instead("all".into());
        }
        one.announce("after");
        resume();
        for node in [&one, &other] {
            node.wait("what came after is heard", |node| node.heard_at("after").is_some());
            let messages = node.messages();
            let all = messages.iter().position(|text| text == "all");
            assert!(all.is_some_and(|all| all < 3), "{} heard, {all:?}", messages.len());
            assert!(messages.len() <= 4, "{} heard", messages.len());
        }
        one.wait("nothing waits", |node| node.tier.figures().announcements_pending == 0);
    };
    overflows(&redis.url(), &|| redis.pause(), &|| redis.resume());
    overflows(&memcached.url(), &|| memcached.pause(), &|| memcached.resume());
}

#[test]
fn what_is_announced_just_before_the_end_gets_out() {
    let Some(redis) = Redis::start("tier") else { return };
    let (one, other) = (Node::joined(&redis.url()), Node::joined(&redis.url()));
    one.announce("the last");
    one.tier.close();
    other.wait_for_messages(&["the last"]);
    assert!(!one.tier.is_listening());
    assert_eq!(one.get(b"k"), Answer::Unavailable);
}

#[test]
fn whoever_drops_the_last_handle_does_not_wait_for_the_end() {
    let Some(redis) = Redis::start("tier") else { return };
    let ((enter, entered), (release, held)) = (mpsc::channel(), mpsc::channel::<()>());
    let held = Mutex::new(held);
    let hears = move |_| {
        let _ = enter.send(());
        let _ = held.lock().unwrap().recv();
    };
    let tier = Tier::open(&redis.url().parse().unwrap(), patient(), hears).unwrap();
    entered.recv().unwrap();
    let dropping = std::thread::spawn(move || drop(tier));
    assert!(holds_within(DEADLINE, || dropping.is_finished()), "while its thread is busy");
    drop(release);
}

/// More announcements at once than a server far away could take one by one.
fn announces_much(url: &str, path: &Path) {
    let (far, near) = (Node::joined(&format!("{}{}", scheme(url), path.address())), Node::joined(url));
    path.delay(10);
    let all: Vec<String> = (0..2000).map(|number| format!("purge {number}")).collect();
    let began = Instant::now();
    for message in &all {
        assert!(matches!(far.announce(message), Announced::Kept(_)));
    }
    near.wait_for_messages(&all.iter().map(String::as_str).collect::<Vec<_>>());
    far.wait("all are known to be in the log", |node| node.tier.figures().announcements_pending == 0);
    println!("{url}: {} announcements over 20 ms there and back in {:?}", all.len(), began.elapsed());
    let numbers = near.purges();
    far.wait("they are heard there too", |node| node.messages().len() == all.len());
    assert_eq!(far.number_of(2000), numbers.last().map(|(number, _)| *number));
    assert_eq!((far.losses(), near.losses()), (0, 0));
}

fn scheme(url: &str) -> &str {
    &url[..url.find("//").unwrap() + 2]
}

#[test]
fn many_announcements_reach_a_redis_far_away_in_order_without_waiting_for_each_other() {
    let Some(redis) = Redis::start("tier") else { return };
    announces_much(&redis.url(), &Path::to(redis.address()));
}

#[test]
fn many_announcements_reach_a_memcached_far_away_in_order_without_waiting_for_each_other() {
    let Some(memcached) = Memcached::start("tier") else { return };
    announces_much(&memcached.url(), &Path::to(memcached.address()));
}

#[test]
fn announcements_under_way_when_their_link_breaks_reach_the_log_all_the_same() {
    let (Some(redis), Some(memcached)) = (Redis::start("tier"), Memcached::start("tier")) else { return };
    for (url, address) in [(redis.url(), redis.address()), (memcached.url(), memcached.address())] {
        let path = Path::to(address);
        let (far, near) = (Node::joined(&format!("{}{}", scheme(&url), path.address())), Node::joined(&url));
        path.delay(5);
        for number in 0..1000 {
            assert!(matches!(far.announce(&format!("purge {number}")), Announced::Kept(_)));
        }
        near.wait("some are heard", |node| node.messages().len() > 100);
        path.cut();
        far.wait("all are in the log", |node| node.tier.figures().announcements_pending == 0);
        let last = far.number_of(1000).unwrap();
        near.wait("the last is heard", |node| node.purges().iter().any(|(number, _)| *number == last));
        let mut heard = near.messages();
        // What was sent and not confirmed is there twice in a stream, one after the other.
        let mut first = std::collections::HashSet::new();
        heard.retain(|message| first.insert(message.clone()));
        let expected: Vec<String> = (0..1000).map(|number| format!("purge {number}")).collect();
        assert_eq!(heard, expected, "{url}");
        // Numbers of Memcached that were taken and whose takers were not told are missed, and known to be.
        if scheme(&url) == "redis://" {
            assert_eq!((far.losses(), near.losses()), (0, 0));
        }
    }
}
