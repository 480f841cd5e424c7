//! `[upstream.NAME]`: services and their endpoints.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use super::admission;
use super::discover;
use super::endpoints::source;
use super::regions;
use crate::keys;
use crate::model::{
    Balance, CertificateFiles, HashKey, Health, HostHeader, Limit, Protocol, Source, Upstream, UpstreamTls,
};
use crate::pattern::is_token;
use crate::problem::{Invalid, quoted, suggestion};
use crate::reader::{Cursor, Reader, Text, Value};
use crate::source::Span;
use crate::url::{host_and_port, host_name, request_path};
use crate::value::duration_text;

/// The upstreams of the file, and which of them routes ask for.
pub(super) struct Upstreams {
    /// In the order of the file; none where the table was refused.
    entries: Vec<(String, Span, Option<Upstream>, Cell<bool>)>,
    by_name: HashMap<String, usize>,
}

impl Upstreams {
    /// The index of the upstream that a route names.
    pub(super) fn find(&self, name: &Text<'_>) -> Option<usize> {
        let Some(index) = self.by_name.get(name.value) else {
            let known = self.entries.iter().map(|(known, ..)| known.as_str());
            let help = if self.entries.is_empty() {
                format!("there is none; add [upstream.{}] with its `endpoints`", plain_name(name.value))
            } else {
                suggestion(name.value, "upstreams", known)
            };
            name.error(format!("unknown upstream {}", quoted(name.value)), help);
            return None;
        };
        if let Some((.., used)) = self.entries.get(*index) {
            used.set(true);
        }
        Some(*index)
    }

    /// The upstream, unless it was refused.
    pub(super) fn known(&self, index: usize) -> Option<&Upstream> {
        self.entries.get(index).and_then(|(_, _, upstream, _)| upstream.as_ref())
    }

    /// The upstreams, when every one of them is valid. Warns of those that no route asked for, unless routes
    /// were refused: one of those may be the one that asks.
    pub(super) fn finish(self, reader: &Reader<'_>, routes_are_valid: bool) -> Option<Vec<Upstream>> {
        for (name, span, _, used) in &self.entries {
            if !used.get() && routes_are_valid {
                let message = format!("no route uses the upstream {}", quoted(name));
                reader.warning(span, message, "its endpoints are watched all the same");
            }
        }
        self.entries.into_iter().map(|(_, _, upstream, _)| upstream).collect()
    }
}

