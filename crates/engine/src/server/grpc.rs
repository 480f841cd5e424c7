//! A gRPC answer always ends with a status: what a service forgot is said for it, as the specification maps it (UNKNOWN), so
//! that callers do not wait for more.

use crate::error::Error;
use crate::exchange::Response;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Fields, Name, Size, media};
use http::{HeaderMap, HeaderName};
use std::task::{Context, Poll};

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
        body => response.body = Body::Stream(Box::new(Ensured { body, ended: false })),
    }
}

/// The end of an answer of gRPC that was cut: a caller that gets trailers knows the status, one that gets a reset has to guess
/// it. Any other answer would look whole.
pub fn trailers(error: Error) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), u16::from(error.grpc_status()).into())])
}

/// A body whose trailers are looked at as they pass.
struct Ensured {
    body: Body,
    ended: bool,
}

impl Source for Ensured {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.body.poll_chunk(cx)) {
            Some(Ok(Chunk::Trailers(mut trailers))) => {
                self.ended = true;
                if !trailers.has(Name::GrpcStatus) {
                    trailers.push_known(Name::GrpcStatus, UNKNOWN);
                }
                Poll::Ready(Some(Ok(Chunk::Trailers(trailers))))
            }
            None => {
                self.ended = true;
                let mut trailers = Fields::default();
                trailers.push_known(Name::GrpcStatus, UNKNOWN);
                Poll::Ready(Some(Ok(Chunk::Trailers(trailers))))
            }
            other => Poll::Ready(other),
        }
    }

    fn size(&self) -> Size {
        Size::Unknown
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.body.take_at_most(bytes);
    }
}
