//! A sensible configuration of each cache: all of one bound, kept upstream connections, access log off, and what the
//! origin declares is obeyed.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use super::Cache;
use crate::peers::configure::{At, Nginx, haproxy, haproxy_server, nginx, nginx_server};
use crate::peers::process::{Launch, free_address, write_file};

/// What a cache is started for.
#[derive(Debug, Clone, Default)]
pub(in crate::peers) struct Purpose {
    /// First segments of paths that are routes of their own, for a proxy that learns by route.
    pub(in crate::peers) routes: Vec<String>,
    /// Bound on what unlag stores, as its config file has it; its default otherwise.
    pub(in crate::peers) memory: Option<String>,
}

/// Writes the configuration below `parent` and says how to start the cache in front of `origin`.
pub(super) fn configure(
    cache: Cache,
    program: &Path,
    parent: &Path,
    origin: SocketAddr,
    workers: usize,
    purpose: &Purpose,
) -> Result<Launch> {
    let listen = free_address()?;
    let directory = parent.join(format!("{}-{}", cache.name(), listen.port()));
    fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let at = At { directory: &directory, listen, http2_alone: None, workers };
    let arguments: Vec<OsString> = match cache {
        Cache::Unlag => {
            let file = write_file(&directory, "unlag.toml", &unlag(listen, origin, purpose))?;
            vec!["run".into(), "--config".into(), file.into(), "--workers".into(), workers.to_string().into()]
        }
        Cache::Nginx => caching_nginx(&at, origin, "")?,
        Cache::NginxLock => caching_nginx(&at, origin, NGINX_LOCK)?,
        Cache::Varnish => {
            let file = write_file(&directory, "default.vcl", &varnish(origin))?;
            let state = directory.join("state").into_os_string();
            // In the foreground, as whoever started it, without a port for its command line.
            let mut arguments: Vec<OsString> =
                ["-F", "-j", "none", "-T", "none", "-s", "malloc,256m"].map(OsString::from).into();
            arguments.extend(["-a".into(), listen.to_string().into(), "-n".into(), state]);
            arguments.extend(["-f".into(), file.into()]);
            arguments
        }
        Cache::Haproxy => haproxy(&at, HAPROXY_CACHE, &format!("{HAPROXY_RULES}{}", haproxy_server(origin)))?,
    };
    let (program, environment) = (program.to_path_buf(), vec![("HOME", directory.clone().into_os_string())]);
    Ok(Launch { program, arguments, environment, http1: listen, http2: listen, admin: None, directory })
}

fn unlag(listen: SocketAddr, origin: SocketAddr, purpose: &Purpose) -> String {
    let mut text = format!(
        "[[listen]]\naddress = \"{listen}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[monitor]\naccess_log = \"off\"\n\
         [upstream.origin]\nendpoints = [\"http://{origin}\"]\n"
    );
    if let Some(memory) = &purpose.memory {
        let _ = writeln!(text, "[cache]\nmemory = \"{memory}\"");
    }
    for route in &purpose.routes {
        let _ = writeln!(
            text,
            "[[route]]\nname = \"{route}\"\nmatch = \"/{route}/{{rest...}}\"\nupstream = \"origin\""
        );
    }
    text.push_str("[[route]]\nname = \"rest\"\nmatch = \"/{rest...}\"\nupstream = \"origin\"\n");
    text
}

const NGINX_LOCK: &str = "      proxy_cache_lock on;\n      proxy_cache_background_update on;\n\
                          \x20     proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;\n";

fn caching_nginx(at: &At<'_>, origin: SocketAddr, lock: &str) -> Result<Vec<OsString>> {
    let directory = at.directory.display();
    let http = format!(
        "  sendfile on;\n  open_file_cache max=20000 inactive=60s;\n  open_file_cache_valid 60s;\n\
         \x20 proxy_cache_path {directory}/store levels=1:2 keys_zone=all:64m max_size=256m inactive=1h\n\
         \x20   use_temp_path=off;\n"
    );
    let location = format!("      proxy_cache all;\n      proxy_cache_revalidate on;\n{lock}");
    let services = nginx_server(origin);
    nginx(at, &Nginx { http: &http, services: &services, location: &location, ..Nginx::default() })
}

const HAPROXY_CACHE: &str =
    "cache all\n  total-max-size 256\n  max-object-size 1048576\n  max-age 3600\n  process-vary on\n";
const HAPROXY_RULES: &str = "  http-request cache-use all\n  http-response cache-store all\n";

fn varnish(origin: SocketAddr) -> String {
    let (host, port) = (origin.ip(), origin.port());
    format!("vcl 4.1;\nbackend origin {{ .host = \"{host}\"; .port = \"{port}\"; }}\n")
}