fn plain_name(name: &str) -> &str {
    if is_name(name) { name } else { "NAME" }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Every `[upstream.NAME]`.
pub(super) fn upstreams(root: &mut Cursor<'_>) -> Upstreams {
    let named = root.take("upstream").and_then(|value| value.named()).unwrap_or_default();
    let mut upstreams = Upstreams { entries: Vec::new(), by_name: HashMap::new() };
    for (name, value) in named {
        if !is_name(name.value) {
            name.error(
                format!("{} cannot name an upstream", quoted(name.value)),
                "a name is made of letters, digits, `-`, `_` and dots, at most 64",
            );
        }
        let upstream = value.table(&keys::UPSTREAM).and_then(|table| upstream(name.value, table));
        upstreams.by_name.insert(name.value.to_owned(), upstreams.entries.len());
        upstreams.entries.push((name.value.to_owned(), name.span, upstream, Cell::new(false)));
    }
    upstreams
}

fn upstream(name: &str, mut table: Cursor<'_>) -> Option<Upstream> {
    let source = source(&mut table);
    let resolver =
        table.take("resolver").map(|value| discover::resolver(&value, source.as_ref())).unwrap_or_default();
    let host = table.take("host").and_then(|value| host_header(&value));
    let protocol = table.take("protocol").and_then(|value| value.choice());
    let connect_timeout = table.take("connect_timeout").and_then(|value| value.duration());
    let health = table.take("health").and_then(|value| health(value.table(&keys::HEALTH)?));
    let balance = balance(&mut table);
    let limit = table.take("limit").map_or(Some(Limit::default()), |value| limit(&value));
    let queue = admission::queue(&mut table, limit);
    let slow_start = table.take("slow_start").and_then(|value| value.unless_word(Value::duration));
    let primary = regions::primary(&mut table, source.as_ref());
    let spill = regions::spill(&mut table, source.as_ref());
    let read_your_writes = regions::read_your_writes(&mut table);
    let tls = tls(&mut table, source.as_ref());
    table.finish();
    Some(Upstream {
        resolver,
        host: host.unwrap_or_default(),
        protocol: match protocol {
            Some("http1") => Protocol::Http1,
            Some("http2") => Protocol::Http2,
            _ => Protocol::Auto,
        },
        connect_timeout: connect_timeout.unwrap_or(Upstream::CONNECT_TIMEOUT),
        health,
        balance: balance.unwrap_or_default(),
        limit: limit.unwrap_or_default(),
        queue,
        slow_start: slow_start.unwrap_or(Some(Upstream::SLOW_START)),
        primary,
        spill: spill.unwrap_or_default(),
        read_your_writes,
        tls,
        ..Upstream::new(name, source?)
    })
}

fn host_header(value: &Value<'_>) -> Option<HostHeader> {
    match value.word() {
        Some("keep") => Some(HostHeader::Keep),
        Some(_) => Some(HostHeader::Upstream),
        None => {
            let help = value.help();
            let literal = |text: &str| {
                host_and_port(text)
                    .map(|_| HostHeader::Literal(text.to_ascii_lowercase()))
                    .map_err(|_| Invalid::new(format!("{} cannot be a host", quoted(text)), help))
            };
            value.parse(literal)
        }
    }
}

/// None as well for what was refused.
fn balance(table: &mut Cursor<'_>) -> Option<Balance> {
    let (balance, hash) = (table.take("balance"), table.take("hash"));
    let word = balance.as_ref().and_then(|value| value.choice());
    match (word, hash) {
        (Some("hash"), Some(hash)) => hash.parse(|text| hash_key(text, hash.help())).map(Balance::Hash),
        (Some("hash"), None) => {
            let help = "add `hash = \"path\"`, `hash = \"header:NAME\"` or `hash = \"cookie:NAME\"`";
            balance?
                .error("`balance = \"hash\"` needs `hash`, which says what of a request it goes by", help);
            None
        }
        (None, _) if balance.is_some() => None,
        (_, Some(hash)) => {
            hash.error("`hash` has no effect", "add `balance = \"hash\"`, or take `hash` out");
            None
        }
        (Some("least-request"), None) => Some(Balance::LeastRequest),
        (Some("round-robin"), None) => Some(Balance::RoundRobin),
        (_, None) => Some(Balance::Adaptive),
    }
}

fn limit(value: &Value<'_>) -> Option<Limit> {
    match value.word() {
        Some("off") => Some(Limit::Off),
        Some("adaptive") => Some(Limit::Adaptive),
        Some(_) => Some(Limit::Observe),
        None => value.number()?.try_into().ok().map(Limit::Fixed),
    }
}

fn hash_key(text: &str, help: String) -> Result<HashKey, Invalid> {
    let named = |name: &str| is_token(name) && name.len() <= 256;
    match text.split_once(':') {
        None if text == "path" => Ok(HashKey::Path),
        Some(("header", name)) if named(name) => Ok(HashKey::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) if named(name) => Ok(HashKey::Cookie(name.to_owned())),
        _ => Err(Invalid::new(format!("{} does not say what to look at", quoted(text)), help)),
    }
}

fn health(mut table: Cursor<'_>) -> Option<Health> {
    let path =
        table.need("path").and_then(|value| value.parse(|text| request_path(text).map(|()| text.to_owned())));
    let interval = table.take("interval").and_then(|value| value.duration()).unwrap_or(Health::INTERVAL);
    let value = table.take("timeout");
    let timeout: Option<Duration> = value.as_ref().and_then(|value| value.duration());
    if let (Some(value), Some(timeout)) = (value, timeout)
        && timeout > interval
    {
        let help = format!("at most \"{}\", so that checks do not pile up", duration_text(interval));
        value.error("a check may not take longer than `interval`", help);
    }
    table.finish();
    Some(Health { path: path?, interval, timeout: timeout.unwrap_or(Health::TIMEOUT.min(interval)) })
}

fn tls(table: &mut Cursor<'_>, source: Option<&Source>) -> UpstreamTls {
    let Some(value) = table.take("tls") else { return UpstreamTls::default() };
    let is_empty = matches!(source, Some(Source::Endpoints(list)) if list.is_empty());
    if source.is_some_and(|source| !source.may_be_https()) && !is_empty {
        let help = "write `https` in the URLs, or take `tls` out";
        value.reader.warning(&value.span, "`tls` has no effect: no endpoint is `https`", help);
    }
    let Some(mut table) = value.table(&keys::UPSTREAM_TLS) else { return UpstreamTls::default() };
    let ca = table.take("ca").and_then(|value| value.path());
    let name = table.take("name").and_then(|value| value.parse(host_name));
    let certificate = table.take("certificate").and_then(|value| value.path());
    let key = table.take("key").and_then(|value| value.path());
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if table.has(one) && !table.has(other) {
            let help = format!(
                "add `{other}`, or take `{one}` out: a certificate is shown with its key, or none is"
            );
            table.reader.error(&table.key_span(one), format!("`{one}` is there without `{other}`"), help);
        }
    }
    table.finish();
    let client = certificate.zip(key).map(|(certificate, key)| CertificateFiles { certificate, key });
    UpstreamTls { ca, name, client }
}
