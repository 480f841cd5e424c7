//! `discover`: a file with endpoints, or a name that is looked up.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::model::{Scheme, Source};
use crate::problem::{Invalid, quoted};
use crate::reader::Value;
use crate::url::{host_and_port, host_name};

pub(super) fn discover(value: &Value<'_>) -> Option<Source> {
    let text = value.as_str().unwrap_or("");
    if text.contains('@') && !text.starts_with("file://") {
        // What may hold a password is not repeated.
        value.reader.mask(&value.span);
        value.error("a name carries no user name or password", value.help());
        return None;
    }
    let source = value.parse(|text| parse(text, value.help()))?;
    if matches!(source, Source::File(_)) {
        value.remember();
    }
    Some(source)
}

/// Most name servers of an upstream, as many as a system has: each that is silent holds up a look-up for seconds.
const RESOLVERS_MAX: usize = 3;

/// `resolver`: name servers by their addresses.
pub(super) fn resolver(value: &Value<'_>, source: Option<&Source>) -> Vec<SocketAddr> {
    if source.is_some_and(|source| !source.may_have_names()) {
        let help = "its endpoints are addresses; take `resolver` out";
        value.reader.warning(&value.span, "`resolver` has no effect: there is no name to look up", help);
    }
    let entries = match value.is_list() {
        true => value.list().unwrap_or_default(),
        false => vec![value.alike()],
    };
    if value.is_list() && (entries.is_empty() || entries.len() > RESOLVERS_MAX) {
        value.error(
            "there are no name servers, or too many",
            format!("from 1 to {RESOLVERS_MAX}, such as \"127.0.0.1:8600\""),
        );
    }
    let entries = entries.iter().take(RESOLVERS_MAX);
    entries.filter_map(|entry| entry.parse(|text| name_server(text, entry.help()))).collect()
}

/// `IP:PORT`, or `IP` for port 53. A name would have to be looked up itself.
fn name_server(text: &str, help: String) -> Result<SocketAddr, Invalid> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = text.parse().or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    match address {
        Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(address),
        _ => Err(Invalid::new(format!("{} is not the address of a name server", quoted(text)), help)),
    }
}

fn parse(text: &str, help: String) -> Result<Source, Invalid> {
    let (way, rest) = text.split_once("://").unwrap_or(("", text));
    let offset = text.len() - rest.len();
    let name = |read: fn(&str, Scheme) -> Result<Source, Invalid>, scheme| {
        read(rest, scheme).map_err(|invalid| invalid.shifted(offset))
    };
    match way {
        "dns" => name(addresses, Scheme::Http),
        "dns+https" => name(addresses, Scheme::Https),
        "srv" => name(service, Scheme::Http),
        "srv+https" => name(service, Scheme::Https),
        "file" if !rest.is_empty() && !rest.contains('\0') => Ok(Source::File(PathBuf::from(rest))),
        _ => {
            let help = match meant(text) {
                Some(meant) => format!("did you mean {}? {help}", quoted(&meant)),
                None => help,
            };
            Err(Invalid::new(format!("{} does not say how to discover endpoints", quoted(text)), help))
        }
    }
}

/// What was probably meant by what has no scheme: a file where it looks like one, else a name with a port.
fn meant(text: &str) -> Option<String> {
    let path = text.strip_prefix("file:").unwrap_or(text);
    if text.contains("://") || path.is_empty() || path.contains(['\0', ' ']) {
        return None;
    }
    let is_file = path.len() < text.len()
        || path.contains('/')
        || path
            .rsplit_once('.')
            .is_some_and(|(_, end)| ["txt", "list", "conf", "cfg", "endpoints"].contains(&end));
    if is_file {
        return Some(format!("file://{path}"));
    }
    let (_, port) = host_and_port(path).ok()?;
    port.map(|_| format!("dns://{path}"))
}

/// `NAME:PORT`, whose addresses are the endpoints.
fn addresses(text: &str, scheme: Scheme) -> Result<Source, Invalid> {
    let (name, port) = host_and_port(bare(text)?)?;
    if name.parse::<IpAddr>().is_ok() {
        let url = if scheme == Scheme::Https { "https" } else { "http" };
        let help = format!("there is nothing to look up: write `endpoints = [\"{url}://{text}\"]`");
        return Err(Invalid::new(format!("{} is an address", quoted(text)), help));
    }
    let port = port.unwrap_or(if scheme == Scheme::Https { 443 } else { 80 });
    Ok(Source::Dns { scheme, name, port })
}

