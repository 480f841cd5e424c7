//! What this proxy adds to a request for the next hop: `Via`, `Forwarded` and its older kin, and the route's own changes.

use super::asked::Asked;
use super::caller::Caller;
use crate::error::Error;
use crate::http::fields::Piece;
use crate::http::h1::framing::parse_length;
use crate::http::{Fields, Name, RequestHead};
use crate::plan::Route;
use http::Method;
use unlag_config::HeaderEdits;

/// Says who asked. What an untrusted peer claims is replaced, what a trusted one says is extended, and counts.
pub fn say_who_asks(head: &mut RequestHead, caller: &Caller, trusted: bool) -> Asked {
    let fields = &mut head.fields;
    if !trusted && fields.has_any(Name::CLAIMS) {
        fields.retain(|field| Name::CLAIMS & field.known.bit() == 0);
    }
    let asked = Asked::of(fields, head.authority, caller.scheme);
    if !caller.address.is_empty() {
        append(fields, Name::XForwardedFor, &[Piece::Bytes(caller.address.as_bytes())]);
    }
    let host = head.authority;
    let pieces: [Piece<'_>; 4] = [
        Piece::Bytes(caller.forwarded.as_bytes()),
        Piece::Bytes(b";host=\""),
        Piece::Span(host),
        Piece::Bytes(b"\""),
    ];
    append(fields, Name::Forwarded, if host.is_empty() { &pieces[..1] } else { &pieces });
    if !fields.has(Name::XForwardedProto) {
        fields.push_known(Name::XForwardedProto, caller.scheme.text().as_bytes());
    }
    if !fields.has(Name::XForwardedHost) && !host.is_empty() {
        fields.push_pieces(Name::XForwardedHost, &[Piece::Span(host)]);
    }
    asked
}

/// Adds to a list, in one field.
fn append(fields: &mut Fields, name: Name, value: &[Piece<'_>]) {
    if !fields.has(name) {
        return fields.push_pieces(name, value);
    }
    let mut all: Vec<u8> = fields.all(name).collect::<Vec<_>>().join(&b", "[..]);
    all.extend_from_slice(b", ");
    fields.remove_known(name);
    let mut pieces = vec![Piece::Bytes(&all)];
    pieces.extend_from_slice(value);
    fields.push_pieces(name, &pieces);
}

/// Adds our entry to `Via`, or refuses a request that has been here before.
pub fn pass_via(head: &mut RequestHead, pseudonym: &str) -> Result<(), Error> {
    let been_here =
        head.fields.all(Name::Via).any(|via| memchr::memmem::find(via, pseudonym.as_bytes()).is_some());
    if been_here {
        return Err(Error::Loop);
    }
    let version = head.version.number().as_bytes();
    let pieces = [Piece::Bytes(version), Piece::Bytes(b" "), Piece::Bytes(pseudonym.as_bytes())];
    head.fields.push_pieces(Name::Via, &pieces);
    Ok(())
}

/// Counts this hop in `Max-Forwards`, which TRACE and OPTIONS obey (RFC 9110 §7.6.2). Whether the request ends here.
pub fn spend_forward(head: &mut RequestHead) -> bool {
    if head.method != Method::OPTIONS && head.method != Method::TRACE {
        return false;
    }
    let Some(left) = head.fields.get(Name::MaxForwards).and_then(parse_length) else { return false };
    let Some(left) = left.checked_sub(1) else { return true };
    head.fields.set_known(Name::MaxForwards, itoa::Buffer::new().format(left).as_bytes());
    false
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
