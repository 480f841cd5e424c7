//! `[[listen]]` and `[admin]`: where connections are accepted.

use std::collections::HashSet;

use crate::keys;
use crate::model::{Address, Admin, CertificateFiles, Listen, ListenTls};
use crate::reader::{Cursor, Reader, Value};
use crate::source::Span;
use crate::value;

/// Every listener; at least one has to be there.
pub(super) fn listeners(root: &mut Cursor<'_>) -> Vec<(Listen, Span)> {
    let Some(value) = root.take("listen") else {
        root.error("the file listens nowhere", "add a `[[listen]]` with `address = \"127.0.0.1:8080\"`");
        return Vec::new();
    };
    let Some(entries) = value.list() else { return Vec::new() };
    if entries.is_empty() {
        value.error("the file listens nowhere", "`[[listen]]` needs at least one entry");
    }
    entries.iter().filter_map(listener).collect()
}

fn listener(entry: &Value<'_>) -> Option<(Listen, Span)> {
    let mut table = entry.table(&keys::LISTEN)?;
    let value = table.need("address");
    let address = value.as_ref().and_then(|value| value.parse(value::address));
    let tls = table.take("tls").map(|value| listen_tls(&value));
    let report_load = table.take("report_load").and_then(|value| value.boolean()).unwrap_or(false);
    table.finish();
    Some((Listen { address: address?, tls: tls.flatten(), report_load }, value?.span))
}

fn listen_tls(value: &Value<'_>) -> Option<ListenTls> {
    let entries = if value.is_list() { value.list()? } else { vec![value.alike()] };
    if entries.is_empty() {
        value.error("`tls` has no certificate", "`tls = { certificate = \"site.pem\", key = \"site.key\" }`");
        return None;
    }
    let mut tls = ListenTls { certificates: Vec::new(), client_ca: None };
    for entry in &entries {
        let Some(mut table) = entry.table(&keys::LISTEN_TLS) else { continue };
        let certificate = table.need("certificate").and_then(|value| value.path());
        let key = table.need("key").and_then(|value| value.path());
        if let Some(value) = table.take("client_ca")
            && let Some(path) = value.path()
        {
            match &tls.client_ca {
                Some(earlier) if *earlier != path => {
                    let help =
                        "callers are checked before a certificate is chosen; name one file, in one entry";
                    value.error("a listener has one `client_ca`", help);
                }
                _ => tls.client_ca = Some(path),
            }
        }
        table.finish();
        if let (Some(certificate), Some(key)) = (certificate, key) {
            tls.certificates.push(CertificateFiles { certificate, key });
        }
    }
    Some(tls)
}

/// `[admin]`
pub(super) fn admin(table: &mut Cursor<'_>) -> Admin {
    let default = Admin::default();
    let value = table.take("address");
    let address = value.as_ref().and_then(|value| value.parse(value::address));
    if let (Some(value), Some(address)) = (value, &address)
        && !address.is_loopback()
    {
        let help =
            "anyone on the way can read the token; keep to 127.0.0.1, or put a proxy with TLS in front";
        value.reader.warning(
            &value.span,
            "`admin.address` can be reached from elsewhere, and there is no TLS",
            help,
        );
    }
    let token = table.take("token").and_then(|value| value.secret());
    Admin { address: address.unwrap_or(default.address), token }
}

/// No two listeners can have one address. Port 0 is a different one each time.
pub(super) fn distinct(reader: &Reader<'_>, listen: &[(Listen, Span)], admin: &Admin) {
    let fixed = |address: &Address| !matches!(address, Address::Tcp(tcp) if tcp.port() == 0);
    let mut seen: HashSet<&Address> = HashSet::new();
    for (listen, span) in listen.iter().filter(|(listen, _)| fixed(&listen.address)) {
        let address = &listen.address;
        let message = if !seen.insert(address) {
            format!("two listeners have the address {address}")
        } else if *address == admin.address {
            format!("a listener has the address of `[admin]`, {address}")
        } else {
            continue;
        };
        reader.error(span, message, "give each its own port");
    }
}
