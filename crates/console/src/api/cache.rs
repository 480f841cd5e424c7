//! The cache: what it holds and has done, and taking something out of it.

use super::Shared;
use crate::answer::Refusal;
use crate::guard::What;
use crate::limits::BODY_BYTES;
use crate::plane::{CacheRoute, CacheShared, CacheStatus, PurgeOrder, PurgeWhat};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) async fn read(State(shared): State<Shared>) -> Result<Json<Value>, Refusal> {
    shared.ask(|shared| Json(view(&shared.plane.cache()))).await
}

fn view(cache: &CacheStatus) -> Value {
    json!({
        "memory": { "bytes": cache.bytes, "capacity_bytes": cache.capacity_bytes, "urls": cache.urls },
        "shared": cache.shared.as_ref().map(shared),
        "routes": cache.routes.iter().map(route).collect::<Vec<_>>(),
    })
}

fn shared(shared: &CacheShared) -> Value {
    let events: Map<String, Value> =
        shared.events.iter().map(|(event, count)| ((*event).to_owned(), json!(count))).collect();
    let servers = shared.servers.iter().map(|server| {
        json!({
            "server": server.server,
            "breaker": server.breaker,
            "connections": server.connections,
            "p95_us": server.p95_us,
            "queue_bytes": server.queue_bytes,
        })
    });
    json!({
        "address": shared.address,
        "listening": shared.listening,
        "refused": shared.refused,
        "events": events,
        "servers": servers.collect::<Vec<_>>(),
    })
}

fn route(route: &CacheRoute) -> Value {
    let fetches: u64 = route.misses.iter().map(|(_, count)| count).sum();
    let all = route.hits + route.collapsed + fetches;
    let saved_ms = route.saved_ns as f64 / 1e6;
    json!({
        "route": route.route,
        "hits": route.hits,
        "stale_hits": route.stale_hits,
        "collapsed": route.collapsed,
        "hit_ratio": part(route.hits as f64, all),
        "revalidated": route.revalidated,
        "stored": route.stored,
        "hit_bytes": route.hit_bytes,
        "saved_ms": saved_ms,
        "saved_ms_per_hit": part(saved_ms, route.hits),
        "misses": by_reason(&route.misses),
        "not_stored": by_reason(&route.not_stored),
    })
}

/// A share; null where there is nothing to share.
fn part(of: f64, all: u64) -> Option<f64> {
    (all > 0).then(|| of / all as f64)
}

fn by_reason(counts: &[(&'static str, u64)]) -> Map<String, Value> {
    let counted = counts.iter().filter(|(_, count)| *count > 0);
    counted.map(|(reason, count)| ((*reason).to_owned(), json!(count))).collect()
}

/// A purge as it is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: Option<String>,
    tag: Option<String>,
    prefix: Option<String>,
    all: Option<bool>,
    #[serde(default)]
    soft: bool,
    #[serde(default)]
    dry_run: bool,
}

impl Wanted {
    fn order(self) -> Result<PurgeOrder, String> {
        let named = [
            self.url.map(PurgeWhat::Url),
            self.tag.map(PurgeWhat::Tag),
            self.prefix.map(PurgeWhat::Prefix),
            self.all.filter(|all| *all).map(|_| PurgeWhat::All),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(what), None) => Ok(PurgeOrder { what, soft: self.soft, dry_run: self.dry_run }),
            (first, _) => {
                let found = if first.is_some() { "several things are named" } else { "nothing is named" };
                Err(format!(
                    "{found}; a purge has exactly one of `url`, `tag`, `prefix` and `all`, such as \
                     {{\"tag\": \"product-7\"}} or {{\"all\": true}}"
                ))
            }
        }
    }
}

pub(super) async fn purge(
    State(shared): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a purge has at most {BODY_BYTES} bytes"))
        }
        status => Refusal::new(status, error.body_text()),
    })?;
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| {
        bad(format!("the body is no purge: {error}; it is JSON such as {{\"tag\": \"product-7\"}}"))
    })?;
    let order = wanted.order().map_err(bad)?;
    let (soft, dry_run, what) = (order.soft, order.dry_run, What(words(&order)));
    let count = match shared.ask(move |shared| shared.plane.purge(&order)).await? {
        Ok(count) => count,
        Err(message) => return Ok((Extension(what), bad(message)).into_response()),
    };
    let mut answer = json!({ "purged": !dry_run, "soft": soft, "dry_run": dry_run });
    if let (Some(answer), Some(count)) = (answer.as_object_mut(), count) {
        answer.insert("objects".into(), count.objects.into());
        answer.insert("bytes".into(), count.bytes.into());
    }
    Ok((Extension(what), Json(answer)).into_response())
}

/// A purge in the words in which it is ordered.
fn words(order: &PurgeOrder) -> String {
    let what = match &order.what {
        PurgeWhat::Url(url) => format!("url {url}"),
        PurgeWhat::Tag(tag) => format!("tag {tag}"),
        PurgeWhat::Prefix(prefix) => format!("prefix {prefix}"),
        PurgeWhat::All => "all".to_owned(),
    };
    let soft = if order.soft { ", soft" } else { "" };
    let dry_run = if order.dry_run { ", dry_run" } else { "" };
    format!("{what}{soft}{dry_run}")
}
