//! Factors move between tensors without changing what a model computes: every architecture that they may move in, with random
//! factors in all places, by the engine, on tiny models that transformers makes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{CancelToken, ContextSettings, Engine, KvType, LoadSettings, Logits, Token};
use families::OutputType;
use llama_pajamas_tests::tiny_models;
use quantizer::source::{Checkpoint, TensorSource, describe};
use quantizer::{Folding, folding_architectures};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

/// Tokens that are read.
const N: usize = 24;

fn logits(engine: &GgufEngine, source: &dyn TensorSource, path: &Path) -> Option<Vec<f32>> {
    let out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    quantizer::convert(source, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    let load = LoadSettings { repack: false, ..LoadSettings::default() };
    let model = engine.load(path, &load, &mut |_| ControlFlow::Continue(())).ok()?;
    let n_vocab = model.n_vocab();
    let settings = ContextSettings {
        n_ctx: 256,
        n_batch: 256,
        n_ubatch: 256,
        n_threads: 1,
        n_threads_batch: 1,
        n_outputs_max: N as u32,
        type_k: KvType::F32,
        type_v: KvType::F32,
        flash_attention: Some(false),
        ..ContextSettings::default()
    };
    let mut context = model.new_context(&settings).ok()?;
    let tokens: Vec<Token> = (0..N).map(|at| (at * 7919 % n_vocab) as Token).collect();
    context.decode(&tokens, Logits::All, &CancelToken::new()).ok()?;
    Some((0..N).flat_map(|row| context.logits(row).unwrap().to_vec()).collect())
}

#[test]
fn factors_in_all_places_leave_what_every_architecture_computes() {
    let work = tempfile::tempdir().unwrap();
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let mut moved: BTreeMap<String, f32> = BTreeMap::new();
    for model in tiny_models(work.path()) {
        let Ok(source) = Checkpoint::open(&model) else { continue };
        let architecture = describe(&source).unwrap().architecture;
        let mut seed = 1u32;
        let mut factor = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (((seed >> 8) as f32 / (1 << 24) as f32 - 0.5) * 1.4).exp()
        };
        let folding = Folding::by(&source, &mut factor).unwrap();
        // Blocks that only checkpoints bring along are computed otherwise than the floats they stand for.
        let is_stored = source.tensors().iter().any(|tensor| tensor.ty.is_quantized());
        if folding.exchanges.is_empty() || is_stored {
            continue;
        }
        let name = model.file_name().unwrap().to_string_lossy().into_owned();
        let [whole, folded] = ["whole", "folded"].map(|name| work.path().join(format!("{name}.gguf")));
        let Some(expected) = logits(&engine, &source, &whole) else { continue };
        let got = logits(&engine, &folding.source(&source), &folded).unwrap();
        let power: f32 = expected.iter().map(|logit| logit * logit).sum();
        let apart: f32 = expected.iter().zip(&got).map(|(a, b)| (a - b).powi(2)).sum();
        let error = (apart / power).sqrt();
        println!("{name:32} {architecture:16} {:3} exchanges: {error:.1e}", folding.exchanges.len());
        let worst = moved.entry(architecture).or_default();
        *worst = worst.max(error);
    }
    for (architecture, error) in &moved {
        // GELU is looked up in a table of halves.
        assert!(*error < 2e-4, "{architecture}: {error:e}");
    }
    let tried: BTreeSet<&str> = moved.keys().map(String::as_str).collect();
    let untried: Vec<&str> = folding_architectures().filter(|name| !tried.contains(name)).collect();
    assert!(untried.is_empty(), "nothing was tried of {untried:?}");
}
