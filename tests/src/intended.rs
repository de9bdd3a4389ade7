//! Where a file of ours differs from `convert_hf_to_gguf.py`'s on purpose: the list of `docs/conversion.md`, as the
//! changes that make their file ours. Whatever no rule states must be equal.

use crate::GgufFile;
use formats::gguf::{Array, Metadata, Value};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::Path;

const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// The score that the converter gives every token of a tokenizer.json.
const NEVER: f32 = -1000.0;

/// Makes the file that the converter wrote of the checkpoint in `model` the one that ours should be; returns the
/// names of the differences that there were.
pub fn apply(theirs: &mut GgufFile, model: &Path) -> Vec<&'static str> {
    let json = |name: &str| -> Json {
        let bytes = std::fs::read(model.join(name)).unwrap_or_else(|_| b"null".to_vec());
        serde_json::from_slice(&bytes).expect("a checkpoint's JSON")
    };
    let (config, tokenizer) = (json("config.json"), json("tokenizer.json"));
    let mut names = Vec::new();
    if tied_embedding(theirs, &config) {
        names.push("tied embedding");
    }
    let sentencepiece = theirs.header.metadata.str("tokenizer.ggml.model") == Some("llama");
    if sentencepiece && !model.join("tokenizer.model").is_file() {
        scores_and_merges(&mut theirs.header.metadata, &tokenizer);
        names.push("scores and merges");
        if special_types(&mut theirs.header.metadata, &tokenizer) {
            names.push("special types");
        }
    }
    if own_keys(&mut theirs.header.metadata, &tokenizer) {
        names.push("own keys");
    }
    names
}

/// What the keys of the format cannot state stands behind them, under keys of our own. Of those there are, the
/// checkpoints at hand need two.
fn own_keys(metadata: &mut Metadata, tokenizer: &Json) -> bool {
    let (n, normalizer) = (metadata.len(), &tokenizer["normalizer"]);
    let added = added_tokens(metadata, tokenizer);
    if !normalizer.is_null() && added.iter().any(|token| token["normalized"] == true) {
        metadata.insert("llama_pajamas.tokenizer.added_tokens", Value::String(Json::from(added).to_string()));
    }
    if !normalizer.is_null() && metadata.str("tokenizer.ggml.model") == Some("gpt2") {
        metadata.insert("llama_pajamas.tokenizer.normalizer", Value::String(normalizer.to_string()));
    }
    metadata.len() > n
}

/// The added tokens of tokenizer.json, less flags that are not set, and those of the file that tokenizer.json lacks.
fn added_tokens(metadata: &Metadata, tokenizer: &Json) -> Vec<Json> {
    let stated: Vec<&Json> = tokenizer["added_tokens"].as_array().into_iter().flatten().collect();
    let set = |token: &&Json| {
        let fields = token.as_object().expect("an added token").iter();
        Json::Object(
            fields.filter(|(_, value)| **value != false).map(|(k, v)| (k.clone(), v.clone())).collect(),
        )
    };
    let mut added: Vec<Json> = stated.iter().map(set).collect();
    let (types, texts) = (metadata.i32s(TOKEN_TYPES), metadata.strings("tokenizer.ggml.tokens"));
    let rows = types.expect("token types").iter().zip(texts.expect("tokens")).enumerate();
    let n_of_vocabulary = tokenizer["model"]["vocab"].as_object().map_or(0, |vocabulary| vocabulary.len());
    for (id, (kind, text)) in rows.skip(n_of_vocabulary) {
        if !stated.iter().any(|token| token["id"] == id) {
            match *kind {
                CONTROL => added.push(json!({"id": id, "content": text, "special": true})),
                USER_DEFINED => added.push(json!({"id": id, "content": text})),
                _ => {}
            }
        }
    }
    added
}

/// The one matrix of tied embeddings, stored as the output, is the embedding.
fn tied_embedding(theirs: &mut GgufFile, config: &Json) -> bool {
    let tied = config["tie_word_embeddings"] == true && theirs.header.tensor("token_embd.weight").is_none();
    let output = theirs.header.tensors.iter_mut().find(|tensor| tensor.name == "output.weight" && tied);
    output.map(|tensor| tensor.name = "token_embd.weight".into()).is_some()
}

/// Scores are the negative ranks of the merges that form a token; the merges follow the token types.
fn scores_and_merges(metadata: &mut Metadata, tokenizer: &Json) {
    let merges = tokenizer["model"]["merges"].as_array().expect("merges");
    let merge = |merge: &Json| match merge {
        Json::String(text) => text.clone(),
        pair => format!("{} {}", pair[0].as_str().expect("a side"), pair[1].as_str().expect("a side")),
    };
    let merges: Vec<String> = merges.iter().map(merge).collect();
    let mut ranks = HashMap::new();
    for (rank, merge) in merges.iter().enumerate() {
        ranks.entry(merge.replace(' ', "")).or_insert(rank);
    }
    let scores = metadata.f32s(SCORES).expect("scores");
    assert!(scores.iter().all(|score| *score == NEVER), "the converter scores tokens of a tokenizer.json");
    let added = |text: &str| {
        let mut added = tokenizer["added_tokens"].as_array().into_iter().flatten();
        added.any(|token| token["content"] == text)
    };
    let score = |text: &String| match ranks.get(text) {
        Some(rank) if !added(text) => -(*rank as f32),
        _ => NEVER,
    };
    let scores = metadata.strings("tokenizer.ggml.tokens").expect("tokens").iter().map(score).collect();
    metadata.insert(SCORES, Value::Array(Array::F32(scores)));
    insert_after(metadata, TOKEN_TYPES, "tokenizer.ggml.merges", Value::Array(Array::String(merges)));
}

/// Added tokens that tokenizer.json calls special are control tokens, where the converter takes them for text.
fn special_types(metadata: &mut Metadata, tokenizer: &Json) -> bool {
    let mut types = metadata.i32s(TOKEN_TYPES).expect("token types").to_vec();
    let mut changed = false;
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    for id in added.filter(|token| token["special"] == true).filter_map(|token| token["id"].as_u64()) {
        if types[id as usize] == NORMAL {
            types[id as usize] = CONTROL;
            changed = true;
        }
    }
    metadata.insert(TOKEN_TYPES, Value::Array(Array::I32(types)));
    changed
}

fn insert_after(metadata: &mut Metadata, before: &str, key: &str, value: Value) {
    let mut entries: Vec<(String, Value)> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    let at = entries.iter().position(|(key, _)| key == before).expect("the key before") + 1;
    entries.insert(at, (key.into(), value));
    *metadata = entries.into_iter().collect();
}
