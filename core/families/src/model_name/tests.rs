//! Tests of `general.*` metadata: which source says what, in which order.

use super::*;
use serde_json::json;

fn keys(
    directory: &str,
    config: serde_json::Value,
    card: &str,
    counts: WeightCounts,
) -> Vec<(String, Value)> {
    let generation = json!({"temperature": 1, "top_k": 20, "do_sample": true, "repetition_penalty": 1.5});
    let card = &ModelCard::parse(card);
    let metadata =
        general(Sources { directory, config: &config, generation: Some(&generation), card }, counts);
    metadata
        .iter()
        .map(|(key, value)| (key.trim_start_matches("general.").to_string(), value.clone()))
        .collect()
}

fn text(key: &str, value: &str) -> (String, Value) {
    (key.into(), Value::String(value.into()))
}

fn texts(key: &str, values: &[&str]) -> (String, Value) {
    let values = values.iter().map(ToString::to_string).collect();
    (key.into(), Value::Array(Array::String(values)))
}

#[test]
fn the_directory_names_a_model_that_nothing_else_names() {
    let counts = WeightCounts { total: 7_345_000, shared: 7_345_000, ..WeightCounts::default() };
    let expected = [
        text("type", "model"),
        ("sampling.top_k".into(), Value::I32(20)),
        ("sampling.temp".into(), Value::F32(1.0)),
        ("sampling.penalty_repeat".into(), Value::F32(1.5)),
        text("name", "Pajama 7m"),
        text("basename", "pajama"),
        text("size_label", "7M"),
    ];
    assert_eq!(keys("pajama-7m", json!({}), "", counts), expected);
}

#[test]
fn a_name_in_the_configuration_counts_before_the_directory() {
    let config = json!({"_name_or_path": "meta-llama/Llama-2-7b-hf"});
    let found = keys("checkout", config, "", WeightCounts::default());
    for expected in
        [text("name", "Llama 2 7b Hf"), text("organization", "Meta Llama"), text("basename", "Llama-2")]
    {
        assert!(found.contains(&expected), "{found:?}");
    }
    for path in ["/home/me/models/Llama-2-7b-hf", ""] {
        let found = keys("checkout", json!({"_name_or_path": path}), "", WeightCounts::default());
        assert!(found.contains(&text("name", "Checkout")), "{found:?}");
    }
}

#[test]
fn the_model_card_counts_first_and_adds_its_own() {
    let card = "---
license: [mit, other]
license_name: own
license_link: LICENSE
model_name: My Model
model_creator: Someone
model_type: llama
base_model:
- Qwen/Qwen3-8B
- https://huggingface.co/meta-llama/Llama-2-7b-v2
- https://example.com/a/b
- name: By hand
  version: '3'
datasets: wikimedia/wikipedia
tags: [chat]
pipeline_tag: text-generation
language:
- en
- no
---
";
    let found = keys("x-1B-v1", json!({}), card, WeightCounts::default());
    let expected = [
        text("name", "My Model"),
        text("author", "Someone"),
        text("version", "v1"),
        text("basename", "llama"),
        text("size_label", "1B"),
        text("license", "mit,other"),
        text("license.name", "own"),
        text("license.link", "LICENSE"),
        ("base_model.count".into(), Value::U32(4)),
        text("base_model.0.name", "Qwen3 8B"),
        text("base_model.0.organization", "Qwen"),
        text("base_model.0.repo_url", "https://huggingface.co/Qwen/Qwen3-8B"),
        text("base_model.1.name", "Llama 2 7b v2"),
        text("base_model.1.version", "v2"),
        text("base_model.1.organization", "Meta Llama"),
        text("base_model.1.repo_url", "https://huggingface.co/meta-llama/Llama-2-7b-v2"),
        text("base_model.2.repo_url", "https://example.com/a/b"),
        text("base_model.3.name", "By hand"),
        text("base_model.3.version", "3"),
        ("dataset.count".into(), Value::U32(1)),
        text("dataset.0.name", "Wikipedia"),
        text("dataset.0.organization", "Wikimedia"),
        text("dataset.0.repo_url", "https://huggingface.co/wikimedia/wikipedia"),
        texts("tags", &["chat", "text-generation"]),
        texts("languages", &["en", "no"]),
    ];
    assert_eq!(found[4..], expected);
}

#[test]
fn sizes_are_labelled_by_two_digits_or_by_experts() {
    for (count, label) in [
        (656_000, "656K"),
        (7_345_000, "7.3M"),
        (8_190_735_360, "8.2B"),
        (30_532_122_624, "31B"),
        (940, "0.9K"),
        (1_200_000_000_000, "1.2T"),
    ] {
        assert_eq!(rounded(count), label);
    }
    let dims: [(&str, &[u64]); 3] = [
        ("blk.0.ffn_up_exps.weight", &[1000, 1000, 8]),
        ("blk.0.ffn_gate_inp.weight", &[1000, 8]),
        ("token_embd.weight", &[1000, 6000]),
    ];
    let counts = WeightCounts::of(dims);
    assert_eq!((counts.n_experts, counts.per_expert, counts.total), (8, 1_000_000, 14_008_000));
    assert_eq!(size_label(counts), "8x7.0M");
}
