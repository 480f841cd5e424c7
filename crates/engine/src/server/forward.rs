//! What this proxy adds to a request for the next hop: `Via`, `Forwarded` and its older kin, and the route's own changes.

use super::caller::Caller;
use crate::error::Error;
use crate::http::{Fields, Name, RequestHead};
use crate::plan::Route;
use unlag_config::HeaderEdits;

/// What a peer may only say of somebody else if it is trusted.
const CLAIMS: &[Name] = &[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedProto,
    Name::RealIp,
    Name::OriginalUrl,
    Name::RewriteUrl,
    Name::XAttempt,
    Name::XCriticality,
];

/// The same under names that only some proxies use.
fn is_claim(name: &[u8]) -> bool {
    const OTHERS: [&str; 4] = ["true-client-ip", "x-client-ip", "x-cluster-client-ip", "cf-connecting-ip"];
    let forwarded = name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"));
    forwarded || OTHERS.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// Says who asked. What an untrusted peer claims is replaced, what a trusted one says is extended.
pub fn say_who_asks(head: &mut RequestHead, caller: &Caller, trusted: bool) {
    let fields = &mut head.fields;
    if !trusted {
        fields.retain(|field| !CLAIMS.contains(&field.known) && !is_claim(field.name));
    }
    if !caller.address.is_empty() {
        append(fields, Name::XForwardedFor, caller.address.as_bytes());
    }
    let authority = fields.read(head.authority).to_vec();
    let mut forwarded = Vec::with_capacity(caller.forwarded.len() + authority.len() + 8);
    forwarded.extend_from_slice(caller.forwarded.as_bytes());
    if !authority.is_empty() {
        forwarded.extend_from_slice(b";host=\"");
        forwarded.extend_from_slice(&authority);
        forwarded.push(b'"');
    }
    append(fields, Name::Forwarded, &forwarded);
    if !fields.has(Name::XForwardedProto) {
        fields.push_known(Name::XForwardedProto, caller.scheme.text().as_bytes());
    }
    if !fields.has(Name::XForwardedHost) && !authority.is_empty() {
        fields.push_known(Name::XForwardedHost, &authority);
    }
}

/// Adds to a list, in one field.
fn append(fields: &mut Fields, name: Name, value: &[u8]) {
    if !fields.has(name) {
        return fields.push_known(name, value);
    }
    let mut all: Vec<u8> = fields.all(name).collect::<Vec<_>>().join(&b", "[..]);
    all.extend_from_slice(b", ");
    all.extend_from_slice(value);
    fields.set_known(name, &all);
}

/// Adds our entry to `Via`, or refuses a request that has been here before.
pub fn pass_via(head: &mut RequestHead, pseudonym: &str) -> Result<(), Error> {
    let been_here =
        head.fields.all(Name::Via).any(|via| memchr::memmem::find(via, pseudonym.as_bytes()).is_some());
    if been_here {
        return Err(Error::Loop);
    }
    let mut via = [0u8; 64];
    let text = [head.version.number().as_bytes(), b" ", pseudonym.as_bytes()];
    let mut len = 0;
    for (slot, byte) in via.iter_mut().zip(text.into_iter().flatten()) {
        *slot = *byte;
        len += 1;
    }
    head.fields.push_known(Name::Via, via.get(..len).unwrap_or_default());
    Ok(())
}

/// Applies a route's changes of fields.
pub fn edit(fields: &mut Fields, edits: &HeaderEdits) {
    edits.remove.iter().for_each(|name| fields.remove(name));
    edits.set.iter().for_each(|(name, value)| fields.set(name, value.as_bytes()));
}

/// Strips and adds the route's prefixes; `base` is the path of the upstream's own URL.
pub fn rewrite_path(head: &mut RequestHead, route: &Route, base: &str) {
    let strip = route.config.strip_prefix.as_deref().unwrap_or_default();
    let add = route.config.add_prefix.as_deref().unwrap_or_default();
    if strip.is_empty() && add.is_empty() && base.is_empty() || head.path() == b"*" {
        return;
    }
    let path = head.path();
    let rest = match path.strip_prefix(strip.trim_end_matches('/').as_bytes()) {
        // A prefix is whole segments: `/api` is not the beginning of `/apiary`.
        Some(rest) if rest.is_empty() || rest.first() == Some(&b'/') => rest,
        _ => path,
    };
    let mut new = Vec::with_capacity(base.len() + add.len() + rest.len() + 1);
    new.extend_from_slice(base.trim_end_matches('/').as_bytes());
    new.extend_from_slice(add.trim_end_matches('/').as_bytes());
    new.extend_from_slice(rest);
    if new.is_empty() {
        new.push(b'/');
    }
    head.path = head.fields.store(&new);
}
