//! What is stored can be seen and taken out from outside: over the admin API and with `unlag cache`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use unlag_testkit::process::Directory;
use unlag_testkit::response::Response;
use unlag_testkit::tls::Authority;
use unlag_testkit::{Gate, RawClient, RawOrigin, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// An origin that counts its answers up, whatever is asked, and says these lines of each target.
fn counting(lines: impl Fn(&str) -> String + Send + Sync + 'static) -> RawOrigin {
    let count = AtomicUsize::new(0);
    RawOrigin::answering(move |request| {
        let body = format!("answer {}", 1 + count.fetch_add(1, Ordering::Relaxed));
        let (lines, length) = (lines(&request.target()), body.len());
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    })
}

fn fresh(_: &str) -> String {
    "Cache-Control: max-age=60\r\n".into()
}

/// The answer to a GET of this path, with `shop.example` as its host.
fn ask(unlag: &Unlag, path: &str) -> String {
    ask_of(unlag, "shop.example", path)
}

fn ask_of(unlag: &Unlag, host: &str, path: &str) -> String {
    unlag.connect().send(request("GET", host, path)).read_response("GET").text()
}

fn request(method: &str, host: &str, path: &str) -> String {
    let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n")
}

fn token(unlag: &Unlag) -> String {
    let file = unlag.directory().join("state/admin.token");
    std::fs::read_to_string(file).expect("a token").trim().to_owned()
}

fn post(unlag: &Unlag, authorization: &str, body: &str) -> Response {
    let address = unlag.admin_address();
    let head = format!(
        "POST /api/v1/cache/purge HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Length: {}\r\n\r\n",
        body.len()
    );
    RawClient::connect(address).send(head + body).read_response("POST")
}

/// Purges, and returns what was said.
fn purge(unlag: &Unlag, order: Value) -> Value {
    let answer = unlag.order("/api/v1/cache/purge", &order.to_string());
    assert_eq!(answer.status(), 200, "{order}: {}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// `unlag cache` with these arguments, against this unlag.
fn cache(unlag: &Unlag, arguments: &[&str]) -> Output {
    let mut command = Command::new(UNLAG);
    command.arg("cache").args(arguments).args(["--admin", &format!("http://{}", unlag.admin_address())]);
    command.arg("-c").arg(unlag.directory().join("unlag.toml")).output().expect("run unlag")
}

fn printed(unlag: &Unlag, arguments: &[&str]) -> String {
    let output = cache(unlag, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_purge_of_a_url_takes_it_out_for_both_schemes_and_nothing_else() {
    let origin = counting(fresh);
    let (authority, directory) = (Authority::new(), Directory::new());
    authority.certificate(&["shop.example"]).write(directory.path(), "shop");
    let file = |kind: &str| directory.path().join(format!("shop.{kind}"));
    let pair = format!("{{ certificate = {:?}, key = {:?} }}", file("pem"), file("key"));
    let plain = Setup::of(UNLAG).to([origin.url()]).listen("address = \"127.0.0.1:0\"");
    let unlag = plain.listen(&format!("address = \"127.0.0.1:0\"\ntls = {pair}")).start();
    let over_tls = || {
        let config = authority.client_config(&["http/1.1"]);
        let mut client = RawClient::tls(&unlag.addresses()[1], config, "shop.example");
        client.send(request("GET", "shop.example", "/a?q")).read_response("GET").text()
    };
    let all = || {
        let paths = [("shop.example", "/a?q"), ("shop.example", "/a"), ("shop.example:80", "/a?q")];
        let mut answers: Vec<String> = paths.iter().map(|(host, path)| ask_of(&unlag, host, path)).collect();
        answers.push(over_tls());
        answers
    };
    assert_eq!(all(), ["answer 1", "answer 2", "answer 3", "answer 4"]);
    assert_eq!(all(), ["answer 1", "answer 2", "answer 3", "answer 4"]);
    let said = purge(&unlag, json!({ "url": "https://Shop.Example/b/../%61?q" }));
    assert_eq!(said, json!({ "purged": true, "soft": false, "dry_run": false }));
    assert_eq!(all(), ["answer 5", "answer 2", "answer 3", "answer 6"]);
}

#[test]
fn a_purge_of_a_tag_takes_out_what_the_origin_or_the_route_gave_it() {
    let origin = counting(|target| {
        let named = match target {
            "/surrogate" => "Surrogate-Key: other sale\r\n",
            "/cache-tag" => "Cache-Tag: other,sale\r\n",
            "/xkey" => "xkey: sale\r\nxkey: other\r\n",
            "/alike" => "Surrogate-Key: sale2 sal\r\n",
            _ => "",
        };
        format!("{named}Cache-Control: max-age=60\r\n")
    });
    let own = "[[route]]\nname = \"product\"\nmatch = \"/products/{id}\"\nupstream = \"origin\"\n\
               cache = { tags = [\"product-{id}\", \"sale\"] }";
    let unlag = Setup::of(UNLAG).to([origin.url()]).toml(own).start();
    let paths = ["/surrogate", "/cache-tag", "/xkey", "/alike", "/products/7", "/products/8"];
    let all = || paths.map(|path| ask(&unlag, path).replace("answer ", ""));
    assert_eq!(all(), ["1", "2", "3", "4", "5", "6"]);
    purge(&unlag, json!({ "tag": "product-7" }));
    assert_eq!(all(), ["1", "2", "3", "4", "7", "6"]);
    purge(&unlag, json!({ "tag": "sale" }));
    assert_eq!(all(), ["8", "9", "10", "4", "11", "12"]);
}

#[test]
fn a_purge_of_a_prefix_is_of_one_host_or_of_all_and_one_of_everything_leaves_nothing() {
    let origin = counting(fresh);
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let places = [("a.example", "/x/1"), ("a.example", "/x/2"), ("a.example", "/y"), ("b.example", "/x/1")];
    let all = || places.map(|(host, path)| ask_of(&unlag, host, path).replace("answer ", ""));
    assert_eq!(all(), ["1", "2", "3", "4"]);
    purge(&unlag, json!({ "prefix": "a.example/x/" }));
    assert_eq!(all(), ["5", "6", "3", "4"]);
    purge(&unlag, json!({ "prefix": "/x/1" }));
    assert_eq!(all(), ["7", "6", "3", "8"]);
    purge(&unlag, json!({ "all": true }));
    assert_eq!(all(), ["9", "10", "11", "12"]);
    assert_eq!(all(), ["9", "10", "11", "12"], "what came after a purge is kept");
}

#[test]
fn what_was_purged_softly_is_served_while_it_is_fetched_again_or_while_the_origin_fails() {
    let down = Gate::new();
    let (count, is_down) = (AtomicUsize::new(0), down.clone());
    let origin = RawOrigin::answering(move |request| {
        let number = 1 + count.fetch_add(1, Ordering::Relaxed);
        let window = match request.target().as_str() {
            "/swr" => ", stale-while-revalidate=60",
            "/sie" if is_down.is_open() => {
                return b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
            }
            "/sie" => ", stale-if-error=60",
            _ => "",
        };
        let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60{window}\r\nContent-Length: 8");
        format!("{head}\r\n\r\nanswer {number}").into_bytes()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let paths = ["/swr", "/sie", "/neither"];
    assert_eq!(paths.map(|path| ask(&unlag, path)), ["answer 1", "answer 2", "answer 3"]);
    let said = purge(&unlag, json!({ "all": true, "soft": true }));
    assert_eq!((&said["purged"], &said["soft"]), (&json!(true), &json!(true)));

    assert_eq!(ask(&unlag, "/swr"), "answer 1", "stale, at once");
    wait_until("it is fetched beside", || ask(&unlag, "/swr") == "answer 4");
    let status = |path: &str| {
        let answer = unlag.connect().send(request("GET", "shop.example", path)).read_response("GET");
        answer.header("cache-status").unwrap_or_default().to_owned()
    };
    assert!(status("/swr").starts_with("unlag; hit; ttl="), "fresh again: {}", status("/swr"));
    assert_eq!(ask(&unlag, "/neither"), "answer 5", "without a window the origin is asked first");
    down.open();
    assert_eq!(ask(&unlag, "/sie"), "answer 2", "the origin fails");
    assert!(status("/sie").contains("fwd=stale"), "{}", status("/sie"));
    purge(&unlag, json!({ "url": "http://shop.example/sie" }));
    let gone = unlag.connect().send(request("GET", "shop.example", "/sie")).read_response("GET");
    assert_eq!(gone.status(), 503, "what was purged for good is not served whatever happens");
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let origin = counting(|target| match target {
        "/vary" => "Vary: Accept\r\nCache-Tag: t\r\nCache-Control: max-age=60\r\n".into(),
        _ => fresh(target),
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    for accept in ["a/b", "c/d"] {
        let request = format!("GET /vary HTTP/1.1\r\nHost: shop.example\r\nAccept: {accept}\r\n\r\n");
        unlag.connect().send(request).read_response("GET");
    }
    assert_eq!(ask(&unlag, "/x"), "answer 3");
    let counted = |mut order: Value| {
        order["dry_run"] = json!(true);
        let said = purge(&unlag, order);
        assert_eq!((&said["purged"], &said["dry_run"]), (&json!(false), &json!(true)));
        let (objects, bytes) = (said["objects"].as_u64().expect("a count"), said["bytes"].as_u64());
        assert_eq!(objects > 0, bytes > Some(0), "{said}");
        objects
    };
    assert_eq!(counted(json!({ "tag": "t" })), 2);
    assert_eq!(counted(json!({ "url": "http://shop.example/vary" })), 2);
    assert_eq!(counted(json!({ "prefix": "/x", "soft": true })), 1);
    assert_eq!(counted(json!({ "prefix": "other.example/" })), 0);
    assert_eq!(counted(json!({ "all": true })), 3);
    assert_eq!(ask(&unlag, "/x"), "answer 3");
    purge(&unlag, json!({ "tag": "t" }));
    assert_eq!(counted(json!({ "all": true })), 1, "what is gone is not counted again");
}

#[test]
fn nobody_purges_without_the_token_or_with_an_order_that_cannot_be_meant() {
    let origin = counting(fresh);
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    assert_eq!(ask(&unlag, "/x"), "answer 1");
    for authorization in ["", "Authorization: Bearer wrong\r\n"] {
        assert_eq!(post(&unlag, authorization, "{\"all\": true}").status(), 401, "{authorization}");
    }
    let authorization = format!("Authorization: Bearer {}\r\n", token(&unlag));
    let long = format!("{{\"tag\": \"{}\"}}", "t".repeat(9_000));
    for (order, said) in [
        ("", "JSON"),
        ("{}", "exactly one of"),
        ("{\"all\": false}", "nothing is named"),
        ("{\"all\": true, \"tag\": \"a\"}", "several things"),
        ("{\"tag\": \"a\", \"tags\": []}", "unknown field `tags`"),
        ("{\"tag\": \"\"}", "empty"),
        ("{\"tag\": \"a b\"}", "one tag at a time"),
        (&long, "8192 bytes"),
        ("{\"url\": \"/x\"}", "names a host"),
        ("{\"url\": \"http://shop.example/%00\"}", "control byte"),
        ("{\"url\": \"http://shop.example/%2e%2e/x\"}", "dot segment"),
        ("{\"prefix\": \"shop.example\"}", "a whole host: shop.example/"),
        ("{\"prefix\": \"/x/..\"}", "directory above"),
        ("{\"all\": true, \"soft\": 1}", "invalid type"),
    ] {
        let answer = post(&unlag, &authorization, order);
        assert_eq!(answer.status(), 400, "{order}");
        assert!(answer.text().contains(said), "{order}: {}", answer.text());
    }
    assert_eq!(ask(&unlag, "/x"), "answer 1", "nothing was purged");
}

/// An origin that holds its first answer back until the gate is open, with these lines.
fn holding_the_first(gate: &Gate, lines: &'static str) -> RawOrigin {
    let (count, gate) = (AtomicUsize::new(0), gate.clone());
    RawOrigin::answering(move |_| {
        let number = 1 + count.fetch_add(1, Ordering::Relaxed);
        if number == 1 {
            gate.pass();
        }
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 8\r\n\r\nanswer {number}").into_bytes()
    })
}

#[test]
fn what_was_asked_for_before_a_purge_is_not_served_to_who_comes_after_it() {
    for (lines, order) in [
        ("Cache-Control: max-age=60\r\nCache-Tag: t\r\n", json!({ "url": "http://shop.example/x" })),
        ("Cache-Control: max-age=60\r\nCache-Tag: t\r\n", json!({ "tag": "t" })),
        ("Cache-Control: max-age=60\r\nCache-Tag: t\r\n", json!({ "prefix": "/x" })),
        ("Cache-Control: max-age=60\r\nCache-Tag: t\r\n", json!({ "all": true })),
        // Nothing is stored of these, and yet one fetch may answer many.
        ("Cache-Tag: t\r\n", json!({ "tag": "t" })),
        ("Cache-Tag: t\r\n", json!({ "all": true })),
    ] {
        let gate = Gate::new();
        let origin = holding_the_first(&gate, lines);
        let unlag = Setup::of(UNLAG).to([origin.url()]).start();
        let mut before = unlag.connect();
        before.send(request("GET", "shop.example", "/x"));
        wait_until("the origin is asked", || origin.request_count() == 1);
        purge(&unlag, order.clone());
        let mut after = unlag.connect();
        after.send(request("GET", "shop.example", "/x"));
        wait_until("both are under way", || streams(&unlag) + origin.request_count() as u64 > 2);
        gate.open();
        assert_eq!(before.read_response("GET").text(), "answer 1", "{order}: it asked before");
        assert_eq!(after.read_response("GET").text(), "answer 2", "{order} {lines}");
        assert_ne!(ask(&unlag, "/x"), "answer 1", "{order}: nor is it stored");
    }
}

/// Requests under way.
fn streams(unlag: &Unlag) -> u64 {
    let overview: Value = serde_json::from_str(&unlag.admin("/api/v1/overview").text()).expect("JSON");
    let workers = overview["workers"].as_array().expect("workers");
    workers.iter().filter_map(|worker| worker["streams"].as_u64()).sum()
}

#[test]
fn a_change_invalidates_the_groups_that_its_answer_names_and_no_other_hosts_groups() {
    let count = AtomicUsize::new(0);
    let origin = RawOrigin::answering(move |request| {
        let number = 1 + count.fetch_add(1, Ordering::Relaxed);
        let lines = match (request.method().as_str(), request.target().as_str()) {
            ("POST", "/failing") => {
                let lines = "Cache-Group-Invalidation: \"menu\"\r\n";
                return format!("HTTP/1.1 500 No\r\n{lines}Content-Length: 0\r\n\r\n").into_bytes();
            }
            ("POST", _) => "Cache-Group-Invalidation: \"menu\", \"prices\"\r\n",
            (_, "/menu") => "Cache-Control: max-age=60\r\nCache-Groups: \"other\", \"menu\"\r\n",
            (_, "/prices") => "Cache-Control: max-age=60\r\nCache-Groups: \"prices\"\r\n",
            _ => "Cache-Control: max-age=60\r\nCache-Groups: \"other\"\r\n",
        };
        let body = format!("answer {number}");
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let places =
        [("a.example", "/menu"), ("a.example", "/prices"), ("a.example", "/x"), ("b.example", "/menu")];
    let all = || places.map(|(host, path)| ask_of(&unlag, host, path).replace("answer ", ""));
    let change =
        |path: &str| unlag.connect().send(request("POST", "a.example", path)).read_response("POST").status();
    assert_eq!(all(), ["1", "2", "3", "4"]);
    assert_eq!(change("/failing"), 500);
    assert_eq!(all(), ["1", "2", "3", "4"], "a change that failed has changed nothing");
    assert_eq!(change("/orders"), 200);
    assert_eq!(all(), ["7", "8", "3", "4"]);
}

#[test]
fn the_cache_is_shown_for_each_route_with_what_it_saved_and_why_not() {
    let origin = counting(|target| match target {
        "/private" => "Cache-Control: private\r\n".into(),
        _ => fresh(target),
    });
    let setup = Setup::of(UNLAG).to([origin.url()]).route("name", "\"all of it\"");
    let setup = setup.route("cache", "{ stale_if_error = \"1m\" }").toml("[cache]\nmemory = \"8MiB\"");
    let unlag = setup.start();
    let nothing = printed(&unlag, &["stats"]);
    assert_eq!(nothing, "memory: 0 B of 8.0 MiB (0.0 %), 0 URLs\nNo request was looked up yet.\n");
    for path in ["/x", "/x", "/x", "/private"] {
        ask(&unlag, path);
    }
    let shown: Value = serde_json::from_str(&printed(&unlag, &["stats", "--json"])).expect("JSON");
    assert_eq!(shown, serde_json::from_str::<Value>(&unlag.admin("/api/v1/cache").text()).expect("JSON"));
    let memory = &shown["memory"];
    assert_eq!((&memory["urls"], &memory["capacity_bytes"]), (&json!(1), &json!(8 << 20)));
    assert!(memory["bytes"].as_u64() > Some(300), "{memory}");
    let route = &shown["routes"][0];
    assert_eq!(
        (&route["route"], &route["hits"], &route["stored"]),
        (&json!("all of it"), &json!(2), &json!(1))
    );
    assert_eq!((&route["hit_ratio"], &route["hit_bytes"]), (&json!(0.5), &json!(16)));
    assert_eq!(route["misses"], json!({ "uri-miss": 2 }));
    assert_eq!(route["not_stored"], json!({ "private": 1 }));
    let (saved, each) = (route["saved_ms"].as_f64(), route["saved_ms_per_hit"].as_f64());
    assert!(
        saved > Some(0.0) && saved.zip(each).is_some_and(|(saved, each)| (saved / 2.0 - each).abs() < 1e-9)
    );

    let table = printed(&unlag, &["stats"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("memory: ") && lines[0].ends_with(", 1 URLs"), "{table}");
    assert!(lines[3].starts_with("all of it     2  50.0 %"), "{table}");
    assert!(lines[3].contains("uri-miss 2") && lines[3].ends_with("private 1"), "{table}");
}

#[test]
fn another_bound_on_memory_is_shown_once_it_is_in_force() {
    let origin = counting(fresh);
    let sized = |size: &str| Setup::of(UNLAG).to([origin.url()]).toml(&format!("[cache]\nmemory = {size:?}"));
    let unlag = sized("8MiB").start();
    let capacity = || {
        let shown: Value = serde_json::from_str(&unlag.admin("/api/v1/cache").text()).expect("JSON");
        shown["memory"]["capacity_bytes"].as_u64()
    };
    assert_eq!(capacity(), Some(8 << 20));
    unlag.write_config(&sized("16MiB"));
    unlag.signal("HUP");
    wait_until("the reload", || capacity() == Some(16 << 20));
}

#[test]
fn metrics_say_what_the_cache_did_and_leave_out_what_never_happened() {
    let origin = counting(|target| match target {
        "/private" => "Cache-Control: private\r\n".into(),
        _ => fresh(target),
    });
    let never = "[[route]]\nname = \"never\"\nmatch = \"/never\"\nupstream = \"origin\"\ncache = \"off\"";
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("name", "\"r\"").toml(never).start();
    for path in ["/x", "/x", "/private", "/never"] {
        ask(&unlag, path);
    }
    let page = unlag.admin("/metrics").text();
    let has = |line: &str| page.lines().any(|found| found == line);
    for line in [
        "# TYPE unlag_cache_hits counter",
        "unlag_cache_hits_total{route=\"r\"} 1",
        "unlag_cache_stale_hits_total{route=\"r\"} 0",
        "unlag_cache_collapsed_total{route=\"r\"} 0",
        "unlag_cache_stored_total{route=\"r\"} 1",
        "unlag_cache_hit_bytes_total{route=\"r\"} 8",
        "unlag_cache_misses_total{route=\"r\",reason=\"uri-miss\"} 2",
        "unlag_cache_not_stored_total{route=\"r\",reason=\"private\"} 1",
        "unlag_cache_capacity_bytes 268435456",
        "unlag_cache_urls 1",
    ] {
        assert!(has(line), "no {line} in {page}");
    }
    let of_cache =
        |words: &str| page.lines().any(|line| line.starts_with("unlag_cache") && line.contains(words));
    assert!(!of_cache("never") && !of_cache("vary-miss") && !of_cache("set-cookie"), "{page}");
    let saved =
        page.lines().find_map(|line| line.strip_prefix("unlag_cache_saved_seconds_total{route=\"r\"} "));
    assert!(
        saved.and_then(|seconds| seconds.parse().ok()).is_some_and(|seconds: f64| seconds > 0.0),
        "{page}"
    );
    purge(&unlag, json!({ "url": "http://shop.example/x" }));
    assert!(unlag.admin("/metrics").text().contains("\nunlag_cache_urls 0\n"));
}

#[test]
fn the_command_purges_counts_and_says_what_it_did() {
    let origin = counting(|target| format!("Cache-Tag: t{}\r\nCache-Control: max-age=60\r\n", &target[1..]));
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let all = || ["/1", "/2", "/3"].map(|path| ask(&unlag, path).replace("answer ", ""));
    assert_eq!(all(), ["1", "2", "3"]);
    let would = printed(&unlag, &["purge", "--tag", "t1", "--dry-run"]);
    assert!(would.starts_with("1 answer of ") && would.ends_with("would be purged: tag t1\n"), "{would}");
    let would = printed(&unlag, &["purge", "--all", "--dry-run", "--soft"]);
    assert!(would.starts_with("3 answers of ") && would.ends_with("become stale: everything\n"), "{would}");
    assert_eq!(all(), ["1", "2", "3"]);
    let done = printed(&unlag, &["purge", "--tag", "t1", "--tag", "t2"]);
    assert_eq!(done, "purged: tag t1\npurged: tag t2\n");
    assert_eq!(all(), ["4", "5", "3"]);
    let done = printed(&unlag, &["purge", "--url", "http://shop.example/3", "--json"]);
    let done: Value = serde_json::from_str(&done).expect("JSON");
    let purged = json!({ "url": "http://shop.example/3", "purged": true, "soft": false, "dry_run": false });
    assert_eq!(done, json!({ "purges": [purged] }));
    assert_eq!(all(), ["4", "5", "6"]);
    assert_eq!(printed(&unlag, &["purge", "--prefix", "/", "--soft"]), "stale now: prefix /\n");
    printed(&unlag, &["purge", "--all"]);
    assert_eq!(all(), ["7", "8", "9"]);
}

#[test]
fn the_command_says_what_to_do_when_it_cannot() {
    let origin = counting(fresh);
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let admin = format!("http://{}", unlag.admin_address());
    let elsewhere = Directory::new();
    let run = |arguments: &[&str], token: Option<&str>| {
        let mut command = Command::new(UNLAG);
        command.arg("cache").args(arguments).current_dir(elsewhere.path());
        command.env("XDG_RUNTIME_DIR", elsewhere.path()).env_remove("UNLAG_ADMIN_TOKEN");
        let output =
            command.envs(token.map(|token| ("UNLAG_ADMIN_TOKEN", token))).output().expect("run unlag");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let all = ["purge", "--all", "--admin", &admin];
    let failed = |(code, said): (Option<i32>, String), word: &str| {
        assert!(code == Some(1) && said.contains(word), "{word}: {code:?} {said}");
    };
    failed(run(&all, None), "name the config file that it runs with (-c FILE)");
    failed(run(&all, Some("wrong")), "is not the one of this unlag");
    assert_eq!(run(&all, Some(&token(&unlag))).0, Some(0));
    failed(run(&["stats", "--admin", "http://127.0.0.1:1"], None), "is it running?");
    failed(run(&["stats", "-c", "nowhere.toml"], None), "cannot read nowhere.toml");
    let bad = cache(&unlag, &["purge", "--url", "/x"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("`/x` cannot be purged: a URL begins with"));
    for nonsense in [&["purge"][..], &["purge", "--all", "--tag", "t"], &["juggle"], &[]] {
        assert_eq!(run(nonsense, None).0, Some(2), "{nonsense:?}");
    }
}

#[test]
fn what_was_purged_is_not_offered_to_the_origin_for_another_variant_either() {
    let origin = RawOrigin::answering(|request| {
        let offered = request.header("if-none-match").is_some();
        let status = if offered { "304 Not Modified" } else { "200 OK" };
        let body = if offered { "" } else { "Content-Length: 3\r\n\r\nold" };
        let lines = "ETag: \"v\"\r\nVary: Accept\r\nCache-Tag: t\r\nCache-Control: max-age=60\r\n";
        format!("HTTP/1.1 {status}\r\n{lines}{}{body}", if offered { "\r\n" } else { "" }).into_bytes()
    });
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let accepting = |accept: &str| {
        let request = format!("GET /x HTTP/1.1\r\nHost: shop.example\r\nAccept: {accept}\r\n\r\n");
        unlag.connect().send(request).read_response("GET").text()
    };
    assert_eq!((accepting("a/b"), accepting("c/d")), ("old".into(), "old".into()));
    let offers =
        || origin.requests().iter().filter(|request| request.header("if-none-match").is_some()).count();
    assert_eq!(offers(), 1, "the origin is asked whether it means the one that is known");
    purge(&unlag, json!({ "tag": "t" }));
    assert_eq!(accepting("e/f"), "old");
    assert_eq!(offers(), 1);
}

#[test]
fn every_purge_leaves_one_line_in_the_log_that_says_who_what_and_with_what_result() {
    let origin = counting(fresh);
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    printed(&unlag, &["purge", "--tag", "t1", "--soft"]);
    cache(&unlag, &["purge", "--url", "/x"]);
    post(&unlag, "Authorization: Bearer wrong\r\n", "{\"all\": true}");
    let lines = || unlag.log().with_message("audit");
    wait_until("a line for each", || lines().len() >= 3);
    let lines = lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, (what, status)) in
        lines.iter().zip([(json!("tag t1, soft"), 200), (json!("url /x"), 400), (Value::Null, 401)])
    {
        let is_refused = line["error"].as_str().is_some_and(|error| !error.is_empty());
        assert_eq!((&line["what"], &line["status"]), (&what, &json!(status)), "{line}");
        assert_eq!((&line["path"], is_refused), (&json!("/api/v1/cache/purge"), status != 200), "{line}");
        assert!(line["caller"].as_str().is_some_and(|caller| caller.starts_with("127.0.0.1:")), "{line}");
    }
}
