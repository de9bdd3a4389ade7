#![cfg(feature = "onnx")]
//! `quantize vision` and `quantize speech` without a library of ONNX Runtime: what is refused, and how it is said.
//! Knows the command alone.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The error of a command that must fail.
#[track_caller]
fn refusal(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"));
    let output = command
        .args(words)
        .env_remove("LLAMA_PAJAMAS_ONNXRUNTIME")
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .output()
        .unwrap();
    assert!(!output.status.success(), "{words:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn check(words: &[&str], expected: &[&str]) {
    let error = refusal(words);
    for part in expected {
        assert!(error.contains(part), "{words:?}: expected {part:?} in {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).display().to_string();
    let (model, broken) = (text("model.onnx"), text("libonnxruntime.so"));
    fs::write(&model, b"no model").unwrap();
    fs::write(&broken, b"no library").unwrap();
    check(&["quantize", "vision", &model], &["--calibration", "int8"]);
    check(
        &["quantize", "vision", &model, "--precision", "fp16", "--target", "toaster"],
        &["target", "cpu", "toaster"],
    );
    let nowhere = text("nowhere");
    let fp16 = ["quantize", "speech", &model, "--precision", "fp16", "--onnx-library"];
    check(&[&fp16[..], &[&nowhere]].concat(), &["no ONNX Runtime library", "1.22", "nowhere"]);
    check(&[&fp16[..], &[&broken]].concat(), &["not a usable ONNX Runtime library", "libonnxruntime.so"]);
    let plan = text("plan.json");
    fs::write(&plan, "{}").unwrap();
    check(
        &["quantize", "vision", &model, "--precision", "dynamic", "--plan", &plan],
        &["plan.json", "target"],
    );
    check(&["quantize"], &["<MODEL>"]);
    assert_eq!(
        files(folder.path()),
        ["libonnxruntime.so", "model.onnx", "plan.json"],
        "nothing else was written"
    );
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
