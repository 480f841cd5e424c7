//! Which route a request belongs to: the most specific match by host, then literal segments, then method, then number of
//! header conditions. A tree by segments, so that thousands of routes cost no more than one.

use crate::http::Fields;
use http::Method;
use std::collections::HashMap;
use unlag_config::{Pattern, Segment};

/// What the router found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This route, by its position in the configuration.
    Route(usize),
    /// The path is known, the method is not: what would be allowed.
    OtherMethods(Vec<Method>),
    /// Nothing.
    Nothing,
}

#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<[u8]>, Node>,
    one: Option<Box<Node>>,
    here: Vec<Candidate>,
    rest: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    route: usize,
    method: Option<Method>,
    headers: Vec<(String, String)>,
}

/// All routes of a plan.
#[derive(Debug, Default)]
pub struct Router {
    hosts: HashMap<Box<[u8]>, Node>,
    any_host: Node,
}

/// How specific a match is, within one host: as [`Pattern::specificity`] has it.
type Rank = (usize, u8, usize, bool);

/// What one walk through the tree gathers.
struct Search<'a> {
    method: &'a Method,
    fields: &'a Fields,
    best: Option<(Rank, usize)>,
    allowed: Vec<Method>,
    /// What the walk cost.
    #[cfg(test)]
    looked_at: usize,
}

impl Router {
    /// Adds a route. The configuration has checked that no two tie.
    pub fn add(&mut self, route: usize, pattern: &Pattern, headers: &[(String, String)]) {
        let mut node = match &pattern.host {
            Some(host) => self.hosts.entry(host.as_bytes().into()).or_default(),
            None => &mut self.any_host,
        };
        let method = pattern.method.as_ref().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        let candidate = Candidate { route, method, headers: headers.to_vec() };
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(text) => node.literal.entry(key(text.as_bytes()).into()).or_default(),
                Segment::One(_) => node.one.get_or_insert_default(),
                Segment::Rest(_) => {
                    node.rest.push(candidate);
                    return;
                }
            };
        }
        node.here.push(candidate);
    }

    /// Finds the route for a request. `authority` is in lower case, `path` normalised.
    pub fn find(&self, authority: &[u8], path: &[u8], method: &Method, fields: &Fields) -> Found {
        let search = self.search(authority, path, method, fields);
        match search.best {
            Some((_, route)) => Found::Route(route),
            None if search.allowed.is_empty() => Found::Nothing,
            None => Found::OtherMethods(search.allowed),
        }
    }

    fn search<'a>(
        &self,
        authority: &[u8],
        path: &[u8],
        method: &'a Method,
        fields: &'a Fields,
    ) -> Search<'a> {
        let mut search = Search {
            method,
            fields,
            best: None,
            allowed: Vec::new(),
            #[cfg(test)]
            looked_at: 0,
        };
        let own = (!self.hosts.is_empty()).then(|| self.hosts.get(host_of(authority))).flatten();
        for tree in own.into_iter().chain([&self.any_host]) {
            search.visit(tree, Some(path.strip_prefix(b"/").unwrap_or(path)), 0);
            if search.best.is_some() {
                break;
            }
        }
        search
    }
}

impl Search<'_> {
    /// Looks below `node`; `rest` is what is left of the path, `None` after its last segment.
    fn visit(&mut self, node: &Node, rest: Option<&[u8]>, literals: usize) {
        #[cfg(test)]
        {
            self.looked_at += 1 + node.rest.len() + rest.map_or(node.here.len(), |_| 0);
        }
        self.consider(&node.rest, literals, false);
        let Some(rest) = rest else {
            self.consider(&node.here, literals, true);
            return;
        };
        if node.literal.is_empty() && node.one.is_none() {
            return;
        }
        let mut parts = rest.splitn(2, |&byte| byte == b'/');
        let segment = parts.next().unwrap_or_default();
        let tail = parts.next();
        if let Some(next) = node.literal.get(&*key(segment)) {
            self.visit(next, tail, literals + 1);
        }
        if let Some(next) = &node.one
            && !segment.is_empty()
        {
            self.visit(next, tail, literals);
        }
    }

    fn consider(&mut self, candidates: &[Candidate], literals: usize, closed: bool) {
        for candidate in candidates {
            let has = |(name, value): &(String, String)| {
                self.fields.iter().any(|field| {
                    field.name.eq_ignore_ascii_case(name.as_bytes()) && field.value == value.as_bytes()
                })
            };
            if !candidate.headers.iter().all(has) {
                continue;
            }
            if let Some(method) = &candidate.method
                && !allows(method, self.method)
            {
                self.allowed.push(method.clone());
                continue;
            }
            let method = match &candidate.method {
                None => 0,
                Some(method) if *method == Method::GET => 1,
                Some(_) => 2,
            };
            let rank = (literals, method, candidate.headers.len(), closed);
            if self.best.is_none_or(|(best, _)| rank > best) {
                self.best = Some((rank, candidate.route));
            }
        }
    }
}

/// The name that routes go by: without port, and without the dot that ends an absolute one.
fn host_of(authority: &[u8]) -> &[u8] {
    let (host, _) = crate::http::target::split_port(authority);
    host.strip_suffix(b".").unwrap_or(host)
}

/// A route for GET also takes HEAD.
fn allows(of_route: &Method, asked: &Method) -> bool {
    of_route == asked || (*of_route == Method::GET && *asked == Method::HEAD)
}

