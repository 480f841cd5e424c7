//! One request in flight: what it asks, where it belongs, how long it may take, and the trace that records where its time
//! went.

use crate::clock;
use crate::error::Error;
use crate::fleet::{InFlight, Open, RegionId};
use crate::http::{Body, RequestHead, ResponseHead, Scheme, Span};
use crate::plan::Route;
use bytes::{Bytes, BytesMut};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use unlag_record::{CacheUse, EndpointId, Phase, RequestId, Timeline};

/// A request on its way through the pipeline.
#[derive(Debug)]
pub struct Exchange {
    /// The head, as it will be forwarded.
    pub head: RequestHead,
    /// The path as it was matched, before the route rewrote it.
    pub asked_path: Span,
    /// What a trusted peer says that its caller asked for, where we are asked for something else.
    pub otherwise: Option<Span>,
    /// The content.
    pub body: Body,
    /// The route that it matched.
    pub route: Arc<Route>,
    /// How the caller came to us, or to a trusted peer before us.
    pub scheme: Scheme,
    /// The moment after which nobody waits for an answer.
    pub deadline_ns: u64,
    /// The protocol that the caller asks to change to.
    pub upgrade: Option<Box<[u8]>>,
    /// Whether the caller waits for a `100 Continue` before it sends the content.
    pub expects_continue: bool,
    /// Where interim answers go.
    pub interim: Option<Rc<dyn Interim>>,
    /// Where its time goes.
    pub trace: Rc<Trace>,
    /// The endpoint that the balancer chose for the current attempt.
    pub chosen: Option<InFlight>,
    /// The only region that may be asked, if there is one.
    pub region: Option<RegionId>,
    /// Endpoints that have failed this request already, and how.
    pub failed: Vec<(u32, Error)>,
    /// Whether a stage looks at it again beside its answer.
    pub comes_back: bool,
}

impl Exchange {
    /// A second one with the same content, if that is at hand: what retries and hedges send.
    pub fn replica(&self) -> Option<Box<Exchange>> {
        let body = self.body.replica()?;
        self.upgrade.is_none().then(|| {
            Box::new(Exchange {
                head: self.head.clone(),
                asked_path: self.asked_path,
                otherwise: self.otherwise,
                body,
                route: Arc::clone(&self.route),
                scheme: self.scheme,
                deadline_ns: self.deadline_ns,
                upgrade: None,
                expects_continue: false,
                interim: self.interim.clone(),
                trace: Rc::clone(&self.trace),
                chosen: None,
                region: self.region,
                failed: self.failed.clone(),
                comes_back: self.comes_back,
            })
        })
    }

    /// Whether sending it twice does what sending it once does (RFC 9110 §9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.head.method.is_idempotent()
    }
}

/// Passes interim answers (1xx) on to the caller.
pub trait Interim: std::fmt::Debug {
    /// Sends `head` before the final answer. Callers that cannot take it get nothing.
    fn send(&self, head: ResponseHead);
}

/// The answer to an exchange.
#[derive(Debug)]
pub struct Response {
    /// The head, without fields of one hop.
    pub head: ResponseHead,
    /// The content as it arrives.
    pub body: Body,
    /// Of an answer to HEAD: the content that GET gets, if it is at hand.
    pub unsent: Option<Bytes>,
    /// The other side of a changed protocol (status 101).
    pub tunnel: Option<Box<Tunnel>>,
    /// Keeps the endpoint's count of requests in flight until the last byte.
    pub in_flight: Option<InFlight>,
    /// The request that an upstream was sent for it, if a stage wants it back ([`Exchange::comes_back`]).
    pub request: Option<Box<Exchange>>,
}

impl Response {
    /// An answer that unlag makes itself.
    pub fn new(head: ResponseHead, body: Body) -> Response {
        Response { head, body, unsent: None, tunnel: None, in_flight: None, request: None }
    }
}

/// An upstream connection that speaks another protocol from here on.
#[derive(Debug)]
pub struct Tunnel {
    /// The stream.
    pub io: crate::net::io::Io,
    /// What the upstream sent after its 101.
    pub input: BytesMut,
    /// The protocol, as the upstream named it.
    pub protocol: Box<[u8]>,
    /// Counts the tunnel as in flight for as long as it is open.
    pub in_flight: Option<InFlight>,
    /// Counts its connection.
    pub open: Open,
}

/// A failed attempt. It gives the exchange back when nothing of it was lost, so that whoever holds it may try again.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// The request, if it can still be sent whole.
    pub exchange: Option<Box<Exchange>>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, exchange: None }
    }
}

/// What the pipeline yields.
pub type Outcome = Result<Response, Failure>;

/// The record of an exchange in the making; shared between the connection that answers and the stages that work.
#[derive(Debug)]
pub struct Trace {
    timeline: RefCell<Timeline>,
    /// The trace id, as in `traceparent`.
    pub id: Cell<RequestId>,
    /// The value of `x-request-id`.
    pub request_id: RefCell<Box<[u8]>>,
    /// Method as sent.
    pub method: http::Method,
    /// Path and query as received, cut to a bound.
    pub target: Box<[u8]>,
    /// The methods that would have been allowed, when this one was not.
    pub allow: OnceCell<String>,
    /// Who asks.
    pub caller: Option<SocketAddr>,
    /// The endpoint that was tried last.
    pub endpoint: Cell<Option<EndpointId>>,
    /// How many times an upstream was tried.
    pub attempts: Cell<u8>,
    /// Whether the last attempt used a pooled connection.
    pub reused: Cell<bool>,
    /// What the cache had for it, once it was looked up.
    pub cache: Cell<Option<CacheUse>>,
    /// Content received from the caller.
    pub bytes_in: Cell<u64>,
    /// Content sent to the caller.
    pub bytes_out: Cell<u64>,
    /// Why it ended early.
    pub error: Cell<Option<Error>>,
}

/// A target is recorded up to this many bytes.
pub const TARGET_RECORDED_MAX: usize = 256;

impl Trace {
    /// A trace of a request whose first byte came at `started`.
    pub fn new(started: u64, head: &RequestHead, caller: Option<SocketAddr>) -> Trace {
        Trace {
            timeline: RefCell::new(Timeline::start(started)),
            id: Cell::new(RequestId(0)),
            request_id: RefCell::default(),
            method: head.method.clone(),
            target: recorded_target(head),
            allow: OnceCell::new(),
            caller,
            endpoint: Cell::new(None),
            attempts: Cell::new(0),
            reused: Cell::new(false),
            cache: Cell::new(None),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            error: Cell::new(None),
        }
    }

    /// From now on, time goes into `phase`. Returns the reading of the clock.
    pub fn enter(&self, phase: Phase) -> u64 {
        let now = clock::now();
        self.timeline.borrow_mut().enter(phase, now);
        now
    }

    /// The timeline so far.
    pub fn timeline(&self) -> std::cell::Ref<'_, Timeline> {
        self.timeline.borrow()
    }

    /// Ends it at `now`.
    pub fn finish(&self, now: u64) {
        self.timeline.borrow_mut().finish(now);
    }
}

/// Path and query, cut to what is worth recording.
fn recorded_target(head: &RequestHead) -> Box<[u8]> {
    let (path, query) = (head.path(), head.query());
    // Exactly as large as needed: shrinking it afterwards would move it.
    let len = path.len() + query.map_or(0, |query| query.len() + 1);
    let mut target = Vec::with_capacity(len);
    target.extend_from_slice(path);
    if let Some(query) = query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target.truncate(TARGET_RECORDED_MAX);
    target.into_boxed_slice()
}
