//! A sensible production configuration for each proxy: one worker, kept upstream connections, `X-Forwarded-For`
//! added, hop-by-hop fields stripped, access log off.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::install::Installed;
use super::kind::Peer;
use super::process::{Launch, free_address, write_file};

/// Writes the peer's configuration below `parent` and says how to start it in front of `backend`.
pub(super) fn configure(
    installed: &Installed,
    parent: &Path,
    backends: &[SocketAddr],
    workers: usize,
    unlag_arguments: &[String],
) -> Result<Launch> {
    let backend = *backends.first().context("there is no backend")?;
    let http1 = free_address()?;
    // One port serves both protocols, except with nginx 1.22.
    let http2 = if installed.peer == Peer::Nginx { free_address()? } else { http1 };
    let directory = parent.join(format!("{}-{}", installed.peer.name(), http1.port()));
    fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let workers_text = workers.to_string();
    let mut environment = vec![("HOME", directory.clone().into_os_string())];
    let http2_alone = (http2 != http1).then_some(http2);
    let at = At { directory: &directory, listen: http1, http2_alone, workers };
    let arguments: Vec<OsString> = match installed.peer {
        Peer::Unlag => {
            let (to, listen) = (format!("http://{backend}"), http1.to_string());
            let fixed = ["run", "--to", &to, "--listen", &listen, "--workers", &workers_text];
            fixed.into_iter().chain(unlag_arguments.iter().map(String::as_str)).map(OsString::from).collect()
        }
        Peer::UnlagAllOn => {
            let file = write_file(&directory, "unlag.toml", &unlag_all_on(http1, free_address()?, backends))?;
            let fixed = ["run", "--workers", &workers_text, "-c"].map(OsString::from).into_iter();
            fixed.chain([file.into()]).chain(unlag_arguments.iter().map(OsString::from)).collect()
        }
        Peer::Haproxy => haproxy(&at, "", &haproxy_server(backend))?,
        Peer::Nginx => {
            let (http, services) = ("  proxy_buffers 16 8k;\n", &nginx_server(backend));
            nginx(&at, &Nginx { http, services, ..Nginx::default() })?
        }
        Peer::Envoy => {
            let file = write_file(&directory, "envoy.yaml", &envoy(http1, &envoy_cluster(backend)))?;
            let fixed =
                ["--disable-hot-restart", "--log-level", "warning", "--concurrency", &workers_text, "-c"];
            fixed.into_iter().map(OsString::from).chain([file.into()]).collect()
        }
        Peer::Traefik => {
            environment.push(("GOMAXPROCS", workers_text.into()));
            traefik(&directory, http1, &format!("servers: [{{ url: \"http://{backend}\" }}]"))?
        }
        Peer::Caddy => {
            environment.push(("GOMAXPROCS", workers_text.into()));
            environment.push(("XDG_DATA_HOME", directory.clone().into()));
            environment.push(("XDG_CONFIG_HOME", directory.clone().into()));
            let file = write_file(&directory, "Caddyfile", &caddy(http1, backend))?;
            ["run", "--adapter", "caddyfile", "--config"]
                .into_iter()
                .map(OsString::from)
                .chain([PathBuf::into_os_string(file)])
                .collect()
        }
        Peer::Varnish => bail!("it is compared as a cache only"),
    };
    let program = installed.binary.clone();
    Ok(Launch { program, arguments, environment, http1, http2, admin: None, directory })
}

/// unlag with what it can do for a request, where nothing has to be done: recorded it is in any case.
fn unlag_all_on(listen: SocketAddr, admin: SocketAddr, backends: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = backends.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!(
        "[[listen]]\naddress = \"{listen}\"\n\n[admin]\naddress = \"{admin}\"\n\n[monitor]\naccess_log = \"off\"\n\n\
         [upstream.services]\nendpoints = [{}]\nlimit = \"adaptive\"\n\n\
         [[route]]\nname = \"all\"\nmatch = \"/{{rest...}}\"\nupstream = \"services\"\n\
         cache = {{}}\nhedge = {{}}\nholdout = \"1%\"\n",
        endpoints.join(", ")
    )
}

/// Where a proxy stands, and how many workers it gets.
pub(crate) struct At<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) listen: SocketAddr,
    /// For HTTP/2, where it cannot share a port.
    pub(crate) http2_alone: Option<SocketAddr>,
    pub(crate) workers: usize,
}

/// HAProxy as a proxy, which it also is as a cache: with sections of its own, and what stands in its `backend`.
pub(crate) fn haproxy(at: &At<'_>, sections: &str, services: &str) -> Result<Vec<OsString>> {
    let At { listen, workers, .. } = at;
    let text = format!(
        "global\n  nbthread {workers}\n  maxconn 8000\n\
         defaults\n  mode http\n  no log\n  option forwardfor\n  option http-keep-alive\n\
         \x20 timeout connect 1s\n  timeout client 75s\n  timeout server 75s\n  timeout http-keep-alive 75s\n\
         \x20 timeout http-request 30s\n\
         {sections}frontend callers\n  bind {listen}\n  default_backend services\n\
         backend services\n  http-reuse safe\n{services}"
    );
    let file = write_file(at.directory, "haproxy.cfg", &text)?;
    Ok(vec!["-db".into(), "-f".into(), file.into()])
}

