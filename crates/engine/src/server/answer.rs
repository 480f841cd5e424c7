//! From a request to its answer, the same for every protocol that callers speak: prepare, route, run the pipeline, and turn
//! whatever came out into a response that the caller may have.

use super::caller::Caller;
use super::pace::Paced;
use super::prepare::{self, Wishes};
use super::recording::Recording;
use super::{continued, forward, grpc, trace_context};
use crate::clock;
use crate::core::Core;
use crate::deadline;
use crate::error::Error;
use crate::exchange::{Exchange, Interim, Response};
use crate::fault;
use crate::http::{Body, Name, RequestHead, ResponseHead, Size, Version, date};
use crate::local::{self, LocalPlan};
use crate::panics;
use crate::pipeline;
use crate::plan::{Action, Route, Upstream};
use crate::router::{self, Found};
use crate::techniques::admit::criticality;
use bytes::Bytes;
use http::Method;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use unlag_config::Part;
use unlag_record::Phase;

/// A request as a connection hands it over.
pub struct Incoming {
    /// The head; the hop's own fields still in it.
    pub head: RequestHead,
    /// The content.
    pub body: Body,
    /// Where interim answers go.
    pub interim: Option<Rc<dyn Interim>>,
    /// Whether some of the content has come already: then nobody waits to be told to send it.
    pub content_has_begun: bool,
}

/// A request that is ready to be answered: everything that can be refused has been.
pub struct Prepared {
    /// As it came: what its route changes about it is changed when it is sent on.
    exchange: Box<Exchange>,
    /// What the caller wants of the connection.
    pub wishes: Wishes,
    plan: Rc<LocalPlan>,
    index: usize,
}

/// Everything up to the pipeline, without waiting. On refusal the wishes are lost, so the connection closes or goes on by the
/// protocol's own rules.
pub fn admit(
    core: &Rc<Core>,
    caller: &Caller,
    recording: &Recording,
    incoming: Incoming,
) -> Result<Prepared, Error> {
    fault::point(&core.shared, "admit");
    let Incoming { mut head, body, interim, content_has_begun } = incoming;
    recording.grpc.set(grpc::is_spoken(&head.fields));
    let prepared = prepare::prepare(&mut head);
    // After what `Connection` names is gone, so that it cannot name what is written here; and for refusals as well.
    let (id, request_id) = trace_context::settle(&mut head.fields, || core.random());
    recording.trace.id.set(id);
    *recording.trace.request_id.borrow_mut() = request_id;
    let mut wishes = prepared?;
    wishes.expects_continue &= !content_has_begun;
    let is_last = wishes.close || wishes.upgrade.is_some();
    recording.is_last.set(is_last || (head.version == Version::Http10 && !wishes.keep_alive));
    let plan = local::plan(core);
    let index = match plan.plan.router.find(head.authority(), head.path(), &head.method, &head.fields) {
        Found::Route(index) => index,
        Found::OtherMethods(methods) => {
            let _ = recording.trace.allow.set(allow(&methods).into());
            return Err(Error::Method);
        }
        Found::Nothing => return Err(Error::NoRoute),
    };
    let Some(route) = plan.plan.routes.get(index).cloned() else { return Err(Error::Internal) };
    recording.route.set(route.record);
    if let Some(certificate) = &caller.certificate {
        recording.trace.set_certificate(certificate);
    }
    if let (Some(max), crate::http::Size::Exact(length)) = (route.config.body_max, body.size())
        && length > max
    {
        return Err(Error::BodyTooLarge);
    }
    let trusted = plan.plan.trusts(caller.peer.map(|peer| peer.ip()));
    forward::pass_via(&mut head, &core.shared.pseudonym)?;
    let asked = forward::say_who_asks(&mut head, caller, trusted);
    if forward::spend_forward(&mut head) {
        return Err(Error::LastForward);
    }
    let is_conversation =
        recording.grpc.get() && head.version == Version::Http2 && body.size() == Size::Unknown;
    let body = Paced::watch(body, &core.limits(), route.config.body_max, is_conversation);
    let body = if wishes.expects_continue { continued::on_demand(body, interim.as_ref()) } else { body };
    let mut exchange = Exchange::new(head, body, route, asked.scheme, Rc::clone(&recording.trace));
    (exchange.otherwise, exchange.interim) = (asked.otherwise, interim);
    Ok(Prepared { exchange, wishes, plan, index })
}