/// The form in which segments are compared: escapes with upper-case digits.
fn key(segment: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !segment.contains(&b'%') {
        return segment.into();
    }
    let mut out = segment.to_vec();
    let mut at = 0;
    while at + 2 < out.len() {
        if out.get(at) == Some(&b'%')
            && let Some(digits) = out.get_mut(at + 1..at + 3)
        {
            digits.make_ascii_uppercase();
            at += 3;
        } else {
            at += 1;
        }
    }
    out.into()
}

/// The values of a pattern's parameters in a path that matches it.
pub fn parameters<'a>(pattern: &'a Pattern, path: &'a [u8]) -> Vec<(&'a str, &'a [u8])> {
    let mut rest = path.strip_prefix(b"/").unwrap_or(path);
    let mut found = Vec::new();
    for segment in &pattern.segments {
        if let Segment::Rest(name) = segment {
            found.push((name.as_str(), rest));
            break;
        }
        let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        let (this, tail) = rest.split_at_checked(end).unwrap_or_default();
        if let Segment::One(name) = segment {
            found.push((name.as_str(), this));
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(method: Option<&str>, host: Option<&str>, path: &str) -> Pattern {
        let segments = path.trim_start_matches('/').split('/').map(|part| {
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) if name.ends_with("...") => Segment::Rest(name.trim_end_matches('.').into()),
                Some(name) => Segment::One(name.into()),
                None => Segment::Literal(part.into()),
            }
        });
        Pattern { method: method.map(Into::into), host: host.map(Into::into), segments: segments.collect() }
    }

    fn router(routes: &[(Option<&str>, Option<&str>, &str)]) -> Router {
        let mut router = Router::default();
        for (index, (method, host, path)) in routes.iter().enumerate() {
            router.add(index, &pattern(*method, *host, path), &[]);
        }
        router
    }

    fn find(router: &Router, method: Method, host: &str, path: &str) -> Found {
        router.find(host.as_bytes(), path.as_bytes(), &method, &Fields::default())
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&[
            (None, None, "/{rest...}"),
            (Some("GET"), None, "/products/{id}"),
            (None, None, "/products/special"),
            (None, Some("shop.example"), "/{rest...}"),
            (Some("GET"), None, "/a/{x}/c/d"),
            (Some("GET"), None, "/a/b/{rest...}"),
        ]);
        assert_eq!(find(&router, Method::GET, "x", "/products/7"), Found::Route(1));
        assert_eq!(find(&router, Method::HEAD, "x", "/products/7"), Found::Route(1));
        assert_eq!(find(&router, Method::POST, "x", "/products/7"), Found::Route(0));
        assert_eq!(find(&router, Method::GET, "x", "/products/special"), Found::Route(2));
        assert_eq!(find(&router, Method::GET, "shop.example:80", "/products/7"), Found::Route(3));
        assert_eq!(find(&router, Method::GET, "x", "/a/b/c/d"), Found::Route(4));
        assert_eq!(find(&router, Method::GET, "x", "/a/b"), Found::Route(5));
        assert_eq!(find(&router, Method::GET, "x", "/"), Found::Route(0));
    }

    #[test]
    fn a_known_path_with_another_method_says_which_are_allowed() {
        let router = router(&[(Some("GET"), None, "/a"), (Some("PUT"), None, "/a")]);
        assert_eq!(
            find(&router, Method::POST, "x", "/a"),
            Found::OtherMethods(vec![Method::GET, Method::PUT])
        );
        assert_eq!(find(&router, Method::POST, "x", "/b"), Found::Nothing);
        assert_eq!(find(&router, Method::GET, "x", "/a/"), Found::Nothing);
    }

    #[test]
    fn more_header_conditions_are_more_specific() {
        let mut router = router(&[(None, None, "/a")]);
        router.add(1, &pattern(None, None, "/a"), &[("x-beta".into(), "1".into())]);
        let mut fields = Fields::default();
        assert_eq!(router.find(b"x", b"/a", &Method::GET, &fields), Found::Route(0));
        fields.push(b"X-Beta", b"1");
        assert_eq!(router.find(b"x", b"/a", &Method::GET, &fields), Found::Route(1));
    }

    #[test]
    fn thousands_of_routes_cost_no_more_than_one() {
        let one = router(&[(Some("GET"), Some("shop.example"), "/products/{id}/reviews")]);
        let mut many = router(&[(Some("GET"), Some("shop.example"), "/products/{id}/reviews")]);
        for n in 0..2_000 {
            let (elsewhere, beside) = (format!("host{n}.example"), format!("/products/{{id}}/part{n}"));
            many.add(1 + n, &pattern(None, Some(&elsewhere), "/products/{id}/reviews"), &[]);
            many.add(3_000 + n, &pattern(Some("GET"), Some("shop.example"), &beside), &[]);
            many.add(6_000 + n, &pattern(None, Some("shop.example"), &format!("/part{n}/{{rest...}}")), &[]);
        }
        let fields = Fields::default();
        let looked_at = |router: &Router| {
            let search = router.search(b"shop.example", b"/products/7/reviews", &Method::GET, &fields);
            assert_eq!(search.best.map(|(_, route)| route), Some(0));
            search.looked_at
        };
        assert_eq!(looked_at(&many), looked_at(&one));
        assert!(looked_at(&one) > 0);
    }

    #[test]
    fn parameters_are_read_from_the_path() {
        let pattern = pattern(None, None, "/old/{id}/x/{rest...}");
        assert_eq!(parameters(&pattern, b"/old/7/x/y/z"), [("id", &b"7"[..]), ("rest", b"y/z")]);
    }
}
