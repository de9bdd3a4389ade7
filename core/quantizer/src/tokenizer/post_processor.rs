//! What a post-processor puts around a text: whether BOS, EOS and SEP are added, and which tokens they are.
//! A port of the reading of post-processors in `SpecialVocab` of llama.cpp's `gguf-py/gguf/vocab.py`, which fills
//! gaps of tokenizer_config.json on the way. Must not look up ids.

use super::special::{Special, truthy};
use serde_json::Value as Json;

/// Reads `processor` of tokenizer.json into `special`; `settings` is tokenizer_config.json, whose gaps are filled.
pub(super) fn read(processor: &Json, settings: &mut Option<Json>, special: &mut Special) {
    let mut tokens = Tokens::of(settings);
    let one = std::slice::from_ref(processor);
    for processor in processor["processors"].as_array().map_or(one, Vec::as_slice) {
        match processor["type"].as_str() {
            Some("ByteLevel") => {
                ["bos", "eos"].into_iter().for_each(|kind| special.suggest_added(kind, false))
            }
            Some("RobertaProcessing") => {
                ["bos", "eos", "sep"].into_iter().for_each(|kind| special.set_added(kind, true));
                if settings.is_some() {
                    for (token, field, otherwise) in [
                        (&mut tokens.cls, "cls", tokens.bos.clone()),
                        (&mut tokens.sep, "sep", tokens.eos.clone()),
                    ] {
                        if !truthy(token) {
                            *token = processor[field].get(0).cloned().unwrap_or(otherwise);
                            put(settings, &format!("{field}_token"), token);
                        }
                    }
                }
            }
            Some("TemplateProcessing") => read_template(processor, settings, &mut tokens, special),
            _ => {}
        }
    }
}

/// The tokens of tokenizer_config.json: texts, objects or null.
struct Tokens {
    bos: Json,
    cls: Json,
    eos: Json,
    sep: Json,
}

impl Tokens {
    /// A BERT-like tokenizer's CLS and SEP stand in for BOS and EOS that are not stated.
    fn of(settings: &mut Option<Json>) -> Self {
        let get = |name: &str| settings.as_ref().map_or(Json::Null, |settings| settings[name].clone());
        let mut tokens = Self {
            bos: get("bos_token"),
            cls: get("cls_token"),
            eos: get("eos_token"),
            sep: get("sep_token"),
        };
        for (token, stand_in, name) in
            [(&mut tokens.bos, &tokens.cls, "bos_token"), (&mut tokens.eos, &tokens.sep, "eos_token")]
        {
            if !truthy(token) && truthy(stand_in) && settings.is_some() {
                *token = stand_in.clone();
                put(settings, name, token);
            }
        }
        tokens
    }
}

fn put(settings: &mut Option<Json>, name: &str, token: &Json) {
    if let Some(Json::Object(fields)) = settings {
        fields.insert(name.into(), token.clone());
    }
}

fn read_template(processor: &Json, settings: &mut Option<Json>, tokens: &mut Tokens, special: &mut Special) {
    let empty = Vec::new();
    let single = processor["single"].as_array().unwrap_or(&empty);
    let (mut first, mut last) = (None, None);
    if single.len() > 1 {
        first = special_id(single.first());
        if let Some(first) = &first {
            read_first(first, settings, tokens);
            special.set_added("bos", tokens.bos == **first || tokens.cls == **first);
        }
        last = special_id(single.last());
        if let Some(last) = &last {
            read_last(last, settings, tokens, special);
            special.set_added("eos", true);
        }
    }
    let pair = processor["pair"].as_array().unwrap_or(&empty);
    let skip_first = usize::from(first.is_some() && special_id(pair.first()) == first);
    let skip_last = usize::from(last.is_some() && special_id(pair.last()) == last);
    let inner = pair.get(skip_first..pair.len().saturating_sub(skip_last)).unwrap_or_default();
    let is = |entry: Option<&Json>, name: &str| entry.is_some_and(|entry| entry["Sequence"]["id"] == name);
    if inner.len() > 2 && is(inner.first(), "A") && is(inner.last(), "B") {
        let separates =
            |entry: &Json| special_id(Some(entry)).is_some_and(|id| tokens.sep == *id || tokens.eos == *id);
        let middle = &inner[1..inner.len() - 1];
        let add = separates(&middle[0]) && last.is_none() || middle.len() == 2 && separates(&middle[1]);
        special.set_added("sep", add);
        if add && !truthy(&tokens.sep) {
            put(settings, "sep_token", &tokens.eos);
        }
    }
}

