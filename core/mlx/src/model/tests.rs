//! Small directories, whole and broken.

use super::*;
use formats::safetensors::{TensorSpec, file_start};
use serde_json::json;
use std::collections::BTreeMap;

/// A Qwen3 with experts of one layer, packed in 4 bits, its norms in BF16.
fn config() -> Value {
    json!({"model_type": "qwen3_moe", "vocab_size": 32, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "num_experts": 2,
        "num_experts_per_tok": 1, "moe_intermediate_size": 32, "norm_topk_prob": true, "tie_word_embeddings": true,
        "max_position_embeddings": 128, "rope_theta": 1e6, "rms_norm_eps": 1e-5,
        "quantization": {"group_size": 32, "bits": 4, "mode": "affine",
            "model.layers.0.mlp.gate": {"group_size": 64, "bits": 8}}})
}

fn packed(module: &str, shape: &[u64], bits: u64, group: u64) -> Vec<TensorSpec> {
    let of = |part: &str, dtype, columns| {
        let mut shape = shape.to_vec();
        *shape.last_mut().expect("a shape") = columns;
        TensorSpec { name: format!("{module}.{part}"), dtype, shape }
    };
    let columns = shape[shape.len() - 1];
    let groups = columns / group;
    vec![
        of("weight", Dtype::U32, columns * bits / 32),
        of("scales", Dtype::BF16, groups),
        of("biases", Dtype::BF16, groups),
    ]
}

fn tensors() -> Vec<TensorSpec> {
    let norm = |name: &str, width| TensorSpec { name: name.into(), dtype: Dtype::BF16, shape: vec![width] };
    let layer = |name: &str| format!("model.layers.0.{name}");
    let mut all = packed("model.embed_tokens", &[32, 64], 4, 32);
    all.extend(packed(&layer("self_attn.q_proj"), &[128, 64], 4, 32));
    all.extend(packed(&layer("self_attn.k_proj"), &[64, 64], 4, 32));
    all.extend(packed(&layer("self_attn.v_proj"), &[64, 64], 4, 32));
    all.extend(packed(&layer("self_attn.o_proj"), &[64, 128], 4, 32));
    all.extend(packed(&layer("mlp.gate"), &[2, 64], 8, 64));
    all.extend(packed(&layer("mlp.switch_mlp.gate_proj"), &[2, 32, 64], 4, 32));
    all.extend(packed(&layer("mlp.switch_mlp.up_proj"), &[2, 32, 64], 4, 32));
    all.extend(packed(&layer("mlp.switch_mlp.down_proj"), &[2, 64, 32], 4, 32));
    all.extend([norm("model.norm.weight", 64), norm(&layer("input_layernorm.weight"), 64)]);
    all.push(norm(&layer("post_attention_layernorm.weight"), 64));
    all.extend(["q_norm", "k_norm"].map(|name| norm(&layer(&format!("self_attn.{name}.weight")), 32)));
    all
}

fn opened(config: &Value, tensors: &[TensorSpec]) -> Result<Model, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let mut file = file_start(tensors, &BTreeMap::new()).expect("sound");
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes().expect("sound")).sum();
    file.resize(file.len() + bytes as usize, 0);
    std::fs::write(folder.path().join("model.safetensors"), file).expect("written");
    Model::open(folder.path())
}

fn refused(config: &Value, tensors: &[TensorSpec]) -> String {
    opened(config, tensors).expect_err("refused").to_string()
}

#[test]
fn every_tensor_is_known_by_what_it_does() {
    let model = opened(&config(), &tensors()).expect("a whole directory");
    assert_eq!(model.held.len(), 14);
    let stack = &model.held["blk.0.ffn_down_exps.weight"];
    assert_eq!(stack.shape, [2, 64, 32]);
    assert_eq!(stack.grid, Some(Grid { mode: Mode::Affine, bits: 4, group: 32 }));
    let router = &model.held["blk.0.ffn_gate_inp.weight"];
    assert_eq!((router.shape.clone(), router.grid.map(|grid| grid.bits)), (vec![2, 64], Some(8)));
    assert_eq!((model.n_vocab(), model.epsilon()), (32, 1e-5));
    // Two heads of 32 for keys and values, 2 bytes each; rows grow by 256.
    assert_eq!(model.cache_bytes(100, 16, false), 2 * 2 * 32 * 2 * 256);
    let bytes: u64 = tensors().iter().map(|tensor| tensor.bytes().expect("sound")).sum();
    assert_eq!(model.weights_bytes(), bytes);
}

