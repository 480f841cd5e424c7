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
    let authorization = format!("Authorization: Bearer {}\r\n", token(unlag));
    let answer = post(unlag, &authorization, &order.to_string());
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
