//! Tiny checkpoints made here, and what becomes of them as files.

use super::*;
use formats::onnx::{ModelProto, tensor_floats};
use formats::safetensors::{Dtype, TensorSpec, file_start};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Width, inner width, patch and classes of the tiny ViT.
const SIZES: [u64; 4] = [4, 6, 2, 3];

fn tensors() -> Vec<(String, Vec<u64>)> {
    let [width, inner, patch, classes] = SIZES;
    let mut all = vec![
        ("vit.embeddings.cls_token".to_string(), vec![1, 1, width]),
        ("vit.embeddings.position_embeddings".into(), vec![1, 5, width]),
        ("vit.embeddings.patch_embeddings.projection.weight".into(), vec![width, 3, patch, patch]),
        ("vit.embeddings.patch_embeddings.projection.bias".into(), vec![width]),
    ];
    let mut linear = |name: &str, shape: &[u64]| {
        all.push((format!("{name}.weight"), shape.to_vec()));
        all.push((format!("{name}.bias"), shape[..1].to_vec()));
    };
    let layer = |part: &str| format!("vit.encoder.layer.0.{part}");
    for part in ["query", "key", "value"] {
        linear(&layer(&format!("attention.attention.{part}")), &[width, width]);
    }
    linear(&layer("attention.output.dense"), &[width, width]);
    linear(&layer("intermediate.dense"), &[inner, width]);
    linear(&layer("output.dense"), &[width, inner]);
    for norm in [layer("layernorm_before"), layer("layernorm_after"), "vit.layernorm".into()] {
        linear(&norm, &[width]);
    }
    linear("classifier", &[classes, width]);
    all
}

fn config() -> Value {
    let [width, inner, patch, _] = SIZES;
    json!({"model_type": "vit", "hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": inner, "image_size": 2 * patch, "patch_size": patch, "num_channels": 3})
}

/// Values are their number in the file, by eighths; those of `same` are 1.
fn checkpoint(folder: &Path, config: &Value, tensors: &[(String, Vec<u64>)], same: &[&str]) {
    let specs: Vec<TensorSpec> = tensors
        .iter()
        .map(|(name, shape)| TensorSpec { name: name.clone(), dtype: Dtype::F32, shape: shape.clone() })
        .collect();
    let mut bytes = file_start(&specs, &BTreeMap::new()).unwrap();
    let mut next = 0;
    for (name, shape) in tensors {
        for _ in 0..shape.iter().product::<u64>() {
            next += 1;
            let value = if same.iter().any(|part| name.contains(part)) { 1.0 } else { next as f32 / 8.0 };
            bytes.extend(value.to_le_bytes());
        }
    }
    std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

fn made(folder: &Path, request: &Request) -> Result<Report, Error> {
    export(folder, &folder.join("out"), request, &mut |_, _| ControlFlow::Continue(()))
}

fn read(folder: &Path, file: &str) -> ModelProto {
    crate::files::read(&folder.join("out/onnx").join(file)).unwrap()
}

#[test]
fn weights_lie_in_the_file_as_matrices_want_them_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(folder, &config(), &tensors(), &["layernorm_before", "vit.layernorm"]);
    let report = made(folder, &Request::default()).unwrap();
    assert_eq!((report.model_type.as_str(), report.companions), ("vit", vec!["config.json".to_string()]));
    // Two norms of a weight and a bias, all of ones.
    assert_eq!((report.graphs[0].n_shared, report.graphs[0].bytes_beside), (3, 0));
    let graph = read(folder, "model.onnx").graph.unwrap();
    let tensor = |name: &str| {
        let found = graph.initializer.iter().find(|tensor| tensor.name() == name);
        (found.unwrap().dims.clone(), tensor_floats(found.unwrap()).unwrap())
    };
    let (dims, values) = tensor("classifier.weight.turned");
    assert_eq!((dims, values[1] - values[0], values[3] - values[0]), (vec![4, 3], 0.5, 0.125));
    // The class token is the first of all numbers, and lies on the first position.
    let (dims, values) = tensor("vit.embeddings.position_embeddings");
    assert_eq!((dims, values[0], values[4]), (vec![5, 4], (1.0 + 5.0) / 8.0, 9.0 / 8.0));
    assert_eq!(
        (graph.input[0].name(), graph.output[0].name(), graph.output.len()),
        ("pixel_values", "logits", 1)
    );
    // Beside the graph and in halves, it has the same tensors.
    let request = Request { floats: Floats::Fp16, inline_bytes: 0, ..Request::default() };
    let report = made(folder, &request).unwrap();
    assert_eq!((report.graphs[0].file.as_str(), report.graphs[0].n_shared), ("onnx/model_fp16.onnx", 3));
    let halves = read(folder, "model_fp16.onnx").graph.unwrap();
    assert!(halves.initializer.iter().all(|tensor| tensor.element_type() != DataType::Float));
    assert_eq!(std::fs::read_dir(folder.join("out")).unwrap().count(), 2, "nothing half-written stays");
}

