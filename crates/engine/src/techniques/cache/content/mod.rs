//! Requests that read and carry content: QUERY (RFC 10008), and the POSTs that a route declares reads. Their content is part of
//! the key, in one form for all contents that mean the same.
//!
//! What cannot be read, is too large, or may change something is passed on as any other request.

pub mod graphql;
pub mod grpc;
pub mod json;

use crate::exchange::Exchange;
use crate::http::{Body, Chunk, Name, media};
use bytes::{Bytes, BytesMut};
use http::Method;
use unlag_config::KeyedBody;

/// Content that is held to be part of a key.
const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// Whether the content of a request could be part of a key: the method says that it reads, or the route does.
pub fn may_be_keyed(exchange: &Exchange, keyed: Option<KeyedBody>) -> bool {
    match exchange.head.method {
        Method::POST => keyed.is_some(),
        ref method => is_query(method),
    }
}

/// QUERY: safe, and with content (RFC 10008 §2).
pub fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

/// Takes in the content of a request, and says what of it belongs into the key. Without an answer the request is passed on; all
/// that was taken in is in it again.
pub async fn take_in(exchange: &mut Exchange, keyed: Option<KeyedBody>) -> Option<Vec<u8>> {
    let content = held(&mut exchange.body).await?;
    let content_type = exchange.head.fields.get(Name::ContentType).unwrap_or_default();
    let is_json = media::is_json(content_type);
    let canonical = match keyed {
        Some(KeyedBody::GraphQl) if is_json => graphql::key(&content)?,
        Some(KeyedBody::Grpc) if media::is_grpc(content_type) => grpc::message(&content)?.to_vec(),
        Some(KeyedBody::GraphQl | KeyedBody::Grpc) if !is_query(&exchange.head.method) => return None,
        Some(KeyedBody::Json) | None if is_json => {
            json::canonical(&content).unwrap_or_else(|| content.to_vec())
        }
        _ => content.to_vec(),
    };
    let mut key = vec![0];
    key.extend_from_slice(exchange.head.method.as_str().as_bytes());
    for part in [content_type, exchange.head.fields.get_named("content-encoding").unwrap_or_default()] {
        key.push(0);
        key.extend_from_slice(&part.to_ascii_lowercase());
    }
    key.push(0);
    key.extend_from_slice(&canonical);
    Some(key)
}

/// All of a body, if it ends within the bound without trailers. It stands at hand afterwards, or what was read stands in front
/// of the rest.
async fn held(body: &mut Body) -> Option<Bytes> {
    let mut held = BytesMut::new();
    let mut rest = std::mem::take(body);
    loop {
        match rest.chunk().await {
            None => {
                let content = held.freeze();
                *body = if content.is_empty() { Body::Empty } else { Body::Bytes(content.clone()) };
                return Some(content);
            }
            Some(Ok(Chunk::Data(data))) if held.len() + data.len() <= CONTENT_BYTES_MAX => {
                held.extend_from_slice(&data);
            }
            Some(last) => {
                *body = rest.after(held.freeze(), last);
                return None;
            }
        }
    }
}
