//! The router is a tree; what a pattern matches is said by the pattern itself. Both find the same route, and the router reads
//! from a path what the pattern captures.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test reports by panicking")]

use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use unlag_config::Pattern;
use unlag_engine::http::Fields;
use unlag_engine::router::{Found, Router, parameters};

/// A route: its pattern and its header conditions.
type Route = (Pattern, Vec<(String, String)>);

fn route() -> impl Strategy<Value = Route> {
    let method = prop::sample::select(vec!["", "", "GET ", "HEAD ", "POST "]);
    let host = prop::sample::select(vec!["", "", "a.example", "b.example"]);
    let segment = prop::sample::select(vec!["a", "b", "{one}", "{one}", "%20"]);
    let last = prop::sample::select(vec!["", "/", "/a", "/{rest...}"]);
    let conditions = prop::sample::subsequence(vec!["x-a", "x-b"], 0..=2);
    (method, host, vec(segment, 0..4), last, conditions).prop_map(
        |(method, host, segments, last, conditions)| {
            let named = segments
                .iter()
                .enumerate()
                .map(|(at, part)| format!("/{}", part.replace("one", &format!("p{at}"))));
            let path = named.collect::<String>() + last;
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let pattern: Pattern = format!("{method}{host}{path}").parse().unwrap();
            (pattern, conditions.into_iter().map(|name| (name.to_owned(), "1".to_owned())).collect())
        },
    )
}

/// Without the later ones of those that could tie, which the configuration refuses.
fn without_ties(routes: Vec<Route>) -> Vec<Route> {
    let mut kept: Vec<Route> = Vec::new();
    for (pattern, headers) in routes {
        let specificity = pattern.specificity(headers.len());
        let ties = |(other, theirs): &Route| {
            other.specificity(theirs.len()) == specificity && other.overlaps(&pattern)
        };
        if !kept.iter().any(ties) {
            kept.push((pattern, headers));
        }
    }
    kept
}

fn takes(pattern: &Pattern, method: &Method) -> bool {
    let of_route = pattern.method.as_deref();
    of_route.is_none_or(|of_route| of_route == method || (of_route == "GET" && *method == Method::HEAD))
}

/// The route that wins, and the methods of those that would take the request but for its method.
fn expected(routes: &[Route], host: &str, path: &str, method: &Method, fields: &Fields) -> Found {
    let has = |(name, value): &(String, String)| {
        fields.iter().any(|field| field.name == name.as_bytes() && field.value == value.as_bytes())
    };
    let fits = |(pattern, headers): &Route| {
        pattern.host.as_deref().is_none_or(|own| own == host)
            && pattern.captures(path).is_some()
            && headers.iter().all(has)
    };
    let fitting = || routes.iter().enumerate().filter(|(_, route)| fits(route));
    let best = fitting()
        .filter(|(_, (pattern, _))| takes(pattern, method))
        .max_by_key(|(_, (pattern, headers))| pattern.specificity(headers.len()));
    match best {
        Some((index, _)) => Found::Route(index),
        None if fitting().next().is_none() => Found::Nothing,
        None => Found::OtherMethods(Vec::new()),
    }
}

proptest! {
    #[test]
    fn the_router_finds_what_the_patterns_say(
        routes in vec(route(), 1..12),
        host in prop::sample::select(vec!["a.example", "b.example", "c.example"]),
        path in "(/(a|b|c|%20|%2F|)){1,5}",
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::PUT]),
        sent in prop::sample::subsequence(vec!["x-a", "x-b", "x-c"], 0..=3),
    ) {
        let routes = without_ties(routes);
        let (mut router, mut fields) = (Router::default(), Fields::default());
        routes.iter().enumerate().for_each(|(index, (pattern, headers))| router.add(index, pattern, headers));
        sent.iter().for_each(|name| fields.push(name.as_bytes(), b"1"));
        let found = match router.find(host.as_bytes(), path.as_bytes(), &method, &fields) {
            Found::OtherMethods(methods) => {
                prop_assert!(!methods.is_empty() && !methods.contains(&method));
                Found::OtherMethods(Vec::new())
            }
            found => found,
        };
        prop_assert_eq!(&found, &expected(&routes, host, &path, &method, &fields));
        if let Found::Route(index) = found {
            let (pattern, _) = &routes[index];
            let read = parameters(pattern, path.as_bytes());
            let read: Vec<(&str, &str)> =
                read.into_iter().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect();
            prop_assert_eq!(Some(read), pattern.captures(&path));
        }
    }
}