#[test]
fn names_may_lack_their_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let short: Vec<(String, Vec<u64>)> = tensors()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("classifier"))
        .map(|(name, shape)| (name.trim_start_matches("vit.").to_string(), shape))
        .collect();
    checkpoint(folder.path(), &config(), &short, &[]);
    made(folder.path(), &Request { opset: 17, ..Request::default() }).unwrap();
    let graph = read(folder.path(), "model.onnx").graph.unwrap();
    assert_eq!(graph.output[0].name(), "last_hidden_state");
    assert!(graph.node.iter().all(|node| !matches!(node.op_type(), "Attention" | "Gelu")));
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value, &mut Vec<(String, Vec<u64>)>), expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (mut config, mut tensors) = (config(), tensors());
    change(&mut config, &mut tensors);
    checkpoint(folder.path(), &config, &tensors, &[]);
    let error = made(folder.path(), &Request::default()).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "expected {part:?} in {error}");
    }
    assert!(!folder.path().join("out/onnx").exists());
}

#[test]
fn what_does_not_fit_is_named() {
    refused(|config, _| config["model_type"] = json!("toaster"), &["model_type", "vit", "`toaster`"]);
    refused(|config, _| config["hidden_act"] = json!("swish"), &["activation", "gelu", "`swish`"]);
    refused(|config, _| config["num_attention_heads"] = json!(3), &["heads", "divisor of 4", "3"]);
    refused(
        |config, _| config["num_hidden_layers"] = json!("many"),
        &["num_hidden_layers", "whole number", "many"],
    );
    refused(|config, _| config["hidden_size"] = json!(1u64 << 60), &["hidden_size", "16777216"]);
    refused(|config, _| config["num_hidden_layers"] = json!(2), &["vit.encoder.layer.1", "none"]);
    refused(|_, tensors| tensors[2].1[0] = 5, &["projection.weight", "[4, 3, 2, 2]", "[5, 3, 2, 2]"]);
    refused(|_, tensors| tensors[0].1[2] = 3, &["cls_token", "4", "3"]);
}

#[test]
fn cancelling_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path(), &config(), &tensors(), &[]);
    let out = folder.path().join("out");
    let stop = &mut |_, _| ControlFlow::Break(());
    assert!(matches!(export(folder.path(), &out, &Request::default(), stop), Err(Error::Cancelled)));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    let old = Request { opset: 16, ..Request::default() };
    assert_eq!(made(folder.path(), &old).unwrap_err().to_string(), "opset: expected 17 to 23, got 16");
    // Larger than halves can be.
    let big = [("classifier.bias".to_string(), vec![3])];
    let others = tensors().into_iter().filter(|(name, _)| name != "classifier.bias");
    let all: Vec<_> = others.chain(big).collect();
    checkpoint(folder.path(), &config(), &all, &[]);
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&1e6f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = made(folder.path(), &Request { floats: Floats::Fp16, ..Request::default() }).unwrap_err();
    assert_eq!(error.to_string(), "tensor `classifier.bias`: expected numbers up to 65504, got 1000000");
}
