//! Writes heads as HTTP/1.1. Fields of one hop never come from a message; framing and connection are said here, once.

use super::framing::Framing;
use crate::http::fields::{Field, Fields, write_line};
use crate::http::head::{RequestHead, ResponseHead};
use crate::http::name::Name;

/// A request for an upstream: origin-form, `Host` first, `upgrade` when the caller asks for another protocol.
pub fn request(out: &mut Vec<u8>, head: &RequestHead, host: &[u8], framing: Framing, upgrade: Option<&[u8]>) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.path());
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    fields(out, &head.fields);
    content(out, framing);
    if let Some(upgrade) = upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        write_line(out, b"Upgrade", upgrade);
    }
    out.extend_from_slice(b"\r\n");
}

/// What the response's connection does afterwards, as far as the caller must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection<'a> {
    /// What the caller's version does by itself.
    Default,
    /// It is closed.
    Close,
    /// An HTTP/1.0 caller asked to keep it, and may.
    KeepAlive,
    /// It becomes another protocol.
    Upgrade(&'a [u8]),
}

/// A response for a caller.
pub fn response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    framing: Option<Framing>,
    connection: Connection<'_>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(head.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(out, &head.fields);
    if let Some(framing) = framing {
        content(out, framing);
    }
    match connection {
        Connection::Default => {}
        Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Connection::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Connection::Upgrade(protocol) => {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            write_line(out, b"Upgrade", protocol);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn fields(out: &mut Vec<u8>, fields: &Fields) {
    let of_hop = |field: Field<'_>| field.known.is_hop_by_hop() && field.known != Name::Te;
    debug_assert!(!fields.iter().any(of_hop), "a field of one hop is passed on");
    fields.write_lines(out);
}

fn content(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// The phrase that goes with a status; nobody reads it, but some parsers want one.
fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}
