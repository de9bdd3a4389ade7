//! The runtime's embedder, of whose vectors there is one for a text.

use llama_pajamas::{CancelToken, EmbedSettings, Embedder, LoadedModel};

use crate::error::Failure;

/// Reads texts.
pub(crate) struct Reader(Embedder);

impl Reader {
    pub(crate) fn open(model: &LoadedModel, settings: &EmbedSettings) -> Result<Self, Failure> {
        Ok(Self(model.embedder(settings)?))
    }

    pub(crate) fn vector(&mut self, text: &str, cancel: &CancelToken) -> Result<Vec<f32>, Failure> {
        let vectors = self.0.embed(text, cancel)?.vectors;
        Ok(vectors.into_iter().next().unwrap_or_default())
    }
}
