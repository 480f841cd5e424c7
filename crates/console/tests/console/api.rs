//! What each resource of the admin API answers, over real sockets.

use crate::served::{MS, TOKEN, TestPlane, get, send, serve};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use unlag_console::{PurgeOrder, PurgeWhat, Readiness};
use unlag_record::{Phase, Technique, Trials};

const PRODUCT: &str = "GET /product/{id}";

fn busy() -> Arc<TestPlane> {
    let plane = TestPlane::new();
    for number in 0..30 {
        plane.request(
            PRODUCT,
            &format!("usual-{number}"),
            &[(Phase::Wait, 15 * MS), (Phase::Transfer, 5 * MS)],
        );
    }
    plane.request(PRODUCT, "slow-1", &[(Phase::Wait, 280 * MS), (Phase::Transfer, 5 * MS)]);
    plane
}

#[test]
fn health_and_readiness_tell_life_from_welcome() {
    let plane = TestPlane::new();
    let console = serve(&plane);
    assert_eq!(get(&console, "/readyz").status, 200);
    for (readiness, reason) in [
        (Readiness::Draining, "finished"),
        (Readiness::NotReady("no endpoint resolved".into()), "no endpoint"),
    ] {
        *plane.readiness.lock().unwrap() = readiness;
        let answer = get(&console, "/readyz");
        assert_eq!(answer.status, 503);
        assert!(answer.json()["reason"].as_str().unwrap().contains(reason));
        assert_eq!(get(&console, "/healthz").status, 200);
    }
}

#[test]
fn the_overview_adds_everything_up() {
    let console = serve(&busy());
    let overview = get(&console, "/api/v1/overview").json();
    assert_eq!(overview["since_start"]["requests"], 31);
    assert_eq!(overview["worker_imbalance"], 1.5);
    assert_eq!((&overview["routes"], &overview["upstreams"]), (&2.into(), &1.into()));
    assert_eq!(overview["config"]["hash"], "h1");
    assert_eq!(overview["ready"], true);
}

