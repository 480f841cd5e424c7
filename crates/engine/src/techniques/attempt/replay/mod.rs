//! Replay: a request with an `Idempotency-Key` is executed once, and whoever sends it again gets the answer that there was
//! (draft-ietf-httpapi-idempotency-key-header). A caller whose connection broke cannot know whether its payment was made; so it asks
//! again, and without this is served twice.
//!
//! ```text
//! key is new ───────► the request is sent, and goes on when its caller leaves ──► its answer is kept
//! key is known ─┬───► answered: the same answer, with `Idempotency-Replayed: true`
//!               ├───► under way, or executed and its answer not kept: 409
//!               └───► with other content: 422
//! ```
//!
//! A key belongs to who uses it (see [`policy`]) and to method, authority and target. What is kept is
//! kept on this node, for all its cores. Not kept, so that the next one with the key is executed: what certainly reached no
//! application, and answers which say that nothing was done ([`policy::is_void`]). When it is not known whether the request was
//! executed (no answer in time, a connection that broke), the failure is kept: to send it once more could do it twice. Of an answer
//! that is larger than [`ANSWER_BYTES_MAX`], has trailers or comes as a stream, it is kept that there was one.
//!
//! When not to: where the application knows the keys itself, nothing is gained.

pub mod policy;
pub mod store;

use super::Attempt;
use crate::clock;
use crate::error::Error;
use crate::exchange::{Exchange, Outcome, Response, Trace};
use crate::http::{Body, Chunk, Name, ResponseHead, Scheme, Size};
use crate::panics;
use crate::pipeline::Next;
use bytes::{Bytes, BytesMut};
use http::Method;
use std::rc::Rc;
use std::time::Duration;
use store::{Answer, Known, Running};
use tokio::sync::oneshot;
use unlag_record::Phase;

/// Content of a request that is compared: of a longer one, as much as this and its length.
const CONTENT_BYTES_MAX: usize = 256 * 1024;
/// An answer that is kept; one to a change says what became of it, and is small.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

impl Attempt {
    /// For how long the answer to this request is kept, if it is.
    pub(super) fn keeps(&self, exchange: &Exchange) -> Option<Duration> {
        let ttl = exchange.route.config.attempts.idempotency_key?;
        (!exchange.head.method.is_safe()
            && exchange.upgrade.is_none()
            && exchange.head.fields.has(Name::IdempotencyKey))
        .then_some(ttl)
    }

    /// Answers with what there is, or has the request executed, once.
    pub(super) async fn once<N: Next>(
        &self,
        mut exchange: Box<Exchange>,
        ttl: Duration,
        next: &Rc<N>,
    ) -> Outcome {
        let key = policy::key(&exchange).ok_or(Error::BadKey)?;
        // Before any of its content is taken in.
        let turn = self.answers.begin().ok_or(Error::KeysFull)?;
        let fingerprint = content(&mut exchange).await?;
        let now = clock::now();
        let running = match self.answers.look(key, fingerprint, now) {
            Known::New(running) => running,
            Known::UnderWay => return Err(Error::KeyUnderWay.into()),
            Known::Otherwise => return Err(Error::KeyReused.into()),
            Known::Answered(answer) => {
                self.learned.count_replayed();
                return self.replayed(&answer, &exchange);
            }
            Known::Full => return Err(Error::KeysFull.into()),
        };
        let (tell, told) = oneshot::channel();
        let (stage, next) = (self.clone(), Rc::clone(next));
        // On its own: who sends a key asks again when it was cut off, and then wants to know what became of the first.
        panics::spawn("idempotent request", async move {
            let _turn = turn;
            let trace = Rc::clone(&exchange.trace);
            let outcome = stage.attempts(exchange, &next).await;
            let _ = tell.send(kept(outcome, &trace, running, ttl).await);
        });
        told.await.unwrap_or_else(|_| Err(Error::Internal.into()))
    }

