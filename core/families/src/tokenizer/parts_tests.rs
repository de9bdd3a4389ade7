//! Tests of [`super`]: what each kind implies, and that keys of our own take its place.

use super::*;
use formats::gguf::{Array, Value};

fn metadata(model: &str, types: &[i32], more: &[(&str, Value)]) -> Metadata {
    let tokens =
        ["<unk>", "<s>", "</s>", "a", "[PAD4]", "[PAD5]"][..types.len()].iter().map(|text| text.to_string());
    let tables = [
        ("tokenizer.ggml.model", Value::String(model.into())),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.collect()))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types.to_vec()))),
    ];
    tables.into_iter().chain(more.iter().cloned()).collect()
}

const TYPES: [i32; 6] = [2, 3, 3, 1, 5, 5];

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn special(id: u32, content: &str) -> AddedToken {
    let [single_word, lstrip, rstrip, normalized] = [false; 4];
    AddedToken { id, content: content.into(), single_word, lstrip, rstrip, normalized, special: true }
}

#[test]
fn sentencepiece_files_imply_a_space_before_the_text_and_bos() {
    let parts = Parts::implied(&metadata("llama", &TYPES, &[])).unwrap();
    assert_eq!((parts.prefix, parts.suffix), (vec![1], vec![]));
    assert_eq!((parts.bos, parts.eos, parts.rules.unk_id), (Some(1), Some(2), Some(0)));
    assert_eq!(parts.rules.n_tokens, 4);
    assert_eq!(parts.added_tokens, [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")]);
    assert_eq!(parts.normalizer["normalizers"].as_array().map(Vec::len), Some(2));
    assert_eq!(parts.leading_space, LeadingSpace::OneDropped);
    let keys = [
        ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.ggml.add_eos_token", Value::Bool(true)),
        ("tokenizer.ggml.eos_token_id", Value::U32(3)),
    ];
    let parts = Parts::implied(&metadata("llama", &TYPES, &keys)).unwrap();
    assert_eq!((parts.prefix, parts.suffix), (vec![], vec![3]));
    assert_eq!(parts.normalizer["normalizers"].as_array().map(Vec::len), Some(1));
    assert_eq!(parts.leading_space, LeadingSpace::Kept);
}

#[test]
fn other_kinds_imply_what_llama_cpp_takes_for_granted() {
    let llama_3 = [("tokenizer.ggml.pre", text("llama-bpe")), ("tokenizer.ggml.bos_token_id", Value::U32(1))];
    let parts = Parts::implied(&metadata("gpt2", &TYPES, &llama_3)).unwrap();
    assert!(parts.rules.ignore_merges && !parts.rules.byte_fallback);
    assert_eq!((parts.prefix, parts.suffix, parts.eos), (vec![1], vec![], None));
    let unnamed = Parts::implied(&metadata("gpt2", &TYPES, &[])).unwrap();
    assert_eq!(unnamed.pre_tokenizer, pre_tokenizers::by_name("default").unwrap().to_json());
    assert_eq!((unnamed.prefix, unnamed.normalizer, unnamed.rules.unk_id), (vec![], Json::Null, None));
    let map = [("tokenizer.ggml.precompiled_charsmap", Value::Array(Array::U8(vec![1])))];
    let unigram = Parts::implied(&metadata("t5", &TYPES, &map)).unwrap();
    assert_eq!((unigram.prefix, unigram.suffix), (vec![], vec![1]));
    assert_eq!(unigram.normalizer["type"], "Precompiled");
    assert_eq!(unigram.pre_tokenizer["pretokenizers"][0]["type"], "WhitespaceSplit");
    assert!(Parts::implied(&metadata("bert", &TYPES, &[])).unwrap().prefix.is_empty());
}

#[test]
fn keys_of_our_own_take_the_place_of_what_is_implied() {
    let added = r#"[{"id":1,"content":"<s>","normalized":true,"special":true}]"#;
    let keys = [
        (own_keys::ADDED_TOKENS, text(added)),
        (own_keys::NORMALIZER, text(r#"{"type":"NFC"}"#)),
        (own_keys::PRE_TOKENIZER, text("null")),
        (
            own_keys::MODEL,
            text(
                r#"{"n_tokens":3,"unk_id":null,"fuse_unk":false,"byte_fallback":true,"ignore_merges":true}"#,
            ),
        ),
        (own_keys::PREFIX, Value::Array(Array::I32(vec![]))),
        (own_keys::SUFFIX, Value::Array(Array::I32(vec![2, 1]))),
        (own_keys::LEADING_SPACE, text("kept")),
    ];
    let parts = Parts::read(&metadata("t5", &TYPES, &keys)).unwrap();
    assert_eq!(parts.added_tokens, [AddedToken { normalized: true, ..special(1, "<s>") }]);
    assert_eq!(serde_json::to_string(&parts.added_tokens).unwrap(), added);
    assert_eq!((parts.normalizer, parts.pre_tokenizer), (json!({"type": "NFC"}), Json::Null));
    assert_eq!((parts.rules.n_tokens, parts.rules.unk_id, parts.rules.byte_fallback), (3, None, true));
    assert_eq!((parts.prefix, parts.suffix), (vec![], vec![2, 1]));
    assert_eq!(parts.leading_space, LeadingSpace::Kept);
    let plain = metadata("t5", &TYPES, &[]);
    assert_eq!(Parts::read(&plain).unwrap(), Parts::implied(&plain).unwrap());
}

#[test]
fn own_keys_that_cannot_be_are_refused_by_name() {
    let rules = r#"{"n_tokens":7,"unk_id":null,"fuse_unk":false,"byte_fallback":true,"ignore_merges":true}"#;
    for (key, value) in [
        (own_keys::ADDED_TOKENS, text("[{}]")),
        (own_keys::ADDED_TOKENS, text(r#"[{"id":6,"content":"x"}]"#)),
        (own_keys::MODEL, text("7")),
        (own_keys::MODEL, text(rules)),
        (own_keys::NORMALIZER, text("{")),
        (own_keys::PREFIX, Value::Array(Array::I32(vec![-1]))),
        (own_keys::SUFFIX, Value::Array(Array::I32(vec![6]))),
        (own_keys::LEADING_SPACE, text("lost")),
        ("tokenizer.ggml.pre", text("no-such-name")),
        ("tokenizer.ggml.model", text("rwkv")),
    ] {
        let mut metadata = metadata("gpt2", &TYPES, &[]);
        metadata.insert(key, value);
        let error = Parts::read(&metadata).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
