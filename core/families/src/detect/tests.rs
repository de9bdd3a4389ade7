//! Tests of detection from config.json, on configurations written for them.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn llama() -> Value {
    json!({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "hidden_act": "silu",
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"}})
}

fn qwen3_moe() -> Value {
    json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
        "max_position_embeddings": 40960, "num_experts": 128, "num_experts_per_tok": 8,
        "moe_intermediate_size": 768, "decoder_sparse_step": 1, "mlp_only_layers": [], "rope_theta": 1e6})
}

fn mixtral() -> Value {
    json!({"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 32768, "num_local_experts": 8, "num_experts_per_tok": 2})
}

fn without(mut config: Value, field: &str) -> Value {
    config.as_object_mut().expect("an object").remove(field);
    config
}

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

#[test]
fn parameters_match_the_published_counts() {
    for (config, total, active) in [
        (llama(), 8_030_261_248, 8_030_261_248),
        (qwen3_moe(), 30_532_122_624, 3_353_032_704),
        (mixtral(), 46_702_792_704, 12_879_925_248),
    ] {
        let found = detect_config(&config).expect("a whole configuration").parameters;
        assert_eq!(found, Parameters { total, active });
    }
}

#[test]
fn shape_is_read_from_the_file() {
    let description = detect_config(&qwen3_moe()).expect("a whole configuration");
    assert_eq!((description.n_heads, description.n_kv_heads, description.gqa_ratio()), (32, 4, 8));
    let moe = description.moe.expect("routed");
    assert_eq!((moe.n_experts, moe.n_active, moe.expert_ffn_size), (128, 8, 768));
    assert_eq!(description.layers.len(), 48);
    assert!(description.layers.iter().all(|layer| layer.is_routed()));
    assert_eq!(description.rope.theta, 1e6);
    assert_eq!(detect_config(&llama()).map(|d| (d.head_dim, d.max_context)), Ok((128, 131_072)));
}

#[test]
fn a_missing_field_is_named() {
    let shared = [
        "model_type",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
    ];
    let routed = ["num_key_value_heads", "num_experts_per_tok"];
    for (config, fields) in [(llama(), &[][..]), (mixtral(), &routed), (qwen3_moe(), &routed)] {
        for field in shared.iter().chain(fields) {
            let error = detect_config(&without(config.clone(), field));
            assert_eq!(error, Err(Error::Missing { field: (*field).into() }));
        }
    }
    let error = detect_config(&without(qwen3_moe(), "num_experts"));
    assert_eq!(error, Err(Error::Missing { field: "num_experts".into() }));
}

#[test]
fn a_mistyped_or_absurd_field_is_named_with_what_stands_there() {
    for field in [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
    ] {
        for value in
            [json!("many"), json!(0), json!(-3), json!(2.5), json!(1u64 << 60), json!([1]), json!({})]
        {
            let error = detect_config(&with(qwen3_moe(), field, value.clone())).expect_err(field).to_string();
            assert!(error.contains(&format!("`{field}`")) && error.contains(&value.to_string()), "{error}");
        }
    }
    for (field, value) in [
        ("model_type", json!(3)),
        ("tie_word_embeddings", json!("yes")),
        ("rope_theta", json!("x")),
        ("sliding_window", json!(true)),
        ("text_config", json!(1)),
        ("quantization_config", json!("fp8")),
        ("hidden_act", json!("gelu")),
        ("num_hidden_layers", json!(5000)),
        ("num_key_value_heads", json!(5)),
        ("num_attention_heads", json!(30)),
    ] {
        let error = detect_config(&with(llama(), field, value)).expect_err(field).to_string();
        let named = if field == "num_attention_heads" { "num_key_value_heads" } else { field };
        assert!(error.contains(&format!("`{named}`")), "{error}");
    }
}

#[test]
fn fields_must_fit_each_other() {
    let config = without(with(llama(), "hidden_size", json!(4100)), "num_key_value_heads");
    assert!(detect_config(&config).expect_err("4100 / 32").to_string().contains("`hidden_size`"));
    let config = with(qwen3_moe(), "num_experts_per_tok", json!(129));
    assert!(detect_config(&config).expect_err("129 of 128").to_string().contains("at most 128"));
    let config = with(qwen3_moe(), "mlp_only_layers", json!([3]));
    assert!(detect_config(&config).expect_err("mixed layers").to_string().contains("`mlp_only_layers`"));
}

#[test]
fn defaults_are_the_configuration_class_s() {
    let config = without(without(llama(), "rope_scaling"), "rope_theta");
    let description = detect_config(&without(config, "num_key_value_heads")).expect("defaults suffice");
    assert_eq!((description.n_kv_heads, description.rope.theta), (32, 10_000.0));
    assert_eq!(detect_config(&mixtral()).map(|d| d.rope.theta), Ok(1e6));
}

#[test]
fn an_enclosed_text_model_is_the_one_described() {
    let text = without(llama(), "model_type");
    let config = json!({"model_type": "llama", "hidden_size": 7, "text_config": text, "vision_config": {}});
    let description = detect_config(&config).expect("a whole configuration");
    assert_eq!(description.hidden_size, 4096);
    assert!(description.modalities.vision && !description.modalities.audio);
}

#[test]
fn windows_and_stretchings_that_are_not_applied_are_told() {
    let warnings = |config: Value| detect_config(&config).expect("a whole configuration").warnings;
    let windowed = with(mixtral(), "sliding_window", json!(4096));
    assert!(warnings(windowed.clone())[0].contains("4096"));
    assert!(warnings(with(windowed, "use_sliding_window", json!(false))).is_empty());
    assert!(warnings(with(mixtral(), "sliding_window", json!(32768))).is_empty());
    let dynamic = with(mixtral(), "rope_scaling", json!({"type": "dynamic", "factor": 2.0}));
    assert!(warnings(dynamic)[0].contains("dynamic"));
}

#[test]
fn a_shared_type_without_the_fields_that_tell_is_no_plain_decoder() {
    let config = with(llama(), "layer_types", json!(["x"]));
    let error =
        detect_config(&with(config, "model_type", json!("granitemoehybrid"))).expect_err("no such layer");
    assert!(error.to_string().contains("`layer_types`"), "{error}");
}

#[test]
fn an_unknown_plain_decoder_is_described_with_a_warning() {
    let config = with(llama(), "model_type", json!("brand_new"));
    let description = detect_config(&config).expect("a plain decoder");
    assert_eq!((description.family.as_str(), description.architecture.as_str()), ("generic", "llama"));
    assert!(description.warnings[0].contains("brand_new"));
    assert_eq!(description.parameters.total, 8_030_261_248);
    for (field, value, fits) in [
        ("kv_lora_rank", json!(512), false),
        ("kv_lora_rank", json!(null), true),
        ("layer_types", json!(["full_attention"]), false),
        ("layer_types", json!([]), true),
        ("use_qk_norm", json!(true), false),
        ("use_qk_norm", json!(false), true),
        ("rope_scaling", json!({"rope_type": "default", "mrope_section": [8, 12, 12]}), false),
    ] {
        match detect_config(&with(config.clone(), field, value)) {
            Ok(_) => assert!(fits, "{field}"),
            Err(error) => assert!(!fits && error.to_string().contains(field), "{error}"),
        }
    }
    let error = detect_config(&without(config, "intermediate_size")).expect_err("no width").to_string();
    assert!(error.contains("intermediate_size") && error.contains("brand_new"), "{error}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u64..5000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["llama", "qwen3_moe", "yarn", "llama3", "linear", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop::sample::select(vec!["rope_type", "factor", "type", "full_attention", "quant_method"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_string), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_configuration_panics(base in 0usize..3, fields in prop::collection::vec((0usize..64, any_json()), 0..4)) {
        let mut config = [llama(), mixtral(), qwen3_moe()][base].clone();
        let mut names: Vec<String> = config.as_object().expect("an object").keys().cloned().collect();
        names.extend(["rope_parameters", "text_config", "quantization_config", "sliding_window", "mlp_bias"]
            .map(String::from));
        for (field, value) in fields {
            config[names[field % names.len()].as_str()] = value;
        }
        if let Ok(description) = detect_config(&config) {
            prop_assert_eq!(description.layers.len(), description.n_layers as usize);
            let family = Family::for_architecture(&description.architecture).expect("described by one");
            let _ = family.metadata(&config, OutputType::F16);
        }
    }

    #[test]
    fn no_value_panics(config in any_json()) {
        prop_assert!(detect_config(&config).is_err());
    }
}