/// Has a prepared request answered. Never fails: a failure is an answer too.
pub async fn answer(core: &Core, recording: &Recording, prepared: Prepared) -> Box<Response> {
    let Prepared { mut exchange, wishes, plan, index } = prepared;
    let Some(route) = plan.plan.routes.get(index) else {
        return refuse(recording, Error::Internal);
    };
    let result = match (pipeline::begin(route, &exchange.head), &route.action) {
        (Err(refused), _) => Err(refused),
        (_, Action::Respond { status, location, body, content_type }) => {
            let location = location.as_ref().map(|template| fill(&template.0, &exchange.head, route));
            Ok(fixed(*status, location, body, content_type, &exchange.head.method))
        }
        (_, Action::Proxy(_) | Action::Static(_)) => match plan.pipelines.get(index) {
            Some(Some(pipeline)) => {
                make_ready(&mut exchange, wishes, &plan);
                let outcome = panics::survive(core, "request", pipeline.run(exchange).as_mut()).await;
                outcome.unwrap_or_else(|| Err(Error::Internal.into())).map_err(|failure| failure.error)
            }
            _ => Err(Error::Internal),
        },
    };
    let mut response = result.unwrap_or_else(|error| refuse(recording, error));
    // Nobody looks at it any more, and the content may take its time.
    response.request = None;
    if recording.grpc.get() {
        grpc::ensure_status(&mut response);
    }
    forward::edit(&mut response.head.fields, route.response_edits());
    let upstream = match route.action {
        Action::Proxy(index) => plan.plan.upstreams.get(index).map(Arc::as_ref),
        Action::Respond { .. } | Action::Static(_) => None,
    };
    if recording.reports_load {
        report_load(core, &mut response, upstream);
    }
    finish(recording, &mut response, route.config.server_timing);
    response
}

/// Makes the exchange what its route sends on, within the time that it has.
fn make_ready(exchange: &mut Exchange, wishes: Wishes, plan: &LocalPlan) {
    let Exchange { head, body, route, trace, .. } = exchange;
    criticality::settle(&mut head.fields, route.config.criticality);
    forward::edit(&mut head.fields, route.request_edits());
    let base = match &route.action {
        Action::Proxy(index) => plan.plan.upstreams.get(*index).map(|upstream| upstream.base_path.as_str()),
        Action::Respond { .. } | Action::Static(_) => None,
    };
    forward::rewrite_path(head, route, base.unwrap_or_default());
    // Content that is here already waits for nothing.
    exchange.expects_continue = wishes.expects_continue && matches!(body, Body::Stream(_));
    if exchange.expects_continue {
        head.fields.push_known(Name::Expect, b"100-continue");
    }
    let allowed_ns = deadline::asked_ns(&head.fields).unwrap_or(u64::MAX).min(route.total_timeout_ns);
    // From its first byte on: that is when the caller began to wait.
    let started_ns = trace.timeline().started_ns();
    exchange.deadline_ns = started_ns.saturating_add(allowed_ns);
    exchange.overdue_ns = started_ns.saturating_add(route.total_timeout_ns);
    exchange.upgrade = wishes.upgrade;
}

/// The answer to a request that cannot be served.
pub fn refuse(recording: &Recording, error: Error) -> Box<Response> {
    recording.failed(error);
    if recording.grpc.get() {
        return refuse_grpc(error);
    }
    let status = error.status();
    let mut head = ResponseHead::new(status);
    head.fields.push_known(Name::ContentType, b"text/plain; charset=utf-8");
    if let Some(after_s) = error.retry_after_s() {
        head.fields.push(b"retry-after", itoa::Buffer::new().format(after_s).as_bytes());
    }
    if matches!(error, Error::Overloaded { .. }) {
        head.fields.push(b"x-envoy-overloaded", b"true");
    }
    if matches!(error, Error::KeyFailed { .. }) {
        head.fields.push(b"idempotency-replayed", b"true");
    }
    if status == 405 {
        // Of what CONNECT names nothing is served: an empty list says so (RFC 9110 §10.2.1).
        head.fields.push(b"allow", recording.trace.allow.get().map_or(b"", |allow| allow.as_bytes()));
    }
    let mut text = String::with_capacity(80);
    let _ = writeln!(text, "unlag: {error}");
    let body =
        if recording.trace.method == Method::HEAD { Body::Empty } else { Body::Bytes(Bytes::from(text)) };
    Response::new(head, body)
}

