//! What a post-processor puts around a text: whether BOS, EOS and SEP are added, and which tokens they are.
//! A port of the reading of post-processors in `SpecialVocab` of llama.cpp's `gguf-py/gguf/vocab.py`, which fills
//! gaps of tokenizer_config.json on the way. Must not look up ids.

use super::special::{Special, truthy};
use formats::tokenizer_json::{Piece, PostProcessor, SequenceId};
use serde_json::Value as Json;

/// Reads `processor` of tokenizer.json into `special`; `settings` is tokenizer_config.json, whose gaps are filled.
pub(super) fn read(processor: Option<&PostProcessor>, settings: &mut Option<Json>, special: &mut Special) {
    let mut tokens = Tokens::of(settings);
    let processors = match processor {
        None => &[],
        Some(PostProcessor::Sequence(processors)) => processors.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    for processor in processors {
        match processor {
            PostProcessor::ByteLevel(_) => {
                ["bos", "eos"].into_iter().for_each(|kind| special.suggest_added(kind, false))
            }
            PostProcessor::Roberta { sep, cls, .. } => {
                ["bos", "eos", "sep"].into_iter().for_each(|kind| special.set_added(kind, true));
                if settings.is_some() {
                    for (token, name, stated) in
                        [(&mut tokens.cls, "cls_token", cls), (&mut tokens.sep, "sep_token", sep)]
                    {
                        if !truthy(token) {
                            *token = stated.0.as_str().into();
                            put(settings, name, token);
                        }
                    }
                }
            }
            PostProcessor::Template { single, pair, .. } => {
                read_template(single, pair, settings, &mut tokens, special)
            }
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

fn read_template(
    single: &[Piece],
    pair: &[Piece],
    settings: &mut Option<Json>,
    tokens: &mut Tokens,
    special: &mut Special,
) {
    let (mut first, mut last) = (None, None);
    if single.len() > 1 {
        first = special_id(single.first());
        if let Some(first) = first {
            read_first(first, settings, tokens);
            special.set_added("bos", tokens.bos == *first || tokens.cls == *first);
        }
        last = special_id(single.last());
        if let Some(last) = last {
            read_last(last, settings, tokens, special);
            special.set_added("eos", true);
        }
    }
    let skip_first = usize::from(first.is_some() && special_id(pair.first()) == first);
    let skip_last = usize::from(last.is_some() && special_id(pair.last()) == last);
    let inner = pair.get(skip_first..pair.len().saturating_sub(skip_last)).unwrap_or_default();
    if let [Piece::Sequence { id: SequenceId::A, .. }, middle @ .., Piece::Sequence { id: SequenceId::B, .. }] =
        inner
        && !middle.is_empty()
    {
        let separates =
            |piece: &Piece| special_id(Some(piece)).is_some_and(|id| tokens.sep == *id || tokens.eos == *id);
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

/// The token of a template's piece.
fn special_id(piece: Option<&Piece>) -> Option<&str> {
    match piece? {
        Piece::SpecialToken { id, .. } => Some(id.as_str()).filter(|id| !id.is_empty()),
        Piece::Sequence { .. } => None,
    }
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
        let document = super::super::document(json!({"post_processor": processor}));
        read(document.post_processor.as_ref(), &mut settings, &mut special);
        assert_eq!(special.added, added);
        assert_eq!(settings.unwrap_or_default(), after);
    }

    fn template(single: &[&str], pair: &[&str]) -> Json {
        let entries = |names: &[&str]| {
            let entry = |name: &&str| match *name {
                "A" | "B" => json!({"Sequence": {"id": name, "type_id": 0}}),
                token => json!({"SpecialToken": {"id": token, "type_id": 0}}),
            };
            names.iter().map(entry).collect::<Vec<_>>()
        };
        let (single, pair) = (entries(single), entries(pair));
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {}})
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
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
        let byte_level = json!({"type": "Sequence", "processors": [byte_level]});
        check(byte_level, json!({}), &[("bos", false), ("eos", false)], Json::Null);
        let roberta = json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<c>", 0],
            "trim_offsets": true, "add_prefix_space": false});
        let after = json!({"bos_token": "<s>", "cls_token": "<c>", "sep_token": "</s>"});
        let added = [("bos", true), ("eos", true), ("sep", true)];
        check(roberta, json!({"bos_token": "<s>"}), &added, after);
    }
}
