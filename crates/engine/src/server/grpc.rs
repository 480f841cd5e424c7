//! A gRPC answer always ends with a status: what a service forgot is said for it, as the specification maps it (UNKNOWN), so
//! that callers do not wait for more.

use crate::error::Error;
use crate::exchange::Response;
use crate::http::{Body, Fields, Name, media};
use http::{HeaderMap, HeaderName};

/// UNKNOWN
const UNKNOWN: &[u8] = b"2";

/// Whether a message with these fields is of gRPC.
pub fn is_spoken(fields: &Fields) -> bool {
    fields.get(Name::ContentType).is_some_and(media::is_grpc)
}

/// Makes sure that `response` carries a `grpc-status`.
pub fn ensure_status(response: &mut Response) {
    if !is_spoken(&response.head.fields) || response.head.fields.has(Name::GrpcStatus) {
        return;
    }
    match std::mem::take(&mut response.body) {
        Body::Empty => response.head.fields.push_known(Name::GrpcStatus, UNKNOWN),
        body => response.body = body.ending(with_status),
    }
}

fn with_status(trailers: Option<Fields>) -> Option<Fields> {
    let mut trailers = trailers.unwrap_or_default();
    if !trailers.has(Name::GrpcStatus) {
        trailers.push_known(Name::GrpcStatus, UNKNOWN);
    }
    Some(trailers)
}

/// The end of an answer of gRPC that was cut: a caller that gets trailers knows the status, one that gets a reset has to guess
/// it. Any other answer would look whole.
pub fn trailers(error: Error) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), u16::from(error.grpc_status()).into())])
}
