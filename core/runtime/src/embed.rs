//! Vectors of texts, to search and compare by, and scores of documents for a query.
//! Owns what surrounds the engine's vectors: tokens of a text or a pair, their limit, unit length. Must not know how an
//! engine pools.

use crate::model::cancelled;
use crate::{Error, LoadedModel, Result, Tokenizer};
use engine::{CancelToken, Context, Pooling, Purpose, Token};
use std::sync::Arc;

/// How to open an [`Embedder`].
#[derive(Debug, Clone, Default)]
pub struct EmbedSettings {
    /// How the vectors of a text's tokens become one; `None`: as the file says, the mean where it says nothing.
    pub pooling: Option<Pooling>,
    /// Most tokens of a text; `None`: as many as the plan has and the model was trained for.
    pub max_tokens: Option<u32>,
    /// Leave vectors as long as they are, instead of making their length one.
    pub keep_length: bool,
    /// Read the beginning of texts that are too long, instead of refusing them.
    pub truncate: bool,
}

/// The vectors of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// One; one per token where nothing is pooled.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that were read.
    pub n_tokens: usize,
}

/// Turns texts into vectors, one text after the other. May move between threads.
pub struct Embedder {
    context: Box<dyn Context>,
    tokenizer: Arc<Tokenizer>,
    max_tokens: usize,
    settings: EmbedSettings,
}

impl Embedder {
    pub(crate) fn open(model: &LoadedModel, settings: &EmbedSettings) -> Result<Self> {
        let pooling = settings.pooling.or(model.pooling()).unwrap_or(Pooling::Mean);
        let (context, max_tokens) =
            model.reading_context(Purpose::Vectors(Some(pooling)), settings.max_tokens)?;
        let settings = EmbedSettings { pooling: Some(pooling), ..settings.clone() };
        Ok(Self { context, tokenizer: Arc::clone(model.shared_tokenizer()), max_tokens, settings })
    }

    /// Most tokens that a text may have, with those that the tokenizer puts around it.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The vectors of `text`.
    ///
    /// # Errors
    /// A text of too many tokens, unless it may be cut; what the engine reports; [`Error::Cancelled`].
    pub fn embed(&mut self, text: &str, cancel: &CancelToken) -> Result<Embedding> {
        let tokens = self.tokenizer.encode(text, true)?;
        self.embed_tokens(&tokens, cancel)
    }

    /// The vectors of a text of these tokens.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_tokens(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<Embedding> {
        let tokens = match tokens.len() > self.max_tokens {
            true if self.settings.truncate => &tokens[..self.max_tokens],
            true => {
                let (expected, got) =
                    (format!("at most {} tokens", self.max_tokens), tokens.len().to_string());
                return Err(Error::Request { what: "text", expected, got });
            }
            false => tokens,
        };
        let read = self.context.embed(tokens, cancel).map_err(cancelled)?;
        let keeps = self.settings.keep_length || self.settings.pooling == Some(Pooling::Rank);
        let vector = |row: &[f32]| if keeps { row.to_vec() } else { of_unit_length(row) };
        Ok(Embedding { vectors: read.rows().map(vector).collect(), n_tokens: tokens.len() })
    }
}

/// Scores how well documents answer a query, by the classifier of the model.
pub struct Ranker {
    embedder: Embedder,
    /// The text around query and document, where the file has one.
    template: Option<String>,
}

impl Ranker {
    pub(crate) fn open(model: &LoadedModel, settings: &EmbedSettings) -> Result<Self> {
        let settings = EmbedSettings { pooling: Some(Pooling::Rank), ..settings.clone() };
        let template = model.rank_template().map(str::to_string);
        Ok(Self { embedder: Embedder::open(model, &settings)?, template })
    }

    /// The classifier's scores of `document` for `query`; the first one is how well it answers. As the classifier gives
    /// them: some models' are logarithms of odds.
    ///
    /// # Errors
    /// As [`Embedder::embed`], for both together.
    pub fn scores(&mut self, query: &str, document: &str, cancel: &CancelToken) -> Result<Vec<f32>> {
        let tokenizer = &self.embedder.tokenizer;
        let tokens = match &self.template {
            Some(template) => {
                // Not one after the other: a query may hold the mark of the document.
                let (before, rest) = template.split_once("{query}").unwrap_or(("", template));
                let (between, behind) = rest.split_once("{document}").unwrap_or((rest, ""));
                tokenizer.encode(&[before, query, between, document, behind].concat(), true)?
            }
            None => tokenizer.encode_pair(query, document)?,
        };
        let mut read = self.embedder.embed_tokens(&tokens, cancel)?;
        Ok(read.vectors.pop().unwrap_or_default())
    }
}

/// The same direction with a length of one; zeros stay.
fn of_unit_length(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|value| (f64::from(*value) * scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_one_and_zeros_stay() {
        assert_eq!(of_unit_length(&[3.0, 0.0, -4.0]), [0.6, 0.0, -0.8]);
        assert_eq!(of_unit_length(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(of_unit_length(&[1e-30, 0.0]), [1.0, 0.0]);
    }
}
