//! The tokenizer of a model, built from its metadata alone. Knows the tables of `tokenizer.ggml.*`; the algorithms are the Hugging
//! Face library's, so that ids are the ones the model was trained with.

mod build;
mod charsmap;
mod pieces;

pub use pieces::TextStream;

#[cfg(feature = "constrain")]
use crate::constrain::Vocabulary;
use crate::{Error, Result};
use ahash::AHashMap;
use engine::Token;
use families::tokenizer::TokenType;
use formats::gguf::Metadata;
use pieces::Pieces;
use std::collections::HashSet;

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
    /// The same, to which control tokens that are spelled in a text are text. Made when first asked for.
    #[cfg(feature = "quantize")]
    plain: std::sync::OnceLock<tokenizers::Tokenizer>,
    /// The library's ids of added tokens that are not the file's.
    ids: AHashMap<u32, u32>,
    pieces: Pieces,
    bos: Option<Token>,
    eos: Option<Token>,
    prefix: Vec<Token>,
    suffix: Vec<Token>,
    /// Between the texts of a pair, behind what ends the first.
    between: Vec<Token>,
    ends: HashSet<Token>,
    #[cfg(feature = "constrain")]
    vocabulary: Vocabulary,
}

impl Tokenizer {
    /// Builds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// A kind that is not known, or tables that do not fit together.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let tables = build::Tables::read(metadata)?;
        let build::Built { inner, ids } = tables.build()?;
        let parts = &tables.parts;
        let id = |key: &str| {
            let id = metadata.u64(&format!("tokenizer.ggml.{key}_token_id"))?;
            Token::try_from(id).ok().filter(|id| (*id as usize) < tables.tokens.len())
        };
        let tokens = |ids: &[u32]| ids.iter().map(|id| *id as Token).collect();
        let (bos, eos) = (parts.bos.map(|id| id as Token), parts.eos.map(|id| id as Token));
        let mut ends: HashSet<Token> = ["eot", "eom"].iter().filter_map(|key| id(key)).chain(eos).collect();
        let texts: HashSet<&str> = END_OF_TURN.into();
        let ending = |(id, text): (usize, &String)| {
            let ends = tables.kind_of(id) == TokenType::Control && texts.contains(text.as_str());
            ends.then_some(id as Token)
        };
        ends.extend(tables.tokens.iter().enumerate().filter_map(ending));
        let pieces = Pieces::new(&tables);
        let (prefix, suffix) = (tokens(&parts.prefix), tokens(&parts.suffix));
        let separates = metadata.bool("tokenizer.ggml.add_sep_token").unwrap_or(false);
        let between = id("seperator").filter(|_| separates).into_iter().collect();
        Ok(Self {
            inner,
            #[cfg(feature = "quantize")]
            plain: std::sync::OnceLock::new(),
            ids,
            pieces,
            bos,
            eos,
            prefix,
            suffix,
            between,
            ends,
            #[cfg(feature = "constrain")]
            vocabulary: Vocabulary::default(),
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
        let around = |tokens: &[Token]| if add_special { tokens.to_vec() } else { Vec::new() };
        let ids = encoding.get_ids().iter().map(|id| self.id_in_file(*id));
        Ok(around(&self.prefix).into_iter().chain(ids).chain(around(&self.suffix)).collect())
    }

    /// Ids of two texts as one, the way the model was trained to compare them.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express.
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<Vec<Token>> {
        let mut ids = self.encode(first, true)?;
        ids.extend(&self.between);
        ids.extend(self.encode(second, false)?);
        ids.extend(&self.suffix);
        Ok(ids)
    }

    /// Text of `tokens`, without control tokens.
    pub fn decode(&self, tokens: &[Token]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| self.pieces.bytes(*token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The id of the token spelled `text`.
    pub fn token_id(&self, text: &str) -> Option<Token> {
        self.inner.token_to_id(text).map(|id| self.id_in_file(id))
    }

    fn id_in_file(&self, id: u32) -> Token {
        self.ids.get(&id).copied().unwrap_or(id) as Token
    }

    /// The spelling of a token in the vocabulary.
    pub fn token_text(&self, token: Token) -> Option<&str> {
        self.pieces.text(token)
    }

    /// The bytes that a token stands for in a text; none for control tokens.
    pub fn token_bytes(&self, token: Token) -> &[u8] {
        self.pieces.bytes(token)
    }

    /// What grammars need of it.
    #[cfg(feature = "constrain")]
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Ids of `text` alone, in which control tokens that are spelled out are text, as llama.cpp's tools read files.
    #[cfg(feature = "quantize")]
    pub(crate) fn encode_plain(&self, text: &str) -> Result<Vec<Token>> {
        let plain = self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            plain
        });
        let encoding = plain.encode_fast(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().iter().map(|id| self.id_in_file(*id)).collect())
    }

    /// What the model wants in front of a text.
    #[cfg(feature = "quantize")]
    pub(crate) fn in_front(&self) -> &[Token] {
        &self.prefix
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
