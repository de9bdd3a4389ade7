//! What tells about the server: whether it lives, is ready, which models it has, what it counted.
//!
//! Owns the form of these answers, and the loading and unloading of models by hand. Must not know plans.

use crate::app::App;
use crate::body::Json;
use crate::error::{ApiError, ApiResult};
use crate::fields::Scale;
use crate::models::{AdapterSettings, Loaded};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// It lives.
pub(crate) async fn health() -> axum::Json<Value> {
    axum::Json(json!({ "status": "ok" }))
}

/// It answers without loading first.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.models.list().iter().any(|(_, loaded)| loaded.is_some()) {
        true => axum::Json(json!({ "status": "ready" })).into_response(),
        false => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "loading", "no model is loaded yet")
            .into_response(),
    }
}

/// The counts.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let page = app.metrics.page(&app.models.occupations());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

fn model_json(app: &App, name: &str, loaded: Option<&Arc<Loaded>>) -> Value {
    let mut object =
        json!({ "id": name, "object": "model", "created": app.started_s(), "owned_by": "llama-pajamas" });
    object["status"] = json!(if loaded.is_some() { "loaded" } else { "unloaded" });
    if let Ok(adapters) = app.models.adapters(Some(name))
        && !adapters.is_empty()
    {
        object["lora"] = adapters_json(&adapters);
    }
    if let Some(loaded) = loaded {
        object["meta"] = json!({
            "variant": loaded.model().choice().id,
            "n_vocab": loaded.model().tokenizer().n_vocab(),
            "n_ctx": loaded.pool().ok().map(llama_pajamas::Pool::n_ctx),
        });
    }
    object
}

/// All models.
pub(crate) async fn models(State(app): State<Arc<App>>) -> axum::Json<Value> {
    let all = app.models.list();
    let data: Vec<Value> = all.iter().map(|(name, loaded)| model_json(&app, name, loaded.as_ref())).collect();
    axum::Json(json!({ "object": "list", "data": data }))
}

/// One model.
pub(crate) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<Value>> {
    let all = app.models.list();
    match all.iter().find(|(known, _)| *known == name) {
        Some((name, loaded)) => Ok(axum::Json(model_json(&app, name, loaded.as_ref()))),
        None => {
            let message = format!("model: no model is called {name}");
            Err(ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message))
        }
    }
}

/// The adapters of the first model, which the field `lora` of requests names by `id`.
pub(crate) async fn adapters(State(app): State<Arc<App>>) -> ApiResult<axum::Json<Value>> {
    Ok(axum::Json(adapters_json(&app.models.adapters(None)?)))
}

/// Sets how strongly they work where a request does not say; those that are not in the list do not.
pub(crate) async fn set_adapters(
    State(app): State<Arc<App>>,
    Json(scales): Json<Vec<Scale>>,
) -> ApiResult<axum::Json<Value>> {
    app.models.set_scales(None, &scales)?;
    Ok(axum::Json(adapters_json(&app.models.adapters(None)?)))
}

fn adapters_json(adapters: &[AdapterSettings]) -> Value {
    let object = |(id, adapter): (usize, &AdapterSettings)| json!({ "id": id, "path": adapter.path, "scale": adapter.scale });
    adapters.iter().enumerate().map(object).collect()
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    model: String,
}

/// Loads a model.
pub(crate) async fn load(
    State(app): State<Arc<App>>,
    Json(body): Json<Named>,
) -> ApiResult<axum::Json<Value>> {
    app.models.get(Some(&body.model)).await?;
    Ok(axum::Json(json!({ "success": true })))
}

/// Gives a model's memory back.
pub(crate) async fn unload(
    State(app): State<Arc<App>>,
    Json(body): Json<Named>,
) -> ApiResult<axum::Json<Value>> {
    let models = Arc::clone(&app.models);
    let unloading = tokio::task::spawn_blocking(move || models.unload(&body.model));
    let unloaded = unloading
        .await
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "broken off"))??;
    Ok(axum::Json(json!({ "success": unloaded })))
}
