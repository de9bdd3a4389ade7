//! Importance against `llama-imatrix` of the engine's own sources: the same files, text, windows.
//! Knows the evaluator's collection; ours also sees the weight of the output.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use evaluator::Vocabulary;
use evaluator::divergence::Computing;
use evaluator::importance::Run;
use evaluator::text::{Pass, Text};
use formats::imatrix::{self, Imatrix};
use llama_pajamas::{CancelToken, LoadedModel, PlanRequest, Runtime, RuntimeSettings};
use llama_pajamas_tests::{committed, oracle, run, shared};
use quantizer::source::Checkpoint;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONTEXT: usize = 256;
const WINDOWS: usize = 16;

fn load(path: &Path) -> LoadedModel {
    let runtime = Runtime::open(path, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { context_tokens: Some(CONTEXT as u64), ..PlanRequest::default() };
    runtime.plan_and_load(&request, &mut |_| {}, &CancelToken::new()).unwrap().1
}

fn ours(model: &LoadedModel, text: &Path) -> Imatrix {
    let text = std::fs::read_to_string(text).unwrap();
    let tokens = Vocabulary::encode(model.tokenizer(), &text, false).unwrap();
    let pass = Pass::cut(&Text { name: "calibration".into(), tokens }, CONTEXT, Some(WINDOWS), None).unwrap();
    let computing = Computing { n_threads: 1 };
    let mut run = Run::open(model.engine_model(), CONTEXT, true, &computing, "", None).unwrap();
    run.read(&[pass], &mut |_| Ok(()), &mut |_| ControlFlow::Continue(())).unwrap();
    run.sums().to_imatrix(vec!["calibration".into()], WINDOWS as u32, CONTEXT as u32)
}

/// Converts a checkpoint in 32 bits, where both tools' kernels are closest, and compares; `counts` is the share of rows
/// that may go to another expert, `sums` the share by which a tensor's sums may differ.
fn check(checkpoint: &Path, counts: f32, sums: f64) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { folder.path().join(format!("{name}.gguf")) };
    let source = Checkpoint::open(checkpoint).unwrap();
    let out = std::io::BufWriter::new(std::fs::File::create(file("model")).unwrap());
    quantizer::convert(&source, families::OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let text = shared("data/text/pajama_calibration.txt");
    run(Command::new(oracle("build/bin/llama-imatrix"))
        .args(["-m".as_ref(), file("model").as_os_str(), "-f".as_ref(), text.as_os_str()])
        .args(["-o".as_ref(), file("theirs").as_os_str()])
        .args(["-c", "256", "--chunks", &WINDOWS.to_string(), "-t", "1", "--no-ppl"]));
    let theirs = imatrix::read(&std::fs::read(file("theirs")).unwrap()).unwrap();
    let ours = ours(&load(&file("model")), &text);
    let beyond: Vec<&String> =
        ours.entries.keys().filter(|name| !theirs.entries.contains_key(*name)).collect();
    assert_eq!(beyond, ["token_embd.weight"], "the output is the embedding, which they do not see");
    let (mut worst_sums, mut worst_counts) = (0.0f64, 0.0f32);
    for (name, theirs) in &theirs.entries {
        let ours = &ours.entries[name];
        assert_eq!((ours.n_columns, ours.n_matrices), (theirs.n_columns, theirs.n_matrices), "{name}");
        let total: f32 = theirs.counts.iter().sum();
        let moved: f32 = ours.counts.iter().zip(&theirs.counts).map(|(a, b)| (a - b).abs()).sum();
        worst_counts = worst_counts.max(moved / total);
        let total: f64 = theirs.sums.iter().map(|sum| f64::from(*sum)).sum();
        let apart: f64 = ours.sums.iter().zip(&theirs.sums).map(|(a, b)| f64::from((a - b).abs())).sum();
        worst_sums = worst_sums.max(apart / total);
    }
    let n_tensors = theirs.entries.len();
    println!(
        "{n_tensors} tensors: counts apart by at most {worst_counts:.1e}, sums by {worst_sums:.1e} of their total"
    );
    assert!(worst_counts <= counts && worst_sums <= sums);
}

#[test]
fn sums_of_a_dense_model_are_llama_imatrix_s() {
    check(&committed("models/pajama-7m"), 0.0, 1e-5);
}

/// Where two experts are nearly equally likely, rounding decides.
#[test]
fn sums_of_experts_are_llama_imatrix_s() {
    check(&shared("models/pajama-moe-21m"), 5e-4, 1e-3);
}