/// `_SERVICE._tcp.NAME`, whose records hold names and ports (RFC 2782).
fn service(text: &str, scheme: Scheme) -> Result<Source, Invalid> {
    let refuse = |why: &str, help: &str| Err(Invalid::new(format!("{} {why}", quoted(text)), help));
    let text = bare(text)?;
    if text.contains(':') {
        return refuse("has a port", "SRV records say the port of every endpoint; take it out");
    }
    let name = host_name(text)?;
    let mut labels = name.splitn(3, '.');
    let is_service = labels.next().is_some_and(|service| service.len() > 1 && service.starts_with('_'));
    if is_service && labels.next() == Some("_tcp") && labels.next().is_some() {
        return Ok(Source::Srv { scheme, name });
    }
    refuse(
        "is not the name of a service",
        "such as \"srv://_http._tcp.reports.internal\" (RFC 2782), and always `_tcp`",
    )
}

/// The name without the dot of the root, when there is nothing behind it.
fn bare(text: &str) -> Result<&str, Invalid> {
    match text.find(['/', '?', '#']) {
        Some(at) => {
            let help = "what is discovered are endpoints, and those have no path; `add_prefix` in the route puts one in front";
            Err(Invalid::new("there is a path, a query or a fragment behind the name", help)
                .at(at..text.len()))
        }
        None => Ok(text.strip_suffix('.').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Source, Invalid> {
        parse(text, String::new())
    }

    #[test]
    fn names_are_looked_up_and_files_are_read() {
        let (name, port) = ("reports.internal".to_owned(), 8000);
        assert_eq!(read("dns://Reports.Internal:8000"), Ok(Source::Dns { scheme: Scheme::Http, name, port }));
        let (scheme, name) = (Scheme::Https, "reports.internal".to_owned());
        assert_eq!(read("dns+https://reports.internal."), Ok(Source::Dns { scheme, name, port: 443 }));
        let name = "_http._tcp.reports.internal".to_owned();
        assert_eq!(
            read("srv://_http._tcp.reports.internal"),
            Ok(Source::Srv { scheme: Scheme::Http, name: name.clone() })
        );
        assert_eq!(read("srv+https://_http._tcp.reports.internal"), Ok(Source::Srv { scheme, name }));
        assert_eq!(read("file://a"), Ok(Source::File("a".into())));
    }

    #[test]
    fn tls_is_of_use_where_endpoints_may_be_https() {
        let may_be_https = |text| read(text).unwrap().may_be_https();
        assert!(["dns+https://a", "srv+https://_http._tcp.a", "file://a"].into_iter().all(may_be_https));
        assert!(!["dns://a", "srv://_http._tcp.a"].into_iter().any(may_be_https));
    }

    #[test]
    fn name_servers_are_addresses_with_port_53_unless_there_is_another() {
        let read = |text| name_server(text, String::new()).map(|address| address.to_string());
        assert_eq!(read("127.0.0.1:8600"), Ok("127.0.0.1:8600".to_owned()));
        assert_eq!(read("10.0.0.2"), Ok("10.0.0.2:53".to_owned()));
        assert_eq!([read("::1"), read("[::1]"), read("[::1]:53")].map(Result::unwrap), ["[::1]:53"; 3]);
        for bad in
            ["", "ns.internal", "ns.internal:53", "10.0.0.2:0", "0.0.0.0", "udp://10.0.0.2", "[10.0.0.2"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_lacks_its_scheme_is_told_which_one_was_probably_meant() {
        let said = |text: &str| parse(text, "allowed: all".to_owned()).unwrap_err().help;
        for (text, meant) in [
            ("eps.txt", "file://eps.txt"),
            ("/etc/unlag/eps", "file:///etc/unlag/eps"),
            ("file:eps", "file://eps"),
            ("shop.internal:8000", "dns://shop.internal:8000"),
        ] {
            assert_eq!(said(text), format!("did you mean \"{meant}\"? allowed: all"));
        }
        assert_eq!(said("consul://shop"), "allowed: all");
        assert_eq!(said("shop"), "allowed: all");
    }

    #[test]
    fn what_cannot_be_looked_up_is_refused() {
        for bad in [
            "",
            "dns",
            "dns://",
            "dns://:80",
            "dns://a:0",
            "dns://10.0.0.1:80",
            "dns://[::1]:80",
            "dns://a/b",
            "dns://a b",
            "dns+http://a",
            "DNS://a",
            "srv://",
            "srv://a",
            "srv://_http",
            "srv://_http._udp.a",
            "srv://_._tcp.a",
            "srv://_http._tcp",
            "srv://_http._tcp.",
            "srv://_http._tcp.a:80",
            "file://",
            "http://a",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
