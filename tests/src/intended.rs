//! Where a file of ours differs from `convert_hf_to_gguf.py`'s on purpose: the list of `docs/conversion.md`, as the
//! changes that make their file ours. Whatever no rule states must be equal.

use crate::GgufFile;
use formats::gguf::{Array, GgmlType, Metadata, Value};
use formats::safetensors::{Dtype, Header};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::Path;

const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const ROW_BREAK: &str = "v.token_embd.img_break";
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
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
    if pooler_of_scores(theirs, &config, model) {
        names.push("layer before scores");
    }
    if scaled_logits(theirs, &config) {
        names.push("scaled logits");
    }
    let sentencepiece = theirs.header.metadata.str("tokenizer.ggml.model") == Some("llama");
    if sentencepiece && !model.join("tokenizer.model").is_file() {
        scores_and_merges(&mut theirs.header.metadata, &tokenizer);
        names.push("scores and merges");
        if special_types(&mut theirs.header.metadata, &tokenizer) {
            names.push("special types");
        }
    }
    let by_merges = theirs.header.metadata.str("tokenizer.ggml.model") == Some("gemma4");
    if by_merges && special_types(&mut theirs.header.metadata, &tokenizer) {
        names.push("special types");
    }
    if own_keys(&mut theirs.header.metadata, &tokenizer) {
        names.push("own keys");
    }
    names
}

/// T5's scale of logits is part of the norm before them.
fn scaled_logits(theirs: &mut GgufFile, config: &Json) -> bool {
    let name = "dec.output_norm.weight";
    let stated = config["scale_decoder_outputs"].as_bool();
    let scaled = stated.unwrap_or_else(|| config["tie_word_embeddings"] != false);
    let Some(norm) = theirs.data(name).filter(|_| scaled) else { return false };
    let root = config["d_model"].as_f64().expect("a width").sqrt();
    let values = norm.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)) / root);
    let norm: Vec<u8> = values.flat_map(|value| (value as f32).to_le_bytes()).collect();
    theirs.replace(name, &norm);
    true
}

/// BERT's scores come behind its pooler, which the converter leaves out.
fn pooler_of_scores(theirs: &mut GgufFile, config: &Json, model: &Path) -> bool {
    if config["architectures"][0] != "BertForSequenceClassification" {
        return false;
    }
    let bytes = std::fs::read(model.join("model.safetensors")).expect("a checkpoint in one file");
    let header = Header::read(bytes.as_slice(), bytes.len() as u64).expect("a header");
    let ty = theirs.header.tensor("blk.0.attn_q.weight").expect("a matrix").ty;
    for (name, part, ty) in [("cls.bias", "bias", GgmlType::F32), ("cls.weight", "weight", ty)] {
        let stored = format!("bert.pooler.dense.{part}");
        let info = header.tensors.iter().find(|info| info.name == stored).expect("a pooler");
        let data = &bytes[info.range.start as usize..info.range.end as usize];
        let floats: Vec<f32> = match info.dtype {
            Dtype::BF16 => {
                data.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()
            }
            Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            other => panic!("a pooler of {}", other.name()),
        };
        let data: Vec<u8> = match ty {
            GgmlType::F16 => {
                floats.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
            }
            GgmlType::BF16 => {
                floats.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
            }
            _ => floats.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        let dims = info.shape.iter().rev().copied().collect();
        theirs.insert_before("cls.output.bias", name, dims, ty, &data);
    }
    true
}

/// The same for the file of the checkpoint's projector.
pub fn apply_to_projector(theirs: &mut GgufFile, model: &Path) -> Vec<&'static str> {
    let kind = theirs.header.metadata.str("clip.projector_type");
    if kind == Some("llama4") {
        // The second norm of each layer is called one behind attention, as another family has it.
        for tensor in &mut theirs.header.tensors {
            tensor.name = tensor.name.replace(".attn_post_norm.", ".ln2.");
        }
        return vec!["second norm"];
    }
    let is_pixtral = theirs.header.metadata.str("clip.projector_type") == Some("pixtral");
    match is_pixtral && theirs.header.tensor(ROW_BREAK).is_none() {
        true => {
            let row = row_of_break(model);
            let dims = vec![row.len() as u64 / 4];
            let first = theirs.header.tensors[0].name.clone();
            theirs.insert_before(&first, ROW_BREAK, dims, GgmlType::F32, &row);
            vec!["break of rows"]
        }
        false => Vec::new(),
    }
}

/// The embedding of the token between rows of patches, of a checkpoint in 32-bit floats.
fn row_of_break(model: &Path) -> Vec<u8> {
    let read = |name: &str| std::fs::read(model.join(name)).expect("a checkpoint's file");
    let tokenizer: Json = serde_json::from_slice(&read("tokenizer.json")).expect("JSON");
    let mut added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let token = added.find(|token| token["content"] == "[IMG_BREAK]").expect("the token");
    let id = token["id"].as_u64().expect("an id") as usize;
    let bytes = read("model.safetensors");
    let header = Header::read(bytes.as_slice(), bytes.len() as u64).expect("safetensors");
    let embedding = header.tensors.iter().find(|info| info.name.ends_with("embed_tokens.weight"));
    let embedding = embedding.expect("an embedding");
    let width = embedding.shape[1] as usize * 4;
    bytes[embedding.range.start as usize..][id * width..][..width].to_vec()
}

/// What the keys of the format cannot state stands behind them, under keys of our own. Of those there are, the
/// checkpoints at hand need three.
fn own_keys(metadata: &mut Metadata, tokenizer: &Json) -> bool {
    let (n, normalizer) = (metadata.len(), &tokenizer["normalizer"]);
    let added = added_tokens(metadata, tokenizer);
    let normalized = added.iter().any(|token| token["normalized"] == true);
    let unigram = tokenizer["model"]["type"] == "Unigram";
    if !normalizer.is_null() && (normalized || (unigram && added != typed_tokens(metadata))) {
        metadata.insert("llama_pajamas.tokenizer.added_tokens", Value::String(Json::from(added).to_string()));
    }
    if !normalizer.is_null() && metadata.str("tokenizer.ggml.model") == Some("gpt2") {
        metadata.insert("llama_pajamas.tokenizer.normalizer", Value::String(normalizer.to_string()));
    }
    let scores = tokenizer["model"]["vocab"].as_array().into_iter().flatten();
    let scores: Vec<f64> = scores.filter_map(|piece| piece[1].as_f64()).collect();
    if scores.iter().any(|score| f64::from(*score as f32) != *score) {
        metadata.insert("llama_pajamas.tokenizer.scores", Value::Array(Array::F64(scores)));
    }
    metadata.len() > n
}

/// The added tokens that the types of a table stand for.
fn typed_tokens(metadata: &Metadata) -> Vec<Json> {
    let (types, texts) = (metadata.i32s(TOKEN_TYPES), metadata.strings("tokenizer.ggml.tokens"));
    let rows = types.expect("token types").iter().zip(texts.expect("tokens")).enumerate();
    let token = |(id, (kind, text)): (usize, (&i32, &String))| match *kind {
        UNKNOWN | CONTROL => Some(json!({"id": id, "content": text, "special": true})),
        USER_DEFINED => Some(json!({"id": id, "content": text})),
        _ => None,
    };
    rows.filter_map(token).collect()
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
