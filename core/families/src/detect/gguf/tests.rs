//! Tests of detection from GGUF metadata: what the converter's keys say is what config.json said.

use super::*;
use formats::gguf::{Array, GgmlType, Value};
use proptest::prelude::*;
use serde_json::json;

fn config() -> serde_json::Value {
    json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 100,
        "max_position_embeddings": 512, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 128}})
}

/// Metadata and tensors as a conversion of `config` has them.
fn converted(config: &serde_json::Value) -> (Metadata, Vec<TensorInfo>, Description) {
    let description = detect_config(config).expect("a whole configuration");
    let family = Family::for_architecture(&description.architecture).expect("described by one");
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", Value::String(description.architecture.clone()));
    for (key, value) in family.metadata(config, OutputType::F16).expect("described before").iter() {
        metadata.insert(key, value.clone());
    }
    let info = |shape: TensorShape| TensorInfo {
        bytes: shape.n_elements() * 4,
        name: shape.name,
        dims: shape.dims,
        ty: GgmlType::F32,
        offset: 0,
    };
    let tensors = description.tensor_shapes().into_iter().map(info).collect();
    (metadata, tensors, description)
}

#[test]
fn both_sources_give_the_same_description() {
    let dense = json!({"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "mlp_bias": true,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
        "max_position_embeddings": 512, "attention_bias": true, "tie_word_embeddings": true});
    let mut mixtral = dense.clone();
    mixtral["model_type"] = json!("mixtral");
    mixtral["num_local_experts"] = json!(4);
    mixtral["num_experts_per_tok"] = json!(1);
    mixtral["mlp_bias"] = json!(false);
    mixtral["head_dim"] = json!(24);
    for config in [config(), dense, mixtral] {
        let (metadata, tensors, description) = converted(&config);
        let mut found = detect_gguf_tensors(&metadata, &tensors).expect("described");
        // GGUF may state more numbers than the configuration did.
        found.quantities.retain(|name, _| description.quantities.contains_key(name));
        assert_eq!(found, description);
    }
}

#[test]
fn every_family_s_sample_is_described_by_its_file() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    for family in Family::all() {
        let path = folder.join(format!("{}.json", family.id()));
        let text =
            std::fs::read(&path).unwrap_or_else(|_| panic!("{}: a family has a sample", path.display()));
        let config = crate::parse_config(&text).expect("JSON");
        let (metadata, tensors, mut stated) = converted(&config);
        assert_eq!(stated.family, family.id());
        let mut read = detect_gguf_tensors(&metadata, &tensors).expect("described");
        // What the format has no place for, or states where configurations do not.
        stated.warnings.clear();
        read.warnings.clear();
        stated.quantities.remove("prediction_layers");
        stated.quantities.remove("unused_positions");
        stated.factors.clear();
        stated.flags.remove("scale_decoder_outputs");
        read.quantities.retain(|name, _| stated.quantities.contains_key(name));
        read.model_type.clone_from(&stated.model_type);
        if read.max_context == 1 << 20 {
            read.max_context = stated.max_context;
        }
        if read.rope.scaling == RopeScaling::Stored {
            read.rope.scaling.clone_from(&stated.rope.scaling);
        }
        assert_eq!(read, stated);
    }
}

