//! Metadata tables → a tokenizer of the Hugging Face library, one way per kind of model.

use crate::{Error, Result};
use families::pre_tokenizers;
use formats::gguf::{Array, Metadata, Value};
use serde_json::json;
use std::collections::HashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

/// Numbers of `tokenizer.ggml.token_type`.
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const BYTE: i32 = 6;
/// How SentencePiece writes a space.
pub(super) const SPACE: char = '\u{2581}';

/// Kinds of `tokenizer.ggml.model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ByteLevelBpe,
    SentencePieceBpe,
    Unigram,
    WordPiece,
}

impl Kind {
    pub(super) fn adds_bos(self) -> bool {
        matches!(self, Self::SentencePieceBpe | Self::WordPiece)
    }

    pub(super) fn adds_eos(self) -> bool {
        matches!(self, Self::Unigram | Self::WordPiece)
    }
}

/// The tables of a file.
pub(super) struct Tables<'a> {
    pub(super) kind: Kind,
    pub(super) tokens: &'a [String],
    pub(super) kinds: Vec<i32>,
    scores: &'a [f32],
    merges: Option<&'a [String]>,
    metadata: &'a Metadata,
}

fn refuse(problem: impl std::fmt::Display) -> Error {
    Error::Tokenizer(problem.to_string())
}

impl<'a> Tables<'a> {
    pub(super) fn read(metadata: &'a Metadata) -> Result<Self> {
        let kind = match metadata.str("tokenizer.ggml.model") {
            Some("gpt2") => Kind::ByteLevelBpe,
            Some("llama") => Kind::SentencePieceBpe,
            Some("t5") => Kind::Unigram,
            Some("bert") => Kind::WordPiece,
            other => {
                return Err(refuse(format!(
                    "tokenizer.ggml.model: expected gpt2, llama, t5 or bert, got {other:?}"
                )));
            }
        };
        let tokens = metadata
            .strings("tokenizer.ggml.tokens")
            .ok_or_else(|| refuse("tokenizer.ggml.tokens is missing"))?;
        let kinds = metadata.i32s("tokenizer.ggml.token_type").unwrap_or_default().to_vec();
        let scores = metadata.f32s("tokenizer.ggml.scores").unwrap_or_default();
        let wants_scores = matches!(kind, Kind::SentencePieceBpe | Kind::Unigram);
        if wants_scores && scores.len() != tokens.len() {
            return Err(refuse(format!(
                "tokenizer.ggml.scores: expected {}, got {}",
                tokens.len(),
                scores.len()
            )));
        }
        let merges = metadata.strings("tokenizer.ggml.merges");
        Ok(Self { kind, tokens, kinds, scores, merges, metadata })
    }

    pub(super) fn build(&self) -> Result<tokenizers::Tokenizer> {
        let mut tokenizer = match self.kind {
            Kind::ByteLevelBpe => self.byte_level_bpe()?,
            Kind::SentencePieceBpe => self.sentencepiece_bpe()?,
            Kind::Unigram => self.unigram()?,
            Kind::WordPiece => self.word_piece()?,
        };
        let added = self
            .kinds
            .iter()
            .enumerate()
            .filter(|(_, kind)| matches!(**kind, CONTROL | USER_DEFINED | UNKNOWN));
        let added: Vec<AddedToken> = added
            .filter_map(|(id, kind)| Some((self.tokens.get(id).filter(|text| !text.is_empty())?, *kind)))
            .map(|(text, kind)| AddedToken::from(text.clone(), kind != USER_DEFINED).normalized(false))
            .collect();
        tokenizer.add_tokens(&added);
        Ok(tokenizer)
    }

    fn vocabulary(&self) -> HashMap<String, u32> {
        self.tokens.iter().enumerate().map(|(id, text)| (text.clone(), id as u32)).collect()
    }

    fn unknown(&self) -> Option<usize> {
        let stated = self.metadata.u64("tokenizer.ggml.unknown_token_id").map(|id| id as usize);
        stated
            .or_else(|| self.kinds.iter().position(|kind| *kind == UNKNOWN))
            .filter(|id| *id < self.tokens.len())
    }

