//! What all requests share, and which function answers which route.
//!
//! Owns [`App`] and the table of routes. Must not know what an answer looks like.

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::settings::Settings;
use crate::{chat, completions, embeddings, guard, health, page, rerank, responses, tokens};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What all requests share.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) models: Arc<Models>,
    pub(crate) metrics: Arc<Metrics>,
    is_closing: AtomicBool,
    /// Numbers of requests and answers, from the start's time on.
    numbers: AtomicU64,
    started_s: u64,
}

impl App {
    pub(crate) fn new(settings: Settings, models: Models) -> Self {
        Self {
            settings,
            models: Arc::new(models),
            metrics: Arc::default(),
            is_closing: AtomicBool::new(false),
            numbers: AtomicU64::default(),
            started_s: now_s(),
        }
    }

    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    pub(crate) fn started_s(&self) -> u64 {
        self.started_s
    }

    /// A name that no other request or answer of this server has.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}{:08x}{number:08x}", self.started_s & 0xffff_ffff)
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Every route.
pub(crate) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/completions", post(completions::answer))
        .route("/v1/responses", post(responses::answer))
        .route("/v1/embeddings", post(embeddings::answer))
        .route("/v1/rerank", post(rerank::answer))
        .route("/rerank", post(rerank::answer))
        .route("/v1/models", get(health::models))
        .route("/v1/models/{*name}", get(health::model))
        .route("/lora-adapters", get(health::adapters).post(health::set_adapters))
        .route("/models/load", post(health::load))
        .route("/models/unload", post(health::unload))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/", get(page::page))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no_route", "no such route") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", "the route takes another method")
        })
        .layer(from_fn_with_state(Arc::clone(app), guard::guard))
        .with_state(Arc::clone(app))
}
