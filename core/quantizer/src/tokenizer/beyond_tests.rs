//! Tests of [`super`]: no key where the format tells, one where it does not, a refusal where none would do.

use super::*;

fn metadata(model: &str, tokens: &[&str], types: &[i32]) -> Metadata {
    let tokens: Vec<String> = tokens.iter().map(|token| token.to_string()).collect();
    Metadata::from_iter([
        ("tokenizer.ggml.model", Value::String(model.into())),
        ("tokenizer.ggml.pre", Value::String("gpt-2".into())),
        ("tokenizer.ggml.scores", Value::Array(Array::F32(vec![-1.0; tokens.len()]))),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types.to_vec()))),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    ])
}

/// A tokenizer.json that says what its kind implies, but for `parts`.
fn document(model: &str, parts: Json) -> Json {
    let mut document = match model {
        "gpt2" => {
            json!({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}})
        }
        "llama" => json!({
            "normalizer": {"type": "Sequence", "normalizers": spaces()},
            "model": {"type": "BPE", "vocab": {}, "merges": [], "byte_fallback": true, "fuse_unk": true},
        }),
        _ => json!({
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}]},
            "model": unigram(json!([["a", -1.5], ["<s>", 0.0], ["<x>", 0.0]])),
        }),
    };
    document["added_tokens"] =
        json!([{"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "<x>"}]);
    for (field, part) in parts.as_object().expect("an object") {
        document[field] = part.clone();
    }
    document
}

fn unigram(vocab: Json) -> Json {
    json!({"type": "Unigram", "vocab": vocab, "unk_id": null})
}

/// The own keys of a tokenizer with one plain and two added tokens.
fn own(model: &str, parts: Json) -> Result<Vec<(String, Value)>> {
    let mut metadata = metadata(model, &["a", "<s>", "<x>"], &[1, 3, 4]);
    if model == "t5" {
        metadata.insert("tokenizer.ggml.add_eos_token", Value::Bool(false));
    }
    let n = metadata.len();
    let document = super::super::document(document(model, parts));
    write(Path::new("tokenizer.json"), &document, &mut metadata)?;
    Ok(metadata.iter().skip(n).map(|(key, value)| (key.to_string(), value.clone())).collect())
}

fn spaces() -> [Json; 2] {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    [json!({"type": "Prepend", "prepend": "▁"}), replace]
}

fn text(key: &str, text: impl ToString) -> (String, Value) {
    (key.to_string(), Value::String(text.to_string()))
}

fn ids(key: &str, ids: &[i32]) -> (String, Value) {
    (key.to_string(), Value::Array(Array::I32(ids.to_vec())))
}

#[test]
fn what_the_format_tells_has_no_key() {
    for model in ["gpt2", "llama"] {
        // What stands for unknown texts is stated where there are some.
        let keys = own(model, json!({})).unwrap();
        assert!(keys.iter().all(|(key, _)| key == own_keys::MODEL), "{model}: {keys:?}");
    }
    let nested = json!({"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": spaces()}]});
    let none = json!({"type": "Sequence", "pretokenizers": []});
    let keys = own("llama", json!({"normalizer": nested, "pre_tokenizer": none})).unwrap();
    assert!(keys.iter().all(|(key, _)| key == own_keys::MODEL), "{keys:?}");
    let added = json!([{"id": 2, "content": "<x>", "normalized": true},
        {"id": 1, "content": "<s>", "special": true, "normalized": true}]);
    assert_eq!(own("gpt2", json!({"added_tokens": added})).unwrap(), []);
}

