#![cfg(feature = "onnx")]
//! `export` of a checkpoint that is made here, and what is refused. Knows the command alone.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::{Command, Output};

fn export(model: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"));
    command.arg("export").arg(model).arg("-o").arg(output).args(more).output().unwrap()
}

#[test]
fn what_does_not_fit_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (folder.path().join("model"), folder.path().join("out"));
    std::fs::create_dir(&model).unwrap();
    let refused = |more: &[&str], expected: &[&str]| {
        let done = export(&model, &output, more);
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && error.lines().count() == 1, "{error}");
        assert!(expected.iter().all(|part| error.contains(part)), "{expected:?}: {error}");
    };
    refused(&[], &["config.json"]);
    std::fs::write(model.join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    refused(&[], &["model.safetensors"]);
    let empty = b"{}      ";
    let bytes = [&(empty.len() as u64).to_le_bytes()[..], empty].concat();
    std::fs::write(model.join("model.safetensors"), bytes).unwrap();
    refused(&[], &["model_type", "vit, clip, whisper", "`bert`"]);
    refused(&["--opset", "12"], &["opset", "17 to 23"]);
    std::fs::write(model.join("config.json"), r#"{"model_type": "vit", "hidden_size": -4}"#).unwrap();
    refused(&[], &["config.json", "hidden_size", "-4"]);
    std::fs::write(model.join("config.json"), r#"{"model_type": "vit"}"#).unwrap();
    refused(&[], &["patch_embeddings.projection.weight", "[768, 3, 16, 16]", "none"]);
    assert!(!output.exists(), "something was written");
}
