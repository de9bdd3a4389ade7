//! Tokenizer files of a checkpoint → `tokenizer.ggml.*` metadata, as llama.cpp's converter writes it.
//! Knows tokenizer.json, tokenizer.model and the two config files; must not tokenize.

mod beyond;
mod chat_template;
mod post_processor;
mod sentencepiece;
mod special;
mod unigram;
mod vocabulary;

use crate::source::SourceJson;
use crate::{Error, Result};
pub use families::tokenizer::TokenType;
use families::{ByteFallback, Family, pre_tokenizers};
use formats::gguf::{Metadata, Value};
use formats::tokenizer_json::{self, Model, TokenizerJson};
use sentencepiece::SentencePiece;
use serde_json::Value as Json;
use special::Sources;
use std::path::Path;
use vocabulary::Vocabulary;

/// The tokenizer keys of the checkpoint in `directory`.
///
/// # Errors
/// Missing or broken tokenizer files, an unknown kind of tokenizer or pre-tokenizer, rules that no key can state.
pub fn convert(directory: &Path, config: &Json, family: &Family) -> Result<Metadata> {
    let json_path = directory.join("tokenizer.json");
    let tokenizer = read_tokenizer_json(&json_path)?;
    let settings = SourceJson::optional(&directory.join("tokenizer_config.json"))?;
    let model_path = directory.join("tokenizer.model");
    let mut metadata = Metadata::new();
    if let Some(prefix) = settings.as_ref().and_then(|s| s.get("add_prefix_space")?.as_bool())
        && family.states_space_prefix()
    {
        metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(prefix));
    }
    for kind in ["bos", "eos", "sep"].iter().filter(|_| family.adds_tokens_around()) {
        metadata.insert(format!("tokenizer.ggml.add_{kind}_token"), Value::Bool(true));
    }
    let n_vocab = families::stated_vocabulary(config).map(|n| n as usize);
    let unigram = family.unigram_files().map(|name| directory.join(name)).find(|path| path.is_file());
    let unigram = unigram.map(|path| read_sentencepiece(&path)).transpose()?.filter(|model| model.is_unigram);
    let kind = if let Some(model) = unigram {
        let added = SourceJson::optional(&directory.join("added_tokens.json"))?;
        let vocabulary = Vocabulary::from_pieces(model.pieces, added.as_ref(), None, n_vocab);
        let kind = Kind { with_merges: false, n_vocab: Some(vocabulary.len()) };
        vocabulary.write("t5", Some("default"), &mut metadata);
        let rules = unigram::Rules {
            adds_prefix: model.adds_prefix,
            removes_spaces: model.removes_spaces,
            character_map: model.character_map,
        };
        rules.write(&mut metadata);
        kind
    } else if model_path.is_file() && family.byte_fallback().is_none() {
        let pieces = read_sentencepiece(&model_path)?.pieces;
        let added = SourceJson::optional(&directory.join("added_tokens.json"))?;
        let mut vocabulary = Vocabulary::from_pieces(pieces, added.as_ref(), settings.as_ref(), n_vocab);
        if let Some(tokenizer) = tokenizer.as_ref().filter(|_| family.adds_tokens_over_sentencepiece()) {
            vocabulary.add(&tokenizer.added_tokens);
        }
        let kind = Kind { with_merges: false, n_vocab: Some(vocabulary.len()) };
        vocabulary.write("llama", Some("default"), &mut metadata);
        kind
    } else {
        let json = tokenizer.as_ref().ok_or_else(|| {
            Error::tokenizer(directory, "expected tokenizer.json or tokenizer.model, found neither")
        })?;
        from_tokenizer_json(&json_path, json, n_vocab, family.byte_fallback(), &mut metadata)?
    };
    let (tokenizer, n_vocab_of_ids) = (tokenizer.as_ref(), kind.n_vocab);
    let mut special =
        special::read(Sources { tokenizer, settings, config, directory, n_vocab: n_vocab_of_ids })?;
    let model_type = config.get("model_type").and_then(Json::as_str).unwrap_or_default();
    for (kind, text) in family.special_tokens(model_type) {
        let mut added = tokenizer.iter().flat_map(|tokenizer| &tokenizer.added_tokens);
        if let Some(token) = added.find(|token| token.content == text) {
            special.set_named(kind, token.id);
        }
    }
    if metadata.str("tokenizer.ggml.model") == family.byte_fallback().map(|rules| rules.model.as_str())
        && family.byte_fallback().is_some_and(|rules| rules.adds_bos)
    {
        special.set_added("bos", true);
    }
    if kind.with_merges {
        special.or_merges_of(directory)?;
    }
    special.write(kind.with_merges, &mut metadata);
    if family.never_adds_bos_at() == n_vocab && n_vocab.is_some() {
        metadata.insert("tokenizer.ggml.add_bos_token", Value::Bool(false));
    }
    if let Some(tokenizer) = tokenizer {
        beyond::write(&json_path, tokenizer, &mut metadata)?;
    }
    Ok(metadata)
}

