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
    backend: SocketAddr,
    workers: usize,
    unlag_arguments: &[String],
) -> Result<Launch> {
    let http1 = free_address()?;
    // One port serves both protocols, except with nginx 1.22.
    let http2 = if installed.peer == Peer::Nginx { free_address()? } else { http1 };
    let directory = parent.join(format!("{}-{}", installed.peer.name(), http1.port()));
    fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let workers_text = workers.to_string();
    let mut environment = vec![("HOME", directory.clone().into_os_string())];
    let http2_alone = (http2 != http1).then_some(http2);
    let at = At { directory: &directory, listen: http1, http2_alone, backend, workers };
    let arguments: Vec<OsString> = match installed.peer {
        Peer::Unlag => {
            let (to, listen) = (format!("http://{backend}"), http1.to_string());
            let fixed = ["run", "--to", &to, "--listen", &listen, "--workers", &workers_text];
            fixed.into_iter().chain(unlag_arguments.iter().map(String::as_str)).map(OsString::from).collect()
        }
        Peer::Haproxy => haproxy(&at, "", "")?,
        Peer::Nginx => nginx(&at, "  proxy_buffers 16 8k;\n", "")?,
        Peer::Envoy => {
            let file = write_file(&directory, "envoy.yaml", &envoy(http1, backend))?;
            let fixed =
                ["--disable-hot-restart", "--log-level", "warning", "--concurrency", &workers_text, "-c"];
            fixed.into_iter().map(OsString::from).chain([file.into()]).collect()
        }
        Peer::Traefik => {
            environment.push(("GOMAXPROCS", workers_text.into()));
            traefik(&directory, http1, backend)?
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
    Ok(Launch { program, arguments, environment, http1, http2, directory })
}

/// Where a proxy stands, and how many workers it gets.
pub(super) struct At<'a> {
    pub(super) directory: &'a Path,
    pub(super) listen: SocketAddr,
    /// For HTTP/2, where it cannot share a port.
    pub(super) http2_alone: Option<SocketAddr>,
    pub(super) backend: SocketAddr,
    pub(super) workers: usize,
}

/// HAProxy as a proxy, which it also is as a cache: with sections and rules of the backend of its own.
pub(super) fn haproxy(at: &At<'_>, sections: &str, rules: &str) -> Result<Vec<OsString>> {
    let At { listen, backend, workers, .. } = at;
    let text = format!(
        "global\n  nbthread {workers}\n  maxconn 8000\n\
         defaults\n  mode http\n  no log\n  option forwardfor\n  option http-keep-alive\n\
         \x20 timeout connect 1s\n  timeout client 75s\n  timeout server 75s\n  timeout http-keep-alive 75s\n\
         \x20 timeout http-request 30s\n\
         {sections}frontend callers\n  bind {listen}\n  default_backend services\n\
         backend services\n{rules}  http-reuse safe\n  server one {backend} pool-max-conn 128\n"
    );
    let file = write_file(at.directory, "haproxy.cfg", &text)?;
    Ok(vec!["-db".into(), "-f".into(), file.into()])
}

/// nginx as a proxy, which it also is as a cache: with lines of its own in `http` and in the one `location`.
pub(super) fn nginx(at: &At<'_>, http: &str, location: &str) -> Result<Vec<OsString>> {
    let At { listen, backend, workers, .. } = at;
    let directory = at.directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {directory}/{kind};\n"))
        .concat();
    let http2 = at.http2_alone.map_or(String::new(), |http2| format!("    listen {http2} http2;\n"));
    let text = format!(
        "daemon off;\nuser root;\nworker_processes {workers};\npid {directory}/pid;\nerror_log stderr error;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n{temporary}  keepalive_timeout 75s;\n  keepalive_requests 1000000;\n\
         {http}  upstream services {{ server {backend}; keepalive 128; keepalive_requests 1000000; }}\n\
         \x20 server {{\n    listen {listen};\n{http2}    location / {{\n\
         \x20     proxy_pass http://services;\n      proxy_http_version 1.1;\n\
         \x20     proxy_set_header Connection \"\";\n      proxy_set_header Host $http_host;\n\
         \x20     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n{location}    }}\n  }}\n}}\n"
    );
    let file = write_file(at.directory, "nginx.conf", &text)?;
    let prefix = at.directory.into();
    Ok(vec!["-p".into(), prefix, "-e".into(), "stderr".into(), "-c".into(), file.into()])
}

fn envoy(listen: SocketAddr, backend: SocketAddr) -> String {
    let address = |at: SocketAddr| {
        format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", at.ip(), at.port())
    };
    let (listen, backend) = (address(listen), address(backend));
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
    load_assignment:
      cluster_name: services
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {backend} }} }}] }}]
"#
    )
}

fn traefik(directory: &Path, listen: SocketAddr, backend: SocketAddr) -> Result<Vec<OsString>> {
    let routes = format!(
        "http:\n  routers:\n    all: {{ rule: \"PathPrefix(`/`)\", service: services, entryPoints: [callers] }}\n\
         \x20 services:\n    services: {{ loadBalancer: {{ servers: [{{ url: \"http://{backend}\" }}] }} }}\n"
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
