//! The tokenizer of a model, built from its metadata alone. Knows `tokenizer.ggml.*`; the algorithms are the Hugging
//! Face library's, so that ids are the ones the model was trained with.

mod build;
mod pieces;

pub use pieces::TextStream;

use crate::{Error, Result};
use engine::Token;
use formats::gguf::Metadata;
use pieces::Pieces;
use std::collections::{HashMap, HashSet};

/// Texts that mark the end of a turn, whatever the metadata says.
const END_OF_TURN: [&str; 8] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
];

/// Text to token ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Pieces,
    ids: HashMap<String, Token>,
    bos: Option<Token>,
    eos: Option<Token>,
    add_bos: bool,
    add_eos: bool,
    ends: HashSet<Token>,
}

impl Tokenizer {
    /// Builds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// A kind that is not known, or tables that do not fit together.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let tables = build::Tables::read(metadata)?;
        let inner = tables.build()?;
        let id = |key: &str| {
            let id = metadata.u64(&format!("tokenizer.ggml.{key}_token_id"))?;
            Token::try_from(id).ok().filter(|id| (*id as usize) < tables.tokens.len())
        };
        let flag = |key: &str| metadata.bool(&format!("tokenizer.ggml.add_{key}_token"));
        let ids: HashMap<String, Token> =
            tables.tokens.iter().enumerate().map(|(id, text)| (text.clone(), id as Token)).collect();
        let mut ends: HashSet<Token> = ["eos", "eot", "eom"].iter().filter_map(|key| id(key)).collect();
        let control = |id: &Token| tables.kinds.get(*id as usize) == Some(&build::CONTROL);
        ends.extend(END_OF_TURN.iter().filter_map(|text| ids.get(*text).copied()).filter(control));
        Ok(Self {
            pieces: Pieces::new(&tables),
            inner,
            bos: id("bos"),
            eos: id("eos"),
            add_bos: flag("bos").unwrap_or(tables.kind.adds_bos()),
            add_eos: flag("eos").unwrap_or(tables.kind.adds_eos()),
            ids,
            ends,
        })
    }

    /// Number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.pieces.len()
    }

    /// Ids of `text`; with `add_special`, what the model wants around a text is added.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<Token>> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        let bos = self.bos.filter(|_| add_special && self.add_bos);
        let eos = self.eos.filter(|_| add_special && self.add_eos);
        let ids = encoding.get_ids().iter().map(|id| *id as Token);
        Ok(bos.into_iter().chain(ids).chain(eos).collect())
    }

    /// Text of `tokens`, without control tokens.
    pub fn decode(&self, tokens: &[Token]) -> String {
        let bytes: Vec<u8> =
            tokens.iter().flat_map(|token| self.pieces.bytes(*token).iter().copied()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The id of the token spelled `text`.
    pub fn token_id(&self, text: &str) -> Option<Token> {
        self.ids.get(text).copied()
    }

    /// The spelling of a token in the vocabulary.
    pub fn token_text(&self, token: Token) -> Option<&str> {
        self.pieces.text(token)
    }

    /// Beginning of sequence.
    pub fn bos(&self) -> Option<Token> {
        self.bos
    }

    /// End of sequence.
    pub fn eos(&self) -> Option<Token> {
        self.eos
    }

    /// Whether `token` ends the model's turn.
    pub fn ends_turn(&self, token: Token) -> bool {
        self.ends.contains(&token)
    }
}