#[test]
fn llama3_factors_are_found_stored_and_are_no_weights() {
    let config = json!({"model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 512,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}});
    let (metadata, tensors, description) = converted(&config);
    assert!(tensors.iter().any(|tensor| tensor.name == "rope_freqs.weight"));
    let found = detect_gguf_tensors(&metadata, &tensors).expect("described");
    assert_eq!(found.rope.scaling, RopeScaling::Stored);
    assert_eq!(found.parameters, description.parameters);
}

#[test]
fn a_vocabulary_alone_is_described_by_its_keys() {
    let (metadata, _, description) = converted(&config());
    let mut metadata = metadata;
    metadata.insert("qwen3moe.vocab_size", Value::U32(100));
    let found = detect_gguf_tensors(&metadata, &[]).expect("described");
    assert_eq!(found.layers, description.layers);
}

#[test]
fn missing_and_mistyped_keys_are_named() {
    let (metadata, tensors, _) = converted(&config());
    for key in [
        "general.architecture",
        "qwen3moe.block_count",
        "qwen3moe.embedding_length",
        "qwen3moe.feed_forward_length",
        "qwen3moe.attention.head_count",
        "qwen3moe.context_length",
        "qwen3moe.expert_used_count",
    ] {
        let mut changed = metadata.clone();
        changed.remove(key);
        let error = detect_gguf_tensors(&changed, &tensors);
        assert_eq!(error, Err(Error::Missing { field: key.into() }));
        for value in [Value::F32(2.0), Value::U64(1 << 60), Value::I32(-1), Value::U32(0)] {
            // A model whose every layer is routed may state no dense width.
            if key.ends_with("feed_forward_length") && value == Value::U32(0) {
                continue;
            }
            changed.insert(key, value);
            let error = detect_gguf_tensors(&changed, &tensors).expect_err(key).to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }
    let mut changed = metadata.clone();
    changed.insert("qwen3moe.block_count", Value::U32(5000));
    assert!(detect_gguf_tensors(&changed, &tensors).is_err());
    let mut changed = metadata;
    changed.insert("qwen3moe.attention.head_count", Value::Array(Array::I32(vec![4, 4])));
    let error = detect_gguf_tensors(&changed, &tensors).expect_err("2 of 3 layers").to_string();
    assert!(error.contains("3 whole numbers"), "{error}");
}

fn stranger(extra: &[(&str, Value)]) -> Result<Description, Error> {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", Value::String("stranger".into()));
    for (key, value) in [
        ("block_count", 4),
        ("embedding_length", 64),
        ("feed_forward_length", 128),
        ("attention.head_count", 4),
        ("context_length", 1024),
        ("vocab_size", 100),
    ] {
        metadata.insert(format!("stranger.{key}"), Value::U32(value));
    }
    for (key, value) in extra {
        metadata.insert(format!("stranger.{key}"), value.clone());
    }
    detect_gguf_tensors(&metadata, &[])
}

#[test]
fn an_unknown_architecture_is_described_by_standard_keys() {
    let description = stranger(&[]).expect("plain");
    assert_eq!((description.family.as_str(), description.head_dim), ("generic", 16));
    assert!(description.warnings[0].contains("stranger"));
    let heads = Value::Array(Array::I32(vec![2, 0, 2, 0]));
    let description = stranger(&[("attention.head_count_kv", heads)]).expect("per layer");
    let kv_heads: Vec<u32> =
        description.layers.iter().filter_map(Layer::attention).map(|a| a.n_kv_heads).collect();
    assert_eq!((kv_heads.as_slice(), description.n_kv_heads), (&[2, 0, 2, 0][..], 2));
    let error = stranger(&[("attention.kv_lora_rank", Value::U32(8))]).expect_err("latent").to_string();
    assert!(error.contains("stranger.attention.kv_lora_rank"), "{error}");
}

#[test]
fn windows_follow_their_pattern() {
    let window = ("attention.sliding_window", Value::U32(32));
    let slides = |description: &Description| -> Vec<bool> {
        let layers = description.layers.iter();
        layers.map(|l| l.attention().map(|a| a.reach) == Some(Reach::Sliding { window: 32 })).collect()
    };
    let group = ("attention.sliding_window_pattern", Value::U32(3));
    let description = stranger(&[window.clone(), group]).expect("grouped");
    assert_eq!(slides(&description), [true, true, false, true]);
    let flags = Value::Array(Array::Bool(vec![false, true, false, true]));
    let description =
        stranger(&[window.clone(), ("attention.sliding_window_pattern", flags)]).expect("flags");
    assert_eq!(slides(&description), [false, true, false, true]);
    let description = stranger(&[window]).expect("no pattern");
    assert!(!slides(&description).contains(&true) && description.warnings[1].contains("32"));
}

proptest! {
    #[test]
    fn no_metadata_panics(which in 0usize..64, value in prop_oneof![
        any::<u64>().prop_map(Value::U64), any::<i32>().prop_map(Value::I32), any::<f32>().prop_map(Value::F32),
        ".*".prop_map(Value::String), prop::collection::vec(any::<i32>(), 0..5).prop_map(|v| Value::Array(Array::I32(v))),
    ]) {
        let (mut metadata, tensors, _) = converted(&config());
        let keys: Vec<String> = metadata.iter().map(|(key, _)| key.to_string()).collect();
        metadata.insert(keys[which % keys.len()].clone(), value);
        let _ = detect_gguf_tensors(&metadata, &tensors);
        let _ = detect_gguf_tensors(&metadata, &[]);
    }
}
