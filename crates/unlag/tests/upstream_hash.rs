//! `balance = "hash"`: what belongs together goes to one endpoint, and stays there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::HashMap;
use std::path::Path;
use unlag_testkit::process::Directory;
use unlag_testkit::{RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// A shield on a socket of this name, which says that name whatever it is asked.
fn shield(directory: &Path, name: &str) -> Unlag {
    let socket = directory.join(name);
    let _ = std::fs::remove_file(&socket);
    let says = format!("[[route]]\nmatch = \"/{{path...}}\"\nrespond = {{ status = 200, body = {name:?} }}");
    Setup::of(UNLAG).listen(&format!("address = \"unix:{}\"", socket.display())).toml(&says).start()
}

/// Who answers for each of 300 URLs.
fn owners(edge: &Unlag) -> Vec<String> {
    let mut caller = edge.connect();
    (0..300)
        .map(|number| {
            let answer = caller.get(&format!("/products/{}?page={}", number / 10, number % 10));
            assert_eq!(answer.status(), 200, "{number}");
            answer.text()
        })
        .collect()
}

fn wait_for_unhealthy(edge: &Unlag, count: usize) {
    wait_until(&format!("{count} of the shields fail their check"), || {
        edge.endpoints().iter().filter(|endpoint| endpoint["state"] == "unhealthy").count() == count
    });
}

#[test]
fn each_url_has_its_shield_and_only_those_of_one_that_dies_move_and_come_back() {
    let directory = Directory::new();
    let names = ["one", "two", "three"];
    let mut shields: Vec<Unlag> = names.iter().map(|name| shield(directory.path(), name)).collect();
    let urls = names.map(|name| format!("unix:{}", directory.path().join(name).display()));
    let by_path = |urls: Vec<String>| {
        let setup = Setup::of(UNLAG).to(urls).upstream("balance", "\"hash\"").upstream("hash", "\"path\"");
        setup.upstream("health", "{ path = \"/\", interval = \"100ms\" }").start()
    };
    let edge = by_path(urls.to_vec());
    let other = by_path(urls.iter().rev().cloned().collect());
    let before = owners(&edge);
    assert_eq!(before, owners(&edge), "always the same");
    assert_eq!(before, owners(&other), "at every node");
    let mut counts: HashMap<&str, usize> = HashMap::new();
    before.iter().for_each(|owner| *counts.entry(owner).or_default() += 1);
    assert!(counts.len() == 3 && counts.values().all(|count| (60..140).contains(count)), "{counts:?}");

    drop(shields.remove(1));
    wait_for_unhealthy(&edge, 1);
    let without = owners(&edge);
    let mut heirs: HashMap<&str, usize> = HashMap::new();
    for (owner, now) in before.iter().zip(&without) {
        match owner.as_str() {
            "two" => *heirs.entry(now).or_default() += 1,
            _ => assert_eq!(owner, now),
        }
    }
    assert!(heirs.len() == 2 && !heirs.contains_key("two"), "{heirs:?}");

    shields.push(shield(directory.path(), "two"));
    wait_for_unhealthy(&edge, 0);
    assert_eq!(before, owners(&edge), "as if nothing had been");
}

#[test]
fn without_a_word_of_it_failures_alone_move_what_belonged_to_the_dead() {
    let directory = Directory::new();
    let names = ["one", "two", "three"];
    let mut shields: Vec<Unlag> = names.iter().map(|name| shield(directory.path(), name)).collect();
    let urls = names.map(|name| format!("unix:{}", directory.path().join(name).display()));
    let edge = Setup::of(UNLAG).to(urls).upstream("balance", "\"hash\"").upstream("hash", "\"path\"").start();
    let before = owners(&edge);
    drop(shields.remove(2));
    let without = owners(&edge);
    assert!(without.iter().zip(&before).all(|(now, owner)| now == owner || owner == "three"));
    assert!(!without.contains(&"three".to_owned()));
}

#[test]
fn a_header_or_a_cookie_says_where_a_request_belongs_and_without_one_load_decides() {
    let origins = ["one", "two", "three"].map(RawOrigin::ok);
    for (hash, field) in [("header:x-user", "X-User: "), ("cookie:user", "Cookie: a=b; user=")] {
        let urls = origins.iter().map(RawOrigin::url);
        let setup = Setup::of(UNLAG).to(urls).upstream("balance", "\"hash\"");
        let unlag = setup.upstream("hash", &format!("{hash:?}")).start();
        let of = |lines: String| {
            let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n{lines}\r\n", lines.len());
            unlag.connect().send(request).read_response("GET").text()
        };
        let seen = |user: usize| {
            let mut texts: Vec<String> =
                (0..5).map(|n| of(format!("{field}{user}\r\nX-Pad: {}\r\n", "x".repeat(n)))).collect();
            texts.dedup();
            texts
        };
        let owners: Vec<Vec<String>> = (0..12).map(seen).collect();
        assert!(owners.iter().all(|owners| owners.len() == 1), "{hash}: {owners:?}");
        let distinct: std::collections::HashSet<_> = owners.iter().flatten().collect();
        assert!(distinct.len() > 1, "{hash}: {owners:?}");
        let without: std::collections::HashSet<String> = (0..6).map(|_| of(String::new())).collect();
        assert_eq!(without.len(), 3, "they take turns");
    }
}
