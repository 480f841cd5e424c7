//! A sensible production configuration for each arm: several replicas, the balancing the arm is named after, kept
//! upstream connections, no access log. Nothing is tuned to a scenario.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Context, Result, bail};

use super::arm::Arm;
use crate::peers::Peer;
use crate::peers::configure::{self, Nginx, envoy, envoy_endpoint, haproxy, nginx, traefik};
use crate::peers::install::Installed;
use crate::peers::process::{Launch, free_address, write_file};

/// The replicas an arm is to spread load over.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) near: Vec<SocketAddr>,
    pub(super) far: Vec<SocketAddr>,
    /// The region that takes writes: `near` or `far`.
    pub(super) primary: Option<&'static str>,
    /// A file with one replica a line, for those that discover them.
    pub(super) file: Option<PathBuf>,
}

impl Pool {
    fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.near.iter().chain(&self.far).copied()
    }

    /// Each replica, and whether it is far.
    fn placed(&self) -> impl Iterator<Item = (usize, SocketAddr, bool)> {
        let near = self.near.len();
        self.all().enumerate().map(move |(n, address)| (n, address, n >= near))
    }
}

/// Writes the arm's configuration below `parent`, and says how to start it.
pub(super) fn configure(arm: &Arm, installed: &Installed, parent: &Path, pool: &Pool) -> Result<Launch> {
    // A port that was free before may be again: it tells no two of a run apart.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let listen = free_address()?;
    let directory = parent.join(format!("{}-{}", arm.name, NEXT.fetch_add(1, Relaxed)));
    fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut environment = vec![("HOME", directory.clone().into_os_string())];
    let at = At { arm, directory: &directory, listen, pool };
    let admin = if arm.is_own() { Some(free_address()?) } else { None };
    let arguments: Vec<OsString> = match arm.peer {
        Peer::Haproxy => haproxy_arm(&at)?,
        Peer::Nginx => nginx_arm(&at)?,
        Peer::Envoy => envoy_arm(&at)?,
        Peer::Traefik => {
            environment.push(("GOMAXPROCS", arm.workers.to_string().into()));
            traefik_arm(&at)?
        }
        Peer::Unlag => unlag(&at, admin)?,
        Peer::UnlagAllOn | Peer::Caddy | Peer::Varnish => bail!("it has no arm"),
    };
    let program = installed.binary.clone();
    Ok(Launch { program, arguments, environment, http1: listen, http2: listen, admin, directory })
}

struct At<'a> {
    arm: &'a Arm,
    directory: &'a Path,
    listen: SocketAddr,
    pool: &'a Pool,
}

impl At<'_> {
    fn place(&self) -> configure::At<'_> {
        let Self { arm, directory, listen, .. } = self;
        configure::At { directory, listen: *listen, http2_alone: None, workers: arm.workers }
    }
}

fn words(words: &[&str], file: PathBuf) -> Vec<OsString> {
    words.iter().map(OsString::from).chain([file.into_os_string()]).collect()
}

fn haproxy_arm(at: &At<'_>) -> Result<Vec<OsString>> {
    let At { arm, pool, .. } = at;
    let check = if arm.health { " check inter 1s fall 2 rise 2" } else { "" };
    let mut servers = String::new();
    for (n, address, is_far) in pool.placed() {
        let backup = if arm.regions && is_far { " backup" } else { "" };
        let _ = writeln!(servers, "  server s{n} {address} pool-max-conn 256{check}{backup}");
    }
    let option = if arm.health { "  option httpchk GET /healthz\n  option redispatch\n" } else { "" };
    let backups = if arm.regions { "  option allbackups\n" } else { "" };
    let services = format!("  balance {}\n{option}{backups}{servers}", arm.balance);
    haproxy(&at.place(), "", &services)
}

fn nginx_arm(at: &At<'_>) -> Result<Vec<OsString>> {
    let At { arm, pool, .. } = at;
    let mut servers = String::new();
    for (_, address, is_far) in pool.placed() {
        let backup = if arm.regions && is_far { " backup" } else { "" };
        let _ = writeln!(servers, "    server {address}{backup};");
    }
    // Workers share what they know of the replicas only with a zone.
    let services = format!("    zone services 256k;\n    {};\n{servers}    keepalive 256;\n", arm.balance);
    let own = Nginx {
        log: "crit",
        listen: " backlog=4096",
        http: "  client_max_body_size 8m;\n",
        services: &services,
        location: "      proxy_connect_timeout 1s;\n",
    };
    nginx(&at.place(), &own)
}

