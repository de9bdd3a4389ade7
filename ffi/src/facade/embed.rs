//! Vectors of texts.

use std::sync::{Arc, Mutex, PoisonError};

use llama_pajamas::LoadedModel;

use super::cancel::{CancelToken, token};
use super::error::{Told, call};
use super::owned::Owned;
use crate::arguments::Options;
use crate::embed::{Reader, lp_embed_options, lp_embedder, lp_pooling};
use crate::error::Failure;

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    First,
    /// The last token's.
    Last,
}

/// How to open an embedder.
#[derive(Clone, Debug, uniffi::Record)]
pub struct EmbedOptions {
    /// None: as the model's file says, the mean where it says nothing.
    #[uniffi(default)]
    pub pooling: Option<Pooling>,
    /// Most tokens of a text; none: as many as planned and as the model was trained for.
    #[uniffi(default)]
    pub max_tokens: Option<u32>,
    /// Leave vectors as long as they are, instead of making their length one.
    #[uniffi(default)]
    pub keep_length: bool,
    /// Read the beginning of texts that are too long, instead of refusing them.
    #[uniffi(default)]
    pub truncate: bool,
}

/// Turns texts into vectors, with a context of its own. Threads that share one wait for each other.
#[derive(uniffi::Object)]
pub struct NativeEmbedder(Owned<lp_embedder>);

impl NativeEmbedder {
    pub(crate) fn open(model: &LoadedModel, options: EmbedOptions) -> Result<Arc<Self>, Failure> {
        let pooling = match options.pooling {
            None => lp_pooling::LP_POOLING_MODEL,
            Some(Pooling::Mean) => lp_pooling::LP_POOLING_MEAN,
            Some(Pooling::First) => lp_pooling::LP_POOLING_FIRST,
            Some(Pooling::Last) => lp_pooling::LP_POOLING_LAST,
        };
        let told = lp_embed_options {
            pooling: pooling as u32,
            max_tokens: options.max_tokens.unwrap_or(0),
            keep_length: options.keep_length.into(),
            truncate: options.truncate.into(),
            ..lp_embed_options::defaults()
        };
        Ok(Arc::new(Self(Owned::new(Mutex::new(Reader::open(model, &told.settings()?)?)))))
    }
}

#[uniffi::export]
impl NativeEmbedder {
    /// The vector of `text`.
    pub fn embed(&self, text: String, cancel: Option<Arc<CancelToken>>) -> Told<Vec<f32>> {
        call(|| {
            let embedder = self.0.get()?;
            let mut embedder = embedder.lock().unwrap_or_else(PoisonError::into_inner);
            embedder.vector(&text, &token(cancel))
        })
    }

    /// Closes it. May be called again.
    pub fn release(&self) {
        self.0.close();
    }
}
