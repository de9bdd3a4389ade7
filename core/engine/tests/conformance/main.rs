//! What every engine must do, and what the GGUF engine must refuse.
//!
//! Owns: the conformance suite over the engine traits, run here on the GGUF engine. May know: the
//! public API. Must not know: an engine's inside. Two threads at most: ggml's threads spin.

#![cfg(feature = "gguf")]
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod bad_files;
mod contexts;
mod loading;
#[cfg(any(feature = "vulkan", feature = "cuda", feature = "metal"))]
mod offload;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod paging;
#[cfg(feature = "predictions")]
mod predictions;
mod reference;
mod sequences;
mod states;
mod tiny_model;
mod vectors;
mod watch;

use std::ops::ControlFlow;
use std::sync::Arc;

use llama_pajamas_engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas_engine::{
    CancelToken, Context, ContextSettings, Engine, LoadSettings, Logits, Model, Token,
};

use tiny_model::TinyModel;

/// The engine under test.
fn engine() -> Box<dyn Engine> {
    Box::new(GgufEngine::start(EngineOptions::default()).expect("starts"))
}

/// The tiny model, loaded. The file may go: a mapped file stays readable.
fn tiny() -> Arc<dyn Model> {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    engine().load(&path, &LoadSettings::default(), &mut no_progress).expect("loads")
}

fn no_progress(_fraction: f32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Small and exact: no rounding of the cache, every token's logits.
fn settings() -> ContextSettings {
    ContextSettings {
        n_ctx: 256,
        n_batch: 64,
        n_ubatch: 16,
        n_outputs_max: 64,
        type_k: llama_pajamas_engine::KvType::F32,
        type_v: llama_pajamas_engine::KvType::F32,
        flash_attention: Some(false),
        ..ContextSettings::default()
    }
}

fn context() -> Box<dyn Context> {
    tiny().new_context(&settings()).expect("opens")
}

/// A sentence of the tiny language.
fn tokens(count: usize) -> Vec<Token> {
    (0..count).map(|i| ((i * i * 7 + i * 31 + 5) % tiny_model::N_VOCAB) as Token).collect()
}

fn decode(context: &mut dyn Context, tokens: &[Token]) -> Vec<f32> {
    context.decode(tokens, Logits::Last, &CancelToken::new()).expect("decodes");
    context.logits(0).expect("has logits").to_vec()
}

#[track_caller]
fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let (index, distance) = a
        .iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("not empty");
    assert!(distance <= tolerance, "value {index}: {} and {}", a[index], b[index]);
    assert!(a.iter().all(|value| value.is_finite()));
}
