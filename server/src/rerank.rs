//! `/v1/rerank`, in the form that Jina and Cohere use.
//!
//! Owns the form of its requests and answers. Must not know how documents are scored.

use crate::app::App;
use crate::body::Json;
use crate::embeddings::blocking;
use crate::error::{ApiError, ApiResult};
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RerankBody {
    model: Option<String>,
    query: Option<String>,
    documents: Option<Vec<Document>>,
    top_n: Option<usize>,
    return_documents: Option<bool>,
}

/// Documents from the one that answers a query best.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Json(body): Json<RerankBody>,
) -> ApiResult<axum::Json<Value>> {
    let Some(query) = body.query else { return Err(ApiError::field("query", "a text", "none")) };
    let documents: Vec<String> = body
        .documents
        .unwrap_or_default()
        .into_iter()
        .map(|document| match document {
            Document::Text(text) | Document::Object { text } => text,
        })
        .collect();
    let n = documents.len();
    if n == 0 || n > app.settings.max_texts {
        let expected = format!("1 to {} texts", app.settings.max_texts);
        return Err(ApiError::field("documents", expected, n.to_string()));
    }
    let model = app.models.get(body.model.as_deref()).await?;
    let (documents, scores) = {
        let model = Arc::clone(&model);
        blocking(&app, move |cancel| {
            let score = |document: &String| model.rank(|ranker| ranker.scores(&query, document, cancel));
            let scores = documents.iter().map(score).collect::<Result<Vec<_>, _>>()?;
            Ok((documents, scores))
        })
        .await?
    };
    let mut order: Vec<(usize, f32)> =
        scores.iter().map(|scores| scores.first().copied().unwrap_or_default()).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.truncate(body.top_n.unwrap_or(n));
    let results: Vec<Value> = order
        .into_iter()
        .map(|(index, score)| {
            let mut result = json!({ "index": index, "relevance_score": score });
            if body.return_documents.unwrap_or(false) {
                result["document"] = json!({ "text": documents[index] });
            }
            result
        })
        .collect();
    Ok(axum::Json(json!({ "object": "list", "model": model.name, "results": results })))
}