/// The one server of HAProxy's `backend`.
pub(super) fn haproxy_server(backend: SocketAddr) -> String {
    format!("  server one {backend} pool-max-conn 128\n")
}

/// Lines of its own that an nginx has.
pub(crate) struct Nginx<'a> {
    /// What is logged from.
    pub(crate) log: &'a str,
    /// Behind the address in `listen`.
    pub(crate) listen: &'a str,
    pub(crate) http: &'a str,
    /// In `upstream`.
    pub(crate) services: &'a str,
    pub(crate) location: &'a str,
}

impl Default for Nginx<'_> {
    fn default() -> Self {
        Self { log: "error", listen: "", http: "", services: "", location: "" }
    }
}

/// The one server of nginx's `upstream`.
pub(super) fn nginx_server(backend: SocketAddr) -> String {
    format!("    server {backend};\n    keepalive 128;\n")
}

/// nginx as a proxy, which it also is as a cache.
pub(crate) fn nginx(at: &At<'_>, own: &Nginx<'_>) -> Result<Vec<OsString>> {
    let At { listen, workers, .. } = at;
    let Nginx { log, listen: listen_options, http, services, location } = own;
    let directory = at.directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {directory}/{kind};\n"))
        .concat();
    let http2 = at.http2_alone.map_or(String::new(), |http2| format!("    listen {http2} http2;\n"));
    let text = format!(
        "daemon off;\nuser root;\nworker_processes {workers};\npid {directory}/pid;\nerror_log stderr {log};\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n{temporary}  keepalive_timeout 75s;\n  keepalive_requests 1000000;\n\
         {http}  upstream services {{\n{services}    keepalive_requests 1000000;\n  }}\n\
         \x20 server {{\n    listen {listen}{listen_options};\n{http2}    location / {{\n\
         \x20     proxy_pass http://services;\n      proxy_http_version 1.1;\n\
         \x20     proxy_set_header Connection \"\";\n      proxy_set_header Host $http_host;\n\
         \x20     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n{location}    }}\n  }}\n}}\n"
    );
    let file = write_file(at.directory, "nginx.conf", &text)?;
    let prefix = at.directory.into();
    Ok(vec!["-p".into(), prefix, "-e".into(), "stderr".into(), "-c".into(), file.into()])
}

/// An endpoint as Envoy has it.
pub(crate) fn envoy_endpoint(at: SocketAddr) -> String {
    format!("{{ endpoint: {{ address: {} }} }}", envoy_address(at))
}

fn envoy_address(at: SocketAddr) -> String {
    format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", at.ip(), at.port())
}

fn envoy_cluster(backend: SocketAddr) -> String {
    let endpoint = envoy_endpoint(backend);
    format!(
        "    load_assignment:\n      cluster_name: services\n      endpoints: [{{ lb_endpoints: [{endpoint}] }}]\n"
    )
}

/// Envoy as a proxy: with lines of its own in the one cluster.
pub(crate) fn envoy(listen: SocketAddr, cluster: &str) -> String {
    let listen = envoy_address(listen);
    let types = "type.googleapis.com/envoy.extensions.filters";
    format!(
        r#"static_resources:
  listeners:
  - address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {types}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: callers
          codec_type: AUTO
          use_remote_address: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: services }} }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {types}.http.router.v3.Router }}
  clusters:
  - name: services
    type: STATIC
    connect_timeout: 1s
{cluster}"#
    )
}

/// Traefik as a proxy: with a load balancer of its own.
pub(crate) fn traefik(directory: &Path, listen: SocketAddr, balancer: &str) -> Result<Vec<OsString>> {
    let routes = format!(
        "http:\n  routers:\n    all: {{ rule: \"PathPrefix(`/`)\", service: services, entryPoints: [callers] }}\n\
         \x20 services:\n    services: {{ loadBalancer: {{ {balancer} }} }}\n"
    );
    let file = write_file(directory, "routes.yml", &routes)?;
    let arguments = [
        format!("--entrypoints.callers.address={listen}"),
        format!("--providers.file.filename={}", file.display()),
        "--providers.file.watch=false".into(),
        "--global.checknewversion=false".into(),
        "--global.sendanonymoususage=false".into(),
        "--log.level=ERROR".into(),
    ];
    Ok(arguments.map(OsString::from).into())
}

fn caddy(listen: SocketAddr, backend: SocketAddr) -> String {
    let (host, port) = (listen.ip(), listen.port());
    format!(
        "{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n\tlog {{\n\t\tlevel ERROR\n\t}}\n\
         \tservers {{\n\t\tprotocols h1 h2c\n\t}}\n}}\n\
         http://:{port} {{\n\tbind {host}\n\treverse_proxy {backend} {{\n\t\ttransport http {{\n\
         \t\t\tkeepalive 75s\n\t\t\tkeepalive_idle_conns_per_host 128\n\t\t}}\n\t}}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlag_takes_the_config_with_everything_on() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = unlag_all_on(address(8), address(9), &[1, 2, 3, 4, 5].map(address));
        let parsed = unlag_config::parse(&text, "all-on").expect("valid");
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        assert!(parsed.config.routes.iter().all(|route| route.attempts.hedge.is_some()));
    }
}
