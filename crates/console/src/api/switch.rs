//! Draining endpoints and pinning upstreams at run time.

use super::Shared;
use crate::answer::Refusal;
use crate::guard::What;
use crate::plane::{EndpointState, Switch, SwitchError, UpstreamStatus};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

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
    let turned = move |shared: &Shared| {
        shared.plane.switch(&upstream, &switch)?;
        Ok(shared.plane.upstreams().into_iter().find(|status| status.name == upstream))
    };
    let refusal = match shared.ask(turned).await? {
        Ok(status) => return Ok((Extension(what), Json(done(&name, status.as_ref()))).into_response()),
        Err(SwitchError::NoUpstream) => Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no upstream is named `{name}`; /api/v1/upstreams lists them"),
        ),
        Err(SwitchError::Nothing(named)) => Refusal::new(
            StatusCode::NOT_FOUND,
            format!("the upstream `{name}` has no `{named}`; /api/v1/upstreams lists what it has"),
        ),
        Err(SwitchError::NoEndpoints) => Refusal::new(
            StatusCode::NOT_FOUND,
            format!("the upstream `{name}` has no endpoints at present, and none that left is drained"),
        ),
    };
    Ok((Extension(what), refusal).into_response())
}

/// What a switch has come to: how many are still asked, and what those that are out have still to do.
fn done(name: &str, status: Option<&UpstreamStatus>) -> Value {
    let mut answer = json!({ "upstream": name, "done": true });
    // A reload may have taken the upstream away meanwhile.
    let (Some(status), Some(more)) = (status, answer.as_object_mut()) else { return answer };
    let out = status.endpoints.iter().filter(|endpoint| endpoint.state == EndpointState::Drained);
    let out: Vec<Value> = out
        .map(|endpoint| json!({ "endpoint": endpoint.address, "in_flight": endpoint.in_flight }))
        .collect();
    let asked = status.asked();
    if asked == 0 && !out.is_empty() {
        let warning = "nobody is asked any more: what the cache cannot answer is answered 503 until `undrain` or `unpin`";
        tracing::warn!(
            upstream = name,
            endpoints = out.len(),
            "nobody is asked any more: all endpoints are taken out"
        );
        more.insert("warning".to_owned(), warning.into());
    }
    more.insert("endpoints".to_owned(), status.endpoints.len().into());
    more.insert("asked".to_owned(), asked.into());
    more.insert("out".to_owned(), out.into());
    answer
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
