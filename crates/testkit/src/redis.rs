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
    /// The program, and how it reaches the server.
    cli: (PathBuf, &'static [&'static str]),
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
        Some(Redis { daemon: Daemon::start(server, arguments, GREETING), cli: (cli, &[]) })
    }

    /// Starts one that speaks TLS only, with a certificate of `authority` for 127.0.0.1, or skips `suite`.
    pub fn start_tls(suite: &str, authority: &Authority) -> Option<Redis> {
        let (server, cli) = programs(suite)?;
        let tls = tls_arguments(authority);
        let arguments = move |port: u16, directory: &Path| {
            let mut arguments = basics(directory);
            arguments.extend(tls(port, directory));
            arguments
        };
        let cli = (cli, &["--tls", "--insecure"][..]);
        Some(Redis { daemon: Daemon::start(server, arguments, ("", &[])), cli })
    }

    /// As the shared tier of a cache.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// What `redis-cli` says to this command.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let (program, speaking) = &self.cli;
        let mut cli = Command::new(program);
        cli.args(*speaking).args(["-p", &self.port().to_string()]).args(arguments);
        let output = cli.stdin(Stdio::null()).output().expect("run redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// For a server that speaks TLS only, on this port.
fn tls_arguments(
    authority: &Authority,
) -> impl Fn(u16, &Path) -> Vec<String> + Send + Sync + Clone + 'static {
    let (certificate, ca) = (authority.certificate(&["127.0.0.1"]), authority.pem());
    let files = [
        ("--tls-cert-file", "cert.pem", certificate.pem),
        ("--tls-key-file", "key.pem", certificate.key_pem),
        ("--tls-ca-cert-file", "ca.pem", ca),
    ];
    move |port, directory| {
        let port = port.to_string();
        let mut arguments =
            ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"].map(str::to_owned).to_vec();
        for (key, name, text) in &files {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("a file for the server");
            arguments.extend([(*key).to_owned(), path.display().to_string()]);
        }
        arguments
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
        let port = |port: u16, _: &Path| vec!["--port".to_owned(), port.to_string()];
        RedisCluster::launch(suite, GREETING, port, &[])
    }

    /// Starts one that speaks TLS only, among its servers too, with certificates of `authority`, or skips `suite`.
    pub fn start_tls(suite: &str, authority: &Authority) -> Option<RedisCluster> {
        let tls = tls_arguments(authority);
        let port = move |port: u16, directory: &Path| {
            let mut arguments = tls(port, directory);
            arguments.extend(["--tls-cluster".to_owned(), "yes".into()]);
            arguments
        };
        RedisCluster::launch(suite, ("", &[]), port, &["--tls", "--insecure"])
    }

    fn launch(
        suite: &str,
        greeting: (&'static str, &'static [&'static str]),
        port: impl Fn(u16, &Path) -> Vec<String> + Send + Sync + Clone + 'static,
        speaking: &'static [&'static str],
    ) -> Option<RedisCluster> {
        let (server, program) = programs(suite)?;
        let node = || {
            let port = port.clone();
            // The port of the bus is by default that of the server plus 10,000, which may be more than there are.
            let arguments = move |own: u16, directory: &Path| {
                let mut arguments = basics(directory);
                arguments.extend(port(own, directory));
                arguments.extend(["--cluster-port".into(), free_port().to_string()]);
                arguments.extend(["--cluster-enabled".into(), "yes".into()]);
                arguments.extend(["--cluster-require-full-coverage".into(), "no".into()]);
                arguments
            };
            Redis {
                daemon: Daemon::start(server.clone(), arguments, greeting),
                cli: (program.clone(), speaking),
            }
        };
        let cluster = RedisCluster { nodes: std::iter::repeat_with(node).take(3).collect() };
        let mut create = Command::new(&program);
        create.args(speaking).args(["--cluster", "create"]);
        create.args(cluster.nodes.iter().map(|node| node.address()));
        let output = create.arg("--cluster-yes").stdin(Stdio::null()).output().expect("run redis-cli");
        assert!(output.status.success(), "no cluster: {}", String::from_utf8_lossy(&output.stdout));
        let formed = |node: &Redis| node.cli(&["cluster", "info"]).contains("cluster_state:ok");
        assert!(holds_within(DEADLINE, || cluster.nodes.iter().all(formed)), "the cluster forms");
        Some(cluster)
    }

    /// As the shared tier of a cache.
    pub fn url(&self) -> String {
        format!("redis-cluster://{}", self.addresses())
    }

    /// Its servers, as they stand in a URL.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.address()).collect();
        addresses.join(",")
    }
}
