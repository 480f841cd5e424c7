//! What is asked: requests with weights, encoded once before the run.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, header};

use super::Options;
use crate::random::Random;

/// One kind of request of a mix.
#[derive(Debug, Clone)]
pub struct Request {
    /// How the report calls it.
    pub name: String,
    /// Method, in capitals.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Fields beside `Host` and `Content-Length`, which are added.
    pub headers: Vec<(String, String)>,
    /// Sent with its `Content-Length` when not empty.
    pub body: Bytes,
    /// How often it is drawn, relative to the others of the mix. Default 1; 0 is never drawn.
    pub weight: u32,
    /// Every request that goes out has a number of its own in its query, as wide as every other. Default false.
    pub numbered: bool,
}

impl Request {
    /// A GET with a user agent and nothing else.
    pub fn get(path: &str) -> Self {
        let headers = vec![
            ("user-agent".into(), concat!("unlag/", env!("CARGO_PKG_VERSION")).into()),
            ("accept".into(), "*/*".into()),
        ];
        let name = format!("GET {path}");
        let (method, path, body) = ("GET".into(), path.into(), Bytes::new());
        Self { name, method, path, headers, body, weight: 1, numbered: false }
    }

    /// A GET with eight header fields, as one service sends to another: among them an `Authorization` of 200
    /// bytes. Every proxy that is compared gets this one.
    pub fn typical_get(path: &str) -> Self {
        let token = "eyJhbGciOiJFUzI1NiJ9.".chars().chain("c2VydmljZS10by1zZXJ2aWNl".chars().cycle());
        let authorization = format!("Bearer {}", token.take(193).collect::<String>());
        let fields = [
            ("user-agent", "checkout/4.12.0 (linux; x86_64)"),
            ("accept", "application/json, text/plain;q=0.8"),
            ("accept-encoding", "identity"),
            ("accept-language", "en-GB,en;q=0.9"),
            ("authorization", authorization.as_str()),
            ("x-tenant", "5f1c2f7e-eu-west-1"),
            ("x-client-version", "2026.11.3+build.8841"),
        ];
        let headers = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { headers: headers.into(), ..Self::get(path) }
    }

