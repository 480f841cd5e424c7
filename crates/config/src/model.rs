//! The validated configuration: what the rest of unlag is built from. It holds no text that still needs
//! parsing and no value that could be refused later; the shape of the file lives in `keys`, the way from one
//! to the other in `read`.

mod admission;
mod attempts;
mod cache;
mod files;
mod region;
mod route;
mod upstream;

pub use admission::{Criticality, Queue, Rate, RateBy};
pub use attempts::{Attempts, Hedge, Retry, Timeout};
pub use cache::{Cache, KeyedBody, RouteCache};
pub use files::{Encoding, Files, PathRegex};
pub use region::{Region, Spill};
pub use route::{Action, HeaderEdits, Part, Respond, Route, Template};
pub use upstream::{
    Balance, Endpoint, HashKey, Health, HostHeader, Limit, Protocol, Scheme, Source, Upstream, UpstreamTls,
    UpstreamUrl,
};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::limits::Limits;
use crate::secret::Secret;

/// A whole configuration, valid as it stands. Immutable once built; a reload builds another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where callers are accepted; at least one.
    pub listen: Vec<Listen>,
    /// The console: its API, and the metrics.
    pub admin: Admin,
    /// What is kept on disk.
    pub state: State,
    /// Every bound.
    pub limits: Limits,
    /// Whose forwarding headers are believed.
    pub trust: Trust,
    /// Where this node is. Default none: then only what is measured tells what is near.
    pub region: Option<Region>,
    /// The services behind, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// What routes share of caching.
    pub cache: Cache,
    /// Logs and measures.
    pub monitor: Monitor,
    /// What is done with which request, in the order of the file. The order decides nothing: the most
    /// specific wins.
    pub routes: Vec<Route>,
}

impl Config {
    /// Makes every relative path start at `base`, the directory of the config file, so that the working
    /// directory of the process does not matter.
    pub fn anchor(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| {
            if path.is_relative() {
                *path = base.join(&*path);
            }
        };
        let join_address = |address: &mut Address| {
            if let Address::Unix(path) = address {
                join(path);
            }
        };
        for listen in &mut self.listen {
            join_address(&mut listen.address);
            if let Some(tls) = &mut listen.tls {
                for files in &mut tls.certificates {
                    join(&mut files.certificate);
                    join(&mut files.key);
                }
                tls.client_ca.iter_mut().for_each(join);
            }
        }
        join_address(&mut self.admin.address);
        join(&mut self.state.directory);
        for upstream in &mut self.upstreams {
            upstream.tls.ca.iter_mut().for_each(join);
            if let Some(files) = &mut upstream.tls.client {
                join(&mut files.certificate);
                join(&mut files.key);
            }
            if let Source::File(path) = &mut upstream.source {
                join(path);
            }
        }
        for route in &mut self.routes {
            if let Action::Static(files) = &mut route.action {
                join(&mut files.directory);
            }
        }
        if let AccessLog::File(path) = &mut self.monitor.access_log {
            join(path);
        }
    }
}

/// Where a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach the address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One listener. HTTP/1.1 and HTTP/2 with prior knowledge share it; with TLS, ALPN chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Where to accept.
    pub address: Address,
    /// Certificates, when callers speak TLS. Default none: clear text.
    pub tls: Option<ListenTls>,
    /// Whether answers carry `x-lb-rif`, the number of requests in flight here. Default false: it tells callers about the inside.
    pub report_load: bool,
}

/// TLS towards callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// At least one, chosen by the name that the caller asks for; the first is the default certificate.
    pub certificates: Vec<CertificateFiles>,
    /// When set, callers must show a certificate signed by one of these authorities.
    pub client_ca: Option<PathBuf>,
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// The administrative listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Default `127.0.0.1:9900`: loopback, because it can change the configuration.
    pub address: Address,
    /// Needed for every write, and for reads from anywhere but loopback. Default none: one is generated into
    /// the state directory.
    pub token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
        Self { address: Address::Tcp(address), token: None }
    }
}

/// Where things are kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Default `unlag-data`, beside the config file: visible, and found again by whoever moves the file.
    pub directory: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        Self { directory: PathBuf::from("unlag-data") }
    }
}

/// Peers whose word is taken about whom they forward for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Default none: a caller can write any `Forwarded` header it likes.
    pub proxies: Vec<Network>,
}

/// A block of IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The first address of the block; bits behind the prefix are zero.
    pub address: IpAddr,
    /// Leading bits that are fixed: 0 to 32, or 0 to 128.
    pub prefix: u8,
}

impl Network {
    /// Whether `peer` is in the block. An IPv4 address that came in over an IPv6 socket counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let shift = 32u32.saturating_sub(u32::from(self.prefix));
                (own.to_bits() ^ peer.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                let shift = 128u32.saturating_sub(u32::from(self.prefix));
                (own.to_bits() ^ peer.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What is written down about requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// Where access log lines go. Default [`AccessLog::Stderr`]: what a service manager collects anyway.
    pub access_log: AccessLog,
    /// Which requests get a line. Default [`Sample::All`]: a log with holes surprises.
    pub access_log_sample: Sample,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { access_log: AccessLog::Stderr, access_log_sample: Sample::All }
    }
}

/// Where access log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// The standard error stream.
    Stderr,
    /// A file that is appended to.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// Which requests get an access log line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// Every request.
    All,
    /// Requests slower than is usual for their route, and failed ones.
    Slow,
    /// This share of all requests, above 0 and up to 1.
    Share(f64),
}
