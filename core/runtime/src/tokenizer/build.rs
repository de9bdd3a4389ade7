//! Metadata tables → a tokenizer of the Hugging Face library, one way per kind of model. Must not know what a key of a
//! file implies: the rules come from families.

use super::charsmap;
use crate::{Error, Result};
use ahash::AHashMap;
use families::tokenizer::{self as rules, Kind, Parts, SPACE, TokenType, own_keys};
use formats::gguf::{Array, Metadata, Value};
use serde_json::Value as Json;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{Precompiled, Sequence};
use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

/// The tables of a file and the rules beside them.
pub(super) struct Tables<'a> {
    pub(super) parts: Parts,
    pub(super) tokens: &'a [String],
    types: &'a [i32],
    scores: &'a [f32],
    metadata: &'a Metadata,
}

/// A tokenizer of the library. Its ids are the file's but for the added tokens in `ids`.
pub(super) struct Built {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) ids: AHashMap<u32, u32>,
}

fn refuse(problem: impl std::fmt::Display) -> Error {
    Error::Tokenizer(problem.to_string())
}

impl<'a> Tables<'a> {
    pub(super) fn read(metadata: &'a Metadata) -> Result<Self> {
        let parts = Parts::read(metadata).map_err(refuse)?;
        let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap_or_default();
        let types = metadata.i32s("tokenizer.ggml.token_type").unwrap_or_default();
        let scores = metadata.f32s("tokenizer.ggml.scores").unwrap_or_default();
        let wants_scores = matches!(parts.kind, Kind::SentencePieceBpe | Kind::Unigram);
        if wants_scores && scores.len() != tokens.len() {
            let (expected, got) = (tokens.len(), scores.len());
            return Err(refuse(format!("tokenizer.ggml.scores: expected {expected}, got {got}")));
        }
        Ok(Self { parts, tokens, types, scores, metadata })
    }

    pub(super) fn kind_of(&self, id: usize) -> TokenType {
        TokenType::from_number(self.types.get(id).copied().unwrap_or_default())
    }

    pub(super) fn build(&self) -> Result<Built> {
        let model = match self.parts.kind {
            Kind::ByteLevelBpe | Kind::SentencePieceBpe => ModelWrapper::BPE(self.bpe()?),
            Kind::Unigram => ModelWrapper::Unigram(self.unigram()?),
            Kind::WordPiece => ModelWrapper::WordPiece(self.word_piece()?),
        };
        let mut inner = tokenizers::Tokenizer::new(model);
        if !self.parts.normalizer.is_null() {
            inner.with_normalizer(Some(self.normalizer(&self.parts.normalizer)?));
        }
        if !self.parts.pre_tokenizer.is_null() {
            let part = serde_json::from_value::<PreTokenizerWrapper>(self.parts.pre_tokenizer.clone());
            inner.with_pre_tokenizer(Some(part.map_err(|error| refuse(format!("pre-tokenizer: {error}")))?));
        }
        let n_of_model = inner.get_vocab_size(false) as u32;
        let added: Vec<AddedToken> = self.parts.added_tokens.iter().map(added_token).collect();
        inner.add_tokens(&added);
        // The library numbers tokens that its model lacks on its own.
        let renumbered = self.parts.added_tokens.iter().filter_map(|token| {
            let id = inner.token_to_id(&token.content)?;
            (id >= n_of_model && id != token.id).then_some((id, token.id))
        });
        let ids = renumbered.collect();
        Ok(Built { inner, ids })
    }