#[test]
fn rules_for_the_unknown_count_where_something_is_unknown() {
    let rules = |model: Json| match &own("gpt2", json!({"model": model})).unwrap()[..] {
        [] => None,
        [(key, Value::String(rules))] if key == own_keys::MODEL => Some(rules.clone()),
        other => panic!("{other:?}"),
    };
    let mut vocab: serde_json::Map<String, Json> =
        (0..=255u8).map(|byte| (rules::character_of_byte(byte).to_string(), byte.into())).collect();
    let bpe = |vocab: &serde_json::Map<String, Json>| json!({"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "a", "fuse_unk": true});
    assert_eq!(rules(bpe(&vocab)), None);
    vocab.remove("Ġ");
    let expected =
        r#"{"n_tokens":3,"unk_id":97,"fuse_unk":true,"byte_fallback":false,"ignore_merges":false}"#;
    assert_eq!(rules(bpe(&vocab)).as_deref(), Some(expected));
    let whole = json!({"type": "BPE", "vocab": {}, "merges": [], "ignore_merges": true});
    assert!(rules(whole).unwrap().contains(r#""ignore_merges":true"#));
}

#[test]
fn where_and_how_added_tokens_are_matched_is_kept() {
    let added = |added: Json| match &own("gpt2", json!({"added_tokens": added})).unwrap()[..] {
        [(key, Value::String(tokens))] if key == own_keys::ADDED_TOKENS => tokens.clone(),
        other => panic!("{other:?}"),
    };
    let flags = json!([{"id": 1, "content": "<s>", "normalized": true, "lstrip": true},
        {"id": 2, "content": "<x>", "rstrip": true, "single_word": true}]);
    let expected = r#"[{"id":1,"content":"<s>","lstrip":true,"normalized":true},{"id":2,"content":"<x>","single_word":true,"rstrip":true}]"#;
    assert_eq!(added(flags), expected);
    // `<x>` is nowhere in tokenizer.json: a file beside it adds it.
    let fewer = json!([{"id": 1, "content": "<s>"}, {"id": 9, "content": "b"}]);
    assert_eq!(added(fewer.clone()), r#"[{"id":1,"content":"<s>"},{"id":2,"content":"<x>"}]"#);
    let model = json!({"type": "BPE", "vocab": {"<x>": 2}, "merges": []});
    let keys = own("gpt2", json!({"added_tokens": fewer, "model": model})).unwrap();
    assert!(keys.contains(&text(own_keys::ADDED_TOKENS, r#"[{"id":1,"content":"<s>"}]"#)), "{keys:?}");
}

#[test]
fn other_normalizers_and_pre_tokenizers_are_kept_as_they_are_spelled() {
    let nfc = json!({"type": "NFC"});
    assert_eq!(own("gpt2", json!({"normalizer": nfc})).unwrap(), [text(own_keys::NORMALIZER, &nfc)]);
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
    let keys = own("llama", json!({"normalizer": null, "pre_tokenizer": metaspace})).unwrap();
    assert!(keys.contains(&text(own_keys::NORMALIZER, "null")), "{keys:?}");
    assert!(keys.contains(&text(own_keys::PRE_TOKENIZER, &metaspace)), "{keys:?}");
    let map = json!({"type": "Sequence", "normalizers": [nfc, {"type": "Precompiled", "precompiled_charsmap": "AAAA"}]});
    let keys = own("t5", json!({"normalizer": map})).unwrap();
    let expected = r#"{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Precompiled","precompiled_charsmap":""}]}"#;
    assert!(keys.contains(&text(own_keys::NORMALIZER, expected)), "{keys:?}");
    let expanded = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|\p{L}";
    let split =
        json!({"type": "Split", "pattern": {"Regex": expanded}, "behavior": "Isolated", "invert": false});
    assert_eq!(
        own("gpt2", json!({"pre_tokenizer": split})).unwrap(),
        [text(own_keys::PRE_TOKENIZER, &split)]
    );
}

#[test]
fn what_is_put_around_a_text_is_kept() {
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let template = |single: Json| {
        let special = json!({"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}});
        json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special})
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let around = template(json!([token("<s>"), text, token("<s>")]));
    let expected = [ids(own_keys::PREFIX, &[1]), ids(own_keys::SUFFIX, &[1])];
    assert_eq!(own("gpt2", json!({"post_processor": around})).unwrap(), expected);
    let roberta = json!({"type": "RobertaProcessing", "sep": ["<x>", 2], "cls": ["<s>", 1],
        "trim_offsets": true, "add_prefix_space": false});
    let both = json!({"type": "Sequence", "processors": [around, roberta]});
    let expected = [ids(own_keys::PREFIX, &[1, 1]), ids(own_keys::SUFFIX, &[1, 2])];
    assert_eq!(own("gpt2", json!({"post_processor": both})).unwrap(), expected);
    assert_eq!(own("gpt2", json!({"post_processor": template(json!([text]))})).unwrap(), []);
    for (single, word) in [(json!([text, text]), "2 times"), (json!([text, token("<y>")]), "<y>")] {
        let error = own("gpt2", json!({"post_processor": template(single)})).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: post_processor.s") && error.contains(word), "{error}");
    }
}

#[test]
fn scores_that_32_bits_do_not_hold_are_kept() {
    let keys = |score: f64, unk_id: Json| {
        let vocab = json!([["<unk>", 0.0], ["<s>", score], ["<x>", 0.0]]);
        let mut model = unigram(vocab);
        model["unk_id"] = unk_id;
        own("t5", json!({"model": model})).unwrap()
    };
    let scores = |keys: Vec<(String, Value)>| keys.into_iter().find(|(key, _)| key == own_keys::SCORES);
    assert_eq!(scores(keys(-1.5, json!(null))), None);
    let expected = Value::Array(Array::F64(vec![0.0, -0.1, 0.0]));
    assert_eq!(scores(keys(-0.1, json!(0))).map(|(_, value)| value), Some(expected));
}

#[test]
fn merges_that_scores_do_not_imply_are_kept() {
    let check = |scores: [f32; 3], kept: bool| {
        let mut metadata = metadata("llama", &["a", "aa", "aaa"], &[1, 1, 1]);
        metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores.to_vec())));
        let model = json!({"type": "BPE", "vocab": {"a": 0, "aa": 1, "aaa": 2}, "byte_fallback": true,
            "merges": [["a", "a"], ["a", "aa"], ["aa", "a"]]});
        let document = super::super::document(document("llama", json!({"model": model, "added_tokens": []})));
        write(Path::new("t"), &document, &mut metadata).unwrap();
        let merges = ["a a", "a aa", "aa a"].map(String::from);
        assert_eq!(metadata.strings(MERGES), kept.then_some(&merges[..]));
    };
    check([0.0, -1.0, -2.0], false);
    check([0.0, -2.0, -1.0], true);
}

#[test]
fn decoders_say_how_a_text_begins() {
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let (bytes, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"});
    let sequence = |steps: &[&Json]| json!({"type": "Sequence", "decoders": steps});
    let space = |model: &str, decoder: Json| -> Result<Option<Value>> {
        let keys = own(model, json!({"decoder": decoder}))?;
        Ok(keys.into_iter().find(|(key, _)| key == own_keys::LEADING_SPACE).map(|(_, value)| value))
    };
    let name = |name: &str| Some(Value::String(name.into()));
    assert_eq!(space("llama", sequence(&[&replace, &bytes, &fuse, &strip])).unwrap(), None);
    assert_eq!(space("llama", sequence(&[&replace, &bytes, &fuse])).unwrap(), name("kept"));
    assert_eq!(space("llama", sequence(&[&bytes, &metaspace])).unwrap(), name("first_token_without"));
    assert_eq!(space("t5", metaspace.clone()).unwrap(), None);
    for (model, decoder) in [
        ("gpt2", metaspace.clone()),
        ("llama", json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true})),
        ("llama", sequence(&[&fuse, &metaspace])),
        ("t5", json!({"type": "WordPiece", "prefix": "##", "cleanup": true})),
    ] {
        let error = space(model, decoder).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: decoder: expected steps"), "{error}");
    }
    for less in [sequence(&[&replace, &fuse]), sequence(&[&bytes, &fuse])] {
        let error = space("llama", less).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: decoder: expected one that writes"), "{error}");
    }
}

#[test]
fn parts_of_unknown_kinds_are_refused() {
    let new = json!({"type": "FromElsewhere"});
    for field in ["normalizer", "pre_tokenizer", "post_processor"] {
        let error = own("llama", json!({field: new})).unwrap_err().to_string();
        assert!(error.starts_with(&format!("tokenizer.json: {field}: expected a kind")), "{error}");
    }
    for mark in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let model = json!({"type": "BPE", "vocab": {}, "merges": [], mark: "@@"});
        let error = own("gpt2", json!({"model": model})).unwrap_err().to_string();
        assert_eq!(error, format!("tokenizer.json: model.{mark}: expected none, got \"@@\""));
    }
}