#[test]
fn routes_come_in_their_order_and_records_without_a_route_last() {
    let plane = busy();
    plane.request("removed", "r", &[(Phase::Wait, MS)]);
    let console = serve(&plane);
    let routes = get(&console, "/api/v1/routes").json();
    let routes = routes["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 3);
    assert_eq!((&routes[0]["name"], &routes[0]["since_start"]["requests"]), (&PRODUCT.into(), &31.into()));
    assert_eq!((&routes[1]["respond"], &routes[1]["since_start"]["requests"]), (&204.into(), &0.into()));
    assert_eq!((&routes[2]["name"], &routes[2]["configured"]), (&"removed".into(), &false.into()));
}

#[test]
fn a_route_is_found_by_its_encoded_name_and_shows_quantiles_and_phase_shares() {
    let console = serve(&busy());
    let route = get(&console, "/api/v1/route/GET%20%2Fproduct%2F%7Bid%7D").json();
    assert_eq!(route["name"], PRODUCT);
    let durations = &route["since_start"]["durations"];
    let near = |field: &str, us: f64| {
        let found = durations[field].as_f64().unwrap();
        assert!((found - us).abs() <= us / 32.0, "{field} is {found}, not {us}");
    };
    near("p50_us", 20_000.0);
    near("p90_us", 20_000.0);
    near("p99_us", 285_000.0);
    near("p999_us", 285_000.0);
    let phases = route["phases"].as_array().unwrap();
    let share: f64 = phases.iter().map(|phase| phase["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9, "shares add up to {share}");
    let missing = get(&console, "/api/v1/route/nowhere");
    assert_eq!(missing.status, 404);
    assert!(missing.json()["error"].as_str().unwrap().contains("nowhere"));
}

#[test]
fn a_route_that_holds_requests_out_shows_what_both_sides_took() {
    let plane = TestPlane::new();
    let tried = |technique, is_held, ms: u64| {
        let mut trials = Trials::default();
        trials.note(technique, is_held);
        plane.tried(PRODUCT, "tried", &[(Phase::Wait, ms * MS)], trials);
    };
    (0..99).for_each(|_| tried(Technique::Cache, false, 2));
    (0..9).for_each(|_| tried(Technique::Cache, true, 50));
    tried(Technique::Balance, false, 7);
    let console = serve(&plane);
    let route = get(&console, "/api/v1/route/GET%20%2Fproduct%2F%7Bid%7D").json();
    let trials = route["trials"].as_array().unwrap();
    let names: Vec<&str> = trials.iter().map(|trial| trial["technique"].as_str().unwrap()).collect();
    assert_eq!(names, ["cache", "balance"]);
    let (applied, held_out) = (&trials[0]["applied"], &trials[0]["held_out"]);
    assert_eq!((&applied["count"], &held_out["count"]), (&99.into(), &9.into()));
    for (side, us) in [(applied, 2_000.0), (held_out, 50_000.0)] {
        for quantile in ["p50_us", "p99_us"] {
            let found = side[quantile].as_f64().unwrap();
            assert!((found - us).abs() <= us / 32.0, "{quantile} is {found}, not {us}");
        }
    }
    assert_eq!((&trials[1]["applied"]["count"], &trials[1]["held_out"]), (&1.into(), &Value::Null));
    let other = get(&console, "/api/v1/route/hello%20%22you%22%5C%0A").json();
    assert_eq!(other["trials"], serde_json::json!([]), "nobody is held out there");
}

#[test]
fn upstreams_show_each_endpoint_with_its_state() {
    let console = serve(&TestPlane::new());
    let upstreams = get(&console, "/api/v1/upstreams").json();
    let endpoint = &upstreams["upstreams"][0]["endpoints"][0];
    assert_eq!((&endpoint["state"], &endpoint["in_flight"]), (&"ejected".into(), &3.into()));
    assert_eq!((&endpoint["learned_idle_ms"], &endpoint["connections_idle"]), (&4_000.into(), &2.into()));
    assert_eq!(endpoint["wait_us"], 1_500);
}

#[test]
fn requests_come_newest_first_or_slowest_first_within_their_bound() {
    let console = serve(&busy());
    let list = |query: &str| get(&console, &format!("/api/v1/requests{query}"));
    let count = |query: &str| list(query).json()["requests"].as_array().unwrap().len();
    assert_eq!(count(""), 31);
    assert_eq!(count("?limit=2"), 2);
    assert_eq!(count("?route=nowhere"), 0);
    assert_eq!(count("?route=GET%20%2Fproduct%2F%7Bid%7D&limit=500"), 31);
    let slow = list("?slow=100ms").json();
    assert_eq!(slow["requests"].as_array().unwrap().len(), 1);
    assert_eq!(slow["requests"][0]["request_id"], "slow-1");
    assert_eq!(list("?slow=20ms").json()["requests"][0]["request_id"], "slow-1");
    for (query, word) in [
        ("?limit=0", "500"),
        ("?limit=501", "500"),
        ("?slow=fast", "250ms"),
        ("?fast=1", "fast"),
        ("?limit=x", "limit"),
    ] {
        let answer = list(query);
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{}", answer.body);
    }
}

#[test]
fn a_request_is_found_by_either_id_and_its_phases_add_up() {
    let console = serve(&busy());
    for id in ["slow-1", "0000000000000000000000000000feed"] {
        let request = get(&console, &format!("/api/v1/requests/{id}")).json();
        let phases = request["phases"].as_array().unwrap();
        let sum: f64 = phases.iter().map(|phase| phase["spent_us"].as_f64().unwrap()).sum();
        assert!((sum - request["total_us"].as_f64().unwrap()).abs() < 1e-6, "{request}");
    }
    let request = get(&console, "/api/v1/requests/slow-1").json();
    assert_eq!((&request["total_us"], &request["upstream"]), (&285_000.0.into(), &"catalog".into()));
    assert_eq!(get(&console, "/api/v1/requests/unknown").status, 404);
}

#[test]
fn an_explanation_names_the_phase_that_was_out_of_the_ordinary() {
    let console = serve(&busy());
    let explanation = get(&console, "/api/v1/explain/slow-1").json();
    let sentence = explanation["json"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("went into waiting for the upstream's first byte"), "{sentence}");
    assert_eq!(explanation["json"]["culprit"]["phase"], "upstream_ttfb");
    assert_eq!(explanation["json"]["baseline"]["requests"], 31);
    let text = explanation["text"].as_str().unwrap();
    assert!(text.contains('█') && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(get(&console, "/api/v1/explain/unknown").status, 404);
}

#[test]
fn a_configuration_is_replaced_only_by_who_has_seen_it() {
    let plane = TestPlane::new();
    let console = serve(&plane);
    let read = get(&console, "/api/v1/config");
    let etag = read.header("etag").unwrap().to_owned();
    assert_eq!((etag.as_str(), &read.json()["text"]), ("\"h1\"", &"[[listen]]\n".into()));

    let authorization = format!("authorization: Bearer {TOKEN}");
    let put = |if_match: &str, text: &str| {
        let mut headers = vec!["host: localhost", &authorization];
        let if_match = format!("if-match: {if_match}");
        if !if_match.ends_with(": ") {
            headers.push(&if_match);
        }
        send(&console, "PUT", "/api/v1/config", &headers, text)
    };
    for none in ["", "*", "h1", "W/\"h1\"", "\"\""] {
        assert_eq!(put(none, "x").status, 428, "{none}");
    }
    let stale = put("\"h0\"", "x");
    assert_eq!((stale.status, stale.header("etag")), (412, Some("\"h1\"")));
    let invalid = put(&etag, "wrong = 1");
    assert_eq!(invalid.status, 422);
    assert!(invalid.json()["problems"].as_str().unwrap().contains("unlag.toml:1:1"));
    assert_eq!(plane.writes.load(SeqCst), 0);

    let applied = put(&etag, "# new\n");
    assert_eq!((applied.status, applied.header("etag")), (200, Some("\"h2\"")));
    assert_eq!(get(&console, "/api/v1/config").json()["text"], "# new\n");
    assert_eq!(put(&etag, "# again\n").status, 412);

    plane.config.lock().unwrap().writable = false;
    assert_eq!(put("\"h2\"", "# new\n").status, 409);
}

#[test]
fn a_reload_tells_what_it_could_not_apply() {
    let console = serve(&TestPlane::new());
    let headers = ["host: localhost", &format!("authorization: Bearer {TOKEN}")];
    let applied = send(&console, "POST", "/api/v1/reload", &headers, "");
    assert_eq!(applied.json()["warnings"][0], "threads: needs a restart");
}

#[test]
fn the_cache_shows_ratios_and_what_a_hit_saved_and_only_reasons_that_came_about() {
    let plane = TestPlane::new();
    plane.cached("shop", 3);
    plane.cached("none", 0);
    let console = serve(&plane);
    let cache = get(&console, "/api/v1/cache").json();
    assert_eq!(cache["memory"], serde_json::json!({ "bytes": 0, "capacity_bytes": 0, "urls": 0 }));
    let shop = &cache["routes"][0];
    assert_eq!(
        (&shop["route"], &shop["hits"], &shop["hit_ratio"]),
        (&"shop".into(), &3.into(), &0.75.into())
    );
    assert_eq!((&shop["saved_ms"], &shop["saved_ms_per_hit"]), (&60.0.into(), &20.0.into()));
    assert_eq!(shop["misses"], serde_json::json!({ "uri-miss": 1 }));
    assert_eq!(shop["not_stored"], serde_json::json!({ "set-cookie": 2 }));
    let none = &cache["routes"][1];
    assert_eq!((&none["hit_ratio"], &none["saved_ms_per_hit"]), (&0.0.into(), &serde_json::Value::Null));
}

#[test]
fn a_purge_names_one_thing_and_a_dry_run_tells_how_much_that_is() {
    let plane = TestPlane::new();
    let console = serve(&plane);
    let headers = ["host: localhost", &format!("authorization: Bearer {TOKEN}")];
    let purge = |body: &str| send(&console, "POST", "/api/v1/cache/purge", &headers, body);
    let purged = purge("{\"tag\": \"a\", \"soft\": true}").json();
    assert_eq!(purged, serde_json::json!({ "purged": true, "soft": true, "dry_run": false }));
    let counted = purge("{\"prefix\": \"/a\", \"dry_run\": true}").json();
    let expected = serde_json::json!({
        "purged": false, "soft": false, "dry_run": true, "objects": 3, "bytes": 4_096,
    });
    assert_eq!(counted, expected);
    for (order, said) in [
        ("{\"url\": \"nonsense\"}", "no URL"),
        ("{\"url\": \"a\", \"prefix\": \"b\"}", "several"),
        ("{\"all\": true, \"all\": true}", "duplicate"),
        ("[]", "no purge"),
        ("{\"all\": true} x", "no purge"),
    ] {
        let answer = purge(order);
        assert_eq!(answer.status, 400, "{order}");
        assert!(answer.json()["error"].as_str().unwrap().contains(said), "{order}: {}", answer.body);
    }
    let done = plane.purges.lock().unwrap();
    let order = |what, soft, dry_run| PurgeOrder { what, soft, dry_run };
    let tag = order(PurgeWhat::Tag("a".into()), true, false);
    assert_eq!(*done, [tag, order(PurgeWhat::Prefix("/a".into()), false, true)]);
}

#[test]
fn unknown_paths_and_methods_answer_in_json() {
    let console = serve(&TestPlane::new());
    let missing = get(&console, "/api/v1/nothing");
    assert_eq!(missing.status, 404);
    assert!(missing.json()["error"].as_str().unwrap().contains("/api/v1/nothing"));
    let headers = ["host: localhost", &format!("authorization: Bearer {TOKEN}")];
    let wrong = send(&console, "DELETE", "/api/v1/config", &headers, "");
    assert_eq!(wrong.status, 405);
    assert!(wrong.json()["error"].is_string());
}

/// The paths and methods that the router's source has.
fn routed() -> Vec<(String, Vec<&'static str>)> {
    let source = include_str!("../../src/api.rs");
    let lines = source.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
    let routes = lines.map(|line| {
        let (path, handlers) = line.split_once('"').unwrap();
        let takes = |method: &&str| handlers.contains(&format!("{method}("));
        (path.to_owned(), ["get", "put", "post", "delete"].into_iter().filter(takes).collect())
    });
    routes.collect()
}

#[test]
fn the_description_has_every_path_and_method_and_no_other() {
    let console = serve(&TestPlane::new());
    let described = get(&console, "/openapi.json").json();
    assert_eq!(described, get(&console, "/api/v1/openapi.json").json());
    let paths = described["paths"].as_object().unwrap();
    let routed = routed();
    assert!(routed.len() >= 16, "the router's source was read");
    assert_eq!(paths.len(), routed.len());
    for (path, methods) in routed {
        let described = paths.get(&path).unwrap_or_else(|| panic!("{path} is not described"));
        let mut names: Vec<&str> = described.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_by_key(|name| ["get", "put", "post", "delete"].iter().position(|method| method == name));
        assert_eq!(names, methods, "{path}");
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let described: serde_json::Value = serde_json::from_str(include_str!("../../src/openapi.json")).unwrap();
    let text = described.to_string();
    let references: Vec<&str> =
        text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(references.len() > 20);
    for reference in references {
        assert!(described.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn a_switch_names_what_it_is_about_and_a_wrong_name_changes_nothing() {
    let console = serve(&TestPlane::new());
    let authorization = format!("authorization: Bearer {TOKEN}");
    let turn = |path: &str, body: &str| {
        send(
            &console,
            "POST",
            &format!("/api/v1/upstreams/{path}"),
            &["host: localhost", &authorization],
            body,
        )
    };
    for (path, body, status) in [
        ("catalog/drain", r#"{"endpoint": "10.0.0.1:80"}"#, 200),
        ("catalog/undrain", r#"{"all": true}"#, 200),
        ("catalog/pin", r#"{"endpoints": ["10.0.0.1:80"]}"#, 200),
        ("catalog/pin", r#"{"region": "eu-west"}"#, 200),
        ("catalog/unpin", "", 200),
        ("catalog/drain", r#"{"endpoint": "10.0.0.9:80"}"#, 404),
        ("catalog/drain", r#"{"endpoint": "10.0.0.1:80", "all": true}"#, 400),
        ("catalog/drain", "{}", 400),
        ("catalog/drain", "", 400),
        ("catalog/pin", "{}", 400),
        ("catalog/pin", r#"{"zone": "a"}"#, 400),
        ("catalog/stop", "{}", 404),
        ("other/unpin", "", 404),
    ] {
        let answer = turn(path, body);
        assert_eq!(answer.status, status, "{path} {body}");
        assert_eq!(answer.json()["error"].is_string(), status != 200, "{path} {body}");
        if status == 200 {
            let answer = answer.json();
            assert_eq!(
                (answer["asked"].as_u64(), answer["endpoints"].as_u64()),
                (Some(1), Some(1)),
                "{answer}"
            );
            assert!(answer["out"].as_array().is_some_and(Vec::is_empty), "{answer}");
        }
    }
}
