//! The texts beside a graph: what onnxruntime-genai and transformers.js read, and the checkpoint's files that go along.
//! Owns their keys; must not know graphs.

use super::conventions::Network;
use super::recipe::{Flavour, Recipe};
use crate::plan::Job;
use crate::source::{SourceJson, TensorSource};
use crate::{Error, Result};
use families::Description;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Files of a checkpoint that go along, where they are there.
const COMPANIONS: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];
/// Keys of tokens that end an answer.
const ENDS: [&str; 3] = ["eos", "eot", "eom"];

/// Paths and contents.
///
/// # Errors
/// A configuration that cannot be read.
pub(super) fn texts(
    source: &dyn TensorSource,
    description: &Description,
    job: &Job,
    recipe: Recipe,
    (graph, context_tokens): (&str, u64),
) -> Result<Vec<(String, Vec<u8>)>> {
    let serving = serving(description, job, recipe, (graph, context_tokens))?;
    let mut texts = vec![("genai_config.json".to_string(), serving)];
    let config = source.path().join("config.json");
    if config.is_file() {
        let mut config = SourceJson::required(&config)?;
        if let Value::Object(fields) = &mut config {
            fields.remove("_name_or_path");
            let data = json!({ recipe.graph_name(): 1 });
            fields.insert("transformers.js_config".into(), json!({ "use_external_data_format": data }));
        }
        texts.push(("config.json".into(), text(&config)));
    }
    Ok(texts)
}

/// Files that are copied, with their lengths.
///
/// # Errors
/// One that cannot be read.
pub(super) fn companions(source: &dyn TensorSource) -> Result<Vec<(String, PathBuf, u64)>> {
    let mut companions = Vec::new();
    for name in COMPANIONS {
        let path = source.path().join(name);
        if path.is_file() {
            let metadata = std::fs::metadata(&path).map_err(|error| Error::io(&path, error))?;
            companions.push((name.to_string(), path, metadata.len()));
        }
    }
    Ok(companions)
}

/// `genai_config.json`.
fn serving(
    description: &Description,
    job: &Job,
    recipe: Recipe,
    (graph, context_tokens): (&str, u64),
) -> Result<Vec<u8>> {
    let network = Network::of(description).map_err(|source| Error::Family { path: graph.into(), source })?;
    let token = |name: &str| job.metadata.u64(&format!("tokenizer.ggml.{name}_token_id"));
    let mut ends: Vec<u64> = ENDS.iter().filter_map(|name| token(name)).collect();
    ends.dedup();
    let begins = token("bos").or(ends.first().copied()).unwrap_or(0);
    let pads = token("padding").or(ends.first().copied()).unwrap_or(0);
    Ok(text(&json!({
        "model": {
            "type": network.server,
            "bos_token_id": begins,
            "eos_token_id": ends,
            "pad_token_id": pads,
            "vocab_size": description.vocab_size,
            "context_length": context_tokens,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": graph,
                "head_size": description.head_dim,
                "hidden_size": description.hidden_size,
                "num_attention_heads": description.n_heads,
                "num_hidden_layers": description.n_layers,
                "num_key_value_heads": description.n_kv_heads,
                "inputs": {
                    "input_ids": super::TOKENS,
                    "attention_mask": super::MASK,
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": super::LOGITS,
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": false,
            "early_stopping": true,
            "max_length": context_tokens,
            "min_length": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            // ONNX's own attention makes a cache of its own each time.
            "past_present_share_buffer": recipe.flavour == Flavour::Runtime,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        },
    })))
}

fn text(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("values of JSON can be written as JSON");
    text.push(b'\n');
    text
}
