//! What a valid configuration means in this version, for `unlag check`: where callers come in, what `auto`
//! and `adaptive` stand for, and which request goes where.

mod admission;
mod attempts;
mod balance;
mod regions;

use std::fmt::Write;

use crate::model::{Action, Config, Encoding, Protocol, Route, RouteCache, Sample, Source, Upstream};
use crate::value::{duration_text, size_text};

/// Lines of plain text. What no upstream or route makes use of is not mentioned.
#[must_use]
pub fn explain(config: &Config) -> String {
    let mut out = String::new();
    for listen in &config.listen {
        let spoken = match &listen.tls {
            Some(tls) if tls.client_ca.is_some() => {
                "HTTP/1.1 and HTTP/2 over TLS, callers show a certificate"
            }
            Some(_) => "HTTP/1.1 and HTTP/2 over TLS",
            None => "HTTP/1.1 and HTTP/2 in clear text",
        };
        let load = if listen.report_load {
            "; answers carry x-lb-rif, the requests in flight to the service behind"
        } else {
            ""
        };
        line(&mut out, &format!("listen  {}: {spoken}{load}", listen.address));
    }
    line(&mut out, &format!("admin   {}", config.admin.address));
    if let Some(region) = &config.region {
        let zone = region.zone.as_ref().map(|zone| format!(", zone {zone}")).unwrap_or_default();
        line(&mut out, &format!("region  {}{zone}", region.name));
    }
    for upstream in &config.upstreams {
        line(&mut out, &format!("upstream {}: {}", upstream.name, described(upstream)));
    }
    meanings(config, &mut out);
    out.push('\n');
    table(config, &mut out);
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn described(upstream: &Upstream) -> String {
    let endpoints = match &upstream.source {
        Source::Endpoints(endpoints) if endpoints.len() == 1 => "1 endpoint".to_owned(),
        Source::Endpoints(endpoints) => format!("{} endpoints", endpoints.len()),
        Source::File(path) => format!("endpoints from {}", path.display()),
        Source::Dns { name, port, .. } => format!("the addresses of {name}, port {port}"),
        Source::Srv { name, .. } => format!("the endpoints of {name} (SRV)"),
    };
    let servers: Vec<String> = upstream.resolver.iter().map(ToString::to_string).collect();
    let endpoints = match servers.as_slice() {
        [] => endpoints,
        servers => format!("{endpoints}, names looked up at {}", servers.join(", ")),
    };
    let endpoints = match regions::names(upstream).as_slice() {
        [] => endpoints,
        names => format!("{endpoints} in {}", names.join(", ")),
    };
    match &upstream.health {
        Some(health) => format!("{endpoints}, GET {} every {}", health.path, duration_text(health.interval)),
        None => endpoints,
    }
}

/// What the words that leave the choice to unlag stand for.
fn meanings(config: &Config, out: &mut String) {
    let any = |of: fn(&Upstream) -> bool| config.upstreams.iter().any(of);
    out.push('\n');
    balance::balance(config, out);
    regions::regions(config, out);
    if any(|upstream| upstream.protocol == Protocol::Auto) {
        line(out, "protocol = \"auto\": what ALPN agrees on over TLS, HTTP/1.1 in clear text");
    }
    admission::admission(config, out);
    attempts::attempts(config, out);
    encodings(config, out);
    caching(config, out);
    if config.monitor.access_log_sample == Sample::Slow {
        line(out, "access_log_sample = \"slow\": requests that took a second or more, and server errors");
    }
    line(
        out,
        "deadlines of callers (x-request-timeout-ms, grpc-timeout) are honoured, shortened by the time spent, and passed on",
    );
}

/// What is stored, where that is not only what origins declare cacheable.
fn caching(config: &Config, out: &mut String) {
    let cache = &config.cache;
    let proxied = config.routes.iter().filter(|route| matches!(route.action, Action::Proxy(_)));
    if !proxied.clone().any(|route| route.cache.is_some()) {
        return;
    }
    let mut text = format!("cache: {} in memory", size_text(cache.memory));
    text += if cache.shared.is_some() {
        ", shared with the nodes of the same tier, and every purge too"
    } else {
        ""
    };
    text += if cache.heuristic { "; a lifetime is guessed where the origin declares none" } else { "" };
    text += if cache.set_cookie { "; answers that set cookies are stored too" } else { "" };
    line(out, &text);
    for route in proxied {
        match &route.cache {
            None => line(out, &format!("cache of {}: off", route.name)),
            Some(own) if *own != RouteCache::default() => {
                line(out, &format!("cache of {}: {}", route.name, cached(own)));
            }
            Some(_) => {}
        }
    }
}

/// What a route says of its answers.
fn cached(own: &RouteCache) -> String {
    let stale = |window: Option<_>, when: &str| {
        window.map(|window| format!("stale for {} {when}", duration_text(window)))
    };
    let tags: Vec<String> = own.tags.iter().map(ToString::to_string).collect();
    let parts = [
        own.ttl.map(|ttl| format!("for {}", duration_text(ttl))),
        stale(own.stale_while_revalidate, "while they are fetched again"),
        stale(own.stale_if_error, "where the origin fails"),
        own.body.map(|_| "POSTs are reads, by their content".to_owned()),
        (!tags.is_empty()).then(|| format!("tagged {}", tags.join(", "))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// In which encodings answers leave, where they do.
fn encodings(config: &Config, out: &mut String) {
    let names = |list: &[Encoding]| list.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    for route in &config.routes {
        let text = match &route.action {
            Action::Proxy(_) if !route.compress.is_empty() => {
                format!("compress of {}: {}, while answers pass", route.name, names(&route.compress))
            }
            Action::Static(files) => {
                let siblings = if files.precompressed { "siblings, else " } else { "" };
                let made = match files.encodings.as_slice() {
                    [] => "as they are".to_owned(),
                    list => format!("{siblings}encoded once and kept: {}", names(list)),
                };
                format!("files of {}: {made}", route.name)
            }
            _ => continue,
        };
        line(out, &text);
    }
}

/// The routes, the most specific first, in columns.
fn table(config: &Config, out: &mut String) {
    let mut routes: Vec<&Route> = config.routes.iter().collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.pattern.specificity(route.headers.len())));
    let header = ["MATCH", "ACTION", "TIMEOUT", "NAME"].map(str::to_owned);
    let rows: Vec<[String; 4]> =
        std::iter::once(header).chain(routes.iter().map(|route| row(config, route))).collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .min(60)
    };
    let (first, second, third) = (width(0), width(1), width(2));
    for [matched, action, timeout, name] in &rows {
        let row = format!("{matched:first$}  {action:second$}  {timeout:third$}  {name}");
        line(out, row.trim_end());
    }
    if config.routes.is_empty() {
        line(out, "(no routes: every request is answered 404)");
    }
}

fn row(config: &Config, route: &Route) -> [String; 4] {
    let mut matched = route.pattern.to_string();
    for (name, value) in &route.headers {
        let _ = write!(matched, " [{name}: {value}]");
    }
    let (action, timeout) = match &route.action {
        Action::Proxy(index) => {
            let name = config.upstreams.get(*index).map_or("?", |upstream| upstream.name.as_str());
            (
                format!("-> {name}"),
                route.attempts.timeout.fixed().map_or_else(|| "auto".to_owned(), duration_text),
            )
        }
        Action::Respond(respond) => {
            let location = respond.location.as_ref().map(|to| format!(" {to}")).unwrap_or_default();
            (format!("= {}{location}", respond.status), "-".to_owned())
        }
        Action::Static(files) => (format!("= files of {}", files.directory.display()), "-".to_owned()),
    };
    let name = if route.name == route.pattern.to_string() { String::new() } else { route.name.clone() };
    [matched, action, timeout, name]
}
