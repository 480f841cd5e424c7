//! One request in flight: what it asks, where it belongs, how long it may take, and the trace that records where its time
//! went.

use crate::clock;
use crate::error::Error;
use crate::fleet::{Endpoint, InFlight, Open, RegionId};
use crate::http::{Body, Name, RequestHead, ResponseHead, Scheme, Span};
use crate::net::alarm::{NEVER, Timer};
use crate::plan::Route;
use crate::techniques::admit::room::Promise;
use bytes::{Bytes, BytesMut};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use unlag_record::{CacheUse, EndpointId, Hedge, Phase, RequestId, Timeline, Trials, Why};

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
    /// From then on a missing answer is the endpoint's failure: what its route allows, however impatient the caller is.
    pub overdue_ns: u64,
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
    /// The only endpoint that may be chosen for the next attempt, if it may not be any.
    pub only: Option<u32>,
    /// Its place at an endpoint, until it is counted there.
    pub promise: Option<Promise>,
    /// Endpoints that have failed this request already, and how.
    pub failed: Vec<(u32, Error)>,
    /// Whether a stage looks at it again beside its answer.
    pub comes_back: bool,
}

impl Exchange {
    /// One that has just come, for as long as it takes, and without wishes of its caller.
    pub fn new(
        head: RequestHead,
        body: Body,
        route: Arc<Route>,
        scheme: Scheme,
        trace: Rc<Trace>,
    ) -> Box<Exchange> {
        // The place first: what is made before it would be moved there.
        let place = Box::new_uninit();
        let exchange = Exchange {
            asked_path: head.path,
            head,
            otherwise: None,
            body,
            route,
            scheme,
            deadline_ns: NEVER,
            overdue_ns: NEVER,
            upgrade: None,
            expects_continue: false,
            interim: None,
            trace,
            chosen: None,
            region: None,
            only: None,
            promise: None,
            failed: Vec::new(),
            comes_back: false,
        };
        Box::write(place, exchange)
    }

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
                overdue_ns: self.overdue_ns,
                upgrade: None,
                expects_continue: false,
                interim: self.interim.clone(),
                trace: Rc::clone(&self.trace),
                chosen: None,
                region: self.region,
                only: None,
                promise: None,
                failed: self.failed.clone(),
                comes_back: self.comes_back,
            })
        })
    }

    /// Whether sending it twice does what sending it once does: the method says so (RFC 9110 §9.2.2), or the caller, who put a key
    /// on it by which the service knows its repetition. Where it is this route that knows keys, the service may not.
    pub fn is_idempotent(&self) -> bool {
        let rules = &self.route.config.attempts;
        let has_key = || rules.idempotency_key.is_none() && self.head.fields.has(Name::IdempotencyKey);
        self.head.method.is_idempotent() || rules.idempotent || has_key()
    }

    /// Gives a copy to a stage that has asked for one ([`Lending::ask`]). Whoever has the exchange under way calls this when it is
    /// polled: nobody else can reach it.
    pub fn lend(&self) {
        if self.trace.lending.asked.take() {
            let copy = self.replica().map(|mut copy| {
                copy.trace = Rc::new(self.trace.fork());
                copy
            });
            self.trace.lending.copy.set(copy);
        }
    }
}

/// Between a stage that may send a second copy of a request and the request that is under way. The stage has given the exchange
/// away; so it says that it watches, is told which endpoint has the request, and asks for a copy only when it wants one: a request
/// that is answered in time is never copied.
#[derive(Default)]
pub struct Lending {
    /// Somebody wants to know who has the request.
    watched: Cell<bool>,
    endpoint: RefCell<Option<Arc<Endpoint>>>,
    asked: Cell<bool>,
    copy: Cell<Option<Box<Exchange>>>,
}

impl Lending {
    /// Wants to know from now on who has the request.
    pub fn watch(&self) {
        self.watched.set(true);
    }

    /// The request goes to this endpoint.
    pub fn goes_to(&self, endpoint: &Arc<Endpoint>) {
        if self.watched.get() {
            *self.endpoint.borrow_mut() = Some(Arc::clone(endpoint));
        }
    }

    /// Who has it, once that is known.
    pub fn endpoint(&self) -> std::cell::Ref<'_, Option<Arc<Endpoint>>> {
        self.endpoint.borrow()
    }

    /// Asks for a copy: it is there after the request was polled, if it can be sent twice.
    pub fn ask(&self) {
        self.asked.set(true);
    }

    /// The copy. What was asked and not given by now is not wanted any more.
    pub fn take(&self) -> Option<Box<Exchange>> {
        self.asked.set(false);
        self.copy.take()
    }

    /// Nobody watches any more.
    pub fn forget(&self) {
        if self.watched.take() {
            self.asked.set(false);
            self.copy.set(None);
            *self.endpoint.borrow_mut() = None;
        }
    }
}

