//! The same model in other numbers: factors that move between tensors, and zeros that widths are padded with, leave what a model
//! computes. Every architecture for which the quantizer says so, by the engine, on tiny models that transformers makes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{CancelToken, ContextSettings, Engine, KvType, LoadSettings, Logits, Token};
use families::OutputType;
use llama_pajamas_tests::{GgufFile, tiny_models};
use quantizer::recipe::FileType;
use quantizer::source::{Checkpoint, TensorSource, describe, padding_architectures};
use quantizer::{BuildRequest, Folding, build_bundle, folding_architectures};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

/// Tokens that are read.
const N: usize = 24;

fn logits(engine: &GgufEngine, source: &dyn TensorSource, path: &Path) -> Option<Vec<f32>> {
    let out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    quantizer::convert(source, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    computed(engine, path)
}

fn computed(engine: &GgufEngine, path: &Path) -> Option<Vec<f32>> {
    let load = LoadSettings { repack: false, ..LoadSettings::default() };
    let model = engine
        .load(path, &load, &mut |_| ControlFlow::Continue(()))
        .inspect_err(|error| println!("{error}"))
        .ok()?;
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

#[test]
fn zeros_in_all_widths_leave_what_every_architecture_computes() {
    let work = tempfile::tempdir().unwrap();
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let mut padded: BTreeMap<String, f32> = BTreeMap::new();
    let mut refused = Vec::new();
    for model in tiny_models(work.path()) {
        let Ok(source) = Checkpoint::open(&model) else { continue };
        let architecture = describe(&source).unwrap().architecture;
        if !padding_architectures().any(|name| name == architecture) {
            continue;
        }
        let name = model.file_name().unwrap().to_string_lossy().into_owned();
        let whole = work.path().join("whole.gguf");
        let Some(expected) = logits(&engine, &source, &whole) else { continue };
        let request = BuildRequest {
            model: model.clone(),
            model_id: name.clone(),
            output: work.path().join(format!("padded-{name}")),
            precisions: vec![FileType::F32.into()],
            pad: true,
            threads: 2,
            ..BuildRequest::default()
        };
        let made = build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
        let file = request.output.join(&made.variants[0].id).join("model.gguf");
        let header = GgufFile::read(&file).header;
        for tensor in
            header.tensors.iter().filter(|tensor| tensor.name.contains("ffn_") && tensor.dims.len() > 1)
        {
            let is_bias = tensor.name.ends_with(".bias");
            assert!(
                is_bias || tensor.dims[0].is_multiple_of(256),
                "{name}: {} {:?}",
                tensor.name,
                tensor.dims
            );
        }
        let Some(got) = computed(&engine, &file) else {
            refused.push(name);
            continue;
        };
        let power: f32 = expected.iter().map(|logit| logit * logit).sum();
        let apart: f32 = expected.iter().zip(&got).map(|(a, b)| (a - b).powi(2)).sum();
        let error = (apart / power).sqrt();
        let hidden = describe(&source).unwrap().hidden_size;
        println!("{name:32} {architecture:16} {hidden:5} padded: {error:.1e}");
        // Products with blocks that only checkpoints bring along take what flows in by 8-bit codes: where the last bit of a sum
        // is another, a code may be.
        let is_stored = source.tensors().iter().any(|tensor| tensor.ty.is_quantized());
        let worst = padded.entry(architecture).or_default();
        *worst = worst.max(if is_stored { error / 100.0 } else { error });
    }
    assert!(refused.is_empty(), "the engine does not load {refused:?}");
    for (architecture, error) in &padded {
        assert!(*error < 2e-4, "{architecture}: {error:e}");
    }
    let untried: Vec<&str> = padding_architectures().filter(|name| !padded.contains_key(*name)).collect();
    assert!(untried.is_empty(), "nothing was tried of {untried:?}");
}