fn envoy_arm(at: &At<'_>) -> Result<Vec<OsString>> {
    let At { arm, listen, pool, .. } = at;
    let group = |priority: usize, of: &[SocketAddr]| {
        let endpoints: Vec<String> = of.iter().copied().map(envoy_endpoint).collect();
        format!("      - priority: {priority}\n        lb_endpoints: [{}]\n", endpoints.join(", "))
    };
    let groups = if arm.regions && !pool.far.is_empty() {
        group(0, &pool.near) + &group(1, &pool.far)
    } else {
        group(0, &pool.all().collect::<Vec<_>>())
    };
    let health = if arm.health {
        "    health_checks:\n    - { timeout: 1s, interval: 1s, unhealthy_threshold: 2, healthy_threshold: 2, \
         http_health_check: { path: /healthz } }\n    outlier_detection: {}\n"
    } else {
        ""
    };
    let cluster = format!(
        "    lb_policy: {}\n{health}    load_assignment:\n      cluster_name: services\n      endpoints:\n{groups}",
        arm.balance
    );
    let workers = arm.workers.to_string();
    let file = write_file(at.directory, "envoy.yaml", &envoy(*listen, &cluster))?;
    Ok(words(&["--disable-hot-restart", "--log-level", "error", "--concurrency", &workers, "-c"], file))
}

fn traefik_arm(at: &At<'_>) -> Result<Vec<OsString>> {
    let At { arm, listen, pool, .. } = at;
    let servers: Vec<String> = pool.all().map(|address| format!("{{ url: \"http://{address}\" }}")).collect();
    let health = if arm.health { ", healthCheck: { path: /healthz, interval: 1s, timeout: 1s }" } else { "" };
    let balancer = format!("strategy: {}, servers: [{}]{health}", arm.balance, servers.join(", "));
    traefik(at.directory, *listen, &balancer)
}

/// The name of unlag's config in its directory.
pub(super) const UNLAG_FILE: &str = "unlag.toml";

fn unlag(at: &At<'_>, admin: Option<SocketAddr>) -> Result<Vec<OsString>> {
    let admin = admin.context("it has no address to say how it is")?;
    let file = write_file(at.directory, UNLAG_FILE, &unlag_config(at, admin))?;
    let workers = at.arm.workers.to_string();
    Ok(words(&["run", "--workers", &workers, "-c"], file))
}

fn unlag_config(at: &At<'_>, admin: SocketAddr) -> String {
    let At { arm, directory, listen, pool } = at;
    let list = |of: &[SocketAddr]| {
        let urls: Vec<String> = of.iter().map(|address| format!("\"http://{address}\"")).collect();
        urls.join(", ")
    };
    let mut text = format!(
        "[[listen]]\naddress = \"{listen}\"\n\n[admin]\naddress = \"{admin}\"\n\n\
         [monitor]\naccess_log = \"off\"\n\n[state]\ndirectory = \"{}\"\n\n",
        directory.join("state").display()
    );
    if arm.limit {
        // Callers that say how much a request matters are believed.
        text.push_str("[trust]\nproxies = [\"127.0.0.0/8\"]\n\n");
    }
    if arm.regions {
        text.push_str("[region]\nname = \"near\"\n\n");
    }
    text.push_str("[upstream.services]\n");
    match &pool.file {
        Some(file) if arm.discovers => {
            let _ = writeln!(text, "discover = \"file://{}\"", file.display());
        }
        _ if arm.regions => {
            let _ =
                writeln!(text, "regions.near = [{}]\nregions.far = [{}]", list(&pool.near), list(&pool.far));
            if let Some(primary) = pool.primary {
                let _ = writeln!(text, "primary = \"{primary}\"");
                if arm.own_writes {
                    // Longer than followers lag, and than a read waits.
                    text.push_str("read_your_writes = \"2s\"\n");
                }
            }
        }
        _ => {
            let _ = writeln!(text, "endpoints = [{}]", list(&pool.all().collect::<Vec<_>>()));
        }
    }
    let _ = writeln!(text, "balance = \"{}\"", arm.balance);
    if arm.limit {
        text.push_str("limit = \"adaptive\"\n");
    }
    if arm.health {
        text.push_str("health = { path = \"/healthz\", interval = \"1s\" }\n");
    }
    text.push_str("\n[[route]]\nname = \"all\"\nmatch = \"/{rest...}\"\nupstream = \"services\"\n");
    if arm.hedge {
        text.push_str("hedge = { budget = \"5%\" }\n");
    }
    if let Some(share) = arm.holdout {
        let _ = writeln!(text, "holdout = \"{share}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Amount, Scenario, variants};
    use super::*;

    #[test]
    fn unlag_takes_the_config_of_each_of_its_arms() {
        let amount = Amount { requests: 1_000, rounds: 1 };
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for variant in Scenario::all().into_iter().flat_map(|scenario| variants(scenario, amount)) {
            let (near, far) = (vec![address(1), address(2)], vec![address(3)]);
            let pool =
                Pool { near, far, primary: (variant.name == "t13-own-writes").then_some("far"), file: None };
            for arm in variant.arms.iter().filter(|arm| arm.is_own()) {
                let at = At { arm, directory: Path::new("/tmp"), listen: address(8), pool: &pool };
                let text = unlag_config(&at, address(9));
                assert!(
                    ::unlag_config::parse(&text, "arm").is_ok(),
                    "{}, {}: {text}",
                    variant.name,
                    arm.name
                );
            }
        }
    }
}
