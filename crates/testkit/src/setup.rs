//! How a test describes the system it wants: endpoints, a few keys, shortened limits; the rest is filled in.

use std::fmt::Write as _;
use std::path::Path;

/// A description of a running unlag; [`Setup::start`] runs it.
#[derive(Clone, Default)]
pub struct Setup {
    pub(crate) binary: String,
    pub(crate) workers: Option<usize>,
    pub(crate) arguments: Option<Vec<String>>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) wrapper: Option<String>,
    admin: Option<String>,
    endpoints: Vec<String>,
    listen: Vec<String>,
    limits: Vec<String>,
    upstream: Vec<String>,
    route: Vec<String>,
    toml: Vec<String>,
}

impl Setup {
    /// A setup of the binary at this path, with two workers.
    pub fn of(binary: &str) -> Setup {
        Setup { binary: binary.to_owned(), workers: Some(2), ..Setup::default() }
    }

    /// One upstream `origin` with these endpoints, and one route to it that matches everything.
    pub fn to<U: Into<String>>(mut self, endpoints: impl IntoIterator<Item = U>) -> Setup {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Listens as this `[[listen]]` table says (its keys, one a line) instead of on a free port.
    pub fn listen(mut self, keys: &str) -> Setup {
        self.listen.push(keys.to_owned());
        self
    }

    /// Where the admin API listens instead of on a free port.
    pub fn admin(mut self, address: &str) -> Setup {
        self.admin = Some(address.to_owned());
        self
    }

    /// A key of `[limits]`; the value is TOML.
    pub fn limit(mut self, key: &str, value: &str) -> Setup {
        self.limits.push(format!("{key} = {value}"));
        self
    }

    /// A key of `[upstream.origin]`; the value is TOML.
    pub fn upstream(mut self, key: &str, value: &str) -> Setup {
        self.upstream.push(format!("{key} = {value}"));
        self
    }

    /// A key of the route to `origin`; the value is TOML.
    pub fn route(mut self, key: &str, value: &str) -> Setup {
        self.route.push(format!("{key} = {value}"));
        self
    }

    /// Further TOML, as it stands.
    pub fn toml(mut self, text: &str) -> Setup {
        self.toml.push(text.to_owned());
        self
    }

    /// How many workers, 2 unless told.
    pub fn workers(mut self, workers: usize) -> Setup {
        self.workers = Some(workers);
        self
    }

    /// Runs with exactly these arguments instead of a config file.
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Setup {
        self.arguments = Some(arguments.into_iter().map(Into::into).collect());
        self
    }

    /// An environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A shell fragment that ends in `exec "$@"`, such as `ulimit -n 256; exec "$@"`.
    pub fn wrapped_in(mut self, shell: &str) -> Setup {
        self.wrapper = Some(shell.to_owned());
        self
    }

    /// The config file's text, with its state under `directory`.
    pub fn config_text(&self, directory: &Path) -> String {
        let mut text = String::new();
        let free_port = vec!["address = \"127.0.0.1:0\"".to_owned()];
        for keys in if self.listen.is_empty() { &free_port } else { &self.listen } {
            let _ = writeln!(text, "[[listen]]\n{keys}\n");
        }
        let admin = self.admin.as_deref().unwrap_or("127.0.0.1:0");
        let _ = writeln!(text, "[admin]\naddress = {admin:?}\n");
        let _ = writeln!(text, "[state]\ndirectory = {:?}\n", directory.join("state"));
        // A scripted origin plays its connections one by one: none is opened but for a request, unless a test is about that.
        let warm = self.limits.iter().any(|limit| limit.starts_with("warm_connections"));
        let default = if warm { "" } else { "warm_connections = 0\n" };
        let _ = writeln!(text, "[limits]\n{default}{}\n", self.limits.join("\n"));
        if !self.endpoints.is_empty() {
            let keys = self.upstream.join("\n");
            let _ = writeln!(text, "[upstream.origin]\nendpoints = {:?}\n{keys}\n", self.endpoints);
            let keys = self.route.join("\n");
            let _ = writeln!(text, "[[route]]\nmatch = \"/{{path...}}\"\nupstream = \"origin\"\n{keys}\n");
        }
        for more in &self.toml {
            let _ = writeln!(text, "{more}\n");
        }
        text
    }
}