    fn byte_level_bpe(&self) -> Result<tokenizers::Tokenizer> {
        let name = self.metadata.str("tokenizer.ggml.pre").unwrap_or("gpt-2");
        let pre = pre_tokenizers::by_name(name)
            .ok_or_else(|| refuse(format!("tokenizer.ggml.pre: `{name}` is not known")))?;
        let merges = self.merges.ok_or_else(|| refuse("tokenizer.ggml.merges is missing"))?;
        let split =
            |merge: &String| merge.split_once(' ').map(|(left, right)| (left.to_string(), right.to_string()));
        let merges: Option<Vec<(String, String)>> = merges.iter().map(split).collect();
        let merges = merges.ok_or_else(|| refuse("tokenizer.ggml.merges: expected `left right`"))?;
        let model = BPE::builder().vocab_and_merges(self.ahash(), merges).build().map_err(refuse)?;
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(model));
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer(pre.to_json())?));
        Ok(tokenizer)
    }

    fn ahash(&self) -> ahash::AHashMap<String, u32> {
        self.vocabulary().into_iter().collect()
    }

    fn sentencepiece_bpe(&self) -> Result<tokenizers::Tokenizer> {
        let vocabulary = self.vocabulary();
        let merges = match self.merges {
            Some(merges) => stored_merges(merges),
            None => merges_from_scores(self.tokens, self.scores, &self.kinds, &vocabulary),
        };
        let mut builder =
            BPE::builder().vocab_and_merges(self.ahash(), merges).byte_fallback(true).fuse_unk(true);
        if let Some(unknown) = self.unknown() {
            builder = builder.unk_token(self.tokens[unknown].clone());
        }
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(builder.build().map_err(refuse)?));
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE.to_string()});
        let prefixed = self.metadata.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
        let steps = if prefixed {
            json!([{"type": "Prepend", "prepend": SPACE.to_string()}, replace])
        } else {
            json!([replace])
        };
        tokenizer.with_normalizer(Some(normalizer(json!({"type": "Sequence", "normalizers": steps}))?));
        Ok(tokenizer)
    }

    fn unigram(&self) -> Result<tokenizers::Tokenizer> {
        let vocabulary =
            self.tokens.iter().zip(self.scores).map(|(text, score)| (text.clone(), f64::from(*score)));
        let model = Unigram::from(vocabulary.collect(), self.unknown(), false).map_err(refuse)?;
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::Unigram(model));
        if let Some(Value::Array(Array::U8(map))) = self.metadata.get("tokenizer.ggml.precompiled_charsmap") {
            let precompiled = tokenizers::normalizers::Precompiled::from(map)
                .map_err(|error| refuse(format!("{error:?}")))?;
            tokenizer.with_normalizer(Some(NormalizerWrapper::Precompiled(precompiled)));
        }
        let metaspace = json!({"type": "Metaspace", "replacement": SPACE.to_string(), "prepend_scheme": "always", "split": true});
        let steps = match self.metadata.bool("tokenizer.ggml.remove_extra_whitespaces") {
            Some(false) => json!([metaspace]),
            _ => json!([{"type": "WhitespaceSplit"}, metaspace]),
        };
        tokenizer
            .with_pre_tokenizer(Some(pre_tokenizer(json!({"type": "Sequence", "pretokenizers": steps}))?));
        Ok(tokenizer)
    }

    /// GGUF marks the beginnings of words with `▁`; WordPiece marks what is not one with `##`.
    fn word_piece(&self) -> Result<tokenizers::Tokenizer> {
        let spell = |(id, text): (usize, &String)| {
            let special = matches!(self.kinds.get(id), Some(&CONTROL | &USER_DEFINED | &UNKNOWN));
            let spelled = match text.strip_prefix(SPACE) {
                Some(word) => word.to_string(),
                None if special || (text.starts_with('[') && text.ends_with(']')) => text.clone(),
                None => format!("##{text}"),
            };
            (spelled, id as u32)
        };
        let vocabulary: ahash::AHashMap<String, u32> = self.tokens.iter().enumerate().map(spell).collect();
        let unknown = self.unknown().map_or("[UNK]".to_string(), |id| self.tokens[id].clone());
        let model = WordPiece::builder().vocab(vocabulary).unk_token(unknown).build().map_err(refuse)?;
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::WordPiece(model));
        let lowercase = self.metadata.bool("tokenizer.ggml.normalizer.lowercase").unwrap_or(true);
        let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": lowercase});
        tokenizer.with_normalizer(Some(normalizer(bert)?));
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer(json!({"type": "BertPreTokenizer"}))?));
        Ok(tokenizer)
    }
}

fn normalizer(json: serde_json::Value) -> Result<NormalizerWrapper> {
    serde_json::from_value(json).map_err(refuse)
}

fn pre_tokenizer(json: serde_json::Value) -> Result<PreTokenizerWrapper> {
    serde_json::from_value(json).map_err(refuse)
}

fn stored_merges(merges: &[String]) -> Vec<(String, String)> {
    let split =
        |merge: &String| merge.split_once(' ').map(|(left, right)| (left.to_string(), right.to_string()));
    merges.iter().filter_map(split).collect()
}

/// Merges in the order that scores imply: every split of a token into two others, best score first
/// (as transformers converts SentencePiece models).
fn merges_from_scores(
    tokens: &[String],
    scores: &[f32],
    kinds: &[i32],
    vocabulary: &HashMap<String, u32>,
) -> Vec<(String, String)> {
    let mut merges: Vec<(f32, u32, u32)> = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        if matches!(kinds.get(id), Some(&CONTROL | &BYTE | &UNKNOWN)) {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            if let (Some(&left), Some(&right)) = (vocabulary.get(&token[..at]), vocabulary.get(&token[at..]))
            {
                merges.push((scores[id], left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let text = |id: u32| tokens[id as usize].clone();
    merges.into_iter().map(|(_, left, right)| (text(left), text(right))).collect()
}