/// A leading token is BOS or CLS, whichever is free.
fn read_first(first: &str, settings: &mut Option<Json>, tokens: &mut Tokens) {
    if settings.is_none() {
        tokens.bos = first.into();
    } else if tokens.bos != *first && tokens.cls != *first {
        for (token, name) in [(&mut tokens.bos, "bos_token"), (&mut tokens.cls, "cls_token")] {
            if !truthy(token) {
                *token = first.into();
                put(settings, name, token);
            }
        }
    }
}

/// A trailing token is EOS; the EOS stated before goes on as the end of a turn, else of a message.
fn read_last(last: &str, settings: &mut Option<Json>, tokens: &mut Tokens, special: &mut Special) {
    if settings.is_some() && tokens.eos != *last {
        if let Some(kind) = ["eot", "eom"].into_iter().find(|kind| !special.kinds.contains(kind)) {
            special.kinds.push(kind);
            put(settings, &format!("{kind}_token"), &tokens.eos);
        }
        put(settings, "eos_token", &last.into());
    }
    tokens.eos = last.into();
}

/// The token of a template's entry.
fn special_id(entry: Option<&Json>) -> Option<String> {
    let id = entry?["SpecialToken"]["id"].as_str()?;
    (!id.is_empty()).then(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Added<'a> = &'a [(&'a str, bool)];

    fn check(processor: Json, settings: Json, added: Added<'_>, after: Json) {
        let mut special = Special::default();
        special.kinds.push("bos");
        let mut settings = Some(settings).filter(truthy);
        read(&processor, &mut settings, &mut special);
        assert_eq!(special.added, added);
        assert_eq!(settings.unwrap_or_default(), after);
    }

    fn template(single: &[&str], pair: &[&str]) -> Json {
        let entries = |names: &[&str]| {
            let entry = |name: &&str| match *name {
                "A" | "B" => json!({"Sequence": {"id": name}}),
                token => json!({"SpecialToken": {"id": token}}),
            };
            names.iter().map(entry).collect::<Vec<_>>()
        };
        json!({"type": "TemplateProcessing", "single": entries(single), "pair": entries(pair)})
    }

    #[test]
    fn templates_fill_the_gaps_of_the_settings() {
        let bert = template(&["[CLS]", "A", "[SEP]"], &["[CLS]", "A", "[SEP]", "B", "[SEP]"]);
        let stated = json!({"cls_token": "[CLS]", "sep_token": "[SEP]"});
        let filled =
            json!({"cls_token": "[CLS]", "sep_token": "[SEP]", "bos_token": "[CLS]", "eos_token": "[SEP]"});
        check(bert, stated, &[("bos", true), ("eos", true), ("sep", false)], filled);
        // A BOS that is stated as an object is no text: the leading token counts as CLS.
        let object = json!({"bos_token": {"content": "<s>"}});
        let filled = json!({"bos_token": {"content": "<s>"}, "cls_token": "<s>"});
        check(template(&["<s>", "A"], &[]), object, &[("bos", true)], filled);
        check(template(&["<s>", "A"], &[]), json!({}), &[("bos", true)], Json::Null);
        let other = json!({"bos_token": "a", "cls_token": "b"});
        check(template(&["<s>", "A"], &[]), other.clone(), &[("bos", false)], other);
    }

    #[test]
    fn a_new_end_of_sequence_keeps_the_old_one_as_end_of_turn() {
        let processor = template(&["A", "<eos>"], &["A", "<eos>", "B", "<eos>"]);
        let after = json!({"eos_token": "<eos>", "eot_token": "<old>"});
        check(processor, json!({"eos_token": "<old>"}), &[("eos", true), ("sep", false)], after);
    }

    #[test]
    fn byte_level_and_roberta_processors_state_what_is_added() {
        let byte_level = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}]});
        check(byte_level, json!({}), &[("bos", false), ("eos", false)], Json::Null);
        let roberta = json!({"type": "RobertaProcessing", "sep": ["</s>", 2]});
        let after = json!({"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>"});
        let added = [("bos", true), ("eos", true), ("sep", true)];
        check(roberta, json!({"bos_token": "<s>"}), &added, after);
    }
}
