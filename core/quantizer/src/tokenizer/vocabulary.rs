//! The table of tokens: texts, scores and types by id, from each kind of tokenizer file.

use super::TokenType;
use super::sentencepiece::Piece;
use crate::{Error, Result};
use formats::gguf::{Array, Metadata, Value};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;

/// Largest vocabulary that is believed.
const MAX_TOKENS: usize = 1 << 22;
/// Score of tokens that merging must never form.
const NEVER: f32 = -1000.0;
/// Score of holes in a vocabulary whose scores count.
const HOLE: f32 = -10_000.0;

#[derive(Debug, Clone, PartialEq)]
struct Token {
    text: String,
    score: f32,
    kind: TokenType,
}

/// Tokens by id.
#[derive(Debug, PartialEq)]
pub(super) struct Vocabulary {
    tokens: Vec<Token>,
    with_scores: bool,
}

struct AddedToken<'a> {
    id: usize,
    text: &'a str,
    special: bool,
}

impl Vocabulary {
    /// Byte-level BPE: tokens without scores, holes up to `n_vocab` filled with `[PADn]`.
    pub(super) fn byte_level_bpe(path: &Path, json: &Json, n_vocab: Option<usize>) -> Result<Self> {
        let vocab = vocab_map(path, json)?;
        let added = added_tokens(path, json)?;
        let mut tokens =
            filled(path, vocab.iter().map(|(_, id)| *id).chain(added.iter().map(|a| a.id)), n_vocab)?;
        for (text, id) in vocab {
            tokens[id] = Token { text: text.into(), score: 0.0, kind: TokenType::Normal };
        }
        for token in added {
            let control = token.special || looks_special(token.text);
            tokens[token.id] = if control {
                Token { text: token.text.into(), score: 0.0, kind: TokenType::Control }
            } else {
                Token { text: token.text.replace('\u{2581}', " "), score: 0.0, kind: TokenType::UserDefined }
            };
        }
        Ok(Self { tokens, with_scores: false })
    }

    /// SentencePiece-style BPE without a tokenizer.model: scores are the negative rank of the merge that forms a
    /// token, so that a score-driven tokenizer merges in the order of the file.
    pub(super) fn sentencepiece_bpe(path: &Path, json: &Json) -> Result<Self> {
        let vocab = vocab_map(path, json)?;
        let added = added_tokens(path, json)?;
        let mut tokens =
            filled(path, vocab.iter().map(|(_, id)| *id).chain(added.iter().map(|a| a.id)), None)?;
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, merge) in super::special::merges(json).iter().enumerate() {
            ranks.entry(merge.replacen(' ', "", 1)).or_insert(rank);
        }
        for (text, id) in vocab {
            let byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
            let kind = if byte { TokenType::Byte } else { TokenType::Normal };
            let score = ranks.get(text).map_or(NEVER, |rank| -(*rank as f32));
            tokens[id] = Token { text: text.into(), score, kind };
        }
        for token in added {
            let kind = if token.special { TokenType::Control } else { TokenType::UserDefined };
            tokens[token.id] = Token { text: token.text.into(), score: NEVER, kind };
        }
        Ok(Self { tokens, with_scores: true })
    }

    /// Unigram: tokens with their log probabilities.
    pub(super) fn unigram(path: &Path, json: &Json, n_vocab: Option<usize>) -> Result<Self> {
        let pieces = json["model"]["vocab"]
            .as_array()
            .ok_or_else(|| Error::tokenizer(path, "model.vocab: expected an array"))?;
        let added = added_tokens(path, json)?;
        let ids = (0..pieces.len()).chain(added.iter().map(|token| token.id));
        let mut tokens = filled(path, ids, n_vocab)?;
        let unknown = json["model"]["unk_id"].as_u64().map(|id| id as usize);
        for (id, piece) in pieces.iter().enumerate() {
            let (Some(text), Some(score)) = (piece[0].as_str(), piece[1].as_f64()) else {
                return Err(Error::tokenizer(path, format!("model.vocab[{id}]: expected [text, score]")));
            };
            let kind = if Some(id) == unknown { TokenType::Unknown } else { TokenType::Normal };
            tokens[id] = Token { text: text.into(), score: score as f32, kind };
        }
        for token in added {
            let place = &mut tokens[token.id];
            place.text = token.text.into();
            if place.kind != TokenType::Unknown {
                place.kind = if token.special { TokenType::Control } else { TokenType::UserDefined };
            }
        }
        Ok(Self { tokens, with_scores: true })
    }

    /// A tokenizer.model, with the added tokens of added_tokens.json and tokenizer_config.json laid over it.
    /// Pieces that the user defined count as any other, as in the converter.
    pub(super) fn from_pieces(
        pieces: Vec<Piece>,
        added: Option<&Json>,
        settings: Option<&Json>,
        n_vocab: Option<usize>,
    ) -> Self {
        let n = n_vocab.filter(|n| *n > 0).unwrap_or(pieces.len()).min(MAX_TOKENS);
        let mut tokens: Vec<Token> = (0..n).map(hole).collect();
        for (place, piece) in tokens.iter_mut().zip(pieces) {
            let kind = if piece.kind == TokenType::UserDefined { TokenType::Normal } else { piece.kind };
            *place = Token { text: piece.text, score: piece.score, kind };
        }
        for (text, id) in added.and_then(Json::as_object).into_iter().flatten() {
            if let Some(place) = id.as_u64().and_then(|id| tokens.get_mut(usize::try_from(id).ok()?)) {
                *place = Token { text: text.clone(), score: NEVER, kind: TokenType::UserDefined };
            }
        }
        let added = settings.and_then(|settings| settings.get("added_tokens_decoder")?.as_object());
        for (id, data) in added.into_iter().flatten() {
            let Some(place) = id.parse::<usize>().ok().and_then(|id| tokens.get_mut(id)) else { continue };
            let Some(text) = data.get("content").and_then(Json::as_str) else { continue };
            let special = data.get("special").and_then(Json::as_bool).unwrap_or(false);
            *place = if special || looks_special(text) {
                Token { text: text.into(), score: NEVER, kind: TokenType::Control }
            } else {
                Token { text: text.replace('\u{2581}', " "), score: NEVER, kind: TokenType::UserDefined }
            };
        }
        Self { tokens, with_scores: true }
    }

    /// Tokens, holes included.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Writes the table under `model` and `pre`.
    pub(super) fn write(self, model: &str, pre: &str, metadata: &mut Metadata) {
        metadata.insert("tokenizer.ggml.model", Value::String(model.into()));
        metadata.insert("tokenizer.ggml.pre", Value::String(pre.into()));
        let scores: Vec<f32> = self.tokens.iter().map(|token| token.score).collect();
        let kinds: Vec<i32> = self.tokens.iter().map(|token| token.kind as i32).collect();
        let texts: Vec<String> = self.tokens.into_iter().map(|token| token.text).collect();
        metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
        if self.with_scores {
            metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
        }
        metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    }
}

