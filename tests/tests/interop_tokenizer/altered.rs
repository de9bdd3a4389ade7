//! Tokenizers made of those at hand by putting other parts in. Owns the table; must not compare.

use serde_json::{Value, json};

/// Tokenizers with parts that those at hand lack, each made of one of them.
pub(super) fn altered() -> Vec<(&'static str, &'static str, Value)> {
    let added = |id: u32, content: &str, flags: &[&str]| {
        let all = ["single_word", "lstrip", "rstrip", "normalized", "special"];
        let mut token = json!({"id": id, "content": content});
        all.iter().for_each(|flag| token[*flag] = flags.contains(flag).into());
        token
    };
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
    let replace =
        |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let sequence = |field: &str, steps: Value| json!({"type": "Sequence", field: steps});
    let kept = sequence("decoders", json!([replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}]));
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let token = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let template = json!({"type": "TemplateProcessing", "single": [token("x"), text, token("y"), token("y")], "pair": [],
        "special_tokens": {"x": {"id": "x", "ids": [5, 6], "tokens": ["a", "b"]}, "y": {"id": "y", "ids": [7], "tokens": ["c"]}}});
    let splits_at_spaces = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
    vec![
        ("gpt2", "NFC", json!({"normalizer": {"type": "NFC"}})),
        (
            "gpt2",
            "NFKC, lower case",
            json!({"normalizer": sequence("normalizers", json!([{"type": "NFKC"}, {"type": "Lowercase"}]))}),
        ),
        (
            "gpt2",
            "flags of added tokens",
            json!({"added_tokens": [
            added(50256, "<|endoftext|>", &["special", "lstrip", "rstrip"]), added(338, "'s", &["single_word"]),
            added(165, "é", &[]), added(50257, "▁two▁words", &["normalized"]), added(50258, "<|tool|>", &[])]}),
        ),
        ("gpt2", "ids around a text", json!({"post_processor": template})),
        ("gpt2", "pieces that are tokens stay whole", json!({"model": {"ignore_merges": true}})),
        (
            "SmolLM2-135M-Instruct",
            "an unknown token",
            json!({"model": {"unk_token": "<|endoftext|>", "fuse_unk": true}}),
        ),
        (
            "llama2",
            "Metaspace first",
            json!({"normalizer": null, "pre_tokenizer": metaspace("first", false)}),
        ),
        (
            "llama2",
            "Metaspace always, decoder that keeps spaces",
            json!({"normalizer": null, "decoder": kept, "pre_tokenizer": metaspace("always", true)}),
        ),
        (
            "llama2",
            "no space before the text",
            json!({"normalizer": replace(" ", "▁"), "pre_tokenizer": splits_at_spaces, "decoder": kept}),
        ),
        ("llama2", "without BOS", json!({"post_processor": null})),
        (
            "t5",
            "tokens behind the model's",
            json!({"added_tokens": [
            added(0, "<pad>", &["special"]), added(1, "</s>", &["special"]), added(2, "<unk>", &["special"]),
            added(32100, "<x>", &["special", "normalized"]), added(532, "the", &["single_word"]), added(32101, "…", &["rstrip"])]}),
        ),
        (
            "t5",
            "spaces kept",
            json!({"normalizer": {"type": "NFKC"}, "pre_tokenizer": metaspace("first", true)}),
        ),
        (
            "t5",
            "spaces joined",
            json!({"pre_tokenizer": metaspace("always", true), "normalizer":
            sequence("normalizers", json!([{"type": "Nmt"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]))}),
        ),
    ]
}