    /// [`Request::typical_get`], as a POST with a JSON body of `size` bytes.
    pub fn typical_post(path: &str, size: usize) -> Self {
        let mut request = Self::typical_get(path);
        request.name = format!("POST {path}");
        request.method = "POST".into();
        request.headers.push(("content-type".into(), "application/json".into()));
        let filling = "x".repeat(size.saturating_sub(r#"{"data":""}"#.len()));
        request.body = Bytes::from(format!(r#"{{"data":"{filling}"}}"#));
        request
    }

    /// The same request drawn with another weight.
    #[must_use]
    pub fn weighing(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The same request with a number in its query that no other request has: what a proxy does for one of them it
    /// cannot do for another at the same time, as it may for requests that are identical.
    #[must_use]
    pub fn numbered(mut self) -> Self {
        self.numbered = true;
        self
    }

    /// The same request under another name in the report.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }
}

/// Fields that say where a request goes and how long it is: the load generator's own business.
const OWN_FIELDS: [HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

/// A request in the form it goes out, encoded before the clock starts.
#[derive(Debug)]
pub(super) struct Prepared {
    /// HTTP/1.1: head and body in one piece.
    wire: Bytes,
    /// HTTP/2: the head.
    head: http::Request<()>,
    /// HTTP/2: the body.
    pub(super) body: Bytes,
    /// The answer to a HEAD has no body, whatever its length says.
    pub(super) bodiless: bool,
    /// May go out a second time when a kept connection turns out closed.
    pub(super) idempotent: bool,
    /// Where the digits of the number stand in `wire`, if it has one.
    number_at: Option<usize>,
}

/// Digits of a request's number, so that all requests are of one size.
const NUMBER_DIGITS: usize = 10;
/// The number of the next request. One row for all runs, so that none repeats what another has asked for.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

fn next_number() -> String {
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed) % 10_u64.pow(NUMBER_DIGITS as u32);
    format!("{number:0NUMBER_DIGITS$}")
}

impl Prepared {
    /// What to send, with a number of its own where there is one; `buffer` is the connection's.
    pub(super) fn wire_in<'a>(&'a self, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(at) = self.number_at else { return &self.wire };
        buffer.clear();
        buffer.extend_from_slice(&self.wire);
        if let Some(digits) = buffer.get_mut(at..at + NUMBER_DIGITS) {
            digits.copy_from_slice(next_number().as_bytes());
        }
        buffer
    }

    /// The head to send over HTTP/2.
    pub(super) fn head(&self) -> http::Request<()> {
        let mut head = self.head.clone();
        if self.number_at.is_some() {
            let numbered = format!("{}?n={}", head.uri().path(), next_number());
            let mut parts = head.uri().clone().into_parts();
            parts.path_and_query = numbered.try_into().ok();
            if let Ok(uri) = Uri::from_parts(parts) {
                *head.uri_mut() = uri;
            }
        }
        head
    }
}

/// The requests of a run and the order they are drawn in.
#[derive(Debug)]
pub(super) struct Mix {
    pub(super) prepared: Vec<Prepared>,
    /// The distinct names, in order: the parts of the report.
    pub(super) names: Vec<String>,
    parts: Vec<usize>,
    cumulative: Vec<u64>,
    random: Random,
}

impl Mix {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let mut sum = 0;
        let cumulative: Vec<u64> = options
            .mix
            .iter()
            .map(|request| {
                sum += u64::from(request.weight);
                sum
            })
            .collect();
        anyhow::ensure!(sum > 0, "load: every weight of the mix is 0");
        let prepare_one = |r| prepare(r, &options.authority).with_context(|| format!("load: {}", r.name));
        let prepared = options.mix.iter().map(prepare_one).collect::<Result<_>>()?;
        let mut names: Vec<String> = Vec::new();
        let mut part_of = |request: &Request| {
            names.iter().position(|name| *name == request.name).unwrap_or_else(|| {
                names.push(request.name.clone());
                names.len() - 1
            })
        };
        let parts = options.mix.iter().map(&mut part_of).collect();
        Ok(Self { prepared, names, parts, cumulative, random: Random::new(options.seed ^ 0x6d69_7800) })
    }

    /// Draws the next request: its index, and that of its part in the report.
    pub(super) fn draw(&mut self) -> (usize, usize) {
        if self.cumulative.len() == 1 {
            return (0, 0);
        }
        let ticket = self.random.below(self.cumulative.last().copied().unwrap_or(0));
        let request = self.cumulative.partition_point(|sum| *sum <= ticket);
        (request, self.parts.get(request).copied().unwrap_or(0))
    }
}

fn prepare(request: &Request, authority: &str) -> Result<Prepared> {
    let method = Method::from_bytes(request.method.as_bytes()).context("not a method")?;
    anyhow::ensure!(request.path.starts_with('/'), "the path must start with `/`, not `{}`", request.path);
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(request.path.as_str())
        .build()
        .with_context(|| format!("`{authority}` and `{}` do not make a URL", request.path))?;
    anyhow::ensure!(
        !(request.numbered && request.path.contains('?')),
        "a numbered request has no query of its own, as `{}` has",
        request.path
    );
    let target = format!("{method} {}?n=", request.path);
    let number_at = request.numbered.then_some(target.len());
    let query = number_at.map(|_| format!("?n={:0NUMBER_DIGITS$}", 0)).unwrap_or_default();
    let mut wire = format!("{method} {}{query} HTTP/1.1\r\nhost: {authority}\r\n", request.path);
    let mut head = http::Request::builder().method(method.clone()).uri(uri);
    for (name, value) in &request.headers {
        let name = HeaderName::try_from(name.as_str()).with_context(|| format!("header name `{name}`"))?;
        anyhow::ensure!(!OWN_FIELDS.contains(&name), "`{name}` is set from the URL and the body");
        let value = HeaderValue::try_from(value.as_str()).with_context(|| format!("value of `{name}`"))?;
        wire.push_str(&format!("{name}: {}\r\n", value.to_str().context("header values must be ASCII")?));
        head = head.header(name, value);
    }
    if !request.body.is_empty() || method == Method::POST || method == Method::PUT {
        wire.push_str(&format!("content-length: {}\r\n", request.body.len()));
        head = head.header(header::CONTENT_LENGTH, request.body.len());
    }
    wire.push_str("\r\n");
    let mut wire = wire.into_bytes();
    wire.extend_from_slice(&request.body);
    Ok(Prepared {
        wire: wire.into(),
        head: head.body(())?,
        body: request.body.clone(),
        bodiless: method == Method::HEAD,
        idempotent: method.is_idempotent(),
        number_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mix: Vec<Request>) -> Options {
        Options { mix, ..Options::new(([127, 0, 0, 1], 80).into(), Request::get("/")) }
    }

    #[test]
    fn the_typical_request_has_eight_fields_and_an_authorization_of_200_bytes() {
        let request = Request::typical_get("/bytes/1024");
        let authorization =
            request.headers.iter().find(|(name, _)| name == "authorization").expect("has one");
        assert_eq!(authorization.1.len(), 200);
        let prepared = prepare(&request, "h:1").expect("valid");
        let text = String::from_utf8(prepared.wire.to_vec()).expect("text");
        assert_eq!(text.lines().filter(|line| line.contains(": ")).count(), 8);
        assert_eq!(Request::typical_post("/sink", 4096).body.len(), 4096);
    }

    #[test]
    fn numbered_requests_differ_in_nothing_but_their_number() {
        let prepared = prepare(&Request::typical_get("/bytes/1024").numbered(), "h:1").expect("valid");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let (first, second) = (prepared.wire_in(&mut first), prepared.wire_in(&mut second));
        assert_ne!(first, second);
        assert_eq!(first.len(), second.len());
        let line = first.split(|byte| *byte == b'\r').next().expect("a line");
        let line = std::str::from_utf8(line).expect("text");
        let number = line.strip_prefix("GET /bytes/1024?n=").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
        assert!(number.is_some_and(|n| n.len() == 10 && n.bytes().all(|b| b.is_ascii_digit())), "{line}");
        let rest = |wire: &[u8]| wire.iter().skip_while(|byte| **byte != b'\r').copied().collect::<Vec<_>>();
        assert_eq!(rest(first), rest(second));
        let heads = [prepared.head(), prepared.head()].map(|head| head.uri().to_string());
        assert_ne!(heads[0], heads[1]);
        assert!(heads[0].starts_with("http://h:1/bytes/1024?n="), "{}", heads[0]);
        assert!(prepare(&Request::get("/a?b=c").numbered(), "h:1").is_err());
    }

    #[test]
    fn requests_are_drawn_by_weight() {
        let mix = [3, 0, 1].map(|weight| Request::get("/").weighing(weight));
        let mut mix = Mix::new(&options(mix.into())).expect("valid");
        let mut drawn = [0; 3];
        (0..10_000).for_each(|_| drawn[mix.draw().0] += 1);
        assert!((7_300..7_700).contains(&drawn[0]), "{drawn:?}");
        assert_eq!(drawn[1], 0);
    }

    #[test]
    fn what_would_split_the_request_is_refused() {
        let mut request = Request::get("/");
        request.headers.push(("x-a".into(), "1\r\nx-b: 2".into()));
        assert!(Mix::new(&options(vec![request])).is_err());
        for own in ["Host", "content-length", "Transfer-Encoding"] {
            let mut request = Request::get("/");
            request.headers.push((own.into(), "1".into()));
            assert!(Mix::new(&options(vec![request])).is_err(), "{own}");
        }
        assert!(Mix::new(&options(vec![Request::get("/a b")])).is_err());
        assert!(Mix::new(&options(vec![Request::get("/").weighing(0)])).is_err());
    }
}
