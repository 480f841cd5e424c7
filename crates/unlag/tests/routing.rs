//! Which route a request takes, what of its path the origin sees, and what unlag answers by itself.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::origin::ok;
use unlag_testkit::{RawOrigin, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

/// Routes whose origin answers with the route's name (set as a field) and the target that it saw.
fn routed(routes: &[(&str, &str)]) -> (Unlag, RawOrigin) {
    let origin = RawOrigin::answering(|request| {
        ok(&format!("{} {}", request.header("x-route").unwrap_or_default(), request.target()))
    });
    let mut toml = format!("[upstream.echo]\nendpoints = [{:?}]\n", origin.url());
    for (matching, keys) in routes {
        toml += &format!("[[route]]\nmatch = {matching:?}\n{keys}\n");
        if !keys.contains("respond") {
            toml +=
                &format!("upstream = \"echo\"\nrequest_headers = {{ set = {{ x-route = {matching:?} }} }}\n");
        }
    }
    (Setup::of(UNLAG).toml(&toml).start(), origin)
}

fn ask(unlag: &Unlag, method: &str, host: &str, target: &str, fields: &str) -> (u16, String) {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let response = unlag.connect().send(request).read_response(method);
    (response.status(), response.text())
}

fn get(unlag: &Unlag, target: &str) -> String {
    ask(unlag, "GET", "a", target, "").1
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let routes = [
        ("/{rest...}", ""),
        ("/products/{id}", ""),
        ("/products/new", ""),
        ("GET /products/{id}/reviews", ""),
        ("shop.example/{rest...}", ""),
        ("POST /products/{id}", ""),
    ];
    let (unlag, _origin) = routed(&routes);
    assert_eq!(get(&unlag, "/other/x"), "/{rest...} /other/x");
    assert_eq!(get(&unlag, "/products/7"), "/products/{id} /products/7");
    assert_eq!(get(&unlag, "/products/new"), "/products/new /products/new");
    assert_eq!(get(&unlag, "/products/7/reviews?n=1"), "GET /products/{id}/reviews /products/7/reviews?n=1");
    assert_eq!(
        ask(&unlag, "POST", "a", "/products/7", "Content-Length: 0\r\n").1,
        "POST /products/{id} /products/7"
    );
    for host in ["shop.example", "SHOP.example", "shop.example:8080"] {
        let (_, text) = ask(&unlag, "GET", host, "/products/new", "");
        assert_eq!(text, "shop.example/{rest...} /products/new", "the host decides first");
    }
}

#[test]
fn no_route_is_404_and_another_method_is_405_with_allow() {
    let (unlag, origin) = routed(&[("GET /a", ""), ("POST /a", ""), ("/b", "")]);
    assert_eq!(ask(&unlag, "GET", "a", "/nowhere", "").0, 404);
    assert_eq!(ask(&unlag, "GET", "a", "/a/", "").0, 404, "a trailing slash is another path");
    let response = unlag.connect().send("DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n").read_response("DELETE");
    assert_eq!(response.status(), 405);
    let allow = response.header("allow").expect("Allow");
    let mut methods: Vec<&str> = allow.split(',').map(str::trim).collect();
    methods.sort_unstable();
    assert_eq!(methods, ["GET", "HEAD", "POST"]);
    assert_eq!(ask(&unlag, "DELETE", "a", "/b", "").0, 200);
    assert_eq!(origin.request_count(), 1);
}

#[test]
fn a_get_route_takes_head_too() {
    let (unlag, origin) = routed(&[("GET /a", "")]);
    let response = unlag.connect().send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n").read_response("HEAD");
    assert_eq!(response.status(), 200);
    assert_eq!(origin.only_request().method(), "HEAD");
}

#[test]
fn a_header_condition_narrows_a_route() {
    let origin = RawOrigin::answering(|request| ok(&request.header("x-route").unwrap_or_default()));
    let toml = format!(
        "[upstream.echo]\nendpoints = [{:?}]\n\
         [[route]]\nname = \"plain\"\nmatch = \"/home\"\nupstream = \"echo\"\nrequest_headers = {{ set = {{ x-route = \"plain\" }} }}\n\
         [[route]]\nname = \"beta\"\nmatch = \"/home\"\nheaders = {{ x-beta = \"1\" }}\nupstream = \"echo\"\nrequest_headers = {{ set = {{ x-route = \"beta\" }} }}\n",
        origin.url()
    );
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    assert_eq!(ask(&unlag, "GET", "a", "/home", "").1, "plain");
    assert_eq!(ask(&unlag, "GET", "a", "/home", "X-Beta: 1\r\n").1, "beta");
    assert_eq!(ask(&unlag, "GET", "a", "/home", "X-Beta: 2\r\n").1, "plain");
}

#[test]
fn a_prefix_is_stripped_and_added_without_touching_the_rest() {
    let (unlag, _origin) =
        routed(&[("/api/{rest...}", "strip_prefix = \"/api\""), ("/v/{rest...}", "add_prefix = \"/base\"")]);
    assert_eq!(get(&unlag, "/api/a%2Fb/c?x=%20y&z"), "/api/{rest...} /a%2Fb/c?x=%20y&z");
    assert_eq!(get(&unlag, "/api/"), "/api/{rest...} /");
    assert_eq!(get(&unlag, "/v/x"), "/v/{rest...} /base/v/x");
}

#[test]
fn what_was_matched_is_what_is_forwarded() {
    let (unlag, _origin) = routed(&[("/{rest...}", ""), ("/admin/{rest...}", "respond = { status = 403 }")]);
    assert_eq!(get(&unlag, "/a/%2f/b"), "/{rest...} /a/%2f/b");
    assert_eq!(get(&unlag, "/a/b?c=../d"), "/{rest...} /a/b?c=../d");
    assert_eq!(get(&unlag, "/x/../a"), "/{rest...} /a");
    assert_eq!(get(&unlag, "/x/./a/."), "/{rest...} /x/a/");
    assert_eq!(ask(&unlag, "GET", "a", "/x/../admin/secret", "").0, 403);
    assert_eq!(ask(&unlag, "GET", "a", "/./admin/secret", "").0, 403);
    let above = ask(&unlag, "GET", "a", "/x/../../../admin/secret", "").0;
    assert!(matches!(above, 400 | 403), "above the root: {above}");
    let escaped = get(&unlag, "/admin%2fsecret");
    assert!(escaped.is_empty() || escaped == "/{rest...} /admin%2fsecret", "{escaped}");
}

#[test]
fn an_escaped_letter_does_not_get_round_a_route() {
    let (unlag, _origin) = routed(&[("/{rest...}", ""), ("/admin/{rest...}", "respond = { status = 403 }")]);
    let (status, text) = ask(&unlag, "GET", "a", "/%61dmin/secret", "");
    assert!(status == 403 || text == "/{rest...} /%61dmin/secret", "{status} {text}");
}

#[test]
fn respond_answers_and_redirects_without_an_origin() {
    let toml = "[[route]]\nmatch = \"/old/{rest...}\"\nrespond = { status = 308, location = \"/new/{rest}\" }\n\
                [[route]]\nmatch = \"/hello\"\nrespond = { status = 200, body = \"hi\" }\n\
                [[route]]\nmatch = \"/user/{id}\"\nrespond = { status = 302, location = \"https://id.example/{id}\" }\n";
    let unlag = Setup::of(UNLAG).toml(toml).start();
    let mut client = unlag.connect();
    let moved = client.get("/old/a/b%20c?x=1");
    assert_eq!(moved.status(), 308);
    let location = moved.header("location").expect("Location");
    assert!(location.starts_with("/new/a/b%20c"), "{location}");
    assert_eq!(client.get("/user/7").header("location"), Some("https://id.example/7"));
    let hello = client.get("/hello");
    assert_eq!((hello.status(), hello.text().as_str()), (200, "hi"));
    assert!(hello.header("x-request-id").is_some());
}

#[test]
fn a_redirect_keeps_the_query_of_the_caller_beside_its_own() {
    let redirect = |from: &str, to: &str| {
        format!("[[route]]\nmatch = \"{from}\"\nrespond = {{ status = 302, location = \"{to}\" }}\n")
    };
    let toml =
        [redirect("/query", "/new?x=1"), redirect("/fragment", "/new#part"), redirect("/both", "/new?x=1#p")];
    let unlag = Setup::of(UNLAG).toml(&toml.concat()).start();
    let location = |target: &str| unlag.get(target).header("location").map(str::to_owned);
    assert_eq!(location("/query?a=b").as_deref(), Some("/new?x=1&a=b"));
    assert_eq!(location("/fragment?a=b").as_deref(), Some("/new?a=b#part"));
    assert_eq!(location("/both?a=b").as_deref(), Some("/new?x=1&a=b#p"));
    assert_eq!(location("/query").as_deref(), Some("/new?x=1"));
}

#[test]
fn a_caller_cannot_break_out_of_a_redirect() {
    let toml = "[[route]]\nmatch = \"/old/{rest...}\"\nrespond = { status = 308, location = \"/{rest}\" }\n";
    let unlag = Setup::of(UNLAG).toml(toml).start();
    for target in ["/old/%0d%0aSet-Cookie:x=1", "/old//evil.example/", "/old/\\evil.example"] {
        let response = unlag.get(target);
        assert!(response.header("set-cookie").is_none());
        let location = response.header("location").unwrap_or("/");
        let elsewhere =
            location.starts_with("//") || location.starts_with("/\\") || location.contains("\\\\");
        assert!(!elsewhere, "{target} leads to {location}");
    }
}

#[test]
fn requests_are_spread_over_endpoints_by_weight_or_load() {
    let origins = [RawOrigin::ok("a"), RawOrigin::ok("b"), RawOrigin::ok("c")];
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).start();
    for _ in 0..300 {
        assert_eq!(unlag.get("/").status(), 200);
    }
    for origin in &origins {
        assert!(origin.request_count() > 30, "{} of 300", origin.request_count());
    }
}
