//! Normalizer rules of a Unigram tokenizer.json: the precompiled character map and the treatment of spaces.
//! Owns what stands beside the vocabulary; must not read tokens.

use crate::{Error, Result};
use formats::gguf::{Array, Metadata, Value};
use formats::tokenizer_json::{
    Metaspace, Normalizer, Pattern, PreTokenizer, PrependScheme, Replace, TokenizerJson,
};
use std::path::Path;

/// What is done to a text before it is cut into pieces.
pub(super) struct Rules {
    /// Puts a space before it.
    pub(super) adds_prefix: bool,
    /// Makes several spaces one.
    pub(super) removes_spaces: bool,
    /// What characters become, empty where they stay.
    pub(super) character_map: Vec<u8>,
}

impl Rules {
    /// Writes the keys in the converter's order.
    pub(super) fn write(self, metadata: &mut Metadata) {
        metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(self.adds_prefix));
        metadata.insert("tokenizer.ggml.remove_extra_whitespaces", Value::Bool(self.removes_spaces));
        if !self.character_map.is_empty() {
            let map = Value::Array(Array::U8(self.character_map));
            metadata.insert("tokenizer.ggml.precompiled_charsmap", map);
        }
    }
}

/// Writes the rules of a tokenizer.json.
///
/// # Errors
/// A character map that is no base64.
pub(super) fn write_rules(path: &Path, json: &TokenizerJson, metadata: &mut Metadata) -> Result<()> {
    let (mut normalizers, mut pre_tokenizers) = (Vec::new(), Vec::new());
    json.normalizer.iter().for_each(|part| flatten_normalizer(part, &mut normalizers));
    json.pre_tokenizer.iter().for_each(|part| flatten_pre_tokenizer(part, &mut pre_tokenizers));
    let map = normalizers.iter().find_map(|part| match part {
        Normalizer::Precompiled { precompiled_charsmap } => Some(precompiled_charsmap),
        _ => None,
    });
    use base64::Engine;
    let map = base64::engine::general_purpose::STANDARD.decode(map.map_or("", String::as_str));
    let character_map =
        map.map_err(|error| Error::tokenizer(path, format!("normalizer.precompiled_charsmap: {error}")))?;
    let adds_prefix = adds_space_prefix(&pre_tokenizers);
    let removes_spaces = removes_extra_spaces(&normalizers, &pre_tokenizers);
    Rules { adds_prefix, removes_spaces, character_map }.write(metadata);
    Ok(())
}

/// The steps of nested sequences, one after the other.
fn flatten_normalizer<'a>(part: &'a Normalizer, steps: &mut Vec<&'a Normalizer>) {
    match part {
        Normalizer::Sequence(parts) => parts.iter().for_each(|part| flatten_normalizer(part, steps)),
        step => steps.push(step),
    }
}

fn flatten_pre_tokenizer<'a>(part: &'a PreTokenizer, steps: &mut Vec<&'a PreTokenizer>) {
    match part {
        PreTokenizer::Sequence(parts) => parts.iter().for_each(|part| flatten_pre_tokenizer(part, steps)),
        step => steps.push(step),
    }
}

/// Metaspace puts a space before the text unless it says `never`.
fn adds_space_prefix(pre_tokenizers: &[&PreTokenizer]) -> bool {
    let scheme = pre_tokenizers.iter().find_map(|part| match part {
        PreTokenizer::Metaspace(Metaspace { prepend_scheme, .. }) => Some(*prepend_scheme),
        _ => None,
    });
    scheme != Some(PrependScheme::Never)
}

/// Runs of spaces become one by splitting at white space, or by a replacement of two and more.
fn removes_extra_spaces(normalizers: &[&Normalizer], pre_tokenizers: &[&PreTokenizer]) -> bool {
    let splits =
        |part: &&PreTokenizer| matches!(part, PreTokenizer::WhitespaceSplit | PreTokenizer::Whitespace);
    let replaces = |part: &&Normalizer| match part {
        Normalizer::Replace(Replace { pattern: Pattern::Regex(regex), .. }) => regex == " {2,}",
        _ => false,
    };
    pre_tokenizers.iter().any(splits) || normalizers.iter().any(replaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn rules(normalizer: Json, pre_tokenizer: Json) -> Result<Metadata> {
        let document = json!({"normalizer": normalizer, "pre_tokenizer": pre_tokenizer});
        let mut metadata = Metadata::new();
        write_rules(Path::new("tokenizer.json"), &super::super::document(document), &mut metadata)?;
        Ok(metadata)
    }

    #[test]
    fn rules_come_from_normalizer_and_pre_tokenizer() {
        let precompiled = json!({"type": "Precompiled", "precompiled_charsmap": "AQID"});
        let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always"});
        let normalizer = json!({"type": "Sequence", "normalizers": [precompiled]});
        let pre_tokenizer =
            json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]});
        let metadata = rules(normalizer, pre_tokenizer).unwrap();
        assert_eq!(metadata.bool("tokenizer.ggml.add_space_prefix"), Some(true));
        assert_eq!(metadata.bool("tokenizer.ggml.remove_extra_whitespaces"), Some(true));
        let map = metadata.get("tokenizer.ggml.precompiled_charsmap");
        assert_eq!(map, Some(&Value::Array(Array::U8(vec![1, 2, 3]))));
        let never = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "never"});
        let metadata = rules(json!(null), never).unwrap();
        assert_eq!(metadata.bool("tokenizer.ggml.add_space_prefix"), Some(false));
        assert_eq!(metadata.bool("tokenizer.ggml.remove_extra_whitespaces"), Some(false));
        assert_eq!(metadata.len(), 2);
        let runs = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u{2581}"});
        let old = json!({"type": "Metaspace", "replacement": "\u{2581}", "add_prefix_space": false});
        let metadata = rules(runs, old).unwrap();
        assert_eq!(metadata.bool("tokenizer.ggml.add_space_prefix"), Some(false));
        assert_eq!(metadata.bool("tokenizer.ggml.remove_extra_whitespaces"), Some(true));
    }

    #[test]
    fn a_broken_character_map_is_named() {
        let broken = json!({"type": "Precompiled", "precompiled_charsmap": "?"});
        let error = rules(broken, json!(null)).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: normalizer.precompiled_charsmap: "), "{error}");
    }
}
