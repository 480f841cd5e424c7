//! The services behind unlag: who they are, how they are found and how they are spoken to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::CertificateFiles;
use super::admission::Queue;
use super::region::Spill;

/// A service with one or more endpoints that answer alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name in the file, in metrics and in the API.
    pub name: String,
    /// Where its endpoints come from.
    pub source: Source,
    /// The name servers that its names are looked up at, in order, at most three. Default none: as the system is configured.
    pub resolver: Vec<SocketAddr>,
    /// The `Host` that it sees. Default [`HostHeader::Keep`]: the service sees what the caller asked for.
    pub host: HostHeader,
    /// What is spoken to it. Default [`Protocol::Auto`].
    pub protocol: Protocol,
    /// Bound on connecting, handshake of TLS excluded. Default 1 s: one lost SYN is forgiven, a second is
    /// not.
    pub connect_timeout: Duration,
    /// Active checks. Default none: consecutive failures of real requests eject an endpoint.
    pub health: Option<Health>,
    /// How an endpoint is chosen. Default [`Balance::Adaptive`].
    pub balance: Balance,
    /// Bound on requests in flight to one endpoint. Default [`Limit::Observe`].
    pub limit: Limit,
    /// Where requests wait for an endpoint below its limit. Default [`Queue::default`] where a limit is enforced, and none where
    /// not; `"off"` refuses at once.
    pub queue: Option<Queue>,
    /// How long an endpoint that joins or comes back is given less than its share; none switches it off. Default 10 s: caches and
    /// compilers have warmed up by then.
    pub slow_start: Option<Duration>,
    /// The region that requests go to which change something. Default none: they go where all others do. One of the regions of the
    /// endpoints, where those are listed.
    pub primary: Option<String>,
    /// When requests leave the nearest region.
    pub spill: Spill,
    /// How long the reads of a caller who wrote go to the primary as well. Default none; only with [`Upstream::primary`].
    pub read_your_writes: Option<Duration>,
    /// TLS towards it, used by endpoints with `https`.
    pub tls: UpstreamTls,
}

impl Upstream {
    /// Default of [`Upstream::connect_timeout`].
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

    /// Default of [`Upstream::slow_start`].
    pub const SLOW_START: Duration = Duration::from_secs(10);

    /// An upstream with every default.
    #[must_use]
    pub fn new(name: &str, source: Source) -> Self {
        Self {
            name: name.to_owned(),
            source,
            resolver: Vec::new(),
            host: HostHeader::default(),
            protocol: Protocol::default(),
            connect_timeout: Self::CONNECT_TIMEOUT,
            health: None,
            balance: Balance::default(),
            limit: Limit::default(),
            queue: None,
            slow_start: Some(Self::SLOW_START),
            primary: None,
            spill: Spill::default(),
            read_your_writes: None,
            tls: UpstreamTls::default(),
        }
    }
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Listed in the file, by region or not; at least one, none twice.
    Endpoints(Vec<Endpoint>),
    /// Listed in another file, one a line, watched; see [`crate::endpoints()`].
    File(PathBuf),
    /// The addresses of a name, looked up again and again.
    Dns {
        /// [`Scheme::Http`] or [`Scheme::Https`], of every endpoint.
        scheme: Scheme,
        /// In lower case, without the dot of the root; never an IP address.
        name: String,
        /// Of every endpoint; 80 or 443 when the file names none.
        port: u16,
    },
    /// The names, ports and weights of a service (RFC 2782), looked up again and again.
    Srv {
        /// [`Scheme::Http`] or [`Scheme::Https`], of every endpoint.
        scheme: Scheme,
        /// In lower case, without the dot of the root: `_http._tcp.reports.internal`.
        name: String,
    },
}

impl Source {
    /// The name that is looked up, where one is.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Endpoints(_) | Self::File(_) => None,
            Self::Dns { name, .. } | Self::Srv { name, .. } => Some(name),
        }
    }

    /// Whether there is, or may come to be, a name that is looked up.
    #[must_use]
    pub fn may_have_names(&self) -> bool {
        let is_name = |url: &UpstreamUrl| url.scheme != Scheme::Unix && url.host.parse::<IpAddr>().is_err();
        match self {
            Self::Endpoints(list) => list.is_empty() || list.iter().any(|endpoint| is_name(&endpoint.url)),
            Self::File(_) | Self::Dns { .. } | Self::Srv { .. } => true,
        }
    }

    /// Whether some endpoint is, or may come to be, `https`.
    #[must_use]
    pub fn may_be_https(&self) -> bool {
        match self {
            Self::Endpoints(list) => list.iter().any(|endpoint| endpoint.url.scheme == Scheme::Https),
            Self::File(_) => true,
            Self::Dns { scheme, .. } | Self::Srv { scheme, .. } => *scheme == Scheme::Https,
        }
    }
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub url: UpstreamUrl,
    /// Its share of the load beside the others, 1 to 1000. Default 1: all are alike.
    pub weight: u32,
    /// The region that it runs in. Default none: its distance is all that is known.
    pub region: Option<String>,
    /// The zone that it runs in, within its region. Default none.
    pub zone: Option<String>,
}