/// The ids of tokens of these texts in the tokenizer.json of `directory`.
///
/// # Errors
/// No such file, a broken one, or one that lacks a text.
pub(crate) fn ids_of(directory: &Path, texts: &[String]) -> Result<Vec<u32>> {
    let path = directory.join("tokenizer.json");
    let json = read_tokenizer_json(&path)?;
    let vocabulary = match json.as_ref().map(|json| &json.model) {
        Some(Model::Bpe(model)) => model.vocab.as_slice(),
        Some(Model::WordPiece(model)) => model.vocab.as_slice(),
        _ => &[],
    };
    let id = |text: &String| {
        let found = vocabulary.iter().find(|(known, _)| known == text);
        found.map(|(_, id)| *id).ok_or_else(|| {
            Error::tokenizer(&path, format!("model.vocab: expected the token {text:?}, found none"))
        })
    };
    texts.iter().map(id).collect()
}

fn read_sentencepiece(path: &Path) -> Result<SentencePiece> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    sentencepiece::read(&bytes).map_err(|problem| Error::tokenizer(path, problem))
}

fn read_tokenizer_json(path: &Path) -> Result<Option<TokenizerJson>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let parsed = tokenizer_json::parse(&bytes);
    parsed.map(Some).map_err(|source| Error::TokenizerJson { path: path.into(), source })
}

/// What else a kind of tokenizer writes.
struct Kind {
    with_merges: bool,
    /// Special tokens must lie below, where this is checked.
    n_vocab: Option<usize>,
}

/// Writes the vocabulary of a tokenizer.json.
fn from_tokenizer_json(
    path: &Path,
    json: &TokenizerJson,
    n_vocab: Option<usize>,
    byte_fallback: Option<&ByteFallback>,
    metadata: &mut Metadata,
) -> Result<Kind> {
    let added = &json.added_tokens;
    match &json.model {
        Model::Bpe(model) if model.byte_fallback => {
            let vocabulary = Vocabulary::sentencepiece_bpe(path, model, added)?;
            let kind = Kind { with_merges: true, n_vocab: Some(vocabulary.len()) };
            match byte_fallback {
                None => vocabulary.write("llama", Some("default"), metadata),
                Some(rules) => vocabulary.by_merges(&rules.printed).write(&rules.model, None, metadata),
            }
            Ok(kind)
        }
        Model::Bpe(model) => {
            let steps = json.pre_tokenizer.as_ref();
            let pre = steps.and_then(|steps| pre_tokenizers::recognise_with(steps, model.ignore_merges));
            let pre = pre.ok_or_else(|| {
                let shown: String = json.raw.pre_tokenizer.to_string().chars().take(200).collect();
                let problem = format!("pre_tokenizer: expected one that llama.cpp knows, got {shown}");
                Error::tokenizer(path, problem)
            })?;
            let vocabulary = Vocabulary::byte_level_bpe(path, model, added, n_vocab)?;
            vocabulary.write("gpt2", Some(pre.name()), metadata);
            Ok(Kind { with_merges: true, n_vocab: None })
        }
        Model::Unigram(model) => {
            let vocabulary = Vocabulary::unigram(path, model, added, n_vocab)?;
            let kind = Kind { with_merges: false, n_vocab: Some(vocabulary.len()) };
            vocabulary.write("t5", Some("default"), metadata);
            unigram::write_rules(path, json, metadata)?;
            Ok(kind)
        }
        Model::WordPiece(model) => {
            let vocabulary = Vocabulary::word_piece(path, model, added, n_vocab)?;
            let kind = Kind { with_merges: false, n_vocab: Some(vocabulary.len()) };
            // The engine splits these texts by no rule of this name.
            vocabulary.write("bert", Some("bert-bge"), metadata);
            Ok(kind)
        }
        other => {
            let problem = format!("model.type: expected BPE, Unigram or WordPiece, got {}", other.kind());
            Err(Error::tokenizer(path, problem))
        }
    }
}

/// A tokenizer.json with the parts that `json` leaves out.
#[cfg(test)]
fn document(mut json: Json) -> TokenizerJson {
    let Json::Object(parts) = &mut json else { panic!("expected an object") };
    parts.entry("model").or_insert(serde_json::json!({"type": "BPE", "vocab": {}, "merges": []}));
    for token in parts.get_mut("added_tokens").and_then(Json::as_array_mut).into_iter().flatten() {
        let Json::Object(fields) = token else { panic!("expected an object") };
        for flag in ["single_word", "lstrip", "rstrip", "normalized", "special"] {
            fields.entry(flag).or_insert(Json::Bool(false));
        }
    }
    tokenizer_json::parse(json.to_string().as_bytes()).unwrap()
}
