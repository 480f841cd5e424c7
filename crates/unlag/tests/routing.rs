//! Which route a request takes, what of its path the origin sees, and what unlag answers by itself.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use unlag_testkit::origin::ok;
use unlag_testkit::wait::holds_within;
use unlag_testkit::{DEADLINE, Gate, RawOrigin, Script, Setup, Unlag};

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
fn prefixes_work_together_and_on_a_path_that_is_all_prefix() {
    let (unlag, _origin) = routed(&[
        ("/api/{rest...}", "strip_prefix = \"/api\"\nadd_prefix = \"/v2/base\""),
        ("/apiary", "strip_prefix = \"/api\""),
        ("/only/{rest...}", "strip_prefix = \"/only\""),
        ("/deep/{rest...}", "strip_prefix = \"/deep/er\""),
    ]);
    assert_eq!(get(&unlag, "/api/a/b?x=1"), "/api/{rest...} /v2/base/a/b?x=1");
    assert_eq!(get(&unlag, "/api"), "/api/{rest...} /v2/base");
    assert_eq!(get(&unlag, "/api/"), "/api/{rest...} /v2/base/");
    assert_eq!(get(&unlag, "/apiary"), "/apiary /apiary", "a prefix is whole segments");
    assert_eq!(get(&unlag, "/only"), "/only/{rest...} /");
    assert_eq!(get(&unlag, "/only?x=1"), "/only/{rest...} /?x=1");
    assert_eq!(get(&unlag, "/deep/er/x"), "/deep/{rest...} /x");
    assert_eq!(get(&unlag, "/deep/x"), "/deep/{rest...} /deep/x", "other paths stay as they are");
}

#[test]
fn the_path_of_the_url_of_run_to_stands_in_front_of_every_path() {
    let origin = RawOrigin::answering(|request| ok(&request.target()));
    let to = format!("{}/base", origin.url());
    let arguments = ["--to", &to, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let unlag = Setup::of(UNLAG).arguments(arguments).start();
    assert_eq!(get(&unlag, "/x/y?z"), "/base/x/y?z");
    assert_eq!(get(&unlag, "/"), "/base/");
    assert_eq!(get(&unlag, "/../x"), "/base/x", "nothing leads out of it");
}

#[test]
fn the_rest_of_a_path_may_be_nothing() {
    let (unlag, _origin) = routed(&[
        ("/old/{rest...}", ""),
        ("/moved/{rest...}", "respond = { status = 308, location = \"/new/{rest}\" }"),
    ]);
    for target in ["/old", "/old/", "/old/a"] {
        assert_eq!(get(&unlag, target), format!("/old/{{rest...}} {target}"));
    }
    assert_eq!(ask(&unlag, "GET", "a", "/older", "").0, 404);
    for target in ["/moved", "/moved/"] {
        assert_eq!(unlag.get(target).header("location"), Some("/new/"), "{target}");
    }
}

#[test]
fn host_method_and_header_conditions_hold_together() {
    let origin = RawOrigin::answering(|request| ok(&request.header("x-route").unwrap_or_default()));
    let mut toml = format!("[upstream.echo]\nendpoints = [{:?}]\n", origin.url());
    for (name, matching, headers) in [
        ("all", "POST shop.example/cart/{id}", "{ x-beta = \"1\", x-team = \"a b\" }"),
        ("one", "POST shop.example/cart/{id}", "{ x-beta = \"1\" }"),
        ("host", "shop.example/cart/{id}", "{}"),
        ("method", "POST /cart/{id}", "{}"),
        ("path", "/cart/{id}", "{}"),
    ] {
        toml += &format!(
            "[[route]]\nname = {name:?}\nmatch = {matching:?}\nheaders = {headers}\nupstream = \"echo\"\n\
             request_headers = {{ set = {{ x-route = {name:?} }} }}\n"
        );
    }
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    let both = "X-Beta: 1\r\nX-Team: a b\r\nContent-Length: 0\r\n";
    for (method, host, fields, route) in [
        ("POST", "shop.example", both, "all"),
        ("POST", "Shop.Example:80", both, "all"),
        ("POST", "shop.example", "X-Beta: 2\r\nX-Beta: 1\r\nContent-Length: 0\r\n", "one"),
        ("POST", "shop.example", "X-Beta: 2\r\nX-Team: a b\r\nContent-Length: 0\r\n", "host"),
        ("GET", "shop.example", "X-Beta: 1\r\nX-Team: a b\r\n", "host"),
        ("POST", "other.example", both, "method"),
        ("PUT", "other.example", both, "path"),
    ] {
        assert_eq!(ask(&unlag, method, host, "/cart/7", fields).1, route, "{method} {host} {fields}");
    }
}

#[test]
fn edits_of_the_answer_hold_for_whoever_answers_once_a_route_has_taken_the_request() {
    let edits = "response_headers = { set = { x-edited = \"yes\" }, remove = [\"content-type\"] }";
    let toml = format!(
        "[upstream.gone]\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [[route]]\nmatch = \"/said\"\nrespond = {{ status = 200, body = \"hi\" }}\n{edits}\n\
         [[route]]\nmatch = \"GET /gone\"\nupstream = \"gone\"\n{edits}\n\
         [[route]]\nmatch = \"/small\"\nupstream = \"gone\"\nbody_max = 1\n{edits}\n"
    );
    let unlag = Setup::of(UNLAG).toml(&toml).start();
    let answer = |method: &str, target: &str, fields: &str| {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        unlag.connect().send(request).read_response(method)
    };
    for (target, status) in [("/said", 200), ("/gone", 502)] {
        let answer = answer("GET", target, "");
        assert_eq!((answer.status(), answer.header("x-edited")), (status, Some("yes")), "{target}");
        assert_eq!(answer.header("content-type"), None, "{target}");
    }
    for (method, target, fields, status) in [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/gone", "", 405),
        ("POST", "/small", "Content-Length: 5\r\n", 413),
        ("GET", "/said", "Expect: 200-ok\r\n", 417),
    ] {
        let answer = answer(method, target, fields);
        assert_eq!((answer.status(), answer.header("x-edited")), (status, None), "{target}");
        assert!(answer.header("x-request-id").is_some() && answer.header("date").is_some(), "{target}");
    }
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
fn requests_are_spread_over_endpoints_by_what_each_has_to_do() {
    let gate = Gate::new();
    let held = || {
        let gate = gate.clone();
        RawOrigin::scripted(move |_| Script::held(&gate, "done"))
    };
    let origins = [held(), held(), held()];
    let unlag = Setup::of(UNLAG).to(origins.iter().map(RawOrigin::url)).start();
    let counts = || origins.each_ref().map(RawOrigin::request_count);
    // Nothing is answered before all are there: no time is measured that the rest of the machine could make longer.
    std::thread::scope(|scope| {
        for number in 0..12 {
            let path = format!("/{number}");
            let unlag = &unlag;
            scope.spawn(move || assert_eq!(unlag.get(&path).status(), 200));
        }
        let all_are_there = holds_within(DEADLINE, || counts().iter().sum::<usize>() == 12);
        gate.open();
        assert!(all_are_there, "{:?}", counts());
    });
    // Two cores may choose at the same moment.
    assert!(counts().iter().all(|count| (3..=5).contains(count)), "{:?}", counts());
}
