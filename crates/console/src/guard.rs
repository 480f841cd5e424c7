//! Who may ask what. A browser that was led astray must not reach the API (Host and Origin are checked), writes
//! need the token, and so do reads from elsewhere than this machine.

use crate::answer::{Message, Refusal};
use crate::token::Token;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    /// Over TCP.
    Tcp {
        /// The address that was connected to.
        local: SocketAddr,
        /// Who connected.
        peer: SocketAddr,
    },
    /// Over a Unix socket: the file's permissions say who may connect.
    Unix,
}

impl fmt::Display for Link {
    /// Who connected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Tcp { peer, .. } => peer.fmt(f),
            Link::Unix => f.write_str("unix"),
        }
    }
}

impl Link {
    fn is_from_this_machine(self) -> bool {
        match self {
            Link::Tcp { peer, .. } => peer.ip().to_canonical().is_loopback(),
            Link::Unix => true,
        }
    }

    fn is_own_address(self, ip: IpAddr) -> bool {
        matches!(self, Link::Tcp { local, .. } if local.ip().to_canonical() == ip.to_canonical())
    }
}

/// What a write is about, in the API's own words, as an extension of its answer: for the line that it leaves in the log.
#[derive(Clone)]
pub(crate) struct What(pub(crate) String);

/// Checks every request before anything else looks at it, and makes every answer one that no browser stores,
/// frames or runs.
pub(crate) async fn check(State(token): State<Option<Arc<Token>>>, request: Request, next: Next) -> Response {
    let refusal = refuse(&request, token.as_deref());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let link = request.extensions().get::<Link>().copied();
    let mut response = match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    if is_write(&method) {
        let caller = link.map(tracing::field::display);
        let status = response.status().as_u16();
        let what = response.extensions_mut().remove::<What>();
        let what = what.as_ref().map(|what| what.0.as_str());
        let error = response.extensions_mut().remove::<Message>();
        let error = error.as_ref().map(|error| error.0.as_str());
        tracing::info!(target: "unlag::audit", caller, %method, path, what, status, error, "audit");
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    harden(response.headers_mut());
    response
}

fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

fn refuse(request: &Request, token: Option<&Token>) -> Option<Refusal> {
    // Set for every connection when it is accepted; without it nothing is known of the caller.
    let Some(&link) = request.extensions().get::<Link>() else {
        return Some(Refusal::new(StatusCode::FORBIDDEN, "the connection is unknown"));
    };
    let headers = request.headers();
    // A scraper asks by the machine's name, which nobody here knows: the token vouches for it.
    let bears = bears(headers, token);
    let host = if bears { one_host(headers) } else { own_host(headers, request.uri().authority(), link) };
    let Some(host) = host else {
        let message = "the Host header must be localhost, a loopback address or this listener's own address";
        return Some(Refusal::new(StatusCode::FORBIDDEN, message));
    };
    if !is_same_origin(headers, &host) {
        let message = "the Origin header must be the host asked; other sites may not use this API";
        return Some(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    if bears {
        return None;
    }
    // Probes come from an orchestrator on another machine and learn nothing but yes or no.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    if is_write(request.method()) || !(is_probe || link.is_from_this_machine()) {
        let message = match token {
            Some(_) => {
                "this needs the header `Authorization: Bearer TOKEN` with the admin token: what `admin.token` of the config says, \
                 else what the file admin.token in `state.directory` holds (unlag-data/ beside the config; with `run --to` \
                 $XDG_RUNTIME_DIR/unlag/)"
            }
            None => "this needs the admin token, and none is configured",
        };
        return Some(Refusal::new(StatusCode::UNAUTHORIZED, message));
    }
    None
}

/// The one Host header, if it is an address that only a caller who means this listener would use.
fn own_host(headers: &HeaderMap, target: Option<&Authority>, link: Link) -> Option<Authority> {
    let host = one_host(headers)?;
    if target.is_some_and(|target| *target != host) || host.as_str().contains('@') {
        return None;
    }
    let name = host.host();
    if name.eq_ignore_ascii_case("localhost") {
        return Some(host);
    }
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let ip: IpAddr = literal.parse().ok()?;
    (ip.to_canonical().is_loopback() || link.is_own_address(ip)).then_some(host)
}

fn one_host(headers: &HeaderMap) -> Option<Authority> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    host.to_str().ok()?.parse().ok()
}

/// Whether there is no Origin, or the one of a page that came from this very host.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
    })
}

