#![cfg(feature = "interop")]
//! Our conversion against llama.cpp's own converter: every tensor and every metadata key.

use families::OutputType;
use llama_pajamas_tests::{GgufFile, convert_outside, differences, oracle, repository, run, shared};
use quantizer::source::{Checkpoint, TensorSource};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where we differ on purpose.
/// - scores: for SentencePiece-style BPE without a tokenizer.model the converter writes -1000 for every token, with
///   which no tokenizer can merge; we write the negative rank of the merge that forms the token.
/// - merges: kept for the same tokenizers, so that ids are exactly those of tokenizer.json.
const INTENDED_SENTENCEPIECE: [&str; 2] = ["tokenizer.ggml.scores", "tokenizer.ggml.merges"];

fn convert(model: &Path, output: OutputType, out: &Path) -> String {
    let checkpoint = Checkpoint::open(model).unwrap_or_else(|error| panic!("{error}"));
    let file = std::io::BufWriter::new(std::fs::File::create(out).unwrap());
    quantizer::convert(&checkpoint, output, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    checkpoint.metadata().str("tokenizer.ggml.pre").unwrap().to_string()
}

/// One row of the printed table; true when nothing differs.
fn compare(model: &Path, work: &Path) -> bool {
    let mut equal = true;
    for (name, output) in [("f32", OutputType::F32), ("f16", OutputType::F16), ("bf16", OutputType::Bf16)] {
        let (ours, theirs) = (work.join("ours.gguf"), work.join("theirs.gguf"));
        let pre = convert(model, output, &ours);
        convert_outside(model, name, &pre, &theirs);
        let (ours, theirs) = (GgufFile::read(&ours), GgufFile::read(&theirs));
        let sentencepiece = theirs.header.metadata.str("tokenizer.ggml.model") == Some("llama");
        let intended: &[&str] = if sentencepiece { &INTENDED_SENTENCEPIECE } else { &[] };
        let lines = differences(&ours, &theirs, intended);
        let title = model.file_name().unwrap().to_string_lossy();
        let (tensors, keys) = (theirs.header.tensors.len(), theirs.header.metadata.len());
        println!("{title:20} {name:5} {tensors:4} tensors {keys:3} keys: {} differences", lines.len());
        lines.iter().take(12).for_each(|line| println!("    {line}"));
        equal &= lines.is_empty();
    }
    equal
}

#[test]
fn conversion_equals_the_outside_converter() {
    let work = tempfile::tempdir().unwrap();
    let tiny = work.path().join("tiny");
    let tokenizers: [PathBuf; 2] = [repository().join("models/pajama-7m"), shared("models/tinystories-656k")];
    let script = repository().join("scripts/oracles/tiny_models.py");
    run(Command::new(oracle("venv/bin/python")).arg(script).arg(&tiny).args(tokenizers));
    let mut models: Vec<PathBuf> = ["pajama-7m", "pajama-stories-4m", "pajama-moe-21m", "tinystories-656k"]
        .map(|m| shared("models").join(m))
        .into();
    models.extend(std::fs::read_dir(&tiny).unwrap().map(|entry| entry.unwrap().path()));
    models.sort();
    let unequal: Vec<_> = models.iter().filter(|model| !compare(model, work.path())).collect();
    assert!(unequal.is_empty(), "{unequal:?}");
}
