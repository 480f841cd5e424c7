//! What an answer of gRPC says of its endpoint in its trailers: a call may fail after its answer has begun, with a head that looks
//! well.

use super::{hear, policy};
use crate::clock;
use crate::exchange::Response;
use crate::fleet::InFlight;
use crate::http::{Body, Name, media};
use crate::plan::Upstream;
use std::sync::Arc;

/// UNKNOWN: what a call means that ends without a status.
const UNKNOWN: u8 = 2;

/// Has the end of an answer judged instead of its head, if it is of gRPC and its head does not say how it ended. Returns whether it
/// is.
pub fn judge(response: &mut Response, request: &InFlight, upstream: &Arc<Upstream>) -> bool {
    let Response { head, body, .. } = response;
    let ends_later = matches!(body, Body::Stream(_))
        && head.status == 200
        && !head.fields.has(Name::GrpcStatus)
        && head.fields.get(Name::ContentType).is_some_and(media::is_grpc);
    if !ends_later {
        return false;
    }
    let (endpoint, begun_ns) = (Arc::clone(request.endpoint()), request.begun_ns());
    let upstream = Arc::clone(upstream);
    *body = std::mem::take(body).ending(move |trailers| {
        let status = trailers.as_ref().and_then(policy::grpc_status).unwrap_or(UNKNOWN);
        let verdict = policy::judge(200, Some(status), None);
        hear((&endpoint, begun_ns), verdict, &upstream, clock::now());
        trailers
    });
    true
}
