//! Recent requests: the list, one with its waterfall, one explained.

use super::Shared;
use crate::answer::Refusal;
use crate::explain::{self, Baseline, Setting};
use crate::limits::{DEFAULT_REQUESTS, REQUESTS};
use crate::plane::Match;
use crate::view;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use unlag_record::{Order, Recent, RecentQuery};

/// Which requests the list has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// At least this long, such as `250ms`; slowest first then.
    slow: Option<String>,
    route: Option<String>,
    limit: Option<usize>,
}

impl Wanted {
    fn query(self) -> Result<RecentQuery, Refusal> {
        let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
        let limit = self.limit.unwrap_or(DEFAULT_REQUESTS);
        if !(1..=REQUESTS).contains(&limit) {
            return Err(bad(format!("limit is {limit}; it can be 1 to {REQUESTS}")));
        }
        let order = if self.slow.is_some() { Order::Slowest } else { Order::Newest };
        let slow_ns = match self.slow {
            Some(text) => parse_duration(&text).ok_or_else(|| {
                bad(format!("slow is `{text}`; it can be a duration such as 250ms, 1s or 800us"))
            })?,
            None => 0,
        };
        Ok(RecentQuery { route: self.route, slow_ns, limit, order })
    }
}

/// A whole number with its unit, in nanoseconds.
fn parse_duration(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) async fn list(
    State(shared): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(wanted) = wanted.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let query = wanted.query()?;
    let found = shared.ask(move |shared| shared.plane.registry().recent(&query)).await?;
    Ok(Json(json!({ "requests": found.iter().map(view::request).collect::<Vec<_>>() })))
}

pub(super) async fn one(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let recent = shared.ask(move |shared| find(shared, &id)).await??;
    Ok(Json(view::request(&recent)))
}

pub(super) async fn explained(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let question = move |shared: &Shared| {
        let recent = find(shared, &id)?;
        let snapshot = shared.plane.registry().snapshot_of_route(&recent.route);
        let (routes, upstreams) = (shared.plane.routes(), shared.plane.upstreams());
        let route = routes.iter().find(|route| route.name == recent.route);
        let name = recent.upstream.as_ref().or(route.and_then(|route| route.upstream.as_ref()));
        let upstream = upstreams.iter().find(|upstream| Some(&upstream.name) == name);
        let setting = Setting { route, upstream };
        Ok(Json(view::explanation(&recent, &Baseline::of(&snapshot, &recent.route), &setting)))
    };
    shared.ask(question).await?
}

/// What is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    url: String,
    method: Option<String>,
}

/// What would be done with a request.
pub(super) async fn ahead(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
    let Query(Asked { url, method }) = asked.map_err(|error| bad(error.body_text()))?;
    let method = method.unwrap_or_else(|| "GET".to_owned());
    let question = move |shared: &Shared| {
        let found = shared.plane.matched(&method, &url).map_err(bad)?;
        let (routes, upstreams) = (shared.plane.routes(), shared.plane.upstreams());
        let route = match &found {
            Match::Route(name) => routes.iter().find(|route| route.name == *name),
            _ => None,
        };
        let name = route.and_then(|route| route.upstream.as_ref());
        let upstream = upstreams.iter().find(|upstream| Some(&upstream.name) == name);
        let reasons = explain::ahead(&method, &url, &found, &Setting { route, upstream });
        Ok(Json(json!({
            "text": explain::text(&reasons),
            "json": { "route": route, "upstream": upstream, "reasons": view::reasons(&reasons) },
        })))
    };
    shared.ask(question).await?
}

fn find(shared: &Shared, id: &str) -> Result<Recent, Refusal> {
    shared.plane.registry().find(id).ok_or_else(|| {
        let message = format!(
            "no recent request has the trace id or x-request-id `{id}`; the last ones and the slowest of the last \
             minutes are kept"
        );
        Refusal::new(StatusCode::NOT_FOUND, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_number_and_a_unit() {
        assert_eq!(parse_duration("250ms"), Some(250_000_000));
        assert_eq!(parse_duration("1s"), Some(1_000_000_000));
        assert_eq!(parse_duration("800us"), Some(800_000));
        for wrong in ["", "250", "ms", "-1ms", "1.5s", "1m", "99999999999999999999s", "1 s", "1é"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
