//! Requests that read and carry content: QUERY (RFC 10008), and the POSTs that a route declares reads. Their content is part of
//! the key, in one form for all contents that mean the same.
//!
//! What cannot be read, is too large, or may change something is passed on as any other request.

pub mod graphql;
pub mod grpc;
pub mod json;

use crate::exchange::Exchange;
use crate::http::{Body, Chunk, Fields, Name, media};
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
    write_kind(&exchange.head.fields, &mut key);
    key.push(0);
    key.extend_from_slice(&canonical);
    Some(key)
}

/// Writes what is said of content: all lines of it, in whatever order an origin reads them.
fn write_kind(fields: &Fields, key: &mut Vec<u8>) {
    let all = |name: &str| {
        let lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
        lines.map(|field| field.value).collect::<Vec<_>>().join(&b", "[..])
    };
    let (encodings, languages) = (all("content-encoding"), all("content-language"));
    for part in
        [media::plain(&all("content-type")), encodings.to_ascii_lowercase(), languages.to_ascii_lowercase()]
    {
        key.push(0);
        key.extend_from_slice(&part);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(list: &[(&str, &str)]) -> Vec<u8> {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        let mut key = Vec::new();
        write_kind(&fields, &mut key);
        key
    }

    #[test]
    fn all_that_is_said_of_content_is_part_of_the_key_and_nothing_that_means_nothing() {
        let of = |value| kind(&[("content-type", value)]);
        assert_eq!(of("Multipart/Form-Data; Boundary=AbC"), of("multipart/form-data;boundary=AbC"));
        assert_ne!(of("multipart/form-data; boundary=AbC"), of("multipart/form-data; boundary=abc"));
        let encoded = |list: &[&'static str]| {
            kind(&list.iter().map(|&coding| ("content-encoding", coding)).collect::<Vec<_>>())
        };
        assert_ne!(encoded(&["x", "y"]), encoded(&["x"]));
        assert_eq!(encoded(&["x", "Y"]), encoded(&["X, y"]));
        assert_ne!(kind(&[("content-language", "de")]), kind(&[("content-language", "en")]));
    }
}
