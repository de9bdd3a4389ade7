//! Special tokens, what is added around a text, merges and normalizer switches.
//! A port of `SpecialVocab` of llama.cpp's `gguf-py/gguf/vocab.py`, with its order of sources; chat templates are
//! `chat_template`'s, post-processors `post_processor`'s. Must not know files other than those it is handed.

use super::{chat_template, post_processor};
use crate::{Error, Result};
use formats::gguf::{Array, Metadata, Value};
use formats::tokenizer_json::{Model, Normalizer, TokenizerJson};
use serde_json::Value as Json;
use std::path::Path;

/// Kinds of special tokens that are asked for in any checkpoint, in order.
const USUAL_KINDS: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];
/// The key that holds a kind's id; the format has none for `cls`.
const KEYS: [(&str, &str); 8] = [
    ("bos", "bos_token_id"),
    ("eos", "eos_token_id"),
    ("unk", "unknown_token_id"),
    ("sep", "seperator_token_id"), // spelled so in the format
    ("pad", "padding_token_id"),
    ("mask", "mask_token_id"),
    ("eot", "eot_token_id"),
    ("eom", "eom_token_id"),
];
/// Kinds with a key that tells whether the token is added around a text.
const ADDED_KINDS: [&str; 3] = ["bos", "eos", "sep"];

/// What a checkpoint says of its special tokens.
#[derive(Debug, Default)]
pub(super) struct Special {
    merges: Vec<String>,
    ids: Vec<(&'static str, u32)>,
    pub(super) added: Vec<(&'static str, bool)>,
    pub(super) kinds: Vec<&'static str>,
    templates: Vec<(String, String)>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    n_vocab: Option<usize>,
}

/// Where [`read`] looks.
pub(super) struct Sources<'a> {
    /// tokenizer.json.
    pub(super) tokenizer: Option<&'a TokenizerJson>,
    /// tokenizer_config.json.
    pub(super) settings: Option<Json>,
    /// config.json.
    pub(super) config: &'a Json,
    /// The checkpoint.
    pub(super) directory: &'a Path,
    /// Ids from here on are left out.
    pub(super) n_vocab: Option<usize>,
}

/// Reads the special tokens of a checkpoint.
///
/// # Errors
/// A chat template that cannot be read, a negative id.
pub(super) fn read(sources: Sources<'_>) -> Result<Special> {
    let Sources { tokenizer, settings, config, directory, n_vocab } = sources;
    let mut special = Special { kinds: USUAL_KINDS.into(), n_vocab, ..Special::default() };
    let mut settings = settings.filter(truthy);
    let added_tokens = tokenizer.map_or(&[][..], |tokenizer| &tokenizer.added_tokens);
    if let Some(tokenizer) = tokenizer {
        special.merges = merges(&tokenizer.model);
        tokenizer.normalizer.iter().for_each(|part| special.read_normalizer(part));
        post_processor::read(tokenizer.post_processor.as_ref(), &mut settings, &mut special);
    }
    if let Some(settings) = &settings {
        special.templates = chat_template::read(settings, directory)?;
        for kind in special.kinds.clone() {
            if let Some(value) = settings[format!("add_{kind}_token")].as_bool() {
                special.suggest_added(kind, value);
            }
            let Some(text) = token_text(&settings[format!("{kind}_token")]) else { continue };
            if let Some(token) = added_tokens.iter().find(|token| token.content == text) {
                special.set_id(kind, token.id);
            }
        }
    }
    for kind in special.kinds.clone() {
        let field = format!("{kind}_token_id");
        let id = Some(&config[&field]).filter(|id| !id.is_null()).unwrap_or(&config["text_config"][&field]);
        if id.as_i64().is_some_and(|id| id < 0) {
            let problem = format!("{field}: expected an id of at least 0, got {id}");
            return Err(Error::tokenizer(&directory.join("config.json"), problem));
        }
        if let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) {
            special.set_id(kind, id);
        }
    }
    Ok(special)
}

impl Special {
    /// Writes the keys in the converter's order.
    pub(super) fn write(self, with_merges: bool, metadata: &mut Metadata) {
        if with_merges && !self.merges.is_empty() {
            metadata.insert("tokenizer.ggml.merges", Value::Array(Array::String(self.merges)));
        }
        for (kind, id) in self.ids {
            if let Some((_, key)) = KEYS.iter().find(|(known, _)| *known == kind) {
                metadata.insert(format!("tokenizer.ggml.{key}"), Value::U32(id));
            }
        }
        for (kind, value) in self.added.into_iter().filter(|(kind, _)| ADDED_KINDS.contains(kind)) {
            metadata.insert(format!("tokenizer.ggml.add_{kind}_token"), Value::Bool(value));
        }
        chat_template::write(self.templates, metadata);
        for (name, switch) in [("lowercase", self.lowercase), ("strip_accents", self.strip_accents)] {
            if let Some(value) = switch {
                metadata.insert(format!("tokenizer.ggml.normalizer.{name}"), Value::Bool(value));
            }
        }
    }

    /// Merges of the vocabulary, taken from merges.txt where tokenizer.json has none.
    pub(super) fn or_merges_of(&mut self, directory: &Path) -> Result<()> {
        let path = directory.join("merges.txt");
        if self.merges.is_empty() && path.is_file() {
            let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
            self.merges = merges_of_text(&text);
        }
        Ok(())
    }

