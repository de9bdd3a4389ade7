//! Loading: progress, cancelling, parts, settings, the process-wide start.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use llama_pajamas_engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas_engine::{DeviceKind, Error, LoadSettings};

use crate::tiny_model::{N_CTX_TRAIN, N_VOCAB, TinyModel};
use crate::{assert_close, context, decode, engine, no_progress, settings, tiny, tokens};

#[test]
fn a_loaded_model_tells_its_shape() {
    let model = tiny();
    assert_eq!(model.n_vocab(), N_VOCAB);
    assert_eq!(model.n_ctx_train(), N_CTX_TRAIN as u64);
    let weights: usize = TinyModel::new().tensors.iter().map(|(_, weights)| weights.len() * 4).sum();
    assert_eq!(model.memory().model_bytes, weights as u64);
}

#[test]
fn progress_rises_to_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    let mut seen = Vec::new();
    let mut watch = |fraction| {
        seen.push(fraction);
        ControlFlow::Continue(())
    };
    engine().load(&path, &LoadSettings::default(), &mut watch).unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&1.0), "{seen:?}");
}

#[test]
fn breaking_off_or_panicking_in_the_progress_frees_the_load() {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    let outcome = engine().load(&path, &LoadSettings::default(), &mut |_| ControlFlow::Break(()));
    assert!(matches!(outcome, Err(Error::Cancelled)));
    let panicking = AssertUnwindSafe(|| {
        engine().load(&path, &LoadSettings::default(), &mut |_| panic!("in the progress"))
    });
    let panic = catch_unwind(panicking).map(|_| ()).expect_err("the panic comes out");
    assert_eq!(panic.downcast_ref(), Some(&"in the progress"));
    engine().load(&path, &LoadSettings::default(), &mut no_progress).unwrap();
}

#[test]
fn every_way_of_reading_gives_the_same() {
    let expected = decode(&mut *context(), &tokens(20));
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    for (mmap, repack, check_tensors) in [(true, false, false), (false, true, true)] {
        let how = LoadSettings { mmap, repack, check_tensors, ..LoadSettings::default() };
        let model = engine().load(&path, &how, &mut no_progress).unwrap();
        assert_close(&decode(&mut *model.new_context(&settings()).unwrap(), &tokens(20)), &expected, 1e-5);
    }
}

#[test]
fn parts_load_as_one_and_missing_ones_are_named() {
    let expected = decode(&mut *context(), &tokens(20));
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = TinyModel::new().write_split(dir.path());
    let load = |path| engine().load(path, &LoadSettings::default(), &mut no_progress);
    let model = load(&first).unwrap();
    assert_close(&decode(&mut *model.new_context(&settings()).unwrap(), &tokens(20)), &expected, 0.0);
    let Err(error) = load(&second) else { panic!("loaded from the second part") };
    assert!(error.to_string().contains("`split.no`"), "{error}");
    let renamed = dir.path().join("renamed.gguf");
    std::fs::copy(&first, &renamed).unwrap();
    let Err(error) = load(&renamed) else { panic!("found parts under another name") };
    assert!(error.to_string().contains("-00001-of-00002.gguf"), "{error}");
    std::fs::remove_file(&second).unwrap();
    let Err(Error::Read { path, .. }) = load(&first) else { panic!("loaded without the second part") };
    assert_eq!(path, second);
}

#[test]
fn a_vocabulary_that_llama_cpp_does_not_know_is_no_obstacle() {
    let mut model = TinyModel::new();
    let text = |text: &str| formats::gguf::Value::String(text.to_owned());
    model.metadata.insert("tokenizer.ggml.model", text("gpt2"));
    model.metadata.insert("tokenizer.ggml.pre", text("of-tomorrow"));
    let dir = tempfile::tempdir().unwrap();
    let path = model.write(dir.path());
    let model = engine().load(&path, &LoadSettings::default(), &mut no_progress).unwrap();
    assert_eq!(model.n_vocab(), N_VOCAB);
}

#[test]
fn the_engine_starts_once_and_keeps_its_variant() {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let variants = GgufEngine::cpu_variants();
    assert_eq!(engine.cpu_variant(), variants.best);
    let same = EngineOptions { cpu_variant: Some(variants.best.to_owned()), log: None };
    GgufEngine::start(same).unwrap();
    let other = variants.all.iter().find(|variant| variant.name != variants.best).unwrap();
    let options = EngineOptions { cpu_variant: Some(other.name.to_owned()), log: None };
    let Err(Error::Start { reason }) = GgufEngine::start(options) else { panic!("changed") };
    assert!(reason.contains(variants.best), "{reason}");
}

#[test]
fn there_is_a_cpu_and_unknown_gpus_are_refused() {
    let devices = engine().devices();
    assert!(devices.iter().any(|device| device.kind == DeviceKind::Cpu), "{devices:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    let how =
        LoadSettings { gpu_layers: 1, devices: Some(vec!["Abacus0".into()]), ..LoadSettings::default() };
    let Err(error) = engine().load(&path, &how, &mut no_progress) else { panic!("loaded") };
    assert!(error.to_string().contains("Abacus0"), "{error}");
}

/// As plans load models whose prompts a GPU computes with copies of their weights; here there may be none.
#[test]
fn gpus_for_batches_alone_change_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    let load = LoadSettings { batches_on_gpus: true, repack: false, ..LoadSettings::default() };
    let model = engine().load(&path, &load, &mut no_progress).unwrap();
    let mut there = model.new_context(&settings()).expect("opens");
    let prompt = tokens(40);
    assert_close(&decode(&mut *there, &prompt), &decode(&mut *context(), &prompt), 2e-3);
}
