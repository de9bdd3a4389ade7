//! Tokenizer files: every kind once, both forms of merges, defaults, and what is refused with field and byte.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const BPE: &str = r#"{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#;

fn with(field: &str, value: &Value) -> Result<TokenizerJson, Error> {
    parse(format!(r#"{{"version":"1.0","{field}":{value},"model":{BPE}}}"#).as_bytes())
}

fn model(value: Value) -> Result<Model, Error> {
    parse(json!({ "model": value }).to_string().as_bytes()).map(|tokenizer| tokenizer.model)
}

fn bpe(value: Value) -> Bpe {
    match model(value).unwrap() {
        Model::Bpe(bpe) => bpe,
        other => panic!("expected BPE, got {other:?}"),
    }
}

#[test]
fn both_forms_of_merges_are_read() {
    let vocab = json!({"a": 0, "b": 1, "ab": 2, "c d": 3});
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let strings = bpe(json!({"type": "BPE", "vocab": vocab, "merges": ["#version: 0.2", "a b", "ab ab"]}));
    assert_eq!(strings.merges, [pair("a", "b"), pair("ab", "ab")]);
    let pairs = bpe(json!({"type": "BPE", "vocab": vocab, "merges": [["a", "b"], ["c d", "a"]]}));
    assert_eq!(pairs.merges, [pair("a", "b"), pair("c d", "a")]);
    assert_eq!(pairs.vocab[3], ("c d".into(), 3));
}

#[test]
fn fields_of_a_model_have_defaults() {
    let defaults =
        bpe(json!({"type": "BPE", "vocab": {}, "merges": [], "fuse_unk": null, "unk_token": null}));
    assert!(!defaults.fuse_unk && !defaults.byte_fallback && !defaults.ignore_merges);
    assert_eq!((defaults.unk_token, defaults.dropout), (None, None));
    let set = json!({"type": "BPE", "vocab": {}, "merges": [], "ignore_merges": true, "byte_fallback": true});
    assert!(bpe(set.clone()).ignore_merges && bpe(set).byte_fallback);
    let Model::WordPiece(pieces) = model(json!({"type": "WordPiece", "vocab": {"[UNK]": 0}})).unwrap() else {
        panic!("expected WordPiece")
    };
    assert_eq!((pieces.continuing_subword_prefix.as_str(), pieces.max_input_chars_per_word), ("##", 100));
}

#[test]
fn every_model_is_told_apart_with_and_without_its_type() {
    let list = json!([["<unk>", 0.0], ["a", -1.5]]);
    for (mut value, kind) in [
        (json!({"type": "BPE", "vocab": {}, "merges": []}), "Bpe"),
        (json!({"type": "Unigram", "vocab": list, "unk_id": 0}), "Unigram"),
        (json!({"type": "WordPiece", "vocab": {}, "max_input_chars_per_word": 9}), "WordPiece"),
        (json!({"type": "WordLevel", "vocab": {}, "unk_token": "?"}), "WordLevel"),
    ] {
        assert!(format!("{:?}", model(value.clone()).unwrap()).starts_with(kind), "{value}");
        assert_eq!(model(value.clone()).unwrap().kind(), value["type"]);
        value.as_object_mut().unwrap().remove("type");
        assert!(format!("{:?}", model(value.clone()).unwrap()).starts_with(kind), "{value}");
    }
    let unknown = json!({"type": "Neural", "layers": [1]});
    assert_eq!(model(unknown.clone()).unwrap().kind(), "Neural");
    assert_eq!(model(unknown.clone()).unwrap(), Model::Unknown { kind: "Neural".into(), raw: unknown });
}

#[test]
fn models_that_cannot_be_are_refused_by_field() {
    for (value, word) in [
        (json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}), "model.merges[0] at byte"),
        (json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}), "two sides"),
        (json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b", "c"]]}), "two sides"),
        (json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}), "expected a merge"),
        (json!({"type": "BPE", "vocab": {"a": -1}, "merges": []}), "model.vocab.a at byte"),
        (json!({"type": "BPE", "vocab": {"a": 1 << 24}, "merges": []}), "ids below 16777216"),
        (json!({"type": "BPE", "vocab": [], "merges": []}), "an object from token to id"),
        (json!({"type": "BPE", "vocab": {}}), "missing field `merges`"),
        (json!({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 1}), "unk_id below 1"),
        (json!({"type": "Unigram", "vocab": {"a": 0}}), "model.vocab"),
        (json!({"type": "WordLevel", "vocab": {}}), "missing field `unk_token`"),
        (json!({"type": 7}), "model.type"),
        (json!("BPE"), "model"),
        (Value::Null, "model: expected an object, got nothing"),
    ] {
        let message = model(value.clone()).unwrap_err().to_string();
        assert!(message.contains(word), "{value}: {message}");
    }
    let twice = r#"{"model":{"type":"BPE","merges":[],"vocab":{"a":0,"a":1}}}"#;
    assert!(parse(twice.as_bytes()).unwrap_err().to_string().contains(r#""a" appears twice"#));
}

#[test]
fn every_normalizer_is_known() {
    for kind in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt", "StripAccents", "ByteLevel"] {
        let normalizer = with("normalizer", &json!({"type": kind})).unwrap().normalizer.unwrap();
        assert!(format!("{normalizer:?}").eq_ignore_ascii_case(kind), "{normalizer:?}");
    }
    let sequence = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        {"type": "Strip", "strip_left": true, "strip_right": false},
        {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": false},
        {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
        {"type": "Sequence", "normalizers": []},
    ]});
    let tokenizer = with("normalizer", &sequence).unwrap();
    let Some(Normalizer::Sequence(items)) = tokenizer.normalizer else { panic!("expected a sequence") };
    assert_eq!(items[0], Normalizer::Prepend { prepend: "▁".into() });
    let replace = |pattern, content: &str| Normalizer::Replace(Replace { pattern, content: content.into() });
    assert_eq!(items[1], replace(Pattern::String(" ".into()), "▁"));
    assert_eq!(items[2], replace(Pattern::Regex(" {2,}".into()), " "));
    assert!(!items.iter().any(|item| matches!(item, Normalizer::Unknown { .. })));
    assert_eq!(tokenizer.raw.normalizer, sequence);
    assert_eq!(tokenizer.raw.decoder, Value::Null);
}

