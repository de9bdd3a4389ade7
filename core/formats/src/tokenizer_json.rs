//! `tokenizer.json`, the file of the Hugging Face `tokenizers` library, as typed tables.
//! Knows kinds and fields of its parts; must not tokenize, normalize or judge a vocabulary.
//!
//! Known kinds become variants with their defaults filled in; an unknown kind is kept as it stands
//! (`Unknown { kind, raw }`), so that a caller can refuse it by name. A known kind with wrong fields is an error.
//! Source: the library's `serde` implementations, version 0.22.

mod component;
mod decoder;
mod document;
mod error;
mod model;
mod normalizer;
mod post_processor;
mod pre_tokenizer;
mod shared_parts;

pub use decoder::Decoder;
pub use error::Error;
pub use model::{Bpe, Model, Unigram, WordLevel, WordPiece};
pub use normalizer::Normalizer;
pub use post_processor::{Piece, PostProcessor, SequenceId, SpecialToken};
pub use pre_tokenizer::PreTokenizer;
pub use shared_parts::{ByteLevel, Metaspace, Pattern, PrependScheme, Replace, SplitBehavior};

use document::{Parts, Text};
use serde::Deserialize;
use serde_json::Value;

/// Longest document in bytes.
pub const MAX_BYTES: usize = 256 << 20;
/// Longest normalizer, pre-tokenizer, post-processor, decoder, truncation, padding and model of unknown kind, in
/// bytes of JSON. The longest in use carry a character map of about 0.4 MB. Bounds what untyped JSON can take.
pub const MAX_COMPONENT_BYTES: usize = 1 << 20;
/// Ids must be below this: a table indexed by id stays affordable.
pub const MAX_TOKEN_ID: u32 = 1 << 24;

/// A whole `tokenizer.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerJson {
    /// Tokens beside the model's vocabulary, in the order of the file.
    pub added_tokens: Vec<AddedToken>,
    /// What happens to a text first.
    pub normalizer: Option<Normalizer>,
    /// How the text is cut before the model sees it.
    pub pre_tokenizer: Option<PreTokenizer>,
    /// Vocabulary and rules.
    pub model: Model,
    /// What is put around the tokens of a text.
    pub post_processor: Option<PostProcessor>,
    /// How tokens become text again.
    pub decoder: Option<Decoder>,
    /// The small parts as they stand in the file.
    pub raw: RawParts,
}

/// The small parts as they stand in the file; `null` where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct RawParts {
    pub truncation: Value,
    pub padding: Value,
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub post_processor: Value,
    pub decoder: Value,
}

/// A token beside the model's vocabulary, matched before the model runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AddedToken {
    /// Its id, below [`MAX_TOKEN_ID`].
    pub id: u32,
    /// Its text.
    pub content: String,
    /// Matched only as a whole word.
    pub single_word: bool,
    /// Takes the spaces before it along.
    pub lstrip: bool,
    /// Takes the spaces behind it along.
    pub rstrip: bool,
    /// Matched in the normalized text.
    pub normalized: bool,
    /// Control token: left out of decoded text when asked.
    pub special: bool,
}

/// Parses a document.
///
/// # Errors
/// Bad JSON, a missing model, a known kind with wrong fields, a token named twice, an id that is out of bounds –
/// with field and byte offset.
pub fn parse(json: &[u8]) -> Result<TokenizerJson, Error> {
    if json.len() > MAX_BYTES {
        return Err(Error::TooLong { field: "document", offset: 0, limit: MAX_BYTES, got: json.len() });
    }
    let parts = Parts::split(json)?;
    if let Some(version) = parts.text("version") {
        let got: String = version.parse()?;
        if got != "1.0" {
            return Err(version.refuse("\"1.0\"", format!("{got:?}")));
        }
    }
    let (_, truncation) = parts.untyped("truncation")?;
    let (_, padding) = parts.untyped("padding")?;
    let (normalizer, raw_normalizer) = parts.component("normalizer")?;
    let (pre_tokenizer, raw_pre_tokenizer) = parts.component("pre_tokenizer")?;
    let (post_processor, raw_post_processor) = parts.component("post_processor")?;
    let (decoder, raw_decoder) = parts.component("decoder")?;
    Ok(TokenizerJson {
        added_tokens: added_tokens(parts.text("added_tokens"))?,
        normalizer,
        pre_tokenizer,
        model: model::parse(&parts.text("model").ok_or(Error::Missing { field: "model" })?)?,
        post_processor,
        decoder,
        raw: RawParts {
            truncation,
            padding,
            normalizer: raw_normalizer,
            pre_tokenizer: raw_pre_tokenizer,
            post_processor: raw_post_processor,
            decoder: raw_decoder,
        },
    })
}

fn added_tokens(text: Option<Text<'_>>) -> Result<Vec<AddedToken>, Error> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let tokens: Vec<AddedToken> = text.parse()?;
    if let Some(token) = tokens.iter().find(|token| token.id >= MAX_TOKEN_ID) {
        let got = format!("{} for {:?}", token.id, token.content);
        return Err(text.refuse(format!("ids below {MAX_TOKEN_ID}"), got));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
