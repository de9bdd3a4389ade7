//! States of recurrent layers on tiny models: those of a file are its own, and the fewer bits a file has the farther its states
//! are from the original's. Knows the evaluator's passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{CancelToken, Engine, LoadSettings, Model};
use evaluator::divergence::Computing;
use evaluator::drift::{States, distances, states};
use evaluator::text::Pass;
use llama_pajamas_tests::tiny_models_called;
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const MODELS: [&str; 4] = ["mamba", "mamba2", "falcon-h1", "qwen3"];
const CONTEXT: usize = 256;

fn written(checkpoint: &Checkpoint, precision: &str, out: &Path) {
    let file_type = FileType::from_name(precision).unwrap();
    let job = quantizer::plan_file(checkpoint, file_type, &Overrides::default(), None, false).unwrap();
    let file = std::io::BufWriter::new(std::fs::File::create(out).unwrap());
    quantizer::write_file(&job, checkpoint, file, 1, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn taken(model: &Arc<dyn Model>, passes: &[Pass]) -> Option<States> {
    let mut watch = |_: evaluator::Progress<'_>| ControlFlow::Continue(());
    let computing = Computing { n_threads: 1 };
    states(model, passes, &computing, "", &CancelToken::new(), &mut watch).unwrap()
}

#[test]
fn states_are_farther_apart_with_fewer_bits() {
    let work = tempfile::tempdir().unwrap();
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    for (name, path) in MODELS.iter().zip(tiny_models_called(work.path(), &MODELS)) {
        let checkpoint = Checkpoint::open(&path).unwrap();
        let load = |precision: &str| {
            let file = work.path().join(format!("{name}.{precision}.gguf"));
            written(&checkpoint, precision, &file);
            engine.load(&file, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap()
        };
        let original = load("F32");
        let tokens = |window: usize| {
            let token = |n: usize| ((n * n * 31 + n * 7 + window * 13) % original.n_vocab()) as engine::Token;
            (0..CONTEXT).map(token).collect()
        };
        let windows = vec![tokens(1), tokens(2)];
        let passes = [Pass { text: (*name).into(), n_ctx: CONTEXT, windows }];
        let Some(reference) = taken(&original, &passes) else {
            assert_eq!(*name, "qwen3", "a model without recurrent layers");
            continue;
        };
        assert_ne!(*name, "qwen3");
        let of =
            |model: &Arc<dyn Model>| distances(&passes, &reference, &taken(model, &passes).unwrap()).unwrap();
        assert!(of(&original).iter().all(|row| (row.state, row.convolution) == (0.0, 0.0)));
        let mut before = 0.0;
        for precision in ["F16", "Q8_0", "Q4_0"] {
            let rows = of(&load(precision));
            let shares: Vec<f64> = rows.iter().map(|row| row.state).collect();
            println!(
                "{name:10} {precision:5} after {:?} tokens: {shares:.6?}",
                rows.iter().map(|row| row.n_read).collect::<Vec<_>>()
            );
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            assert!(mean > before && mean < 1.0, "{name} {precision}: {mean} behind {before}");
            before = mean;
        }
    }
}
