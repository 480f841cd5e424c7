//! One stream of an HTTP/2 caller: its request, judged and handed to the pipeline, and what becomes of the stream.

use super::answer::{self, Incoming};
use super::h2::Session;
use super::h2_answer::{Out, Respond};
use super::h2_early;
use super::h2_intake::{self, Recv};
use super::recording::Recording;
use crate::clock;
use crate::error::{Error, Fault};
use crate::exchange::{Response, Trace};
use crate::http::h1::parse::HeadError;
use crate::http::h2::convert;
use crate::http::{RequestHead, Version};
use crate::local;
use crate::net::alarm::Timer;
use crate::net::turn;
use h2::{Reason, RecvStream};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;
use unlag_record::Phase;

/// Has one stream answered.
pub async fn serve(session: &Session, request: http::Request<RecvStream>, respond: Respond) {
    let started = clock::now();
    local::notice(&session.core);
    let (parts, recv) = request.into_parts();
    let head =
        convert::request_in(&parts, session.core.head_limits().fields).and_then(|head| check(head, session));
    let out = Rc::new(Out::new(respond));
    let (head, refused) = match head {
        Ok(head) => (head, None),
        Err(error) => (unread(&parts), Some(error)),
    };
    let trace = Trace::new(started, &head, session.caller.peer, &Timer::default());
    let recording = Recording::new(&session.core, &session.caller, trace, Version::Http2);
    recording.trace.enter(Phase::Overhead);
    let recv: Recv = Rc::new(RefCell::new(recv));
    let received = match refused {
        Some(error) => Err(error),
        None => h2_intake::receive(&recv, &parts, &session.core.limits()).await,
    };
    let mut response = match received {
        Err(Error::CallerGone) => return recording.failed(Error::CallerGone),
        Err(error) if is_malformed(error) => {
            // RFC 9113 §8.1.1: a malformed request is a stream error.
            answer::refuse_unread(&session.core, &recording, error);
            recording.status.set(error.status());
            return out.reset(Reason::PROTOCOL_ERROR);
        }
        Err(error) => answer::refuse_unread(&session.core, &recording, error),
        Ok(body) => {
            turn::after_the_others().await;
            let content_has_begun = recv.borrow_mut().flow_control().used_capacity() > 0;
            let incoming = Incoming { head, body, interim: Some(out.clone()), content_has_begun };
            match answer::admit(&session.core, &session.caller, &recording, incoming) {
                Err(error) => answer::refuse_unread(&session.core, &recording, error),
                Ok(prepared) => {
                    let answering = answer::answer(&session.core, &recording, prepared);
                    match attend(std::pin::pin!(answering), &out).await {
                        Some(response) => response,
                        None => return recording.failed(Error::CallerGone),
                    }
                }
            }
        }
    };
    if response.head.status >= 400 && !recv.borrow().is_end_stream() {
        response.body = h2_early::whole(std::mem::take(&mut response.body)).await;
    }
    match out.respond_with(session, &recording, response).await {
        Ok(()) => {
            session.budget.earn();
            h2_intake::linger(&recv).await;
        }
        // The reset that follows is not the caller's to pay.
        Err(error) if error.fault() != Fault::Caller => session.budget.earn(),
        Err(_) => {}
    }
}

/// Bounds that the `h2` crate does not know, and the name of the connection's certificate.
fn check(head: RequestHead, session: &Session) -> Result<RequestHead, Error> {
    let uri = head.path().len() + head.query().map_or(0, |query| query.len() + 1);
    if uri > session.core.head_limits().uri {
        return Err(HeadError::UriTooLong.into());
    }
    super::h1::check_server_name(&head, &session.caller)?;
    Ok(head)
}

fn is_malformed(error: Error) -> bool {
    matches!(
        error,
        Error::Head(HeadError::Syntax | HeadError::HostMismatch | HeadError::Host) | Error::LengthMismatch
    )
}

/// A head to record a request by that could not be read.
fn unread(parts: &http::request::Parts) -> RequestHead {
    let mut fields = crate::http::Fields::default();
    let path = fields.store(parts.uri.path().as_bytes());
    let authority = Default::default();
    RequestHead {
        method: parts.method.clone(),
        path,
        query: None,
        authority,
        version: Version::Http2,
        fields,
    }
}

/// Waits for the answer and notices when the caller resets the stream.
async fn attend(
    mut answering: std::pin::Pin<&mut impl Future<Output = Box<Response>>>,
    out: &Out,
) -> Option<Box<Response>> {
    std::future::poll_fn(|cx| {
        // First, so that nothing is sent for a stream that is reset already.
        if out.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        answering.as_mut().poll(cx).map(Some)
    })
    .await
}
