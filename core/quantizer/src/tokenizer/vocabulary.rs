//! The table of tokens: texts, scores and types by id, from each kind of tokenizer file.

use super::TokenType;
use super::sentencepiece::Piece;
use crate::{Error, Result};
use families::tokenizer::SPACE;
use formats::gguf::{Array, Metadata, Value};
use formats::tokenizer_json::{AddedToken, Bpe, Unigram, WordPiece};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;

/// Largest vocabulary that is believed.
const MAX_TOKENS: usize = 1 << 22;
/// Score of tokens that merging must never form.
const NEVER: f32 = -1000.0;
/// How WordPiece marks what is inside a word.
pub(super) const INSIDE_WORD: &str = "##";
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

impl Vocabulary {
    /// Byte-level BPE: tokens without scores, holes up to `n_vocab` filled with `[PADn]`.
    pub(super) fn byte_level_bpe(
        path: &Path,
        model: &Bpe,
        added: &[AddedToken],
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        let mut tokens = filled(path, ids(model, added), n_vocab)?;
        for (text, id) in &model.vocab {
            tokens[*id as usize] = Token { text: text.clone(), score: 0.0, kind: TokenType::Normal };
        }
        for token in added {
            let control = token.special || looks_special(&token.content);
            tokens[token.id as usize] = if control {
                Token { text: token.content.clone(), score: 0.0, kind: TokenType::Control }
            } else {
                let text = token.content.replace('\u{2581}', " ");
                Token { text, score: 0.0, kind: TokenType::UserDefined }
            };
        }
        Ok(Self { tokens, with_scores: false })
    }