    /// States that `kind` is added around a text, or not.
    pub(super) fn set_added(&mut self, kind: &'static str, value: bool) {
        match self.added.iter_mut().find(|(known, _)| *known == kind) {
            Some(entry) => entry.1 = value,
            None => self.added.push((kind, value)),
        }
    }

    /// The same, unless it is stated already.
    pub(super) fn suggest_added(&mut self, kind: &'static str, value: bool) {
        if !self.added.iter().any(|(known, _)| *known == kind) {
            self.added.push((kind, value));
        }
    }

    /// The first source that names an id within the vocabulary counts.
    fn set_id(&mut self, kind: &'static str, id: u32) {
        let within = self.n_vocab.is_none_or(|n_vocab| (id as usize) < n_vocab);
        if within && !self.ids.iter().any(|(known, _)| *known == kind) {
            self.ids.push((kind, id));
        }
    }

    /// The same for a kind by its name, where there is a key for it.
    pub(super) fn set_named(&mut self, kind: &str, id: u32) {
        if let Some((kind, _)) = KEYS.iter().find(|(known, _)| *known == kind) {
            self.set_id(kind, id);
        }
    }

    fn read_normalizer(&mut self, normalizer: &Normalizer) {
        match normalizer {
            Normalizer::Lowercase => self.lowercase = Some(true),
            Normalizer::StripAccents => self.strip_accents = Some(true),
            Normalizer::Bert { lowercase, strip_accents, .. } => {
                self.lowercase = Some(*lowercase);
                self.strip_accents = *strip_accents;
            }
            Normalizer::Sequence(steps) => steps.iter().for_each(|step| self.read_normalizer(step)),
            _ => {}
        }
    }
}

/// What counts as something: not null, false, zero or empty.
pub(super) fn truthy(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(text) => !text.is_empty(),
        Json::Array(entries) => !entries.is_empty(),
        Json::Object(fields) => !fields.is_empty(),
    }
}

/// A token entry is its text, or an object with a `content`.
fn token_text(entry: &Json) -> Option<&str> {
    entry.as_str().or_else(|| entry["content"].as_str())
}

/// Merges as `left right`; spaces inside a part become `Ġ`, as the format demands.
fn merges(model: &Model) -> Vec<String> {
    let Model::Bpe(model) = model else { return Vec::new() };
    let part = |part: &str| part.replace(' ', "\u{120}");
    model.merges.iter().map(|(left, right)| format!("{} {}", part(left), part(right))).collect()
}

/// merges.txt: a line per merge, a first line that starts with `#` is a title.
fn merges_of_text(text: &str) -> Vec<String> {
    let title = usize::from(text.trim_start().starts_with('#'));
    let parts = text.lines().skip(title).map(|line| line.split_whitespace().collect::<Vec<_>>());
    parts.filter(|parts| parts.len() == 2).map(|parts| parts.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_json(tokenizer: Json, settings: Json, config: Json, n_vocab: Option<usize>) -> Result<Special> {
        let (document, directory) = (super::super::document(tokenizer), Path::new("nowhere"));
        let tokenizer = Some(&document);
        read(Sources { tokenizer, settings: Some(settings), config: &config, directory, n_vocab })
    }

    #[test]
    fn a_leading_special_token_adds_bos() {
        let first = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let tokenizer = json!({"added_tokens": [{"id": 1, "content": "<s>"}, {"id": 2, "content": "</s>"}],
            "post_processor": {"type": "TemplateProcessing",
                "special_tokens": {}, "single": [first, text("A")], "pair": [first, text("A"), first, text("B")]}});
        let settings = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_eos_token": false});
        let special = read_json(tokenizer, settings, json!({"unk_token_id": 0}), None).unwrap();
        assert_eq!(special.ids, [("bos", 1), ("eos", 2), ("unk", 0)]);
        assert_eq!(special.added, [("bos", true), ("sep", false), ("eos", false)]);
    }

    #[test]
    fn ids_beyond_the_vocabulary_are_left_out_and_negative_ones_refused() {
        let config = json!({"bos_token_id": 7, "text_config": {"eos_token_id": 3}});
        let special = read_json(json!({}), json!({}), config, Some(5)).unwrap();
        assert_eq!(special.ids, [("eos", 3)]);
        let error = read_json(json!({}), json!({}), json!({"pad_token_id": -1}), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nowhere/config.json: pad_token_id: expected an id of at least 0, got -1"
        );
    }

    #[test]
    fn normalizers_set_their_switches() {
        let bert = json!({"type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": true, "lowercase": true, "strip_accents": null});
        let tokenizer =
            json!({"normalizer": {"type": "Sequence", "normalizers": [{"type": "StripAccents"}, bert]}});
        let mut metadata = Metadata::new();
        read_json(tokenizer, json!({}), json!({}), None).unwrap().write(false, &mut metadata);
        assert_eq!(metadata.bool("tokenizer.ggml.normalizer.lowercase"), Some(true));
        assert_eq!(metadata.len(), 1);
    }

    #[test]
    fn every_form_of_merges_is_read() {
        let model = json!({"type": "BPE", "vocab": {}, "merges": [["c", "d e"], ["a", "b"]]});
        let pairs = super::super::document(json!({"model": model}));
        assert_eq!(merges(&pairs.model), ["c d\u{120}e", "a b"]);
        let model = json!({"type": "BPE", "vocab": {}, "merges": ["a b"]});
        assert_eq!(merges(&super::super::document(json!({"model": model})).model), ["a b"]);
        assert_eq!(merges_of_text("#version: 0.2\na b\n\nc\nd e f\n# #\n"), ["a b", "# #"]);
    }
}
