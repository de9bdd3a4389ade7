//! Adapters merged into tiny checkpoints, against what `peft` makes of both.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use families::OutputType;
use formats::gguf::GgmlType;
use llama_pajamas_tests::{GgufFile, oracle, repository, run, tiny_model};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Largest difference of a weight, relative to the tensor's largest: sums in another order.
const MAX_ERROR: f32 = 5e-7;

fn converted(checkpoint: &Checkpoint, path: &Path) -> GgufFile {
    let out = BufWriter::new(std::fs::File::create(path).unwrap());
    quantizer::convert(checkpoint, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    GgufFile::read(path)
}

fn floats(file: &GgufFile, name: &str) -> Vec<f32> {
    file.data(name).unwrap().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The largest difference relative to the largest value of a tensor, and whether tables and shapes agree.
fn compare(ours: &GgufFile, theirs: &GgufFile) -> (f32, bool) {
    let table = |file: &GgufFile| -> Vec<(String, Vec<u64>, GgmlType)> {
        file.header
            .tensors
            .iter()
            .map(|tensor| (tensor.name.clone(), tensor.dims.clone(), tensor.ty))
            .collect()
    };
    let mut most = 0f32;
    for tensor in &theirs.header.tensors {
        let (ours, theirs) = (floats(ours, &tensor.name), floats(theirs, &tensor.name));
        let largest = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
        let off = ours.iter().zip(&theirs).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        most = most.max(off / largest);
    }
    (most, table(ours) == table(theirs))
}

#[test]
fn adapters_are_merged_as_peft_merges_them() {
    let work = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for name in ["qwen3-untied", "llama-bias"] {
        let model = &tiny_model(work.path(), name);
        let adapters = work.path().join(format!("{name}.adapters"));
        let script = repository().join("scripts/oracles/lora.py");
        run(Command::new(oracle("venv/bin/python")).arg(script).arg(model).arg(&adapters));
        let mut cases: Vec<PathBuf> =
            std::fs::read_dir(&adapters).unwrap().map(|e| e.unwrap().path()).collect();
        cases.sort();
        for case in cases.iter().filter(|case| case.extension().is_none()) {
            let second = case.with_extension("second");
            let several: Vec<PathBuf> =
                [case.clone(), second].into_iter().filter(|path| path.is_dir()).collect();
            let ours = Checkpoint::open_with(model, &several).unwrap_or_else(|error| panic!("{error}"));
            let theirs =
                Checkpoint::open(&case.with_extension("merged")).unwrap_or_else(|error| panic!("{error}"));
            let base = Checkpoint::open(model).unwrap();
            let file = |name: &str| work.path().join(name);
            let (merged, theirs) = (converted(&ours, &file("ours")), converted(&theirs, &file("theirs")));
            let (error, same_tables) = compare(&merged, &theirs);
            let (changed, _) = compare(&converted(&base, &file("base")), &theirs);
            let label = format!("{name} {}", case.file_name().unwrap().to_string_lossy());
            println!("{label:24} error {error:.1e}, the base differs by {changed:.1e}");
            if error > MAX_ERROR || !same_tables || changed < 1e-2 {
                failed.push(label);
            }
            let job =
                quantizer::plan_file(&ours, FileType::Q4_K_M, &Overrides::default(), None, false).unwrap();
            quantizer::write_file(&job, &ours, std::io::sink(), 2, &mut |_| ControlFlow::Continue(()))
                .unwrap();
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