impl std::fmt::Debug for Lending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lending({})", self.watched.get())
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
    pub fn new(head: ResponseHead, body: Body) -> Box<Response> {
        Box::new(Response { head, body, unsent: None, tunnel: None, in_flight: None, request: None })
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
pub type Outcome = Result<Box<Response>, Failure>;

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
    pub allow: OnceCell<Box<str>>,
    /// Who asks.
    pub caller: Option<SocketAddr>,
    certificate: OnceCell<Rc<[u8]>>,
    /// The endpoint that was tried last.
    pub endpoint: Cell<Option<EndpointId>>,
    /// How many times an upstream was tried.
    pub attempts: Cell<u8>,
    /// Whether the last attempt used a pooled connection.
    pub reused: Cell<bool>,
    /// What the cache had for it, once it was looked up.
    pub cache: Cell<Option<CacheUse>>,
    /// What became of a second copy, once one was considered.
    pub hedge: Cell<Option<Hedge>>,
    /// The techniques that are measured on it, and those that it was held out of.
    pub trials: Cell<Trials>,
    why: RefCell<Why>,
    /// Towards the stage that may send it.
    pub lending: Lending,
    /// What wakes the task that works on it.
    pub timer: Timer,
    /// Of a copy whose answer the caller gets: the record that everything goes to.
    into: OnceCell<Rc<Trace>>,
    bytes_in: Cell<u64>,
    /// Content sent to the caller.
    pub bytes_out: Cell<u64>,
    /// Why it ended early.
    pub error: Cell<Option<Error>>,
    /// Why the attempt under way is given up, where that is its endpoint's fault.
    pub given_up: Cell<Option<Error>>,
}

/// A target is recorded up to this many bytes.
pub const TARGET_RECORDED_MAX: usize = 256;

impl Trace {
    /// A trace of a request whose first byte came at `started`, for the task that has this timer.
    pub fn new(started: u64, head: &RequestHead, caller: Option<SocketAddr>, timer: &Timer) -> Rc<Trace> {
        Rc::new(Trace {
            timeline: RefCell::new(Timeline::start(started)),
            id: Cell::new(RequestId(0)),
            request_id: RefCell::default(),
            method: head.method.clone(),
            target: recorded_target(head),
            allow: OnceCell::new(),
            caller,
            certificate: OnceCell::new(),
            endpoint: Cell::new(None),
            attempts: Cell::new(0),
            reused: Cell::new(false),
            cache: Cell::new(None),
            hedge: Cell::new(None),
            trials: Cell::default(),
            why: RefCell::new(Why::NONE),
            lending: Lending::default(),
            timer: timer.clone(),
            into: OnceCell::new(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            error: Cell::new(None),
            given_up: Cell::new(None),
        })
    }

    /// The record of a second copy: it goes on from here as if the first had never been, and is the caller's once the copy wins
    /// ([`Trace::becomes`]). So the phases add up whichever of the two answers.
    pub fn fork(&self) -> Trace {
        let mut timeline = self.timeline().clone();
        timeline.enter(Phase::Overhead, clock::now());
        Trace {
            timeline: RefCell::new(timeline),
            id: self.id.clone(),
            request_id: RefCell::default(),
            method: self.method.clone(),
            target: Box::default(),
            allow: OnceCell::new(),
            caller: self.caller,
            certificate: OnceCell::new(),
            endpoint: Cell::new(None),
            attempts: self.attempts.clone(),
            reused: Cell::new(false),
            cache: self.cache.clone(),
            hedge: Cell::new(None),
            trials: self.trials.clone(),
            why: RefCell::new(Why { placed: self.why().placed, ..Why::NONE }),
            lending: Lending::default(),
            timer: self.timer.clone(),
            into: OnceCell::new(),
            bytes_in: self.bytes_in.clone(),
            bytes_out: self.bytes_out.clone(),
            error: Cell::new(None),
            given_up: Cell::new(None),
        }
    }

    /// The copy's answer goes to the caller: what happened to the copy is what happened, and what it still writes goes here. The
    /// other one must not write any more.
    pub fn becomes(self: &Rc<Self>, copy: &Trace) {
        self.timeline.replace(copy.timeline.borrow().clone());
        self.endpoint.set(copy.endpoint.get());
        self.note(|why| why.choice = copy.why().choice);
        self.reused.set(copy.reused.get());
        self.trials.set(copy.trials.get());
        self.bytes_in.set(copy.bytes_in.get());
        let _ = copy.into.set(Rc::clone(self));
    }

    /// Why what was decided so far was decided.
    pub fn why(&self) -> std::cell::Ref<'_, Why> {
        self.why.borrow()
    }

    /// Notes why something is decided.
    pub fn note(&self, change: impl FnOnce(&mut Why)) {
        change(&mut self.why.borrow_mut());
    }

    /// The certificate that the caller showed.
    pub fn set_certificate(&self, certificate: &Rc<[u8]>) {
        let _ = self.certificate.set(Rc::clone(certificate));
    }

    /// The certificate that the caller showed, if it had to show one.
    pub fn certificate(&self) -> Option<&Rc<[u8]>> {
        self.certificate.get()
    }

    /// So much content of the caller has been taken.
    pub fn received(&self, bytes: u64) {
        match self.into.get() {
            Some(into) => into.bytes_in.set(bytes),
            None => self.bytes_in.set(bytes),
        }
    }

    /// Content received from the caller.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// The latest reading of the clock: when it came into the phase in which it is.
    pub fn latest_ns(&self) -> u64 {
        let timeline = self.timeline();
        timeline.started_ns() + timeline.total_ns()
    }

    /// From now on, time goes into `phase`. Returns the reading of the clock.
    pub fn enter(&self, phase: Phase) -> u64 {
        if let Some(into) = self.into.get() {
            return into.enter(phase);
        }
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