    /// What was answered before, once more. Who wrote of late reads from the primary: it may not have seen the first answer.
    fn replayed(&self, answer: &Answer, exchange: &Exchange) -> Outcome {
        let (head, content, wrote_ns) = match answer {
            // Nobody was asked this time, and nothing says more than that of who was.
            Answer::Failure(error) => return Err(Error::KeyFailed { status: error.status() }.into()),
            Answer::Unkept => return Err(Error::KeyUnkept.into()),
            Answer::Whole { head, content, wrote_ns } => (head.clone(), content, *wrote_ns),
        };
        let body = match content.is_empty() || exchange.head.method == Method::HEAD {
            true => Body::Empty,
            false => Body::Bytes(content.clone()),
        };
        let mut response = Response::new(head, body);
        response.head.fields.push(b"idempotency-replayed", b"true");
        let is_behind =
            |(at_ns, window): (u64, Duration)| clock::now() < at_ns.saturating_add(clock::ns(window));
        if wrote_ns.zip(self.upstream.read_your_writes).is_some_and(is_behind) {
            self.markers.give(&self.upstream, &mut response, exchange.scheme == Scheme::Https);
        }
        Ok(response)
    }
}

/// Takes in the content, as far as it is compared, and returns what stands for it.
async fn content(exchange: &mut Exchange) -> Result<u128, Error> {
    let declared = exchange.body.size();
    let fields = &exchange.head.fields;
    let Body::Stream(_) = &exchange.body else {
        let whole = match &exchange.body {
            Body::Bytes(bytes) => bytes.as_ref(),
            Body::Empty | Body::Stream(_) => &[],
        };
        return Ok(policy::fingerprint(fields, &[whole], None));
    };
    exchange.trace.enter(Phase::Receive);
    let mut body = std::mem::take(&mut exchange.body);
    let (taken, rest) = gathered(&mut body, CONTENT_BYTES_MAX).await;
    let more = rest.transpose()?;
    let (longer, next) = match &more {
        Some(Chunk::Data(data)) => {
            (Some(declared), data.get(..CONTENT_BYTES_MAX - taken.len()).unwrap_or(data))
        }
        Some(Chunk::Trailers(_)) | None => (None, &[][..]),
    };
    let fingerprint = policy::fingerprint(fields, &[&taken, next], longer);
    if more.is_none() && declared == Size::Unknown {
        exchange.trace.received(taken.len() as u64);
    }
    exchange.body = match more {
        None => Body::Bytes(taken),
        Some(more) => body.after(taken, Ok(more)),
    };
    exchange.trace.enter(Phase::Overhead);
    if exchange.expects_continue {
        exchange.expects_continue = false;
        exchange.head.fields.remove_known(Name::Expect);
    }
    Ok(fingerprint)
}

/// Reads content until its end, or until there is more than so much: then what came last comes as well, and is not in it.
async fn gathered(body: &mut Body, bytes_max: usize) -> (Bytes, Option<Result<Chunk, Error>>) {
    let mut taken = BytesMut::new();
    loop {
        match body.chunk().await {
            None => return (taken.freeze(), None),
            Some(Ok(Chunk::Data(data))) if taken.len() + data.len() <= bytes_max => {
                taken.extend_from_slice(&data);
            }
            Some(last) => return (taken.freeze(), Some(last)),
        }
    }
}

/// Keeps an outcome for whoever asks again, if it is to be kept, and passes it on.
async fn kept(outcome: Outcome, trace: &Trace, running: Running, ttl: Duration) -> Outcome {
    let until = clock::now().saturating_add(clock::ns(ttl));
    let mut response = match outcome {
        Ok(response) => response,
        Err(failure) => {
            let was_sent = trace.timeline().first_ns(Phase::Send).is_some();
            if was_sent && policy::may_have_been_executed(failure.error) {
                running.answered(Answer::Failure(failure.error), until);
            }
            return Err(failure.error.into());
        }
    };
    response.request = None;
    if policy::is_void(response.head.status) || response.tunnel.is_some() {
        return Ok(response);
    }
    if policy::is_streamed(&response.head.fields, response.body.size(), ANSWER_BYTES_MAX as u64) {
        running.answered(Answer::Unkept, until);
        return Ok(response);
    }
    let (taken, rest) = gathered(&mut response.body, ANSWER_BYTES_MAX).await;
    let Some(last) = rest else {
        let (fields, wrote) = policy::kept(&response.head.fields);
        let head = ResponseHead { status: response.head.status, fields };
        let wrote_ns = wrote.then(clock::now);
        running.answered(Answer::Whole { head, content: taken.clone(), wrote_ns }, until);
        response.body = if taken.is_empty() { Body::Empty } else { Body::Bytes(taken) };
        return Ok(response);
    };
    let answer = last.as_ref().map_or_else(|error| Answer::Failure(*error), |_| Answer::Unkept);
    running.answered(answer, until);
    response.body = response.body.after(taken, last);
    Ok(response)
}
