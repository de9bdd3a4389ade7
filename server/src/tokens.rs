//! `/tokenize` and `/detokenize`, in llama.cpp's form.
//!
//! Owns the form of their requests and answers. Must not know vocabularies.

use crate::app::App;
use crate::body::Json;
use crate::error::{ApiError, ApiResult};
use axum::extract::State;
use llama_pajamas::Token;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TokenizeBody {
    model: Option<String>,
    content: Option<String>,
    add_special: bool,
    with_pieces: bool,
}

/// Tokens of a text.
pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    Json(body): Json<TokenizeBody>,
) -> ApiResult<axum::Json<Value>> {
    let Some(content) = body.content else { return Err(ApiError::field("content", "a text", "none")) };
    let model = app.models.get(body.model.as_deref()).await?;
    let tokenizer = model.model().tokenizer();
    let tokens = tokenizer.encode(&content, body.add_special)?;
    let piece = |token: &Token| match body.with_pieces {
        false => json!(token),
        true => match std::str::from_utf8(tokenizer.token_bytes(*token)) {
            Ok("") => json!({ "id": token, "piece": tokenizer.token_text(*token) }),
            Ok(text) => json!({ "id": token, "piece": text }),
            // Part of a character.
            Err(_) => json!({ "id": token, "piece": tokenizer.token_bytes(*token) }),
        },
    };
    Ok(axum::Json(json!({ "tokens": tokens.iter().map(piece).collect::<Vec<_>>() })))
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DetokenizeBody {
    model: Option<String>,
    tokens: Option<Vec<Token>>,
}

/// Text of tokens.
pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    Json(body): Json<DetokenizeBody>,
) -> ApiResult<axum::Json<Value>> {
    let Some(tokens) = body.tokens else { return Err(ApiError::field("tokens", "tokens", "none")) };
    let model = app.models.get(body.model.as_deref()).await?;
    let tokenizer = model.model().tokenizer();
    let outside = tokens.iter().find(|token| tokenizer.token_text(**token).is_none());
    if let Some(token) = outside {
        let expected = format!("tokens below {}", tokenizer.n_vocab());
        return Err(ApiError::field("tokens", expected, token.to_string()));
    }
    Ok(axum::Json(json!({ "content": tokenizer.decode(&tokens) })))
}