fn vocab_map<'a>(path: &Path, json: &'a Json) -> Result<Vec<(&'a str, usize)>> {
    let map = json["model"]["vocab"]
        .as_object()
        .ok_or_else(|| Error::tokenizer(path, "model.vocab: expected an object"))?;
    let entry = |(text, id): (&'a String, &Json)| match id.as_u64() {
        Some(id) if (id as usize) < MAX_TOKENS => Ok((text.as_str(), id as usize)),
        _ => Err(Error::tokenizer(
            path,
            format!("model.vocab[{text:?}]: expected an id below {MAX_TOKENS}, got {id}"),
        )),
    };
    map.iter().map(entry).collect()
}

fn added_tokens<'a>(path: &Path, json: &'a Json) -> Result<Vec<AddedToken<'a>>> {
    let mut tokens = Vec::new();
    for (index, entry) in json["added_tokens"].as_array().into_iter().flatten().enumerate() {
        let (id, text) = (entry["id"].as_u64(), entry["content"].as_str());
        match (id, text) {
            (Some(id), Some(text)) if (id as usize) < MAX_TOKENS => {
                let special = entry["special"].as_bool().unwrap_or(false);
                tokens.push(AddedToken { id: id as usize, text, special });
            }
            _ => {
                return Err(Error::tokenizer(
                    path,
                    format!("added_tokens[{index}]: expected an id and a content"),
                ));
            }
        }
    }
    Ok(tokens)
}

/// Holes for every id; `n_vocab` must cover them all.
fn filled(path: &Path, ids: impl Iterator<Item = usize>, n_vocab: Option<usize>) -> Result<Vec<Token>> {
    let needed = ids.max().map_or(0, |id| id + 1);
    let n = n_vocab.unwrap_or(needed);
    if needed > n || n > MAX_TOKENS {
        let problem = format!("vocab_size of config.json: expected at least {needed}, got {n}");
        return Err(Error::tokenizer(path, problem));
    }
    Ok((0..n).map(hole).collect())
}

fn hole(id: usize) -> Token {
    Token { text: format!("[PAD{id}]"), score: HOLE, kind: TokenType::Unused }
}

/// Added tokens that mean something although the file does not mark them special.
fn looks_special(text: &str) -> bool {
    let between = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<\u{ff5c}", "\u{ff5c}>")
        || between("<unused", ">")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn holes_are_padded_and_added_tokens_typed() {
        let json = json!({"model": {"vocab": {"a": 0, "b": 1}},
            "added_tokens": [{"id": 3, "content": "<|x|>"}, {"id": 4, "content": "y", "special": false}]});
        let vocabulary = Vocabulary::byte_level_bpe(Path::new("t"), &json, Some(6)).unwrap();
        let kinds: Vec<TokenType> = vocabulary.tokens.iter().map(|token| token.kind).collect();
        use TokenType::*;
        assert_eq!(kinds, [Normal, Normal, Unused, Control, UserDefined, Unused]);
        assert_eq!(vocabulary.tokens[5].text, "[PAD5]");
        let error = Vocabulary::byte_level_bpe(Path::new("t"), &json, Some(4)).unwrap_err().to_string();
        assert!(error.contains("at least 5, got 4"), "{error}");
    }

    #[test]
    fn merge_ranks_become_scores() {
        let json =
            json!({"model": {"vocab": {"<0x0A>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]}});
        let vocabulary = Vocabulary::sentencepiece_bpe(Path::new("t"), &json).unwrap();
        assert_eq!(vocabulary.tokens[3].score, 0.0);
        assert_eq!(vocabulary.tokens[1].score, NEVER);
        assert_eq!(vocabulary.tokens[0].kind, TokenType::Byte);
    }

    proptest::proptest! {
        #[test]
        fn odd_files_never_panic(id in proptest::num::u64::ANY, text in ".*", n in 0usize..10) {
            let json = json!({"model": {"vocab": {text.clone(): id}}, "added_tokens": [{"id": id, "content": text}, 7]});
            let _ = Vocabulary::byte_level_bpe(Path::new("t"), &json, Some(n));
            let _ = Vocabulary::sentencepiece_bpe(Path::new("t"), &json);
            let _ = Vocabulary::unigram(Path::new("t"), &json, Some(n));
        }
    }
}
