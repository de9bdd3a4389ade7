//! Without the feature `embeddings` there is no embedder: whoever asks is told.

use std::convert::Infallible;

use llama_pajamas::{CancelToken, EmbedSettings, LoadedModel};

use crate::error::Failure;

/// There is none.
pub(crate) struct Reader(Infallible);

impl Reader {
    pub(crate) fn open(_model: &LoadedModel, _settings: &EmbedSettings) -> Result<Self, Failure> {
        Err(Failure::unsupported("embedding", "embeddings"))
    }

    pub(crate) fn vector(&mut self, _text: &str, _cancel: &CancelToken) -> Result<Vec<f32>, Failure> {
        match self.0 {}
    }
}
