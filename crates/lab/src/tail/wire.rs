//! A request as its caller writes it, with what that caller has been told before.

use std::time::SystemTime;

use super::plan::{Call, Kind};
use crate::services::SENT_FIELD;

const LARGE_BYTES: usize = 1 << 20;
/// Time that a request with a deadline has in all.
const DEADLINE_MS: u64 = 50;

/// What one caller has been told of a key.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) version: u64,
    pub(super) cookie: Option<String>,
}

/// The request as it goes out: about the fields that one service sends to another.
pub(super) fn wire(call: Call, known: &Known) -> Vec<u8> {
    let id = call.id;
    let (line, body) = match call.kind {
        Kind::Get | Kind::Deadline | Kind::GrpcDeadline => (format!("GET /r/{id}"), 0),
        Kind::Post => (format!("POST /r/{id}"), 256),
        Kind::Stream => (format!("GET /r/{id}?bytes=20000&stream=20"), 0),
        Kind::Download => (format!("GET /r/{id}?bytes={LARGE_BYTES}"), 0),
        Kind::Upload => (format!("POST /r/{id}"), LARGE_BYTES),
        Kind::Read(key) => (format!("GET /kv/{key}/{id}"), 0),
        Kind::Write(key) => (format!("POST /kv/{key}/{id}"), 64),
    };
    let mut head = format!(
        "{line} HTTP/1.1\r\nhost: services.lab\r\nuser-agent: checkout/4.12.0 (linux; x86_64)\r\n\
         accept: application/json, text/plain;q=0.8\r\naccept-language: en-GB,en;q=0.9\r\n\
         x-tenant: 5f1c2f7e-eu-west-1\r\n"
    );
    if call.critical {
        head.push_str("x-criticality: critical\r\n");
    }
    if let Some(cookie) = &known.cookie {
        head.push_str(&format!("cookie: {cookie}\r\n"));
    }
    if call.kind.has_deadline() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let said = match call.kind {
            Kind::GrpcDeadline => format!("grpc-timeout: {DEADLINE_MS}m"),
            _ => format!("x-request-timeout-ms: {DEADLINE_MS}"),
        };
        head.push_str(&format!("{said}\r\n{SENT_FIELD}: {};{DEADLINE_MS}\r\n", now.as_micros()));
    }
    if call.kind.is_unsafe() {
        head.push_str(&format!("content-type: application/octet-stream\r\ncontent-length: {body}\r\n"));
    }
    head.push_str("\r\n");
    let mut wire = head.into_bytes();
    wire.resize(wire.len() + body, b'x');
    wire
}