/// The methods of a route's `Allow`; one for GET also takes HEAD.
fn allow(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Callers that speak gRPC look at `grpc-status` only: trailers-only, with HTTP 200.
fn refuse_grpc(error: Error) -> Box<Response> {
    let mut head = ResponseHead::new(200);
    head.fields.push_known(Name::ContentType, b"application/grpc");
    let status = error.grpc_status();
    head.fields.push_known(Name::GrpcStatus, itoa::Buffer::new().format(status).as_bytes());
    if let Some(after_s) = error.retry_after_s() {
        // What gRPC's retries go by (gRFC A6).
        let after_ms = u32::from(after_s) * 1_000;
        head.fields.push(b"grpc-retry-pushback-ms", itoa::Buffer::new().format(after_ms).as_bytes());
    }
    let message: String = error.to_string().replace('%', "%25");
    head.fields.push(b"grpc-message", format!("unlag: {message}").as_bytes());
    Response::new(head, Body::Empty)
}

fn fixed(
    status: u16,
    location: Option<Vec<u8>>,
    body: &Bytes,
    content_type: &str,
    method: &Method,
) -> Box<Response> {
    let mut head = ResponseHead::new(status);
    if let Some(location) = location {
        head.fields.push_known(Name::Location, &location);
    }
    if head.is_bodiless(&Method::GET) {
        return Response::new(head, Body::Empty);
    }
    head.fields.push_known(Name::ContentType, content_type.as_bytes());
    if *method == Method::HEAD {
        head.fields.push_known(Name::ContentLength, itoa::Buffer::new().format(body.len()).as_bytes());
        return Response::new(head, Body::Empty);
    }
    Response::new(head, Body::Bytes(body.clone()))
}

/// Puts the route's parameters into a template.
fn fill(parts: &[Part], head: &RequestHead, route: &Route) -> Vec<u8> {
    let parameters = router::parameters(&route.config.pattern, head.path());
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Param(name) => {
                let value = parameters.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
                out.extend_from_slice(value.unwrap_or_default());
            }
        }
    }
    // `//host` would be another host: a parameter must not lead off this one.
    let slashes = out.iter().take_while(|&&byte| byte == b'/').count();
    if slashes > 1 {
        out.drain(..slashes - 1);
    }
    if let Some(query) = head.query() {
        let fragment_at = memchr::memchr(b'#', &out).unwrap_or(out.len());
        let fragment = out.split_off(fragment_at);
        out.push(if out.contains(&b'?') { b'&' } else { b'?' });
        out.extend_from_slice(query);
        out.extend_from_slice(&fragment);
    }
    out
}

/// Says how many requests are in flight: to the service behind, from all cores, also where the answer did not come from it, as
/// that is the load which the next request meets; where there is none, in this process.
fn report_load(core: &Core, response: &mut Response, upstream: Option<&Upstream>) {
    let in_flight: usize = match upstream {
        Some(upstream) => upstream.fleet().iter().map(|endpoint| endpoint.in_flight() as usize).sum(),
        None => core.shared.loads().iter().map(|load| load.streams.load(Relaxed)).sum(),
    };
    response.head.fields.set_known(Name::XLbRif, itoa::Buffer::new().format(in_flight).as_bytes());
}

/// What every response carries.
fn finish(recording: &Recording, response: &mut Response, server_timing: bool) {
    let fields = &mut response.head.fields;
    fields.set_known(Name::XRequestId, &recording.trace.request_id.borrow());
    if !fields.has(Name::Date) && response.head.status >= 200 {
        date::with_date(clock::now(), |date| fields.push_known(Name::Date, date));
    }
    if server_timing {
        fields.push_known(Name::ServerTiming, timing(recording).as_bytes());
    }
}

/// `Server-Timing`: the phases up to the head of the answer, in milliseconds (W3C Server Timing).
fn timing(recording: &Recording) -> String {
    let mut so_far = recording.trace.timeline().clone();
    so_far.finish(clock::now());
    let mut text = format!("total;dur={:.3}", so_far.total_ns() as f64 / 1e6);
    for phase in Phase::ALL.into_iter().filter(|&phase| so_far.spent_ns(phase) > 0) {
        let _ = write!(text, ", {};dur={:.3}", phase.name(), so_far.spent_ns(phase) as f64 / 1e6);
    }
    text
}

/// The answer to a request that did not come as far as the pipeline; one that could not be read gets an id here.
pub fn refuse_unread(core: &Rc<Core>, recording: &Recording, error: Error) -> Box<Response> {
    if recording.trace.request_id.borrow().is_empty() {
        let id = u128::from(core.random()) << 64 | u128::from(core.random());
        recording.trace.id.set(unlag_record::RequestId(id));
        *recording.trace.request_id.borrow_mut() = format!("{id:032x}").as_bytes().into();
    }
    let mut response = refuse(recording, error);
    if recording.reports_load {
        report_load(core, &mut response, None);
    }
    finish(recording, &mut response, false);
    response
}
