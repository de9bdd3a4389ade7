//! Special tokens, what is added around a text, merges and chat templates.
//! A port of `SpecialVocab` of llama.cpp's `gguf-py/gguf/vocab.py`, with its order of sources.

use crate::source::SourceJson;
use crate::{Error, Result};
use formats::gguf::{Array, Metadata, Value};
use serde_json::Value as Json;
use std::path::Path;

/// Kinds of special tokens and the key that holds their id.
const KINDS: [(&str, &str); 9] = [
    ("bos", "bos_token_id"),
    ("eos", "eos_token_id"),
    ("unk", "unknown_token_id"),
    ("sep", "seperator_token_id"), // spelled so in the format
    ("pad", "padding_token_id"),
    ("cls", "cls_token_id"),
    ("mask", "mask_token_id"),
    ("eot", "eot_token_id"),
    ("eom", "eom_token_id"),
];
/// Kinds that every checkpoint is asked for; `eot` and `eom` only where the post-processor brings them in.
const USUAL_KINDS: usize = 7;

/// What a checkpoint says of its special tokens.
#[derive(Debug, Default)]
pub(super) struct Special {
    merges: Vec<String>,
    ids: Vec<(usize, u32)>,
    added: Vec<(&'static str, bool)>,
    templates: Vec<(String, String)>,
}

impl Special {
    pub(super) fn write(self, with_merges: bool, metadata: &mut Metadata) {
        if with_merges && !self.merges.is_empty() {
            metadata.insert("tokenizer.ggml.merges", Value::Array(Array::String(self.merges)));
        }
        for (kind, id) in self.ids {
            metadata.insert(format!("tokenizer.ggml.{}", KINDS[kind].1), Value::U32(id));
        }
        for (kind, value) in self.added {
            metadata.insert(format!("tokenizer.ggml.add_{kind}_token"), Value::Bool(value));
        }
        let named: Vec<String> = self
            .templates
            .iter()
            .filter(|(name, _)| name != "default")
            .map(|(name, _)| name.clone())
            .collect();
        let mut default = None;
        for (name, template) in self.templates {
            if name == "default" {
                default = Some(template);
            } else {
                metadata.insert(format!("tokenizer.chat_template.{name}"), Value::String(template));
            }
        }
        if !named.is_empty() {
            metadata.insert("tokenizer.chat_templates", Value::Array(Array::String(named)));
        }
        if let Some(template) = default {
            metadata.insert("tokenizer.chat_template", Value::String(template));
        }
    }

    fn set_added(&mut self, kind: &'static str, value: bool) {
        match self.added.iter_mut().find(|(known, _)| *known == kind) {
            Some(entry) => entry.1 = value,
            None => self.added.push((kind, value)),
        }
    }

