//! Adapters beside a model's weights, per answer: the same logits as the model that peft merges them into, back to the plain
//! model's when they are taken away; and control vectors.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{
    AdapterKind, Applied, CancelToken, Context, ContextSettings, Engine, KvType, LoadSettings, Logits, Model,
    Token,
};
use families::OutputType;
use formats::gguf::{GgmlType, Metadata, TensorSpec, Value, Writer};
use llama_pajamas_tests::{oracle, repository, run, tiny_model};
use quantizer::source::Checkpoint;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Largest difference of a logit, relative to the largest: sums in another order.
const MAX_ERROR: f32 = 2e-5;

fn convert(model: &Path, path: &Path) {
    let checkpoint = Checkpoint::open(model).unwrap_or_else(|error| panic!("{error}"));
    let out = BufWriter::new(std::fs::File::create(path).unwrap());
    quantizer::convert(&checkpoint, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn load(engine: &GgufEngine, path: &Path) -> Arc<dyn Model> {
    engine.load(path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap()
}

fn settings() -> ContextSettings {
    ContextSettings {
        n_ctx: 256,
        n_threads: 1,
        n_threads_batch: 1,
        type_k: KvType::F32,
        type_v: KvType::F32,
        flash_attention: Some(false),
        n_outputs_max: 64,
        ..ContextSettings::default()
    }
}

/// Logits after each of some tokens.
fn logits(context: &mut dyn Context) -> Vec<f32> {
    let tokens: Vec<Token> = (0..48).map(|i| 5 + (i * i * 7 + i * 31) % 400).collect();
    context.truncate(0).unwrap();
    context.decode(&tokens, Logits::All, &CancelToken::new()).unwrap();
    (0..tokens.len()).flat_map(|row| context.logits(row).unwrap().to_vec()).collect()
}

fn relative(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
    ours.iter().zip(theirs).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn adapters_that_are_applied_equal_the_merged_model() {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let work = tempfile::tempdir().unwrap();
    let mut n_cases = 0;
    for name in ["qwen3-untied", "llama-bias"] {
        let model = &tiny_model(work.path(), name);
        let adapters = work.path().join(format!("{name}.adapters"));
        let script = repository().join("scripts/oracles/lora.py");
        run(Command::new(oracle("venv/bin/python")).arg(script).arg(model).arg(&adapters));
        let base_file = work.path().join(format!("{name}.gguf"));
        convert(model, &base_file);
        let base = load(&engine, &base_file);
        let mut context = Arc::clone(&base).new_context(&settings()).unwrap();
        let plain = logits(context.as_mut());
        // llama.cpp's converter has no place for scales of single modules or by the root of the rank.
        for (case, parts) in [("plain", &["plain"][..]), ("several", &["several", "several.second"])] {
            let merged_file = work.path().join("merged.gguf");
            convert(&adapters.join(format!("{case}.merged")), &merged_file);
            let mut merged = load(&engine, &merged_file).new_context(&settings()).unwrap();
            let expected = logits(merged.as_mut());
            let loaded = |part: &&str| {
                let file = work.path().join(format!("{part}.gguf"));
                let mut command = Command::new(oracle("venv/bin/python"));
                command
                    .arg(oracle("src/convert_lora_to_gguf.py"))
                    .arg("--outtype")
                    .arg("f32")
                    .arg("--outfile");
                run(command.arg(&file).arg("--base").arg(model).arg(adapters.join(part)));
                Arc::clone(&base).load_adapter(&file).unwrap()
            };
            let all: Vec<_> = parts.iter().map(loaded).collect();
            assert!(all.iter().all(|one| one.kind() == AdapterKind::LowRank && one.bytes() > 0));
            let adapter = &all[0];
            let applied = |scale| -> Vec<Applied> {
                all.iter().map(|adapter| Applied { adapter: Arc::clone(adapter), scale }).collect()
            };
            context.adapt(&applied(1.0)).unwrap();
            let with = logits(context.as_mut());
            context.adapt(&[]).unwrap();
            let without = logits(context.as_mut());
            context.adapt(&applied(0.0)).unwrap();
            let off = logits(context.as_mut());
            let error = relative(&with, &expected);
            let changed = relative(&plain, &expected);
            println!("{name:14} {case:9} error {error:.1e}, the base differs by {changed:.1e}");
            assert!(error < MAX_ERROR && changed > 1e-2, "{name} {case}: {error}");
            assert!(without == plain && off == plain, "{name} {case}: taken away, and still there");
            n_cases += 1;
            if case == "plain" {
                separately(&base, adapter, &plain, &expected);
                // Of another model in memory, though of the same file.
                let mut other = load(&engine, &base_file).new_context(&settings()).unwrap();
                let error = other.adapt(&applied(1.0)).unwrap_err().to_string();
                assert!(error.contains("one of the same loaded model"), "{error}");
            }
        }
        let error = load(&engine, &base_file).load_adapter(&base_file).unwrap_err().to_string();
        assert!(error.contains("`general.type`: expected `adapter`, got `model`"), "{error}");
    }
    assert_eq!(n_cases, 4);
}

/// Two contexts of one model, one of them with the adapter.
fn separately(base: &Arc<dyn Model>, adapter: &Arc<dyn engine::Adapter>, plain: &[f32], expected: &[f32]) {
    let mut one = Arc::clone(base).new_context(&settings()).unwrap();
    let mut two = Arc::clone(base).new_context(&settings()).unwrap();
    two.adapt(&[Applied { adapter: Arc::clone(adapter), scale: 1.0 }]).unwrap();
    for _ in 0..2 {
        assert_eq!(logits(one.as_mut()), plain);
        assert!(relative(&logits(two.as_mut()), expected) < MAX_ERROR);
    }
}

/// A control vector with a direction for some layers.
fn control_vector(path: &Path, width: usize, layers: &[(usize, f32)]) {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", Value::String("controlvector".into()));
    let name = |layer: usize| format!("direction.{layer}");
    let spec = |(layer, _): &(usize, f32)| TensorSpec {
        name: name(*layer),
        dims: vec![width as u64],
        ty: GgmlType::F32,
    };
    let specs: Vec<TensorSpec> = layers.iter().map(spec).collect();
    let mut writer = Writer::new(std::fs::File::create(path).unwrap(), &metadata, &specs).unwrap();
    for (_, value) in layers {
        let values = (0..width).flat_map(|at| (value * (1.0 + at as f32 / width as f32)).to_le_bytes());
        writer.write(&values.collect::<Vec<u8>>()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn control_vectors_add_up_and_go() {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let work = tempfile::tempdir().unwrap();
    let model = tiny_model(work.path(), "qwen3-untied");
    let file = work.path().join("model.gguf");
    convert(&model, &file);
    let model = load(&engine, &file);
    let mut context = Arc::clone(&model).new_context(&settings()).unwrap();
    let plain = logits(context.as_mut());
    let path = work.path().join("control.gguf");
    control_vector(&path, 64, &[(1, 0.5), (2, -0.25)]);
    let control = Arc::clone(&model).load_adapter(&path).unwrap();
    assert_eq!(control.kind(), AdapterKind::Control);
    let applied = |scale| Applied { adapter: Arc::clone(&control), scale };
    context.adapt(&[applied(1.0)]).unwrap();
    let once = logits(context.as_mut());
    assert!(relative(&once, &plain) > 1e-2);
    context.adapt(&[applied(0.25), applied(0.75)]).unwrap();
    assert_eq!(logits(context.as_mut()), once);
    context.adapt(&[]).unwrap();
    assert_eq!(logits(context.as_mut()), plain);
    for (layers, said) in [(&[(3, 1.0)][..], "expected direction.1 to direction.2"), (&[], "found none")] {
        control_vector(&path, 64, layers);
        let error = Arc::clone(&model).load_adapter(&path).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    control_vector(&path, 32, &[(1, 1.0)]);
    let error = model.load_adapter(&path).unwrap_err().to_string();
    assert!(error.contains("expected 64 of F32"), "{error}");
}
