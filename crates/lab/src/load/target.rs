//! Reads the URL a load test is aimed at.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail};

/// A parsed `http://host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host[:port]` as written, for the `Host` field.
    pub authority: String,
    /// Path and query, at least `/`.
    pub path: String,
    host: String,
    port: u16,
}

impl Target {
    /// Parses a URL. Only `http` is spoken; a fragment is dropped.
    pub fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once("://") else {
            bail!("`{url}` is not a URL: write http://host:port/path");
        };
        if !scheme.eq_ignore_ascii_case("http") {
            bail!("`{url}`: the load generator speaks http:// only, not {scheme}://");
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            bail!("`{url}`: user names in URLs are not sent; use an Authorization header");
        }
        let (host, port) = split_port(authority).with_context(|| format!("`{url}`"))?;
        if host.is_empty() || host.contains(char::is_whitespace) {
            bail!("`{url}` names no host");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority: authority.to_owned(), path, host: host.to_owned(), port })
    }

    /// The first address the host resolves to.
    pub fn resolve(&self) -> Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve `{}`", self.host))?;
        found.next().with_context(|| format!("`{}` has no address", self.host))
    }
}

fn split_port(authority: &str) -> Result<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').context("the `[` of an IPv6 address is not closed")?;
            (host, after.strip_prefix(':').unwrap_or(""))
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    if port.is_empty() {
        return Ok((host, 80));
    }
    Ok((host, port.parse().with_context(|| format!("port `{port}` is not a number up to 65535"))?))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_host_port_and_path() {
        let table = [
            ("http://127.0.0.1:8000", ("127.0.0.1", 8000, "/")),
            ("HTTP://shop.example/a?b=c#d", ("shop.example", 80, "/a?b=c")),
            ("http://[::1]:81/x", ("::1", 81, "/x")),
            ("http://[::1]", ("::1", 80, "/")),
            ("http://h:9?q", ("h", 9, "/?q")),
        ];
        for (url, (host, port, path)) in table {
            let target = Target::parse(url).expect(url);
            assert_eq!((target.host.as_str(), target.port, target.path.as_str()), (host, port, path));
        }
    }

    #[test]
    fn what_cannot_be_spoken_is_refused_with_a_reason() {
        for (url, reason) in [
            ("127.0.0.1:80", "not a URL"),
            ("https://x/", "http:// only"),
            ("http://", "no host"),
            ("http://a:b/", "not a number"),
            ("http://[::1/", "not closed"),
            ("http://u:p@h/", "Authorization"),
        ] {
            let error = format!("{:#}", Target::parse(url).expect_err(url));
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
