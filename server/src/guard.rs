//! What every request passes: its id, keys, other origins, the count and the log.
//!
//! Owns what is refused before a route is reached. Must not know what routes do.

use crate::app::App;
use crate::error::ApiError;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;

/// Routes that need no key: they tell nothing of what is asked or answered.
const OPEN: [&str; 3] = ["/health", "/ready", "/"];
const ID: &str = "x-request-id";
const MAX_ID_BYTES: usize = 128;

/// Lets a request through, or answers it.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = id_of(request.headers()).unwrap_or_else(|| app.new_id("req-"));
    let method = request.method().clone();
    // What is no route is counted as one: clients choose paths, and must not choose how many are counted.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let origin = allowed_origin(&app, request.headers());
    let mut response = if method == Method::OPTIONS && origin.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else if app.is_closing() {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "closing", "the server is ending").into_response()
    } else if !OPEN.contains(&route.as_str()) && !has_key(&app, request.headers()) {
        let message = "expected a key of this server in the header `authorization: Bearer …`";
        ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(ID, id);
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        let allowed = HeaderValue::from_static("authorization, content-type, x-request-id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        let methods = HeaderValue::from_static("GET, POST, OPTIONS");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let (status, time) = (response.status().as_u16(), begin.elapsed());
    app.metrics.request(&route, status, time);
    tracing::info!(
        request = id,
        %method,
        route,
        status,
        ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}

/// The client's own id, where it is one that can be logged.
fn id_of(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(ID)?.to_str().ok()?;
    let fits = !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

fn allowed_origin(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let allowed = &app.settings.cors_origins;
    let is_allowed = allowed.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes());
    is_allowed.then(|| origin.clone())
}

fn has_key(app: &App, headers: &HeaderMap) -> bool {
    let keys = &app.settings.api_keys;
    if keys.is_empty() {
        return true;
    }
    let shown =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    // Every key is compared to its end: how long it takes says nothing about how much was right.
    shown.is_some_and(|shown| keys.iter().fold(false, |found, key| found | equal(shown, key.as_bytes())))
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    let differences = b.iter().enumerate().fold(a.len() ^ b.len(), |sum, (at, byte)| {
        sum | usize::from(byte ^ a.get(at).copied().unwrap_or_default())
    });
    differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_or_not() {
        assert!(equal(b"secret", b"secret"));
        for other in [&b""[..], b"secre", b"secret1", b"Secret", b"\0"] {
            assert!(!equal(other, b"secret") && !equal(b"secret", other));
        }
    }
}