impl Endpoint {
    /// An endpoint of which nothing else is said.
    #[must_use]
    pub fn new(url: UpstreamUrl) -> Self {
        Self { url, weight: 1, region: None, zone: None }
    }
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    /// How it is reached.
    pub scheme: Scheme,
    /// A name in lower case, an IP address without brackets, or the path of a socket.
    pub host: String,
    /// The port, 80 or 443 when the URL names none; 0 for a socket.
    pub port: u16,
    /// `""` or `"/prefix"`; only `run --to` sets it.
    pub path: String,
}

impl UpstreamUrl {
    /// `host` or `host:port` as it belongs into a `Host` header: brackets around IPv6, no default port;
    /// `localhost` for a socket.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match self.scheme {
            Scheme::Unix => return "localhost".to_owned(),
            _ if self.host.contains(':') => format!("[{}]", self.host),
            _ => self.host.clone(),
        };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => write!(f, "http://{}{}", self.authority(), self.path),
            Scheme::Https => write!(f, "https://{}{}", self.authority(), self.path),
            Scheme::Unix => write!(f, "unix:{}", self.host),
        }
    }
}

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TCP in clear text.
    Http,
    /// TLS over TCP.
    Https,
    /// A Unix socket in clear text.
    Unix,
}

/// The `Host` (or `:authority`) that an upstream sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// What the caller sent.
    #[default]
    Keep,
    /// The authority of the endpoint's URL.
    Upstream,
    /// Always this.
    Literal(String),
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What ALPN agrees on over TLS, HTTP/1.1 in clear text.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in clear text with prior knowledge.
    Http2,
}

/// Active checks of every endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked for with GET; any 2xx answer is healthy.
    pub path: String,
    /// Time between checks. Default 5 s: two failures are noticed within the patience of a person.
    pub interval: Duration,
    /// Bound on one check, not above `interval`. Default 1 s, or `interval` when that is shorter.
    pub timeout: Duration,
}

impl Health {
    /// Default of [`Health::interval`].
    pub const INTERVAL: Duration = Duration::from_secs(5);
    /// Default of [`Health::timeout`].
    pub const TIMEOUT: Duration = Duration::from_secs(1);
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Balance {
    /// The best that this version has; [`crate::explain()`] says what that is.
    #[default]
    Adaptive,
    /// The endpoint with the fewest requests in flight for its weight.
    LeastRequest,
    /// One after the other, as often as their weights say.
    RoundRobin,
    /// The same endpoint for requests that have this in common.
    Hash(HashKey),
}

/// Bound on the requests in flight to one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limit {
    /// None, and nothing is learned.
    Off,
    /// What [`Limit::Adaptive`] would bound them to is learned and shown, and refuses nothing.
    #[default]
    Observe,
    /// Learned from how latency grows with the requests in flight.
    Adaptive,
    /// This many, 1 to 100 000.
    Fixed(u32),
}

impl Limit {
    /// Whether requests ever wait or are refused for it.
    #[must_use]
    pub fn is_enforced(self) -> bool {
        matches!(self, Self::Adaptive | Self::Fixed(_))
    }
}

/// What of a request says where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The path and the query, after a route has rewritten them: one object belongs to one endpoint.
    Path,
    /// The value of the header of this name, in lower case; `host` is the host.
    Header(String),
    /// The value of the cookie of this name.
    Cookie(String),
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashKey::Path => f.write_str("path"),
            HashKey::Header(name) => write!(f, "header:{name}"),
            HashKey::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// TLS towards an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Authorities that its certificate may come from, PEM. Default none: those of the system.
    pub ca: Option<PathBuf>,
    /// The name that its certificate must carry, also sent as SNI. Default none: the host of the endpoint.
    pub name: Option<String>,
    /// What is shown when it asks for a certificate. Default none: nothing is.
    pub client: Option<CertificateFiles>,
}
