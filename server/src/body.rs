//! Bodies of requests: read up to a limit of bytes and of time, and understood as JSON.
//!
//! Owns the errors about bodies. Must not know what is in them.

use crate::app::App;
use crate::error::ApiError;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A body in JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let most = app.settings.max_body_bytes;
        let reading = Limited::new(request.into_body(), most).collect();
        let Ok(read) = tokio::time::timeout(app.settings.max_reading, reading).await else {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body did not come in time",
            ));
        };
        let bytes = read.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => {
                let message = format!("the body: expected at most {most} bytes, got more");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
            }
            None => ApiError::new(
                StatusCode::BAD_REQUEST,
                "body",
                format!("the body did not come whole: {error}"),
            ),
        })?;
        let invalid = |error: serde_json::Error| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body: {error}"))
        };
        serde_json::from_slice(&bytes.to_bytes()).map(Self).map_err(invalid)
    }
}
