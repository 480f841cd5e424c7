//! A caller that waits for `100 Continue` gets it when somebody asks for its content, and not before: a request that is refused
//! by its head never has its content sent (RFC 9110 §10.1.1).

use crate::error::Error;
use crate::exchange::Interim;
use crate::http::body::Source;
use crate::http::{Body, Chunk, ResponseHead, Size};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Content that the caller holds back.
struct HeldBack {
    body: Body,
    /// Where the `100 Continue` goes that is still owed.
    owed_to: Option<Rc<dyn Interim>>,
}

/// Wraps `body` so that whoever reads it first lets it come.
pub(super) fn on_demand(body: Body, caller: Option<&Rc<dyn Interim>>) -> Body {
    match (body, caller) {
        (body @ Body::Stream(_), Some(caller)) => {
            Body::Stream(Box::new(HeldBack { body, owed_to: Some(Rc::clone(caller)) }))
        }
        // Content that is here already is not held back.
        (body, _) => body,
    }
}

impl Source for HeldBack {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if let Some(caller) = self.owed_to.take() {
            caller.send(ResponseHead::new(100));
        }
        self.body.poll_chunk(cx)
    }

    fn size(&self) -> Size {
        self.body.size()
    }
}
