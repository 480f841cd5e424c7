//! Every resource of the admin API: which path answers what.

mod cache;
mod config;
mod regions;
mod requests;
mod switch;

use crate::answer::{Refusal, method_not_allowed, not_found};
use crate::guard;
use crate::history::{History, Totals, by_route};
use crate::limits::BODY_BYTES;
use crate::metrics;
use crate::plane::{Plane, Readiness, WorkerStatus};
use crate::token::Token;
use crate::view;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The description of the API, kept by hand; a test compares it with the router below.
const OPENAPI: &str = include_str!("openapi.json");

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) plane: Arc<dyn Plane>,
    history: Arc<Mutex<History>>,
    started: Instant,
}

impl Shared {
    pub(crate) fn new(plane: Arc<dyn Plane>) -> Shared {
        Shared { plane, history: Arc::default(), started: Instant::now() }
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the present state of the routes.
    pub(crate) async fn remember(&self) {
        let state = self.ask(|shared| by_route(&shared.plane.registry().snapshot().requests)).await;
        if let Ok(routes) = state {
            self.history().push(self.uptime(), routes);
        }
    }

    /// Asks the data plane off the console's thread.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = self.clone();
        let answer = tokio::task::spawn_blocking(move || question(&shared)).await;
        answer.map_err(|_| {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered")
        })
    }
}

/// All paths, guarded.
pub(crate) fn router(shared: Shared, token: Option<Token>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/openapi.json", get(openapi))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api/v1/overview", get(overview))
        .route("/api/v1/routes", get(routes))
        .route("/api/v1/route/{name}", get(route))
        .route("/api/v1/upstreams", get(upstreams))
        .route("/api/v1/upstreams/{name}/{switch}", post(switch::turn))
        .route("/api/v1/regions", get(regions::list))
        .route("/api/v1/requests", get(requests::list))
        .route("/api/v1/requests/{id}", get(requests::one))
        .route("/api/v1/explain", get(requests::ahead))
        .route("/api/v1/explain/{id}", get(requests::explained))
        .route("/api/v1/cache", get(cache::read))
        .route("/api/v1/cache/purge", post(cache::purge))
        .route("/api/v1/config", get(config::read).put(config::replace))
        .route("/api/v1/reload", post(config::reload))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(token.map(Arc::new), guard::check))
        .with_state(shared)
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

async fn readyz(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let (status, body) = match shared.ask(|shared| shared.plane.readiness()).await? {
        Readiness::Ready => (StatusCode::OK, json!({ "status": "ready" })),
        Readiness::Draining => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "status": "draining", "reason": "requests under way are being finished" }),
        ),
        Readiness::NotReady(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "not_ready", "reason": reason }))
        }
    };
    Ok((status, Json(body)).into_response())
}

async fn metrics_page(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let page = shared.ask(|shared| metrics::render(&*shared.plane)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn overview(State(shared): State<Shared>) -> Result<Json<Value>, Refusal> {
    shared.ask(|shared| Json(overview_of(shared))).await
}

fn overview_of(shared: &Shared) -> Value {
    let (plane, uptime) = (&*shared.plane, shared.uptime());
    let all = by_route(&plane.registry().snapshot().requests);
    let (mut total, mut minute) = (Totals::default(), Totals::default());
    let mut length = Duration::ZERO;
    for (name, totals) in &all {
        total.merge(totals);
        if let Some(window) = shared.history().last_minute(uptime, name, totals) {
            minute.merge(&window.totals);
            length = window.length;
        }
    }
    let workers = plane.workers();
    let config = plane.config();
    let log = plane.registry().log();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": uptime.as_secs_f64(),
        "ready": plane.readiness() == Readiness::Ready,
        "since_start": view::span(&total, uptime),
        "last_minute": view::span(&minute, length),
        "routes": plane.routes().len(),
        "upstreams": plane.upstreams().len(),
        "workers": workers,
        "worker_imbalance": imbalance(&workers),
        "config": {
            "hash": config.hash, "source": config.source,
            "last_error": config.last_error, "writable": config.writable,
        },
        "access_log": log.map(|log| json!({
            "written": log.written(), "dropped": log.dropped(), "failed": log.failed(),
        })),
    })
}

/// The connections of the busiest worker in relation to the mean; null without connections.
fn imbalance(workers: &[WorkerStatus]) -> Option<f64> {
    let total: u64 = workers.iter().map(|worker| worker.connections).sum();
    let most = workers.iter().map(|worker| worker.connections).max()?;
    (total > 0).then(|| most as f64 * workers.len() as f64 / total as f64)
}

async fn routes(State(shared): State<Shared>) -> Result<Json<Value>, Refusal> {
    shared.ask(|shared| Json(routes_of(shared))).await
}

/// The configured routes, then those that only the records know: `other`, and routes of former configurations.
fn routes_of(shared: &Shared) -> Value {
    let uptime = shared.uptime();
    let mut recorded = by_route(&shared.plane.registry().snapshot().requests);
    let history = shared.history();
    let row = |name: &str, totals: Option<Totals>, status: Option<Value>| {
        let totals = totals.unwrap_or_default();
        let window = history.last_minute(uptime, name, &totals);
        let mut row = status.unwrap_or_else(|| json!({ "name": name, "configured": false }));
        if let Some(row) = row.as_object_mut() {
            row.insert("since_start".into(), view::span(&totals, uptime));
            row.insert("last_minute".into(), view::last_minute(window.as_ref()));
        }
        row
    };
    let mut rows = Vec::new();
    for status in shared.plane.routes() {
        let totals = recorded.remove(status.name.as_str());
        rows.push(row(&status.name, totals, Some(json!(status))));
    }
    let mut rest: Vec<_> = recorded.into_iter().collect();
    rest.sort_by(|left, right| left.0.cmp(&right.0));
    rows.extend(rest.into_iter().map(|(name, totals)| row(&name, Some(totals), None)));
    json!({ "routes": rows })
}

async fn route(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    shared.ask(move |shared| route_of(shared, &name)).await?.map(Json)
}

fn route_of(shared: &Shared, name: &str) -> Result<Value, Refusal> {
    let snapshot = shared.plane.registry().snapshot_of_route(name);
    let status = shared.plane.routes().into_iter().find(|route| route.name == name);
    if status.is_none() && snapshot.requests.is_empty() {
        let message = format!("no route is named `{name}`; /api/v1/routes lists them");
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    }
    let uptime = shared.uptime();
    let totals = by_route(&snapshot.requests).remove(name).unwrap_or_default();
    let window = shared.history().last_minute(uptime, name, &totals);
    let outcomes = snapshot.requests.iter().map(
        |series| json!({ "outcome": series.outcome.name(), "durations": view::durations(&series.histogram) }),
    );
    Ok(json!({
        "name": name,
        "route": status,
        "since_start": view::span(&totals, uptime),
        "last_minute": view::last_minute(window.as_ref()),
        "outcomes": outcomes.collect::<Vec<_>>(),
        "phases": view::phases(&snapshot),
        "trials": view::trials(&snapshot),
    }))
}

async fn upstreams(State(shared): State<Shared>) -> Result<Json<Value>, Refusal> {
    shared.ask(|shared| Json(json!({ "upstreams": shared.plane.upstreams() }))).await
}
