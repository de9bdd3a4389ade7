//! What is learned of a model of this project leaves the model as it is.

use super::*;
use crate::source::smoothed::SmoothedSource;
use crate::{convert, open_source};
use families::OutputType;
use std::ops::ControlFlow;
use std::path::PathBuf;

fn pajama() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pajama-7m")
}

fn file(source: &dyn TensorSource, path: &Path) {
    let out = std::fs::File::create(path).expect("writable");
    convert(source, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).expect("a whole model");
}

fn logits(model: &Path, tokens: &[Token]) -> Vec<f32> {
    let model = load(model, false).expect("a model");
    let watch = Box::new(Collector::new([]));
    // Halves, in the cache or in fused attention, would round otherwise.
    let (type_k, type_v) = (engine::KvType::F32, engine::KvType::F32);
    let flash_attention = Some(false);
    let reading = reading_settings(tokens.len(), 1);
    let settings = engine::ContextSettings { type_k, type_v, flash_attention, ..reading };
    let mut context = model.open_watched_context(&settings, watch).expect("a context");
    context.decode(tokens, Logits::All, &CancelToken::new()).expect("room");
    (0..tokens.len()).flat_map(|row| context.logits(row).expect("kept").to_vec()).collect()
}

#[test]
fn factors_leave_the_model_as_it_is_and_lessen_errors() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let source = open_source(&pajama(), &[]).expect("a checkpoint");
    let original = folder.path().join("original.gguf");
    file(source.as_ref(), &original);
    let token = |at: usize| 5 + (at * 7919 + at * at * 31) as Token % 4000;
    let chunks: Vec<Vec<Token>> =
        (0..4).map(|chunk| (0..24).map(|at| token(chunk * 100 + at)).collect()).collect();
    let learning = Learning { model: &original, chunks: &chunks, smooth: true, threads: 1 };
    let statics = learn(source.as_ref(), &learning, &mut |_| ControlFlow::Continue(())).expect("learned");
    assert_eq!(statics.inputs.len(), 8 * 4);
    assert!(statics.inputs.iter().all(|input| input.error <= input.plain_error && input.reach > 0.0));
    let smoothed = statics.inputs.iter().filter(|input| input.strength.is_some()).count();
    assert!(smoothed > 8, "{smoothed}");
    // Heads of two share their factors, and rows of values take them.
    let values = statics.factors.values().filter(|factors| factors.rows.len() == 128).count();
    assert!(values > 0);
    assert_eq!(statics.factors.get("blk.0.attn_norm.weight").map(|factors| factors.columns.len()), Some(256));
    let other = folder.path().join("smoothed.gguf");
    file(&SmoothedSource::new(source.as_ref(), statics.factors()), &other);
    let (expected, got) = (logits(&original, &chunks[0]), logits(&other, &chunks[0]));
    let most = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(most < 1e-3, "{most}");
}

#[test]
fn cancelling_and_too_little_text_are_told() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let source = open_source(&pajama(), &[]).expect("a checkpoint");
    let original = folder.path().join("original.gguf");
    let few = vec![vec![5; 8]; 2];
    let learning = Learning { model: &original, chunks: &few, smooth: true, threads: 1 };
    let told = |learning: &Learning<'_>, go_on| {
        learn(source.as_ref(), learning, &mut |_| go_on).expect_err("refused").to_string()
    };
    assert!(told(&learning, ControlFlow::Continue(())).contains("at least 4 chunks"));
    file(source.as_ref(), &original);
    let enough = vec![vec![5; 8]; 4];
    assert_eq!(told(&Learning { chunks: &enough, ..learning }, ControlFlow::Break(())), "cancelled");
}
