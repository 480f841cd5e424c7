//! What an answer looks like: JSON, errors as JSON with one sentence that says what is allowed.

use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

/// An error with its status.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into() }
    }
}

/// What an error said, as an extension of the answer.
#[derive(Clone)]
pub(crate) struct Message(pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let answer = Json(json!({ "error": self.message }));
        (self.status, Extension(Message(self.message)), answer).into_response()
    }
}

/// No such resource.
pub(crate) async fn not_found(uri: Uri) -> Refusal {
    let message = format!("nothing at {}; /openapi.json lists what there is", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, message)
}

/// No such method on this resource.
pub(crate) async fn method_not_allowed(uri: Uri) -> Refusal {
    let message = format!("{} does not take this method; /openapi.json lists what it takes", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
}
