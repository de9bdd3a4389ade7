//! The same binary with each CPU variant forced: equal greedy tokens.
//!
//! Owns: the proof of run-time dispatch. A process has one variant, so the test starts itself once
//! per variant. May know: the public API. Must not know: how variants are built.

#![cfg(feature = "gguf")]
#![allow(missing_docs, clippy::print_stdout, reason = "the child answers on standard output")]

#[path = "conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the conformance suite")]
mod tiny_model;

use std::ops::ControlFlow;
use std::process::Command;

use llama_pajamas_engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas_engine::{CancelToken, ContextSettings, Engine, LoadSettings, Logits, Token};

/// Tells a child which variant to use.
const VARIANT: &str = "LLAMA_PAJAMAS_TEST_CPU_VARIANT";
const ANSWER: &str = "greedy tokens:";

#[test]
fn every_usable_variant_chooses_the_same_tokens() {
    let variants = GgufEngine::cpu_variants().all;
    let answers: Vec<(&str, String)> = variants
        .iter()
        .filter(|variant| variant.usable)
        .map(|variant| (variant.name, child(variant.name)))
        .collect();
    assert!(answers.iter().any(|(name, _)| *name == GgufEngine::cpu_variants().best));
    for (name, answer) in &answers {
        assert_eq!(*answer, answers[0].1, "{name} and {}", answers[0].0);
    }
}

/// What this test binary answers with `variant` forced.
fn child(variant: &str) -> String {
    let binary = std::env::current_exe().expect("this binary");
    let output = Command::new(binary)
        .args(["--exact", "as_a_child", "--ignored", "--nocapture"])
        .env(VARIANT, variant)
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{variant}: {}: {text}", output.status);
    let answer = text.lines().find_map(|line| line.split_once(ANSWER));
    answer.unwrap_or_else(|| panic!("{variant}: {text}")).1.to_owned()
}

#[test]
#[ignore = "the other half of `every_usable_variant_chooses_the_same_tokens`"]
fn as_a_child() {
    let cpu_variant = std::env::var(VARIANT).ok();
    let engine = GgufEngine::start(EngineOptions { cpu_variant, log: None }).expect("starts");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = tiny_model::TinyModel::new().write(dir.path());
    let model =
        engine.load(&path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).expect("loads");
    let settings = ContextSettings { n_ctx: 256, ..ContextSettings::default() };
    let mut context = model.new_context(&settings).expect("opens");
    let cancel = CancelToken::new();
    let mut chosen: Vec<Token> = vec![1, 2, 3];
    context.decode(&chosen, Logits::Last, &cancel).expect("decodes");
    while chosen.len() < 40 {
        let row = context.logits(0).expect("kept").iter().enumerate();
        let best = row.max_by(|a, b| a.1.total_cmp(b.1)).expect("not empty").0 as Token;
        chosen.push(best);
        context.decode(&[best], Logits::Last, &cancel).expect("decodes");
    }
    println!("{ANSWER} {chosen:?}");
}
