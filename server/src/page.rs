//! The chat page: one file, built in, that asks nobody but this server.
//!
//! Owns its headers. Must not know what the page does.

use crate::app::App;
use crate::error::ApiError;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

const PAGE: &str = include_str!("page.html");
/// Nothing is fetched from anywhere else, and nobody else frames it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The page.
pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    if !app.settings.page {
        return ApiError::new(StatusCode::NOT_FOUND, "no_route", "no such route").into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE).into_response()
}
