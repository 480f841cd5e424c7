//! What an answer of gRPC says of its endpoint in its trailers: a call may fail after its answer has begun, with a head that looks
//! well.

use super::{hear, policy};
use crate::clock;
use crate::error::Error;
use crate::exchange::Response;
use crate::fleet::{Endpoint, InFlight};
use crate::http::body::Source;
use crate::http::{Body, Chunk, Name, Size, media};
use crate::plan::Upstream;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A body whose trailers are judged as they pass.
struct Judged {
    body: Body,
    endpoint: Arc<Endpoint>,
    begun_ns: u64,
    upstream: Arc<Upstream>,
}

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
    *body = Body::Stream(Box::new(Judged {
        body: std::mem::take(body),
        endpoint: Arc::clone(request.endpoint()),
        begun_ns: request.begun_ns(),
        upstream: Arc::clone(upstream),
    }));
    true
}

impl Source for Judged {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let chunk = ready!(self.body.poll_chunk(cx));
        if let Some(Ok(Chunk::Trailers(trailers))) = &chunk {
            let verdict = policy::judge(200, policy::grpc_status(trailers), None);
            hear((&self.endpoint, self.begun_ns), verdict, &self.upstream, clock::now());
        }
        Poll::Ready(chunk)
    }

    fn size(&self) -> Size {
        self.body.size()
    }

    fn may_trail(&self) -> bool {
        self.body.may_trail()
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.body.take_at_most(bytes);
    }
}
