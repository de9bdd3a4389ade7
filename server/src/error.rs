//! What clients are told when something is wrong: a status and OpenAI's object.
//!
//! Owns which error is whose fault. Must not know routes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use llama_pajamas::{Error, engine};
use serde_json::{Value, json};

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The field that is wrong.
    pub(crate) param: Option<String>,
    /// A word that programs compare.
    pub(crate) code: &'static str,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code }
    }

    /// A field that is not what is expected.
    pub(crate) fn field(param: impl Into<String>, expected: impl AsRef<str>, got: impl AsRef<str>) -> Self {
        let param = param.into();
        let message = format!("{param}: expected {}, got {}", expected.as_ref(), got.as_ref());
        Self { status: StatusCode::BAD_REQUEST, message, param: Some(param), code: "invalid_value" }
    }

    /// Longer than may be waited for.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "not answered within the server's time limit")
    }

    /// OpenAI's object.
    pub(crate) fn to_json(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (status, code) = match &error {
            Error::Request { what, .. } => {
                let param = Some((*what).to_owned());
                let code = if *what == "prompt" { "context_length_exceeded" } else { "invalid_value" };
                return Self { status: StatusCode::BAD_REQUEST, message, param, code };
            }
            Error::Template(_) => (StatusCode::BAD_REQUEST, "template"),
            Error::Engine(
                engine::Error::EmptyBatch
                | engine::Error::TokenOutOfRange { .. }
                | engine::Error::TextTooLong { .. },
            ) => (StatusCode::BAD_REQUEST, "invalid_value"),
            Error::Engine(engine::Error::Purpose { .. }) => (StatusCode::BAD_REQUEST, "unsupported"),
            Error::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue_full"),
            Error::Refused { .. } => (StatusCode::SERVICE_UNAVAILABLE, "refused"),
            Error::Closed => (StatusCode::SERVICE_UNAVAILABLE, "closing"),
            Error::NothingFits(_) | Error::NoRoom { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_memory"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.to_json())).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