fn bears(headers: &HeaderMap, token: Option<&Token>) -> bool {
    let Some(token) = token else { return false };
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return false };
    match value.as_bytes().split_at_checked(7) {
        Some((scheme, candidate)) => scheme.eq_ignore_ascii_case(b"Bearer ") && token.matches(candidate),
        None => false,
    }
}

/// What every answer calls itself, so that a client knows whom it has met before it sends the token: other listeners of this
/// process never say so. Without a version, which is nobody's business who may not read.
pub const SERVER: &str = "unlag-admin";

fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::SERVER, SERVER),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link::Tcp { local: "192.0.2.1:9900".parse().unwrap(), peer: "192.0.2.9:5000".parse().unwrap() }
    }

    fn accepts(host: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        own_host(&headers, None, link()).is_some()
    }

    #[test]
    fn only_names_that_cannot_be_rebound_are_hosts() {
        for host in
            ["localhost", "LOCALHOST:9900", "127.0.0.1:9900", "127.9.9.9", "[::1]:9900", "192.0.2.1:1"]
        {
            assert!(accepts(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.2",
            "127.0.0.1.evil.example",
            "a@localhost",
            "",
        ] {
            assert!(!accepts(host), "{host}");
        }
    }

    #[test]
    fn a_missing_or_second_host_is_refused() {
        let mut headers = HeaderMap::new();
        assert!(own_host(&headers, None, link()).is_none());
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(own_host(&headers, None, link()).is_none());
    }

    #[test]
    fn an_origin_must_be_the_host_port_included() {
        let host: Authority = "localhost:9900".parse().unwrap();
        let same = |origin: &str| {
            is_same_origin(&HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]), &host)
        };
        assert!(is_same_origin(&HeaderMap::new(), &host));
        assert!(same("http://localhost:9900") && same("https://LOCALHOST:9900"));
        for other in ["null", "http://localhost", "http://localhost:9901", "http://evil.example", "file://"] {
            assert!(!same(other), "{other}");
        }
    }

    #[test]
    fn callers_from_elsewhere_are_told_from_those_on_this_machine() {
        assert!(!link().is_from_this_machine());
        assert!(Link::Unix.is_from_this_machine());
        let mapped =
            Link::Tcp { local: "[::]:1".parse().unwrap(), peer: "[::ffff:127.0.0.1]:2".parse().unwrap() };
        assert!(mapped.is_from_this_machine());
    }

    #[test]
    fn a_reader_from_elsewhere_needs_the_token() {
        let token = Token::new("s3cret").unwrap();
        let asks = |authorization: Option<&str>| {
            let mut request = Request::builder().uri("/metrics").header(header::HOST, "192.0.2.1:9900");
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let request = request.extension(link()).body(axum::body::Body::empty()).unwrap();
            refuse(&request, Some(&token)).map(|refusal| refusal.into_response().status().as_u16())
        };
        assert_eq!(asks(None), Some(401));
        assert_eq!(asks(Some("Bearer wrong")), Some(401));
        assert_eq!(asks(Some("Basic s3cret")), Some(401));
        assert_eq!(asks(Some("bearer s3cret")), None);
    }

    #[test]
    fn a_page_from_elsewhere_is_refused_even_with_the_token() {
        let token = Token::new("s3cret").unwrap();
        let asks = |origin: &str| {
            let request = Request::builder().uri("/metrics").header(header::HOST, "node-7:9900");
            let request =
                request.header(header::AUTHORIZATION, "Bearer s3cret").header(header::ORIGIN, origin);
            let request = request.extension(link()).body(axum::body::Body::empty()).unwrap();
            refuse(&request, Some(&token)).map(|refusal| refusal.into_response().status().as_u16())
        };
        assert_eq!(asks("http://node-7:9900"), None);
        assert_eq!(asks("http://evil.example"), Some(403));
    }
}