    /// SentencePiece-style BPE without a tokenizer.model: scores are the negative rank of the merge that forms a
    /// token, so that a score-driven tokenizer merges in the order of the file.
    pub(super) fn sentencepiece_bpe(path: &Path, model: &Bpe, added: &[AddedToken]) -> Result<Self> {
        let mut tokens = filled(path, ids(model, added), None)?;
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, (left, right)) in model.merges.iter().enumerate() {
            ranks.entry([left.as_str(), right].concat()).or_insert(rank);
        }
        for (text, id) in &model.vocab {
            let byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
            let kind = if byte { TokenType::Byte } else { TokenType::Normal };
            let score = ranks.get(text).map_or(NEVER, |rank| -(*rank as f32));
            tokens[*id as usize] = Token { text: text.clone(), score, kind };
        }
        for token in added {
            let kind = if token.special { TokenType::Control } else { TokenType::UserDefined };
            tokens[token.id as usize] = Token { text: token.content.clone(), score: NEVER, kind };
        }
        Ok(Self { tokens, with_scores: true })
    }

    /// Unigram: tokens with their log probabilities.
    pub(super) fn unigram(
        path: &Path,
        model: &Unigram,
        added: &[AddedToken],
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        let ids = (0..model.vocab.len()).chain(added.iter().map(|token| token.id as usize));
        let mut tokens = filled(path, ids, n_vocab)?;
        let unknown = model.unk_id.map(|id| id as usize);
        for (id, (text, score)) in model.vocab.iter().enumerate() {
            let kind = if Some(id) == unknown { TokenType::Unknown } else { TokenType::Normal };
            tokens[id] = Token { text: text.clone(), score: *score as f32, kind };
        }
        for token in added {
            let place = &mut tokens[token.id as usize];
            place.text = token.content.clone();
            if place.kind != TokenType::Unknown {
                place.kind = if token.special { TokenType::Control } else { TokenType::UserDefined };
            }
        }
        Ok(Self { tokens, with_scores: true })
    }

    /// WordPiece: what is not inside a word begins with `▁` instead of what is beginning with a mark.
    pub(super) fn word_piece(
        path: &Path,
        model: &WordPiece,
        added: &[AddedToken],
        n_vocab: Option<usize>,
    ) -> Result<Self> {
        let own = model.vocab.iter().map(|(_, id)| *id as usize);
        let ids = own.chain(added.iter().map(|token| token.id as usize));
        let mut tokens = filled(path, ids, n_vocab)?;
        for (text, id) in &model.vocab {
            tokens[*id as usize] = Token { text: text.clone(), score: 0.0, kind: TokenType::Normal };
        }
        for token in added {
            let control = token.special || looks_special(&token.content);
            let kind = if control { TokenType::Control } else { TokenType::UserDefined };
            let text = if control { token.content.clone() } else { token.content.replace(SPACE, " ") };
            tokens[token.id as usize] = Token { text, score: 0.0, kind };
        }
        for token in tokens.iter_mut().filter(|token| token.kind != TokenType::Control) {
            token.text = match token.text.strip_prefix(INSIDE_WORD) {
                Some(inside) => inside.to_string(),
                None => format!("{SPACE}{}", token.text),
            };
        }
        Ok(Self { tokens, with_scores: false })
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

    /// Lays `added` tokens of a tokenizer.json over the table.
    pub(super) fn add(&mut self, added: &[AddedToken]) {
        for token in added {
            let Some(place) = self.tokens.get_mut(token.id as usize) else { continue };
            let kind = if token.special { TokenType::Control } else { TokenType::UserDefined };
            *place = Token { text: token.content.clone(), score: NEVER, kind };
        }
    }

    /// Tokens, holes included.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The same for readers that go by merges alone, with special tokens that are `printed`.
    pub(super) fn by_merges(mut self, printed: &[String]) -> Self {
        for token in &mut self.tokens {
            token.score = NEVER;
            if printed.contains(&token.text) {
                token.kind = TokenType::UserDefined;
            }
        }
        self
    }

    /// Writes the table under `model` and `pre`.
    pub(super) fn write(self, model: &str, pre: Option<&str>, metadata: &mut Metadata) {
        metadata.insert("tokenizer.ggml.model", Value::String(model.into()));
        if let Some(pre) = pre {
            metadata.insert("tokenizer.ggml.pre", Value::String(pre.into()));
        }
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

fn ids(model: &Bpe, added: &[AddedToken]) -> impl Iterator<Item = usize> {
    let own = model.vocab.iter().map(|(_, id)| *id as usize);
    own.chain(added.iter().map(|token| token.id as usize))
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
    use formats::tokenizer_json::Model;
    use serde_json::json;

    fn parts(model: Json, added: Json) -> (Model, Vec<AddedToken>) {
        let document = super::super::document(json!({"model": model, "added_tokens": added}));
        (document.model, document.added_tokens)
    }

    fn bpe(model: Json, added: Json) -> (Bpe, Vec<AddedToken>) {
        match parts(model, added) {
            (Model::Bpe(model), added) => (model, added),
            (other, _) => panic!("expected BPE, got {other:?}"),
        }
    }

    #[test]
    fn holes_are_padded_and_added_tokens_typed() {
        let model = json!({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []});
        let added = json!([{"id": 3, "content": "<|x|>"}, {"id": 4, "content": "\u{2581}y"}]);
        let (model, added) = bpe(model, added);
        let vocabulary = Vocabulary::byte_level_bpe(Path::new("t"), &model, &added, Some(6)).unwrap();
        let kinds: Vec<TokenType> = vocabulary.tokens.iter().map(|token| token.kind).collect();
        use TokenType::*;
        assert_eq!(kinds, [Normal, Normal, Unused, Control, UserDefined, Unused]);
        assert_eq!((&*vocabulary.tokens[4].text, &*vocabulary.tokens[5].text), (" y", "[PAD5]"));
        let error = Vocabulary::byte_level_bpe(Path::new("t"), &model, &added, Some(4)).unwrap_err();
        assert!(error.to_string().contains("at least 5, got 4"), "{error}");
    }

    #[test]
    fn merge_ranks_become_scores() {
        let vocab = json!({"<0x0A>": 0, "a": 1, "b": 2, "ab": 3, "<s>": 4});
        let model = json!({"type": "BPE", "vocab": vocab, "merges": [["a", "b"]], "byte_fallback": true});
        let (model, added) = bpe(model, json!([{"id": 4, "content": "<s>", "special": true}]));
        let vocabulary = Vocabulary::sentencepiece_bpe(Path::new("t"), &model, &added).unwrap();
        assert_eq!(vocabulary.tokens[3].score, 0.0);
        assert_eq!(vocabulary.tokens[1].score, NEVER);
        assert_eq!(vocabulary.tokens[0].kind, TokenType::Byte);
        assert_eq!(vocabulary.tokens[4].kind, TokenType::Control);
    }

    #[test]
    fn word_pieces_mark_the_beginnings_of_words() {
        let vocab = json!({"[UNK]": 0, "a": 1, "##b": 2, "[unused1]": 3});
        let model = json!({"type": "WordPiece", "vocab": vocab});
        let added = json!([{"id": 0, "content": "[UNK]", "special": true}, {"id": 5, "content": "x y"}]);
        let (Model::WordPiece(model), added) = parts(model, added) else { panic!("expected WordPiece") };
        let vocabulary = Vocabulary::word_piece(Path::new("t"), &model, &added, Some(7)).unwrap();
        let texts: Vec<&str> = vocabulary.tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["[UNK]", "▁a", "b", "▁[unused1]", "▁[PAD4]", "▁x y", "▁[PAD6]"]);
        let kinds: Vec<TokenType> = vocabulary.tokens.iter().map(|token| token.kind).collect();
        use TokenType::*;
        assert_eq!(kinds, [Control, Normal, Normal, Normal, Unused, UserDefined, Unused]);
    }

    #[test]
    fn unigram_pieces_keep_their_scores_and_the_unknown_its_type() {
        let model =
            json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.5], ["<x>", 0]]});
        let added = json!([{"id": 0, "content": "<unk>", "special": true},
            {"id": 2, "content": "<x>", "special": true}, {"id": 4, "content": "<y>"}]);
        let (Model::Unigram(model), added) = parts(model, added) else { panic!("expected Unigram") };
        let vocabulary = Vocabulary::unigram(Path::new("t"), &model, &added, None).unwrap();
        let kinds: Vec<(TokenType, f32)> =
            vocabulary.tokens.iter().map(|token| (token.kind, token.score)).collect();
        use TokenType::*;
        let expected = [(Unknown, 0.0), (Normal, -1.5), (Control, 0.0), (Unused, HOLE), (UserDefined, HOLE)];
        assert_eq!(kinds, expected);
    }

    proptest::proptest! {
        #[test]
        fn odd_numbers_never_panic(id in 0u32..(1 << 24), text in ".*", n in 0usize..10) {
            let model = json!({"type": "BPE", "vocab": {text.clone(): id}, "merges": []});
            let (model, added) = bpe(model, json!([{"id": id, "content": text}]));
            let _ = Vocabulary::byte_level_bpe(Path::new("t"), &model, &added, Some(n));
            if id < 1000 || id as usize > MAX_TOKENS {
                let _ = Vocabulary::sentencepiece_bpe(Path::new("t"), &model, &added);
            }
            let model = json!({"type": "Unigram", "vocab": [["a", -1.0]]});
            let (Model::Unigram(model), _) = parts(model, json!([])) else { panic!("expected Unigram") };
            let _ = Vocabulary::unigram(Path::new("t"), &model, &added, Some(n));
        }
    }
}