    /// The tokens that the model itself knows.
    fn own_tokens(&self) -> &'a [String] {
        &self.tokens[..self.parts.rules.n_tokens as usize]
    }

    fn unknown(&self) -> Option<&'a String> {
        self.parts.rules.unk_id.and_then(|id| self.tokens.get(id as usize))
    }

    fn bpe(&self) -> Result<BPE> {
        let rules = &self.parts.rules;
        let merges = match (self.metadata.strings("tokenizer.ggml.merges"), self.parts.kind) {
            (Some(merges), _) => pairs(merges)?,
            (None, Kind::SentencePieceBpe) => rules::merges_from_scores(self.tokens, self.scores, self.types),
            (None, _) => return Err(refuse("tokenizer.ggml.merges is missing")),
        };
        let mut vocabulary = AHashMap::with_capacity(self.own_tokens().len());
        for (id, text) in self.own_tokens().iter().enumerate() {
            // An added token spelled like one of the model's is that one.
            match self.kind_of(id) {
                TokenType::Normal | TokenType::Byte => drop(vocabulary.insert(text.clone(), id as u32)),
                _ => drop(vocabulary.entry(text.clone()).or_insert(id as u32)),
            }
        }
        let mut builder = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .byte_fallback(rules.byte_fallback)
            .fuse_unk(rules.fuse_unk)
            .ignore_merges(rules.ignore_merges);
        if let Some(unknown) = self.unknown() {
            builder = builder.unk_token(unknown.clone());
        }
        builder.build().map_err(|error| refuse(format!("tokenizer.ggml.merges: {error}")))
    }

    fn unigram(&self) -> Result<Unigram> {
        let exact = match self.metadata.f64s(own_keys::SCORES) {
            Some(exact) if exact.len() < self.own_tokens().len() => {
                let (key, n) = (own_keys::SCORES, self.own_tokens().len());
                return Err(refuse(format!("{key}: expected {n} or more, got {}", exact.len())));
            }
            exact => exact,
        };
        let score = |id: usize| exact.map_or_else(|| f64::from(self.scores[id]), |exact| exact[id]);
        let vocabulary = self.own_tokens().iter().enumerate().map(|(id, text)| (text.clone(), score(id)));
        let rules = &self.parts.rules;
        let unknown = rules.unk_id.map(|id| id as usize);
        Unigram::from(vocabulary.collect(), unknown, rules.byte_fallback).map_err(refuse)
    }

    /// GGUF marks the beginnings of words with `▁`; WordPiece marks what is not one with `##`.
    fn word_piece(&self) -> Result<WordPiece> {
        let spell = |(id, text): (usize, &String)| {
            let special =
                matches!(self.kind_of(id), TokenType::Control | TokenType::UserDefined | TokenType::Unknown);
            let spelled = match text.strip_prefix(SPACE) {
                Some(word) => word.to_string(),
                None if special || (text.starts_with('[') && text.ends_with(']')) => text.clone(),
                None => format!("##{text}"),
            };
            (spelled, id as u32)
        };
        let vocabulary: AHashMap<String, u32> = self.own_tokens().iter().enumerate().map(spell).collect();
        let unknown = self.unknown().map_or("[UNK]", String::as_str);
        WordPiece::builder().vocab(vocabulary).unk_token(unknown.into()).build().map_err(refuse)
    }

    /// A normalizer as tokenizer.json spells it; the character map is the file's.
    fn normalizer(&self, part: &Json) -> Result<NormalizerWrapper> {
        let refuse = |problem: String| refuse(format!("normalizer: {problem}"));
        match part["type"].as_str() {
            Some("Sequence") => {
                let steps =
                    part["normalizers"].as_array().ok_or_else(|| refuse("no list of steps".into()))?;
                let steps = steps.iter().map(|step| self.normalizer(step)).collect::<Result<_>>()?;
                Ok(NormalizerWrapper::Sequence(Sequence::new(steps)))
            }
            Some("Precompiled") => match self.metadata.get("tokenizer.ggml.precompiled_charsmap") {
                Some(Value::Array(Array::U8(map))) => {
                    let refuse =
                        |problem: String| refuse(format!("tokenizer.ggml.precompiled_charsmap: {problem}"));
                    charsmap::check(map).map_err(refuse)?;
                    let map = Precompiled::from(map).map_err(|error| refuse(error.to_string()))?;
                    Ok(NormalizerWrapper::Precompiled(map))
                }
                other => {
                    Err(refuse(format!("tokenizer.ggml.precompiled_charsmap: expected bytes, got {other:?}")))
                }
            },
            _ => serde_json::from_value(part.clone()).map_err(|error| refuse(error.to_string())),
        }
    }
}

fn added_token(token: &rules::AddedToken) -> AddedToken {
    AddedToken {
        content: token.content.clone(),
        single_word: token.single_word,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
        special: token.special,
    }
}

