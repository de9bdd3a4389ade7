//! Tokenizer files of a checkpoint → `tokenizer.ggml.*` metadata, as llama.cpp's converter writes it.
//! Knows tokenizer.json, tokenizer.model and the two config files; must not tokenize.

mod sentencepiece;
mod special;
mod vocabulary;

use crate::source::SourceJson;
use crate::{Error, Result};
use families::{Family, pre_tokenizers};
use formats::gguf::{Array, Metadata, Value};
use serde_json::Value as Json;
use std::path::Path;
use vocabulary::Vocabulary;

/// Token types of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// A piece of text.
    Normal = 1,
    /// Stands for what the vocabulary lacks.
    Unknown = 2,
    /// Has a meaning instead of a text.
    Control = 3,
    /// Added by the user, matched before anything else.
    UserDefined = 4,
    /// A hole in the numbering.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

/// The tokenizer keys of the checkpoint in `directory`.
///
/// # Errors
/// Missing or broken tokenizer files, an unknown kind of tokenizer or pre-tokenizer.
pub fn convert(directory: &Path, config: &Json, family: &Family) -> Result<Metadata> {
    let json_path = directory.join("tokenizer.json");
    let tokenizer = SourceJson::optional(&json_path)?;
    let settings = SourceJson::optional(&directory.join("tokenizer_config.json"))?;
    let model_path = directory.join("tokenizer.model");
    let mut metadata = Metadata::new();
    if let Some(prefix) = settings.as_ref().and_then(|s| s.get("add_prefix_space")?.as_bool())
        && family.states_space_prefix()
    {
        metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(prefix));
    }
    let n_vocab = config.get("vocab_size").and_then(Json::as_u64).map(|n| n as usize);
    let merges_wanted;
    if model_path.is_file() {
        let bytes = std::fs::read(&model_path).map_err(|source| Error::io(&model_path, source))?;
        let pieces = sentencepiece::read(&bytes).map_err(|problem| Error::tokenizer(&model_path, problem))?;
        let vocabulary = Vocabulary::from_pieces(pieces, settings.as_ref(), n_vocab);
        vocabulary.write("llama", "default", &mut metadata);
        merges_wanted = false;
    } else {
        let json = tokenizer.as_ref().ok_or_else(|| {
            Error::tokenizer(directory, "expected tokenizer.json or tokenizer.model, found neither")
        })?;
        merges_wanted = from_tokenizer_json(&json_path, json, settings.as_ref(), n_vocab, &mut metadata)?;
    }
    let special = special::read(tokenizer.as_ref(), settings, config, directory)?;
    special.write(merges_wanted, &mut metadata);
    if family.never_adds_bos_at() == n_vocab && n_vocab.is_some() {
        metadata.insert("tokenizer.ggml.add_bos_token", Value::Bool(false));
    }
    Ok(metadata)
}

/// Writes the vocabulary of a tokenizer.json; tells whether its merges belong into the file.
fn from_tokenizer_json(
    path: &Path,
    json: &Json,
    settings: Option<&Json>,
    n_vocab: Option<usize>,
    metadata: &mut Metadata,
) -> Result<bool> {
    let model = json.get("model").ok_or_else(|| Error::tokenizer(path, "field `model` is missing"))?;
    let kind = model.get("type").and_then(Json::as_str).unwrap_or("BPE");
    let byte_fallback = model.get("byte_fallback").and_then(Json::as_bool).unwrap_or(false);
    match kind {
        "BPE" if byte_fallback => {
            let vocabulary = Vocabulary::sentencepiece_bpe(path, json)?;
            vocabulary.write("llama", "default", metadata);
            Ok(true)
        }
        "BPE" => {
            let steps = json.get("pre_tokenizer").unwrap_or(&Json::Null);
            let pre = pre_tokenizers::recognise(steps).ok_or_else(|| {
                let shown: String = steps.to_string().chars().take(200).collect();
                Error::tokenizer(
                    path,
                    format!("pre_tokenizer: expected one that llama.cpp knows, got {shown}"),
                )
            })?;
            let vocabulary = Vocabulary::byte_level_bpe(path, json, n_vocab)?;
            vocabulary.write("gpt2", pre.name(), metadata);
            Ok(true)
        }
        "Unigram" => {
            let vocabulary = Vocabulary::unigram(path, json, n_vocab)?;
            vocabulary.write("t5", "default", metadata);
            write_unigram_rules(json, metadata);
            let _ = settings;
            Ok(false)
        }
        other => Err(Error::tokenizer(path, format!("model.type: expected BPE or Unigram, got {other}"))),
    }
}

/// Normalizer rules of a Unigram tokenizer: the precompiled character map and the treatment of spaces.
fn write_unigram_rules(json: &Json, metadata: &mut Metadata) {
    metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(true));
    metadata.insert("tokenizer.ggml.remove_extra_whitespaces", Value::Bool(true));
    if let Some(map) = find_charsmap(json.get("normalizer").unwrap_or(&Json::Null)) {
        metadata.insert("tokenizer.ggml.precompiled_charsmap", Value::Array(Array::U8(map)));
    }
}

fn find_charsmap(normalizer: &Json) -> Option<Vec<u8>> {
    use base64::Engine;
    if normalizer.get("type")?.as_str()? == "Sequence" {
        return normalizer.get("normalizers")?.as_array()?.iter().find_map(find_charsmap);
    }
    let text = normalizer.get("precompiled_charsmap")?.as_str()?;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