#[test]
fn what_is_missing_or_of_another_shape_is_named() {
    let without = |part: &str| -> Vec<TensorSpec> {
        tensors().into_iter().filter(|tensor| !tensor.name.contains(part)).collect()
    };
    let with = |part: &str, change: &dyn Fn(&mut TensorSpec)| {
        let mut all = tensors();
        change(all.iter_mut().find(|tensor| tensor.name.contains(part)).expect("there is one"));
        refused(&config(), &all)
    };
    for (error, parts) in [
        (refused(&config(), &without("up_proj")), ["model.safetensors", "blk.0.ffn_up_exps.weight"]),
        (refused(&config(), &without("q_norm")), ["blk.0.attn_q_norm.weight", "found none"]),
        (refused(&config(), &without("k_proj.biases")), ["k_proj.weight", "expected biases beside scales"]),
        (with("v_proj.weight", &|tensor| tensor.shape[0] = 32), ["v_proj.scales", "[32, 2], got [64, 2]"]),
        (with("v_proj.weight", &|tensor| tensor.shape[1] = 7), ["v_proj.weight", "whole groups"]),
        (with("v_proj.weight", &|tensor| tensor.dtype = Dtype::I32), ["v_proj.weight", "U32, got I32"]),
        (with("v_proj.scales", &|tensor| tensor.dtype = Dtype::I16), ["v_proj.scales", "BF16, got I16"]),
        (with("model.norm", &|tensor| tensor.shape[0] = 32), ["model.norm.weight", "[64], got [32]"]),
        (with("q_norm", &|tensor| tensor.name = "model.door.weight".into()), ["model.door.weight", "qwen3"]),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{error} ({parts:?})");
    }
}

#[test]
fn other_models_are_refused_by_field() {
    let with = |field: &str, value: Value| {
        let mut config = config();
        config[field] = value;
        refused(&config, &tensors())
    };
    let error = with("model_type", json!("olmo2"));
    assert!(error.contains("config.json: ") && error.contains("`model_type`"), "{error}");
    assert!(error.contains("gpt_oss") && error.ends_with("got `olmo2`"), "{error}");
    let error = with("quantization", Value::Null);
    assert!(error.contains("`quantization`: expected the grid of stored codes"), "{error}");
    let error = with("num_attention_heads", json!("many"));
    assert!(error.contains("config.json") && error.contains("num_attention_heads"), "{error}");
    let nothing = tempfile::tempdir().expect("a folder");
    let error = Model::open(nothing.path()).expect_err("nothing there").to_string();
    assert!(error.contains("config.json"), "{error}");
}

#[test]
fn shards_are_those_of_the_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("written");
    write("config.json", config().to_string().as_bytes());
    let (first, second) = (tensors()[..9].to_vec(), tensors()[9..].to_vec());
    let mut map = serde_json::Map::new();
    for (name, tensors) in [("model-1.safetensors", &first), ("model-2.safetensors", &second)] {
        let mut file = file_start(tensors, &BTreeMap::new()).expect("sound");
        let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes().expect("sound")).sum();
        file.resize(file.len() + bytes as usize, 0);
        write(name, &file);
        map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
    }
    write("model.safetensors.index.json", json!({"weight_map": map}).to_string().as_bytes());
    assert_eq!(Model::open(folder.path()).expect("whole").files.paths.len(), 2);
    map.insert("model.door.weight".into(), json!("model-2.safetensors"));
    write("model.safetensors.index.json", json!({"weight_map": map}).to_string().as_bytes());
    let error = Model::open(folder.path()).expect_err("not there").to_string();
    assert!(error.contains("model-2.safetensors") && error.contains("model.door.weight"), "{error}");
}
