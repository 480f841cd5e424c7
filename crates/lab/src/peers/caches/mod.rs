//! Proxies as caches, each in front of the same origin: which there are, and how they are started.

mod configure;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};

use super::install::{self, Installed};
use super::kind::Peer;
use super::measure::answers;
use super::process::{Directory, Interrupt, Process};
use super::report::Skipped;
use super::{PROXY_CORE, PeersOptions};
pub(super) use configure::Purpose;

/// What stands between callers and the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// As it comes, without any configuration of caching.
    Unlag,
    /// `proxy_cache` and nothing more.
    Nginx,
    /// With `proxy_cache_lock`, `use_stale` and `background_update`: what its documentation advises against stampedes.
    NginxLock,
    /// Its built-in rules.
    Varnish,
    /// Its small-object cache.
    Haproxy,
}

impl Cache {
    /// All, unlag first.
    pub const ALL: [Self; 5] = [Self::Unlag, Self::Nginx, Self::NginxLock, Self::Varnish, Self::Haproxy];

    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unlag => "unlag",
            Self::Nginx => "nginx",
            Self::NginxLock => "nginx-lock",
            Self::Varnish => "varnish",
            Self::Haproxy => "haproxy",
        }
    }

    fn peer(self) -> Peer {
        match self {
            Self::Unlag => Peer::Unlag,
            Self::Nginx | Self::NginxLock => Peer::Nginx,
            Self::Varnish => Peer::Varnish,
            Self::Haproxy => Peer::Haproxy,
        }
    }
}

impl FromStr for Cache {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|cache| cache.name() == name) {
            Some(cache) => Ok(cache),
            None => bail!("no cache `{name}`: there are {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}

/// The caches that can be started.
pub(super) struct Found {
    pub(super) caches: Vec<(Cache, Installed)>,
    pub(super) skipped: Vec<Skipped>,
}

impl Found {
    /// Finds or installs what is wanted.
    pub(super) fn look(wanted: &[Cache], unlag: Option<PathBuf>, say: &mut dyn FnMut(&str)) -> Self {
        let mut peers: Vec<Peer> = Vec::new();
        for cache in wanted {
            if !peers.contains(&cache.peer()) {
                peers.push(cache.peer());
            }
        }
        let mut options = PeersOptions { peers, ..PeersOptions::default() };
        options.unlag = unlag.or(options.unlag);
        let (installed, skipped) = install::all(&options, say);
        let of = |cache: &Cache| {
            let found = installed.iter().find(|installed| installed.peer == cache.peer())?;
            Some((*cache, found.clone()))
        };
        Self { caches: wanted.iter().filter_map(of).collect(), skipped }
    }

    /// What each binary says of itself.
    pub(super) fn versions(&self) -> std::collections::BTreeMap<String, String> {
        self.caches.iter().map(|(_, i)| (i.peer.name().to_owned(), i.version.clone())).collect()
    }
}

/// Where caches are started.
pub(super) struct Stage<'a> {
    pub(super) interrupt: &'a Interrupt,
    pub(super) directory: &'a Directory,
    pub(super) origin: SocketAddr,
}

impl Stage<'_> {
    /// Starts a cache and waits until requests go through it.
    pub(super) fn start(
        &self,
        (cache, installed): &(Cache, Installed),
        workers: usize,
        purpose: &Purpose,
    ) -> Result<Process> {
        let launch = configure::configure(
            *cache,
            &installed.binary,
            &self.directory.path,
            self.origin,
            workers,
            purpose,
        )?;
        let cores =
            (PROXY_CORE..PROXY_CORE + workers).map(|core| core.to_string()).collect::<Vec<_>>().join(",");
        let mut process = Process::start(&launch, &cores, self.interrupt)?;
        process.wait_until(|| answers(launch.http1))?;
        Ok(process)
    }
}
