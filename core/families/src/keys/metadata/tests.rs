//! Tests of architecture metadata: keys, types and order as llama.cpp's converter writes them.

use super::*;
use serde_json::json;

fn keys(config: serde_json::Value) -> Vec<(String, Value)> {
    let description = detect_config(&config).expect("a whole configuration");
    let family = Family::for_architecture(&description.architecture).expect("described by one");
    let metadata = family.metadata(&config, OutputType::Bf16).expect("described before");
    metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

fn base(model_type: &str) -> serde_json::Value {
    json!({"model_type": model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0})
}

fn u32_at(key: &str, value: u32) -> (String, Value) {
    (key.into(), Value::U32(value))
}

fn f32_at(key: &str, value: f32) -> (String, Value) {
    (key.into(), Value::F32(value))
}

#[test]
fn llama_keys_stand_in_the_converter_s_order() {
    let expected = [
        u32_at("llama.block_count", 2),
        u32_at("llama.context_length", 512),
        u32_at("llama.embedding_length", 64),
        u32_at("llama.feed_forward_length", 96),
        u32_at("llama.attention.head_count", 4),
        u32_at("llama.attention.head_count_kv", 2),
        f32_at("llama.rope.freq_base", 500_000.0),
        f32_at("llama.attention.layer_norm_rms_epsilon", 1e-5),
        u32_at("llama.attention.key_length", 16),
        u32_at("llama.attention.value_length", 16),
        u32_at("general.file_type", 32),
        u32_at("llama.vocab_size", 100),
        u32_at("llama.rope.dimension_count", 16),
        u32_at("general.quantization_version", 2),
    ];
    assert_eq!(keys(base("llama")), expected);
}

#[test]
fn mixtral_writes_experts_and_no_head_width_unless_stated() {
    let mut config = base("mixtral");
    config["num_local_experts"] = json!(8);
    config["num_experts_per_tok"] = json!(2);
    let names = |config: serde_json::Value| -> Vec<String> {
        keys(config).into_iter().map(|(key, _)| key.replace("llama.", "")).collect()
    };
    let without = names(config.clone());
    assert_eq!(without[8..10], ["expert_count", "expert_used_count"]);
    assert!(!without.contains(&"attention.key_length".to_string()));
    config["head_dim"] = json!(32);
    let with = keys(config);
    assert!(with.contains(&u32_at("llama.attention.key_length", 32)));
    assert!(with.contains(&u32_at("llama.rope.dimension_count", 32)));
}

#[test]
fn qwen3moe_writes_the_expert_width_behind_the_file_type() {
    let mut config = base("qwen3_moe");
    config["norm_topk_prob"] = json!(true);
    config["num_experts"] = json!(8);
    config["num_experts_per_tok"] = json!(2);
    config["moe_intermediate_size"] = json!(32);
    let keys = keys(config.clone());
    let at = keys.iter().position(|(key, _)| key == "general.file_type").expect("written");
    assert_eq!(keys[at + 1], u32_at("qwen3moe.expert_feed_forward_length", 32));
    config["shared_expert_intermediate_size"] = json!(0);
    let keys = self::keys(config);
    assert_eq!(keys[at + 2], u32_at("qwen3moe.expert_shared_feed_forward_length", 0));
}

#[test]
fn rope_scaling_keys_stand_before_the_base() {
    let rope = |scaling: serde_json::Value| -> Vec<(String, Value)> {
        let mut config = base("qwen3");
        config["rope_scaling"] = scaling;
        let keys = keys(config).into_iter();
        keys.filter_map(|(key, value)| Some((key.strip_prefix("qwen3.rope.")?.to_string(), value))).collect()
    };
    let base = f32_at("freq_base", 500_000.0);
    let kind = |name: &str| ("scaling.type".to_string(), Value::String(name.into()));
    let linear = json!({"type": "linear", "factor": 8});
    assert_eq!(rope(linear), [kind("linear"), f32_at("scaling.factor", 8.0), base.clone()]);
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128,
        "beta_fast": 32, "attention_factor": 1.5});
    let expected = [
        kind("yarn"),
        f32_at("scaling.factor", 4.0),
        u32_at("scaling.original_context_length", 128),
        f32_at("scaling.yarn_attn_factor", 1.5),
        f32_at("scaling.yarn_beta_fast", 32.0),
        base.clone(),
    ];
    assert_eq!(rope(yarn), expected);
    assert_eq!(rope(json!({"type": "dynamic", "factor": 2.0})), [base]);
    let sections = rope(json!({"rope_type": "default", "mrope_section": [24, 20, 20]}));
    let padded = Value::Array(Array::I32(vec![24, 20, 20, 0]));
    assert_eq!(sections[0], ("dimension_sections".to_string(), padded));
}

#[test]
fn words_for_numbers_are_known_or_named() {
    let mut config = base("llama");
    config["scoring_func"] = json!("sigmoid");
    assert!(keys(config.clone()).contains(&u32_at("llama.expert_gating_func", 2)));
    config["scoring_func"] = json!("guess");
    let family = Family::for_architecture("llama").expect("built in");
    let error = family.metadata(&config, OutputType::F32).expect_err("no such word").to_string();
    assert!(error.contains("scoring_func") && error.contains("guess"), "{error}");
}

#[test]
fn vectors_norms_and_routers_stay_in_f32() {
    for (name, n_dims, ty) in [
        ("token_embd.weight", 2, GgmlType::F16),
        ("blk.0.attn_q_norm.weight", 1, GgmlType::F32),
        ("blk.0.ffn_gate_inp.weight", 2, GgmlType::F32),
        ("blk.0.ssm_conv1d.weight", 2, GgmlType::F32),
        ("blk.0.ffn_gate_exps.weight", 3, GgmlType::F16),
        ("blk.0.attn_q.bias", 1, GgmlType::F32),
    ] {
        assert_eq!(OutputType::F16.of_tensor(name, n_dims), ty, "{name}");
    }
    assert_eq!(OutputType::F32.of_tensor("token_embd.weight", 2), GgmlType::F32);
}
