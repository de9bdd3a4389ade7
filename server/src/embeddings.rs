//! `/v1/embeddings`.
//!
//! Owns the form of its requests and answers. Must not know how vectors are made.

use crate::app::App;
use crate::body::Json;
use crate::error::{ApiError, ApiResult};
use crate::fields::TextsOrTokens;
use crate::models::Loaded;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use llama_pajamas::{CancelToken, Error};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EmbeddingBody {
    model: Option<String>,
    input: Option<TextsOrTokens>,
    encoding_format: Option<String>,
    dimensions: Option<usize>,
}

/// Cancels what it was cloned from when the client is gone.
pub(crate) struct CancelOnDrop(pub(crate) CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// `work` on a thread that may block, within the server's time limit; cancelled when nobody waits any more.
///
/// # Errors
/// What `work` reports, the end of the time limit.
pub(crate) async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&CancelToken) -> Result<T, Error> + Send + 'static,
) -> ApiResult<T> {
    let cancel = CancelOnDrop(CancelToken::new());
    let raised = cancel.0.clone();
    let working = tokio::task::spawn_blocking(move || work(&raised));
    match tokio::time::timeout(app.settings.max_time, working).await {
        Err(_) => Err(ApiError::too_slow()),
        Ok(Err(_)) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "broken off")),
        Ok(Ok(outcome)) => outcome.map_err(ApiError::from),
    }
}

/// Vectors of texts.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Json(body): Json<EmbeddingBody>,
) -> ApiResult<axum::Json<Value>> {
    let in_base64 = match body.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => return Err(ApiError::field("encoding_format", "float or base64", other)),
    };
    let (texts, tokens) = match body.input {
        None => return Err(ApiError::field("input", "texts or tokens", "none")),
        Some(TextsOrTokens::Text(text)) => (vec![text], Vec::new()),
        Some(TextsOrTokens::Texts(texts)) => (texts, Vec::new()),
        Some(TextsOrTokens::Tokens(tokens)) => (Vec::new(), vec![tokens]),
        Some(TextsOrTokens::Several(several)) => (Vec::new(), several),
    };
    let n = texts.len() + tokens.len();
    if n == 0 || n > app.settings.max_texts {
        let expected = format!("1 to {} texts", app.settings.max_texts);
        return Err(ApiError::field("input", expected, n.to_string()));
    }
    let model = app.models.get(body.model.as_deref()).await?;
    let vectors = {
        let model: Arc<Loaded> = Arc::clone(&model);
        blocking(&app, move |cancel| {
            let mut vectors = Vec::new();
            for text in &texts {
                vectors.push(model.embed(|embedder| embedder.embed(text, cancel))?);
            }
            for tokens in &tokens {
                vectors.push(model.embed(|embedder| embedder.embed_tokens(tokens, cancel))?);
            }
            Ok(vectors)
        })
        .await?
    };
    let n_tokens: usize = vectors.iter().map(|vector| vector.n_tokens).sum();
    app.metrics.read(n_tokens);
    let mut data = Vec::new();
    for (index, embedding) in vectors.into_iter().enumerate() {
        let mut vector = embedding.vectors.into_iter().next().unwrap_or_default();
        if let Some(n) = body.dimensions {
            if n == 0 || n > vector.len() {
                let expected = format!("1 to {}", vector.len());
                return Err(ApiError::field("dimensions", expected, n.to_string()));
            }
            vector.truncate(n);
            // Cut vectors are made of unit length again, as OpenAI's are.
            let length =
                vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
        let embedding = match in_base64 {
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            }
            false => json!(vector),
        };
        data.push(json!({ "object": "embedding", "index": index, "embedding": embedding }));
    }
    Ok(axum::Json(json!({
        "object": "list",
        "model": model.name,
        "data": data,
        "usage": { "prompt_tokens": n_tokens, "total_tokens": n_tokens },
    })))
}