#[test]
fn every_pre_tokenizer_is_known() {
    let sequence = json!({"type": "Sequence", "pretokenizers": [
        {"type": "BertPreTokenizer"},
        {"type": "Whitespace"},
        {"type": "WhitespaceSplit"},
        {"type": "UnicodeScripts"},
        {"type": "CharDelimiterSplit", "delimiter": "▁"},
        {"type": "Split", "pattern": {"Regex": "\\d"}, "behavior": "MergedWithNext", "invert": true},
        {"type": "Punctuation"},
        {"type": "Digits", "individual_digits": true},
        {"type": "FixedLength"},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true, "prepend_scheme": "first"},
        {"type": "Metaspace", "replacement": "▁", "add_prefix_space": false, "str_rep": "▁"},
    ]});
    let tokenizer = with("pre_tokenizer", &sequence).unwrap();
    let Some(PreTokenizer::Sequence(items)) = tokenizer.pre_tokenizer else { panic!("expected a sequence") };
    assert!(!items.iter().any(|item| matches!(item, PreTokenizer::Unknown { .. })));
    assert_eq!(items[6], PreTokenizer::Punctuation { behavior: SplitBehavior::Isolated });
    assert_eq!(items[8], PreTokenizer::FixedLength { length: 5 });
    let byte_level = ByteLevel { add_prefix_space: false, trim_offsets: true, use_regex: true };
    assert_eq!(items[9], PreTokenizer::ByteLevel(byte_level));
    let metaspace = |prepend_scheme| {
        PreTokenizer::Metaspace(Metaspace { replacement: '▁', prepend_scheme, split: true })
    };
    assert_eq!(items[10..], [metaspace(PrependScheme::First), metaspace(PrependScheme::Never)]);
}

#[test]
fn every_post_processor_and_decoder_is_known() {
    let processors = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": false},
        {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]},
        {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": true,
            "add_prefix_space": true},
        {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    ]});
    let tokenizer = with("post_processor", &processors).unwrap();
    let Some(PostProcessor::Sequence(items)) = tokenizer.post_processor else {
        panic!("expected a sequence")
    };
    let PostProcessor::Template { single, special_tokens, .. } = &items[3] else {
        panic!("expected a template")
    };
    assert_eq!(single[1], Piece::Sequence { id: SequenceId::A, type_id: 0 });
    assert_eq!(special_tokens["<s>"].ids, [1]);
    assert!(!items.iter().any(|item| matches!(item, PostProcessor::Unknown { .. })));
    let decoders = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        {"type": "WordPiece", "prefix": "##", "cleanup": true},
        {"type": "BPEDecoder", "suffix": "</w>"},
        {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true},
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    ]});
    let Some(Decoder::Sequence(items)) = with("decoder", &decoders).unwrap().decoder else {
        panic!("expected a sequence")
    };
    assert_eq!(items[3], Decoder::Strip { content: ' ', start: 1, stop: 0 });
    assert!(!items.iter().any(|item| matches!(item, Decoder::Unknown { .. })));
}

