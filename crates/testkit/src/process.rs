//! The binary as a child process: started in a directory of its own, killed by its pid, watched through its stderr.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::client::RawClient;
use crate::log::{Log, field};
use crate::response::Response;
use crate::setup::Setup;
use crate::wait::{DEADLINE, holds_within, wait_until};

/// A running unlag; dropping it kills the process and removes its directory.
pub struct Unlag {
    child: Child,
    directory: Directory,
    setup: Setup,
    log: Log,
    proxies: Vec<String>,
    admin: String,
}

/// A start that did not come to `ready`.
#[derive(Debug)]
pub struct StartError {
    /// The exit code; `None` when it was still running at the deadline.
    pub code: Option<i32>,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A directory that is removed with its owner.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes a fresh one under the system's temporary directory.
    pub fn new() -> Directory {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("unlag-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Directory {
    fn default() -> Self {
        Directory::new()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Setup {
    /// Starts the binary and waits for its `ready` line; panics with its stderr when that does not come.
    pub fn start(&self) -> Unlag {
        self.try_start().unwrap_or_else(|error| panic!("unlag did not start: {error:?}"))
    }

    /// Starts the binary, or says how that ended.
    pub fn try_start(&self) -> Result<Unlag, StartError> {
        let directory = Directory::new();
        fs::write(directory.path().join("unlag.toml"), self.config_text(directory.path()))
            .expect("the config");
        let mut command = self.command(directory.path());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("spawn {}: {error}", self.binary));
        let log = Log::read(child.stderr.take().expect("a piped stderr"));
        let mut code = None;
        holds_within(DEADLINE, || {
            code = child.try_wait().expect("its status").and_then(|status| status.code());
            code.is_some() || !log.with_message("ready").is_empty()
        });
        if log.with_message("ready").is_empty() {
            let _ = child.kill();
            let _ = child.wait();
            holds_within(DEADLINE, || log.has_ended());
            return Err(StartError { code, stderr: log.lines().join("\n") });
        }
        let address_of = |kind: &str| -> Vec<String> {
            let lines = log.with_message("listening");
            let of_kind = lines.iter().filter(|line| field(line, "kind") == Some(kind));
            of_kind.filter_map(|line| field(line, "address").map(str::to_owned)).collect()
        };
        let (proxies, admin) = (address_of("proxy"), address_of("admin").concat());
        Ok(Unlag { child, directory, setup: self.clone(), log, proxies, admin })
    }

    fn command(&self, directory: &Path) -> Command {
        let mut arguments = vec!["run".to_owned()];
        match &self.arguments {
            Some(given) => arguments.extend(given.iter().cloned()),
            None => arguments.extend(["-c".to_owned(), "unlag.toml".to_owned()]),
        }
        if let Some(workers) = self.workers {
            arguments.extend(["--workers".to_owned(), workers.to_string()]);
        }
        let mut command = match &self.wrapper {
            None => Command::new(&self.binary),
            Some(shell) => {
                let mut command = Command::new("sh");
                command.args(["-c", shell, "sh", &self.binary]);
                command
            }
        };
        command.args(arguments).current_dir(directory).envs(self.environment.iter().cloned());
        command.env("XDG_RUNTIME_DIR", directory).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

impl Unlag {
    /// The address of the first listener.
    pub fn address(&self) -> &str {
        self.proxies.first().unwrap_or_else(|| panic!("no proxy listener: {:?}", self.log.lines()))
    }

    /// The addresses of all listeners, in config order.
    pub fn addresses(&self) -> &[String] {
        &self.proxies
    }

    /// The admin listener's address.
    pub fn admin_address(&self) -> &str {
        &self.admin
    }

    /// Its directory, which holds `unlag.toml`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its stderr.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to the first listener.
    pub fn connect(&self) -> RawClient {
        RawClient::connect(self.address())
    }

    /// One `GET` on a new connection.
    pub fn get(&self, target: &str) -> Response {
        self.connect().get(target)
    }

    /// One `GET` at the admin listener.
    pub fn admin(&self, target: &str) -> Response {
        let address = self.admin.clone();
        let host = if address.starts_with("unix:") { "localhost" } else { &address };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        RawClient::connect(&address).send(request).read_response("GET")
    }

    /// One `POST` at the admin listener, by who may: with the token of its state directory.
    pub fn order(&self, target: &str, body: &str) -> Response {
        let token = std::fs::read_to_string(self.directory().join("state/admin.token")).expect("a token");
        let (address, token, length) = (&self.admin, token.trim(), body.len());
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        RawClient::connect(address).send(head + body).read_response("POST")
    }

    /// Waits until the access log names a cause of failure; the last one.
    pub fn wait_for_cause(&self) -> String {
        let causes = || -> Vec<String> {
            self.log.objects().iter().filter_map(|line| field(line, "cause").map(str::to_owned)).collect()
        };
        wait_until("a cause in the access log", || !causes().is_empty());
        causes().pop().unwrap_or_default()
    }

    /// What the admin API says of the endpoints of the upstream `origin`, in the order of their addresses.
    pub fn endpoints(&self) -> Vec<Value> {
        let all: Value = serde_json::from_str(&self.admin("/api/v1/upstreams").text()).expect("JSON");
        let upstreams = all["upstreams"].as_array().expect("upstreams");
        let origin =
            upstreams.iter().find(|upstream| upstream["name"] == "origin").expect("the upstream `origin`");
        let mut endpoints = origin["endpoints"].as_array().expect("endpoints").clone();
        endpoints.sort_by_key(|endpoint| endpoint["address"].to_string());
        endpoints
    }

    /// The endpoint at this address.
    pub fn endpoint(&self, address: &str) -> Option<Value> {
        self.endpoints().into_iter().find(|endpoint| endpoint["address"] == address)
    }

    /// Waits for a log line whose message begins with `message`.
    pub fn wait_for_log(&self, message: &str) -> Value {
        let found = || self.log.with_message(message);
        let waited = holds_within(DEADLINE, || !found().is_empty());
        assert!(waited, "no log line {message:?} in {:#?}", self.log.lines());
        found().remove(0)
    }

    /// Replaces the config file at once (a rename) by that of `setup`, without a signal.
    pub fn write_config(&self, setup: &Setup) {
        self.write_config_text(&setup.config_text(self.directory()));
    }

    /// Replaces the config file at once by this text.
    pub fn write_config_text(&self, text: &str) {
        let (next, path) = (self.directory().join("next"), self.directory().join("unlag.toml"));
        fs::write(&next, text).and_then(|()| fs::rename(&next, path)).expect("write the config");
    }

    /// The setup it was started with, as a starting point for the next config.
    pub fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(status.expect("run kill").success(), "kill -{name}");
    }

    /// Waits for its end and returns the exit code (`None` when a signal ended it).
    pub fn wait_for_exit(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the process ends", || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// Resident memory of its own, in KiB: pages of the binary come in as they are first used, and are held for nobody.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
    }

    /// CPU time used so far, user and system.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("its stat");
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Unlag {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log.lines();
            let shown = lines.len().saturating_sub(40);
            eprintln!("--- the last lines of unlag's stderr\n{}\n---", lines[shown..].join("\n"));
        }
    }
}
