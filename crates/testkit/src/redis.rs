//! Real Redis servers: one, with a password, with TLS, with little memory, or three masters as a cluster.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::daemon::{Daemon, free_port, program};
use crate::tls::Authority;
use crate::wait::{DEADLINE, holds_within};

/// Answers of a server that is ready, with and without a password.
const GREETING: (&str, &[&str]) = ("PING\r\n", &["+PONG", "-NOAUTH"]);

/// A server that keeps nothing on disk unless its arguments say so.
pub struct Redis {
    daemon: Daemon,
    cli: PathBuf,
}

impl Deref for Redis {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Redis {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

impl Redis {
    /// Starts one, or skips `suite`.
    pub fn start(suite: &str) -> Option<Redis> {
        Redis::start_with(suite, &[])
    }

    /// Starts one with further arguments, such as `["--maxmemory", "2mb"]`, or skips `suite`.
    pub fn start_with(suite: &str, more: &[&str]) -> Option<Redis> {
        let (server, cli) = programs(suite)?;
        let more: Vec<String> = more.iter().map(|&argument| argument.to_owned()).collect();
        let arguments = move |port: u16, directory: &Path| {
            let mut arguments = basics(directory);
            arguments.extend(["--port".to_owned(), port.to_string()]);
            arguments.extend(more.iter().cloned());
            arguments
        };
        Some(Redis { daemon: Daemon::start(server, arguments, GREETING), cli })
    }

    /// Starts one that speaks TLS only, with a certificate of `authority` for 127.0.0.1, or skips `suite`.
    pub fn start_tls(suite: &str, authority: &Authority) -> Option<Redis> {
        let (server, cli) = programs(suite)?;
        let (certificate, ca) = (authority.certificate(&["127.0.0.1"]), authority.pem());
        let arguments = move |port: u16, directory: &Path| {
            let write = |name: &str, text: &str| {
                let path = directory.join(name);
                std::fs::write(&path, text).expect("a file for the server");
                path.display().to_string()
            };
            let mut arguments = basics(directory);
            arguments.extend(["--port".to_owned(), "0".into(), "--tls-port".into(), port.to_string()]);
            arguments.extend(["--tls-cert-file".into(), write("cert.pem", &certificate.pem)]);
            arguments.extend(["--tls-key-file".into(), write("key.pem", &certificate.key_pem)]);
            arguments.extend(["--tls-ca-cert-file".into(), write("ca.pem", &ca)]);
            arguments.extend(["--tls-auth-clients".into(), "no".into()]);
            arguments
        };
        Some(Redis { daemon: Daemon::start(server, arguments, ("", &[])), cli })
    }

    /// As the shared tier of a cache.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// What `redis-cli` says to this command.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut cli = Command::new(&self.cli);
        cli.args(["-p", &self.port().to_string()]).args(arguments);
        let output = cli.stdin(Stdio::null()).output().expect("run redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn programs(suite: &str) -> Option<(PathBuf, PathBuf)> {
    Some((program(suite, "redis-server", "redis-server")?, program(suite, "redis-cli", "redis-tools")?))
}

fn basics(directory: &Path) -> Vec<String> {
    let directory = directory.display().to_string();
    ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &directory]
        .map(str::to_owned)
        .to_vec()
}

/// Three masters that share the slots.
pub struct RedisCluster {
    /// The masters.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one, or skips `suite`.
    pub fn start(suite: &str) -> Option<RedisCluster> {
        let (server, cli) = programs(suite)?;
        let node = || {
            // The port of the bus is by default that of the server plus 10,000, which may be more than there are.
            let arguments = |port: u16, directory: &Path| {
                let mut arguments = basics(directory);
                arguments.extend([
                    "--port".into(),
                    port.to_string(),
                    "--cluster-port".into(),
                    free_port().to_string(),
                ]);
                arguments.extend(["--cluster-enabled".into(), "yes".into()]);
                arguments.extend(["--cluster-require-full-coverage".into(), "no".into()]);
                arguments
            };
            Redis { daemon: Daemon::start(server.clone(), arguments, GREETING), cli: cli.clone() }
        };
        let cluster = RedisCluster { nodes: std::iter::repeat_with(node).take(3).collect() };
        let mut create = Command::new(&cli);
        create.args(["--cluster", "create"]).args(cluster.nodes.iter().map(|node| node.address()));
        let output = create.arg("--cluster-yes").stdin(Stdio::null()).output().expect("run redis-cli");
        assert!(output.status.success(), "no cluster: {}", String::from_utf8_lossy(&output.stdout));
        let formed = |node: &Redis| node.cli(&["cluster", "info"]).contains("cluster_state:ok");
        assert!(holds_within(DEADLINE, || cluster.nodes.iter().all(formed)), "the cluster forms");
        Some(cluster)
    }

    /// As the shared tier of a cache.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.address()).collect();
        format!("redis-cluster://{}", addresses.join(","))
    }
}