    fn set_id(&mut self, kind: usize, id: Option<u64>) {
        if let Some(id) = id.and_then(|id| u32::try_from(id).ok())
            && !self.ids.iter().any(|(known, _)| *known == kind)
        {
            self.ids.push((kind, id));
        }
    }
}

pub(super) fn read(
    tokenizer: Option<&Json>,
    mut settings: Option<Json>,
    config: &Json,
    directory: &Path,
) -> Result<Special> {
    let mut special = Special::default();
    let mut kinds: Vec<usize> = (0..USUAL_KINDS).collect();
    if let Some(tokenizer) = tokenizer {
        special.merges = merges(tokenizer);
        read_post_processor(tokenizer, settings.as_mut(), &mut special, &mut kinds);
    }
    if let Some(settings) = &settings {
        special.templates = templates(settings, directory)?;
        let added = tokenizer.and_then(|tokenizer| tokenizer["added_tokens"].as_array());
        for &kind in &kinds {
            let name = KINDS[kind].0;
            if let Some(value) = settings[format!("add_{name}_token")].as_bool()
                && !special.added.iter().any(|(known, _)| *known == name)
            {
                special.added.push((name, value));
            }
            let Some(text) = token_text(&settings[format!("{name}_token")]) else { continue };
            let found = added.into_iter().flatten().find(|token| token["content"] == *text);
            special.set_id(kind, found.and_then(|token| token["id"].as_u64()));
        }
    }
    for kind in kinds {
        special.set_id(kind, config[format!("{}_token_id", KINDS[kind].0)].as_u64());
    }
    Ok(special)
}

/// A token entry is its text, or an object with a `content`.
fn token_text(entry: &Json) -> Option<&str> {
    entry.as_str().or_else(|| entry["content"].as_str())
}

/// What the post-processor puts around a single text tells whether BOS and EOS are added.
fn read_post_processor(
    tokenizer: &Json,
    mut settings: Option<&mut Json>,
    special: &mut Special,
    kinds: &mut Vec<usize>,
) {
    let processor = &tokenizer["post_processor"];
    let single = std::slice::from_ref(processor);
    for processor in processor["processors"].as_array().map_or(single, Vec::as_slice) {
        match processor["type"].as_str() {
            Some("ByteLevel") => {
                for kind in ["bos", "eos"] {
                    if !special.added.iter().any(|(known, _)| *known == kind) {
                        special.added.push((kind, false));
                    }
                }
            }
            Some("RobertaProcessing") => {
                ["bos", "eos", "sep"].into_iter().for_each(|kind| special.set_added(kind, true))
            }
            Some("TemplateProcessing") => read_template(processor, settings.as_deref_mut(), special, kinds),
            _ => {}
        }
    }
}

fn read_template(
    processor: &Json,
    mut settings: Option<&mut Json>,
    special: &mut Special,
    kinds: &mut Vec<usize>,
) {
    let id_of =
        |entry: &Json| entry["SpecialToken"]["id"].as_str().filter(|id| !id.is_empty()).map(str::to_string);
    let text_of = |settings: &Option<&mut Json>, name: &str| {
        settings.as_ref().and_then(|settings| settings[name].as_str().map(str::to_string))
    };
    let empty = Vec::new();
    let single = processor["single"].as_array().unwrap_or(&empty);
    let (mut first, mut last) = (None, None);
    if single.len() > 1 {
        first = id_of(&single[0]);
        if let Some(first) = &first {
            let known = [text_of(&settings, "bos_token"), text_of(&settings, "cls_token")];
            if known[0].is_none()
                && let Some(settings) = settings.as_deref_mut()
            {
                settings["bos_token"] = Json::from(first.clone());
            }
            special.set_added("bos", known[0].is_none() || known.iter().flatten().any(|text| text == first));
        }
        last = single.last().and_then(id_of);
        if let Some(last) = &last {
            let eos = text_of(&settings, "eos_token");
            if eos.as_deref() != Some(last)
                && let Some(settings) = settings.as_deref_mut()
            {
                // The old end-of-sequence token goes on as the end of a turn.
                if let Some(kind) = [7, 8].into_iter().find(|kind| !kinds.contains(kind)) {
                    kinds.push(kind);
                    settings[format!("{}_token", KINDS[kind].0)] = eos.map_or(Json::Null, Json::from);
                }
                settings["eos_token"] = Json::from(last.clone());
            }
            special.set_added("eos", true);
        }
    }
    let pair = processor["pair"].as_array().unwrap_or(&empty);
    let skip_first = usize::from(first.is_some() && pair.first().and_then(id_of) == first);
    let skip_last = usize::from(last.is_some() && pair.last().and_then(id_of) == last);
    let inner = pair.get(skip_first..pair.len().saturating_sub(skip_last)).unwrap_or_default();
    let is = |entry: Option<&Json>, name: &str| entry.is_some_and(|entry| entry["Sequence"]["id"] == name);
    if inner.len() > 2 && is(inner.first(), "A") && is(inner.last(), "B") {
        let separators = [text_of(&settings, "sep_token"), text_of(&settings, "eos_token")];
        let separates =
            |entry: &Json| id_of(entry).is_some_and(|id| separators.iter().flatten().any(|text| *text == id));
        let middle = &inner[1..inner.len() - 1];
        let first_separates = separates(&middle[0]) && last.is_none();
        let add = first_separates || (middle.len() == 2 && separates(&middle[1]));
        special.set_added("sep", add);
    }
}

/// Merges as `left right`; spaces inside a part become `Ġ`, as the format demands.
pub(super) fn merges(tokenizer: &Json) -> Vec<String> {
    let entries = tokenizer["model"]["merges"].as_array();
    let part = |part: &Json| part.as_str().map(|text| text.replace(' ', "\u{120}"));
    let merge = |entry: &Json| match entry {
        Json::String(text) => Some(text.clone()),
        Json::Array(pair) if pair.len() == 2 => Some(format!("{} {}", part(&pair[0])?, part(&pair[1])?)),
        _ => None,
    };
    entries.into_iter().flatten().filter_map(merge).collect()
}

/// Chat templates, kept verbatim: tokenizer_config.json's own, else the files beside it.
fn templates(settings: &Json, directory: &Path) -> Result<Vec<(String, String)>> {
    let default = |text: String| vec![("default".to_string(), text)];
    match &settings["chat_template"] {
        Json::String(text) => return Ok(default(text.clone())),
        Json::Array(entries) => {
            let named = |entry: &Json| {
                Some((entry["name"].as_str()?.to_string(), entry["template"].as_str()?.to_string()))
            };
            return Ok(entries.iter().filter_map(named).collect());
        }
        _ => {}
    }
    let file = directory.join("chat_template.jinja");
    if file.is_file() {
        return std::fs::read_to_string(&file).map(default).map_err(|source| Error::io(&file, source));
    }
    let json = SourceJson::optional(&directory.join("chat_template.json"))?;
    let text = json.and_then(|json| json["chat_template"].as_str().map(str::to_string));
    Ok(text.map(default).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_leading_special_token_adds_bos() {
        let tokenizer = json!({"added_tokens": [{"id": 1, "content": "<s>"}, {"id": 2, "content": "</s>"}],
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                "pair": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "B"}}]}});
        let settings = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_eos_token": false});
        let special =
            read(Some(&tokenizer), Some(settings), &json!({"unk_token_id": 0}), Path::new(".")).unwrap();
        assert_eq!(special.ids, [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(special.added, [("bos", true), ("sep", false), ("eos", false)]);
    }

    #[test]
    fn both_forms_of_merges_are_read() {
        let tokenizer = json!({"model": {"merges": ["a b", ["c", "d e"]]}});
        assert_eq!(merges(&tokenizer), ["a b", "c d\u{120}e"]);
    }
}
