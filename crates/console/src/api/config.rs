//! The configuration: read it, replace it, read its source again. Nobody overwrites what they have not seen: a
//! replacement names the hash of what it replaces.

use super::Shared;
use crate::answer::{Message, Refusal};
use crate::guard::What;
use crate::limits::BODY_BYTES;
use crate::plane::{Applied, PutError};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

pub(super) async fn read(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let config = shared.ask(|shared| shared.plane.config()).await?;
    let hash = config.hash.clone();
    Ok(with_etag(Json(config).into_response(), &hash))
}

pub(super) async fn replace(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let Some(if_match) = if_match(&headers) else {
        let message = "this needs the header `If-Match` with the one ETag of the configuration that is to be replaced, in quotes";
        return Err(Refusal::new(StatusCode::PRECONDITION_REQUIRED, message));
    };
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a configuration has at most {BODY_BYTES} bytes"),
        ),
        status => Refusal::new(status, error.body_text()),
    })?;
    let text = String::from_utf8(body.into()).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the body is not UTF-8 at byte {position}"))
    })?;
    let outcome = shared.ask(move |shared| shared.plane.put_config(&text, &if_match)).await?;
    Ok(answer(outcome))
}

pub(super) async fn reload(State(shared): State<Shared>) -> Result<Response, Refusal> {
    Ok(answer(shared.ask(|shared| shared.plane.reload()).await?))
}

/// The one strong tag of `If-Match`. `*` would overwrite the unseen and counts as none.
fn if_match(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::IF_MATCH).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let tag = value.to_str().ok()?.trim().strip_prefix('"')?.strip_suffix('"')?;
    (!tag.is_empty()).then(|| tag.to_owned())
}

fn answer(outcome: Result<Applied, PutError>) -> Response {
    let refuse = |status, message: String| Refusal::new(status, message).into_response();
    match outcome {
        Ok(applied) => {
            let hash = applied.hash.clone();
            let what = What(format!("config {hash}"));
            with_etag((Extension(what), Json(applied)).into_response(), &hash)
        }
        Err(PutError::Conflict(hash)) => {
            let message = "another configuration is in use; read it, and repeat the change on top of it";
            with_etag(refuse(StatusCode::PRECONDITION_FAILED, message.into()), &hash)
        }
        Err(PutError::Edited) => {
            let message = "the file was edited and is not in use as it stands; reload it, or undo the edit, and repeat the change";
            refuse(StatusCode::PRECONDITION_FAILED, message.into())
        }
        Err(PutError::Invalid(problems)) => {
            let error = "the configuration is not valid, nothing changed";
            let body = json!({ "error": error, "problems": problems });
            let error = Message(error.to_owned());
            (StatusCode::UNPROCESSABLE_ENTITY, Extension(error), Json(body)).into_response()
        }
        Err(PutError::ReadOnly) => refuse(
            StatusCode::CONFLICT,
            "the configuration did not come from a file that can be written".into(),
        ),
        Err(PutError::Io(problem)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, problem),
    }
}

fn with_etag(mut response: Response, hash: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
