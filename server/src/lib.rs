//! The OpenAI-compatible server: HTTP in front of the runtime's pools, nothing else.
//!
//! Owns routes, limits, keys, streams of events, metrics. May know: the runtime's public API. Must not know: engines,
//! bundles' files, how models are planned.

mod answers;
mod app;
mod body;
mod chat;
mod completions;
mod connections;
mod embeddings;
mod error;
mod fields;
mod files;
mod guard;
mod health;
mod metrics;
mod models;
mod outbox;
mod page;
mod rerank;
mod responses;
mod settings;
mod sse;
mod tokens;

pub use connections::{Bound, bind, run};
pub use models::{AdapterSettings, ModelSettings, Models};
pub use settings::Settings;
