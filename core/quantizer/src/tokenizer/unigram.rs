//! Normalizer rules of a Unigram tokenizer.json: the precompiled character map and the treatment of spaces.
//! Owns what stands beside the vocabulary; must not read tokens.

use crate::{Error, Result};
use formats::gguf::{Array, Metadata, Value};
use serde_json::Value as Json;
use std::path::Path;

/// Writes the rules in the converter's order.
///
/// # Errors
/// A character map that is no base64.
pub(super) fn write_rules(path: &Path, json: &Json, metadata: &mut Metadata) -> Result<()> {
    let normalizer = steps(&json["normalizer"], "normalizers");
    let pre_tokenizer = steps(&json["pre_tokenizer"], "pretokenizers");
    metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(adds_space_prefix(&pre_tokenizer)));
    let removes = removes_extra_spaces(&normalizer, &pre_tokenizer);
    metadata.insert("tokenizer.ggml.remove_extra_whitespaces", Value::Bool(removes));
    let map = normalizer.iter().find_map(|step| step["precompiled_charsmap"].as_str());
    if let Some(text) = map.filter(|text| !text.is_empty()) {
        use base64::Engine;
        let map = base64::engine::general_purpose::STANDARD.decode(text);
        let map = map.map_err(|error| Error::tokenizer(path, format!("precompiled_charsmap: {error}")))?;
        metadata.insert("tokenizer.ggml.precompiled_charsmap", Value::Array(Array::U8(map)));
    }
    Ok(())
}

/// The steps of a sequence, or the one step.
fn steps<'a>(step: &'a Json, field: &str) -> Vec<&'a Json> {
    match step[field].as_array() {
        Some(inner) => inner.iter().flat_map(|step| steps(step, field)).collect(),
        None => vec![step],
    }
}

/// Metaspace puts a space before the text unless it says `never`, or `add_prefix_space: false` in older files.
fn adds_space_prefix(pre_tokenizer: &[&Json]) -> bool {
    let metaspace = pre_tokenizer.iter().find(|step| step["type"] == "Metaspace");
    metaspace.is_none_or(|step| match step["prepend_scheme"].as_str() {
        Some(scheme) => scheme != "never",
        None => step["add_prefix_space"].as_bool().unwrap_or(true),
    })
}

/// Runs of spaces become one by splitting at white space, or by a replacement of two and more.
fn removes_extra_spaces(normalizer: &[&Json], pre_tokenizer: &[&Json]) -> bool {
    let splits = |step: &&Json| matches!(step["type"].as_str(), Some("WhitespaceSplit" | "Whitespace"));
    let replaces = |step: &&Json| step["type"] == "Replace" && step["pattern"]["Regex"] == " {2,}";
    pre_tokenizer.iter().any(splits) || normalizer.iter().any(replaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(json: Json) -> Result<Metadata> {
        let mut metadata = Metadata::new();
        write_rules(Path::new("tokenizer.json"), &json, &mut metadata)?;
        Ok(metadata)
    }

    #[test]
    fn rules_come_from_normalizer_and_pre_tokenizer() {
        let precompiled = json!({"type": "Precompiled", "precompiled_charsmap": "AQID"});
        let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always"});
        let t5 = json!({"normalizer": {"type": "Sequence", "normalizers": [precompiled]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}});
        let metadata = rules(t5).unwrap();
        assert_eq!(metadata.bool("tokenizer.ggml.add_space_prefix"), Some(true));
        assert_eq!(metadata.bool("tokenizer.ggml.remove_extra_whitespaces"), Some(true));
        let map = metadata.get("tokenizer.ggml.precompiled_charsmap");
        assert_eq!(map, Some(&Value::Array(Array::U8(vec![1, 2, 3]))));
        let never =
            json!({"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "never"}});
        let metadata = rules(never).unwrap();
        assert_eq!(metadata.bool("tokenizer.ggml.add_space_prefix"), Some(false));
        assert_eq!(metadata.bool("tokenizer.ggml.remove_extra_whitespaces"), Some(false));
        assert_eq!(metadata.len(), 2);
    }

    #[test]
    fn a_broken_character_map_is_named() {
        let error = rules(json!({"normalizer": {"precompiled_charsmap": "?"}})).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: precompiled_charsmap: "), "{error}");
    }
}
