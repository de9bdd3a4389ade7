//! Models: vocabulary and rules. Vocabularies keep the order of the file.
//! Must not check that merges name tokens of the vocabulary: converters pass such files through.

use super::document::Text;
use super::shared_parts::null_is_default;
use super::{Error, MAX_TOKEN_ID};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt;

/// A model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Model {
    /// Byte-pair encoding.
    Bpe(Bpe),
    /// Unigram language model (SentencePiece).
    Unigram(Unigram),
    /// Greedy longest pieces (BERT).
    WordPiece(WordPiece),
    /// Whole words.
    WordLevel(WordLevel),
    /// A kind that is not known here, as it stands in the file.
    Unknown {
        /// Its `type`.
        kind: String,
        /// The whole object.
        raw: Value,
    },
}

impl Model {
    /// Its kind as the file spells it.
    pub fn kind(&self) -> &str {
        match self {
            Self::Bpe(_) => "BPE",
            Self::Unigram(_) => "Unigram",
            Self::WordPiece(_) => "WordPiece",
            Self::WordLevel(_) => "WordLevel",
            Self::Unknown { kind, .. } => kind,
        }
    }
}

/// Byte-pair encoding.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Bpe {
    /// Text and id of each token; texts are unique, ids below [`MAX_TOKEN_ID`].
    #[serde(deserialize_with = "vocabulary")]
    pub vocab: Vec<(String, u32)>,
    /// Pairs in order of rank. In the file either `["a", "b"]` or `"a b"`.
    #[serde(deserialize_with = "merges")]
    pub merges: Vec<(String, String)>,
    /// Chance to leave a merge out, in training.
    pub dropout: Option<f32>,
    /// Stands for what the vocabulary lacks.
    pub unk_token: Option<String>,
    /// Mark of a piece inside a word.
    pub continuing_subword_prefix: Option<String>,
    /// Mark of a piece that ends a word.
    pub end_of_word_suffix: Option<String>,
    /// Joins neighbouring unknown tokens. Default: no.
    #[serde(default, deserialize_with = "null_is_default")]
    pub fuse_unk: bool,
    /// Unknown characters become tokens like `<0x61>`. Default: no.
    #[serde(default, deserialize_with = "null_is_default")]
    pub byte_fallback: bool,
    /// A piece that is a token is taken whole, before any merge. Default: no.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ignore_merges: bool,
}

/// Unigram language model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Unigram {
    /// Text and log probability; the place is the id. Below [`MAX_TOKEN_ID`] of them.
    pub vocab: Vec<(String, f64)>,
    /// The token for what the vocabulary lacks, a place in `vocab`.
    pub unk_id: Option<u32>,
    /// Unknown characters become tokens like `<0x61>`. Default: no.
    #[serde(default, deserialize_with = "null_is_default")]
    pub byte_fallback: bool,
}

/// Greedy longest pieces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WordPiece {
    /// Text and id of each token; texts are unique, ids below [`MAX_TOKEN_ID`].
    #[serde(deserialize_with = "vocabulary")]
    pub vocab: Vec<(String, u32)>,
    /// Stands for what the vocabulary lacks. Default: `[UNK]`.
    #[serde(default = "unk")]
    pub unk_token: String,
    /// Mark of a piece inside a word. Default: `##`.
    #[serde(default = "hashes")]
    pub continuing_subword_prefix: String,
    /// Longer words are unknown, in characters. Default: 100.
    #[serde(default = "hundred")]
    pub max_input_chars_per_word: u64,
}

/// Whole words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WordLevel {
    /// Text and id of each token; texts are unique, ids below [`MAX_TOKEN_ID`].
    #[serde(deserialize_with = "vocabulary")]
    pub vocab: Vec<(String, u32)>,
    /// Stands for what the vocabulary lacks.
    pub unk_token: String,
}

/// What tells the kinds apart, read before the model itself.
#[derive(Deserialize)]
struct Peek {
    #[serde(rename = "type")]
    kind: Option<String>,
    merges: Option<IgnoredAny>,
    unk_id: Option<IgnoredAny>,
    max_input_chars_per_word: Option<IgnoredAny>,
}

impl Peek {
    /// Files of old versions of the library leave the type out: then the fields tell.
    fn kind(&self) -> &str {
        match &self.kind {
            Some(kind) => kind,
            None if self.merges.is_some() => "BPE",
            None if self.max_input_chars_per_word.is_some() => "WordPiece",
            None if self.unk_id.is_some() => "Unigram",
            None => "WordLevel",
        }
    }
}

/// Parses the model.
pub(super) fn parse(text: &Text<'_>) -> Result<Model, Error> {
    let peek: Peek = text.parse()?;
    Ok(match peek.kind() {
        "BPE" => Model::Bpe(text.parse()?),
        "WordPiece" => Model::WordPiece(text.parse()?),
        "WordLevel" => Model::WordLevel(text.parse()?),
        "Unigram" => {
            let model: Unigram = text.parse()?;
            let n_tokens = model.vocab.len();
            if n_tokens > MAX_TOKEN_ID as usize {
                return Err(text.refuse(format!("at most {MAX_TOKEN_ID} tokens"), n_tokens));
            }
            if let Some(id) = model.unk_id.filter(|id| *id as usize >= n_tokens) {
                return Err(text.refuse(format!("an unk_id below {n_tokens}, the number of tokens"), id));
            }
            Model::Unigram(model)
        }
        kind => Model::Unknown { kind: kind.into(), raw: text.untyped()? },
    })
}

fn vocabulary<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, u32)>, D::Error> {
    struct Tokens;
    impl<'de> Visitor<'de> for Tokens {
        type Value = Vec<(String, u32)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object from token to id")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut tokens = Vec::new();
            while let Some((text, id)) = map.next_entry::<String, u32>()? {
                if id >= MAX_TOKEN_ID {
                    let message = format!("expected ids below {MAX_TOKEN_ID}, got {id} for {text:?}");
                    return Err(serde::de::Error::custom(message));
                }
                tokens.push((text, id));
            }
            let mut seen = HashSet::with_capacity(tokens.len());
            if let Some((text, _)) = tokens.iter().find(|(text, _)| !seen.insert(text.as_str())) {
                return Err(serde::de::Error::custom(format!("{text:?} appears twice")));
            }
            Ok(tokens)
        }
    }
    deserializer.deserialize_map(Tokens)
}

fn merges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    deserializer.deserialize_seq(Merges)
}

struct Merges;

impl<'de> Visitor<'de> for Merges {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut merges = Vec::new();
        while let Some(merge) = seq.next_element::<Merge>()? {
            merges.extend(merge.0);
        }
        Ok(merges)
    }
}

/// One merge in either form; `None` for the `#version` line that old files begin with.
struct Merge(Option<(String, String)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge `\"a b\"` or `[\"a\", \"b\"]`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
        if text.starts_with("#version") {
            return Ok(Merge(None));
        }
        match text.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok(Merge(Some((left.into(), right.into())))),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
        let mut next = |n| {
            let side = seq.next_element::<String>()?;
            side.ok_or_else(|| serde::de::Error::invalid_length(n, &"two sides"))
        };
        let pair = (next(0)?, next(1)?);
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(Merge(Some(pair))),
            Some(_) => Err(serde::de::Error::invalid_length(3, &"two sides")),
        }
    }
}

fn unk() -> String {
    "[UNK]".into()
}

fn hashes() -> String {
    "##".into()
}

fn hundred() -> u64 {
    100
}