/// Merges as a file holds them: `left right`.
fn pairs(merges: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |merge: &String| {
        let pair = merge.split_once(' ').map(|(left, right)| (left.to_string(), right.to_string()));
        pair.ok_or_else(|| refuse(format!("tokenizer.ggml.merges: expected `left right`, got {merge:?}")))
    };
    merges.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;

    fn metadata(model: &str, tokens: &[(&str, i32)], own: &[(&str, &str)]) -> Metadata {
        let texts = tokens.iter().map(|(text, _)| text.to_string()).collect();
        let tables = [
            ("tokenizer.ggml.model", Value::String(model.into())),
            ("tokenizer.ggml.pre", Value::String("gpt-2".into())),
            ("tokenizer.ggml.tokens", Value::Array(Array::String(texts))),
            (
                "tokenizer.ggml.token_type",
                Value::Array(Array::I32(tokens.iter().map(|(_, kind)| *kind).collect())),
            ),
            ("tokenizer.ggml.scores", Value::Array(Array::F32(vec![-1.0; tokens.len()]))),
            ("tokenizer.ggml.merges", Value::Array(Array::String(Vec::new()))),
        ];
        let own = own.iter().map(|(key, text)| (*key, Value::String(text.to_string())));
        tables.into_iter().chain(own).collect()
    }

    fn ids(metadata: &Metadata, text: &str) -> Vec<i32> {
        Tokenizer::from_metadata(metadata).unwrap().encode(text, false).unwrap()
    }

    #[test]
    fn added_tokens_behind_the_models_keep_the_ids_of_the_file() {
        let tokens = [("<unk>", 2), ("▁a", 1), ("▁", 1), ("[PAD3]", 5), ("[PAD4]", 5), ("<x>", 4)];
        let rules =
            r#"{"n_tokens":3,"unk_id":0,"fuse_unk":true,"byte_fallback":false,"ignore_merges":false}"#;
        let metadata = metadata("t5", &tokens, &[(own_keys::MODEL, rules)]);
        assert_eq!(ids(&metadata, "a<x>a"), [1, 5, 1]);
        let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
        assert_eq!((tokenizer.token_id("<x>"), tokenizer.token_text(5)), (Some(5), Some("<x>")));
        assert_eq!(tokenizer.decode(&[1, 5]), " a<x>");
    }

    #[test]
    fn an_added_token_spelled_like_one_of_the_models_is_that_one() {
        let tokens = [("a", 1), ("b", 1), ("a", 4)];
        assert_eq!(ids(&metadata("gpt2", &tokens, &[]), "ba"), [1, 0]);
    }

    #[test]
    fn own_keys_change_how_a_text_is_normalized_and_cut() {
        let tokens = [("a", 1), ("b", 1), ("<s>", 3)];
        assert_eq!(ids(&metadata("gpt2", &tokens, &[]), "aB<s>"), [0, 2]);
        let lower = (own_keys::NORMALIZER, r#"{"type":"Sequence","normalizers":[{"type":"Lowercase"}]}"#);
        assert_eq!(ids(&metadata("gpt2", &tokens, &[lower]), "aB<S>"), [0, 1]);
        let added = (own_keys::ADDED_TOKENS, r#"[{"id":2,"content":"<s>","normalized":true}]"#);
        let metadata = metadata("gpt2", &tokens, &[lower, added]);
        assert_eq!(ids(&metadata, "aB<S>"), [0, 1, 2]);
        assert_eq!(Tokenizer::from_metadata(&metadata).unwrap().decode(&[2]), "<s>");
    }

    #[test]
    fn a_character_map_that_leads_nowhere_is_refused() {
        let mut metadata = metadata("t5", &[("<unk>", 2), ("▁a", 1)], &[]);
        let map = [4u32.to_le_bytes(), (1u32 << 20).to_le_bytes()].concat();
        metadata.insert("tokenizer.ggml.precompiled_charsmap", Value::Array(Array::U8(map)));
        let error = Tokenizer::from_metadata(&metadata).unwrap_err().to_string();
        assert!(error.contains("precompiled_charsmap: trie: expected places below 1"), "{error}");
    }

    #[test]
    fn parts_that_the_library_does_not_know_are_refused() {
        for (key, text, word) in [
            (own_keys::NORMALIZER, r#"{"type":"New"}"#, "normalizer: "),
            (own_keys::NORMALIZER, r#"{"type":"Precompiled"}"#, "precompiled_charsmap: expected bytes"),
            (own_keys::NORMALIZER, r#"{"type":"Sequence"}"#, "no list of steps"),
            (own_keys::PRE_TOKENIZER, r#"{"type":"New"}"#, "pre-tokenizer: "),
        ] {
            let error = Tokenizer::from_metadata(&metadata("gpt2", &[("a", 1)], &[(key, text)])).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
