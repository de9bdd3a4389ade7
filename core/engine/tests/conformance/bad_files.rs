//! Bad files: one clear error each, and the process lives.

use formats::gguf::{Array, GgmlType, Value};
use llama_pajamas_engine::{Error, LoadSettings};
use std::path::Path;

use crate::tiny_model::{N_EMBD, TinyModel};
use crate::{engine, no_progress};

fn load(path: &Path) -> Error {
    match engine().load(path, &LoadSettings::default(), &mut no_progress) {
        Ok(model) => panic!("{} loaded: {} tokens", path.display(), model.n_vocab()),
        Err(error) => error,
    }
}

/// The error of a file with these bytes, which must name the file.
fn error_of(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.gguf");
    std::fs::write(&path, bytes).unwrap();
    let message = load(&path).to_string();
    assert!(message.contains("bad.gguf"), "{message}");
    assert!(!message.contains('\n'), "{message}");
    message
}

#[track_caller]
fn check(change: impl FnOnce(&mut TinyModel), part: &str) {
    let mut model = TinyModel::new();
    change(&mut model);
    let message = error_of(&model.bytes());
    assert!(message.contains(part), "{message}");
}

fn set(key: &'static str, value: Value) -> impl FnOnce(&mut TinyModel) {
    move |model| {
        model.metadata.insert(key, value);
    }
}

#[test]
fn files_that_are_not_there_or_not_files() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(load(&dir.path().join("none.gguf")), Error::Read { .. }));
    let message = load(dir.path()).to_string();
    assert!(message.contains(&*dir.path().to_string_lossy()), "{message}");
    let message = load(Path::new("a\0b")).to_string();
    assert!(message.contains("a\0b"), "{message:?}");
}

#[test]
fn garbage_and_truncation_anywhere() {
    error_of(b"");
    error_of(b"GGUF");
    error_of(b"GGML and more");
    error_of(&[0xff; 4096]);
    let whole = TinyModel::new().bytes();
    for part in 1..32 {
        error_of(&whole[..whole.len() * part / 32]);
    }
    error_of(&whole[..whole.len() - 1]);
}

#[test]
fn tensors_that_are_missing_or_of_another_shape_or_type() {
    let remove = |model: &mut TinyModel| {
        model.tensors.retain(|(spec, _)| spec.name != "blk.1.ffn_up.weight");
    };
    check(remove, "blk.1.ffn_up.weight");
    let shape = |model: &mut TinyModel| {
        let (spec, weights) = &mut model.tensors[0];
        spec.dims[1] -= 1;
        weights.truncate(weights.len() - N_EMBD);
    };
    check(shape, "token_embd.weight");
    let of_type = |name: &'static str, ty| {
        move |model: &mut TinyModel| {
            let tensor = model.tensors.iter_mut().find(|(spec, _)| spec.name == name).unwrap();
            tensor.0.ty = ty;
        }
    };
    check(of_type("blk.0.attn_q.weight", GgmlType::I32), "`blk.0.attn_q.weight` is of I32");
    check(of_type("output_norm.weight", GgmlType::I32), "`output_norm.weight` is a vector of I32");
}

#[test]
fn metadata_that_would_end_the_process() {
    check(|model| drop(model.metadata.remove("general.architecture")), "`general.architecture` is missing");
    check(set("general.architecture", Value::String("abacus".to_owned())), "abacus");
    check(set("llama.block_count", Value::U32(0)), "`llama.block_count` is U32(0)");
    check(set("llama.block_count", Value::U32(100_000)), "expected 1 ..= 512");
    check(set("llama.block_count", Value::U32(3)), "blk.2");
    check(set("llama.embedding_length", Value::String("64".to_owned())), "`llama.embedding_length`");
    check(set("llama.attention.head_count", Value::U32(5)), "expected a divisor of 5 heads");
    check(set("llama.attention.head_count", Value::Bool(true)), "`llama.attention.head_count`");
    check(set("llama.expert_count", Value::U32(1 << 20)), "expected 0 ..= 1024");
    check(set("llama.expert_used_count", Value::U32(2)), "expected a part of 0 experts");
    check(set("llama.rope.scaling.type", Value::String("spiral".to_owned())), "`spiral`");
    check(set("llama.context_length", Value::String("long".to_owned())), "llama.context_length");
    check(set("tokenizer.ggml.tokens", Value::U32(7)), "is not a list of texts");
    check(set("tokenizer.ggml.tokens", Value::Array(Array::String(Vec::new()))), "has 0 tokens");
    check(set("split.count", Value::U32(3)), "split.count: expected a u16");
    check(set("split.count", Value::U16(3)), "split.no");
}
