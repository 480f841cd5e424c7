//! Draining endpoints and pinning upstreams at run time.

use super::Shared;
use crate::answer::Refusal;
use crate::guard::What;
use crate::plane::{Switch, SwitchError};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

/// What is drained, or not any more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drained {
    endpoint: Option<String>,
    #[serde(default)]
    all: bool,
}

/// What alone is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    #[serde(default)]
    endpoints: Vec<String>,
    region: Option<String>,
}

/// The endpoint that is meant, or all.
fn drained(body: &[u8]) -> Result<Option<String>, String> {
    let example = "such as {\"endpoint\": \"10.0.0.1:80\"} or {\"all\": true}";
    let read: Drained =
        serde_json::from_slice(body).map_err(|error| format!("{error}; it is JSON {example}"))?;
    match (read.endpoint, read.all) {
        (Some(endpoint), false) => Ok(Some(endpoint)),
        (None, true) => Ok(None),
        _ => Err(format!("exactly one of `endpoint` and `all` is named, {example}")),
    }
}

fn pinned(body: &[u8]) -> Result<Switch, String> {
    let example = "such as {\"endpoints\": [\"10.0.0.1:80\"]} or {\"region\": \"eu-west\"}";
    let read: Pinned =
        serde_json::from_slice(body).map_err(|error| format!("{error}; it is JSON {example}"))?;
    match (read.region, read.endpoints) {
        (Some(region), endpoints) if endpoints.is_empty() => Ok(Switch::PinRegion(region)),
        (None, endpoints) if !endpoints.is_empty() => Ok(Switch::PinEndpoints(endpoints)),
        _ => Err(format!("exactly one of `endpoints` and `region` is named, {example}")),
    }
}

/// `POST /api/v1/upstreams/{name}/{switch}`.
pub(super) async fn turn(
    State(shared): State<Shared>,
    Path((name, switch)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
    let body = body.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
    let switch = match switch.as_str() {
        "drain" => Switch::Drain(drained(&body).map_err(bad)?),
        "undrain" => Switch::Undrain(drained(&body).map_err(bad)?),
        "pin" => pinned(&body).map_err(bad)?,
        "unpin" => Switch::Unpin,
        other => {
            let message = format!("`{other}` is no switch; there are drain, undrain, pin and unpin");
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
    };
    let what = What(words(&switch));
    let upstream = name.clone();
    let refusal = match shared.ask(move |shared| shared.plane.switch(&upstream, &switch)).await? {
        Ok(()) => {
            return Ok((Extension(what), Json(json!({ "upstream": name, "done": true }))).into_response());
        }
        Err(SwitchError::NoUpstream) => Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no upstream is named `{name}`; /api/v1/upstreams lists them"),
        ),
        Err(SwitchError::Nothing(named)) => Refusal::new(
            StatusCode::NOT_FOUND,
            format!("the upstream `{name}` has no `{named}`; /api/v1/upstreams lists what it has"),
        ),
    };
    Ok((Extension(what), refusal).into_response())
}

/// A switch in the words in which it is turned.
fn words(switch: &Switch) -> String {
    let named = |endpoint: &Option<String>| endpoint.clone().unwrap_or_else(|| "all".to_owned());
    match switch {
        Switch::Drain(endpoint) | Switch::Undrain(endpoint) => named(endpoint),
        Switch::PinEndpoints(endpoints) => format!("endpoints {}", endpoints.join(", ")),
        Switch::PinRegion(region) => format!("region {region}"),
        Switch::Unpin => "all".to_owned(),
    }
}