#[test]
fn unknown_kinds_are_kept_and_known_kinds_with_wrong_fields_refused() {
    let strange = json!({"type": "Telepathy", "strength": [1, 2]});
    let kept = with("normalizer", &strange).unwrap().normalizer;
    assert_eq!(kept, Some(Normalizer::Unknown { kind: "Telepathy".into(), raw: strange }));
    let typeless = with("decoder", &json!({"suffix": "x"})).unwrap().decoder;
    assert!(matches!(typeless, Some(Decoder::Unknown { kind, .. }) if kind.is_empty()));
    for (field, value, word) in [
        ("normalizer", json!({"type": "Prepend"}), "normalizer at byte 30: Prepend: missing field `prepend`"),
        ("normalizer", json!({"type": "Sequence"}), "expected a list `normalizers`"),
        ("normalizer", json!({"type": 7}), "expected a string"),
        ("decoder", json!([]), "expected an object"),
        ("pre_tokenizer", json!({"type": "Split", "pattern": {"Glob": "*"}}), "unknown variant `Glob`"),
        (
            "pre_tokenizer",
            json!({"type": "Metaspace", "replacement": "▁", "add_prefix_space": false, "prepend_scheme": "first"}),
            "agreement",
        ),
        ("added_tokens", json!([{"id": 1}]), "added_tokens[0] at byte"),
        ("version", json!(1), "version at byte"),
        ("truncation", json!("x".repeat(MAX_COMPONENT_BYTES)), "expected at most 1048576 bytes"),
    ] {
        let field_is_free = field != "version";
        let result = if field_is_free { with(field, &value) } else { parse(br#"{"version":1,"model":{}}"#) };
        let message = result.unwrap_err().to_string();
        assert!(message.contains(word), "{field}: {message}");
    }
}

#[test]
fn added_tokens_are_read_and_their_ids_bounded() {
    let token = |id: u64| {
        json!([{"id": id, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": true,
            "normalized": false, "special": true}])
    };
    let tokenizer = with("added_tokens", &token(5)).unwrap();
    assert!(tokenizer.added_tokens[0].id == 5 && tokenizer.added_tokens[0].rstrip);
    let message = with("added_tokens", &token(1 << 24)).unwrap_err().to_string();
    assert!(message.contains("ids below 16777216, got 16777216 for \"<s>\""), "{message}");
}

#[test]
fn documents_that_are_none_are_refused_at_their_byte() {
    for (json, word) in [
        ("", "byte 0: expected `{`, got the end"),
        ("[]", "byte 0: expected `{`, got `[`"),
        ("{", "document at byte 1: expected a value, got the end"),
        ("{}", "model: expected an object, got nothing"),
        ("{}x", "byte 2: expected the end of the document, got `x`"),
        ("{\"a\" 1}", "byte 5: expected `:`, got `1`"),
        ("{\"a\":1 \"b\":2}", "byte 7: expected `}`"),
        ("{\"a\":1,}", "document at byte"),
        ("{\"a\":\n\n[1,}", "document at byte 10"),
        ("{\"model\":{},\"model\":{}}", "model at byte 12: expected each part once"),
        ("{\"version\":\"2.0\",\"model\":{}}", "version at byte 11: expected \"1.0\", got \"2.0\""),
    ] {
        let message = parse(json.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(word), "{json}: {message}");
    }
    assert!(parse(b"{\"model\":{\"type\":\"\xff\"}}").is_err());
}

#[test]
fn deep_nesting_ends_with_an_error() {
    for depth in [200, 100_000] {
        let lists = format!(r#"{{"normalizer":{}{},"model":{BPE}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(parse(lists.as_bytes()).is_err());
        let open = r#"{"type":"Sequence","normalizers":["#.repeat(depth.min(20_000));
        let close = "]}".repeat(depth.min(20_000));
        let sequences = format!(r#"{{"normalizer":{open}{close},"model":{BPE}}}"#);
        assert!(parse(sequences.as_bytes()).is_err());
    }
}

proptest! {
    #[test]
    fn any_text_is_answered_without_panic(text in "[ \\[\\]{}:,\"a-c0-9\\\\]{0,60}") {
        let _ = parse(text.as_bytes());
        let _ = parse(format!(r#"{{"model":{text}}}"#).as_bytes());
    }

    #[test]
    fn vocabularies_and_merges_come_back_in_order(
        tokens in proptest::collection::btree_set(".{0,6}", 0..20),
        pairs in proptest::collection::vec((".{1,4}", ".{1,4}"), 0..20),
    ) {
        let vocab: Vec<_> = tokens.into_iter().zip(0u32..).collect();
        let object: serde_json::Map<_, _> = vocab.iter().map(|(t, id)| (t.clone(), (*id).into())).collect();
        let read = bpe(json!({"type": "BPE", "vocab": object, "merges": pairs}));
        prop_assert_eq!(read.vocab, vocab);
        prop_assert_eq!(read.merges, pairs);
    }
}
