//! Importance matrices that other programs wrote: read whole, plausible in every number, and equal to what llama-imatrix
//! and gguf-py read.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use formats::imatrix::{self, Imatrix};
use llama_pajamas_tests::{committed, oracle, repository, run, shared};
use quantizer::source::Checkpoint;
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

fn check(file: &str, n_entries: usize) {
    let bytes = std::fs::read(shared(&format!("data/imatrix/{file}"))).unwrap();
    let matrix = imatrix::read(&bytes).unwrap();
    assert_eq!(matrix.entries.len(), n_entries, "{file}");
    for (name, entry) in &matrix.entries {
        assert!(name.ends_with(".weight"), "{file}: {name}");
        assert_eq!(entry.sums.len(), entry.n_columns * entry.n_matrices, "{file}: {name}");
        assert!(entry.importance().iter().all(|value| *value >= 0.0), "{file}: {name}");
        assert!(entry.importance().iter().any(|value| *value > 0.0), "{file}: {name}");
    }
    // Cut anywhere inside the entries, the file is refused.
    for cut in [4, bytes.len() / 3, bytes.len() / 2] {
        assert!(imatrix::read(&bytes[..cut]).is_err(), "{file} cut at {cut}");
    }
}

#[test]
fn a_file_that_mistral_rs_wrote() {
    check("Llama-3.2-3B-Instruct.mistralrs.imatrix", 196);
}

#[test]
fn a_file_that_llama_imatrix_wrote() {
    check("Qwen3-4B-Instruct-2507.imatrix_ubergarm.dat", 252);
}

/// llama-imatrix on the little stories' model, which is made first.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::open(&committed("models/pajama-stories-4m")).unwrap();
        let file = std::fs::File::create(folder.path().join("model.gguf")).unwrap();
        let (file, output) = (std::io::BufWriter::new(file), families::OutputType::F16);
        quantizer::convert(&checkpoint, output, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        Self { folder }
    }

    fn llama_imatrix(&self, name: &str, options: &[&str]) -> PathBuf {
        let path = |name: &str| self.folder.path().join(name);
        run(Command::new(oracle("build/bin/llama-imatrix"))
            .args(["-m".as_ref(), path("model.gguf").as_os_str(), "-o".as_ref(), path(name).as_os_str()])
            .args(options)
            .args(["-t", "2"]));
        path(name)
    }

    fn calibrated(&self, form: &str) -> PathBuf {
        let text = shared("data/text/pajama_calibration.txt");
        let options = ["-f", text.to_str().unwrap(), "-c", "256", "--chunks", "4", "--no-ppl"];
        self.llama_imatrix(&format!("own.{form}"), &[&options[..], &["--output-format", form]].concat())
    }
}

fn read(path: &Path) -> Imatrix {
    imatrix::read(&std::fs::read(path).unwrap()).unwrap()
}

/// The same file as gguf-py reads it.
fn read_outside(path: &Path) -> Value {
    let mut command = Command::new(oracle("venv/bin/python"));
    let script = repository().join("scripts/oracles/imatrix.py");
    let answers = run(command.arg(script).arg(oracle("src")).arg(path));
    serde_json::from_str::<Vec<Value>>(&answers).unwrap().remove(0)
}

fn hex(values: &[f32]) -> String {
    values.iter().flat_map(|value| value.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

/// Compares every number; returns how many there are.
fn compare(ours: &Imatrix, theirs: &Value) -> usize {
    let entries = theirs["entries"].as_object().unwrap();
    assert!(ours.entries.keys().eq(entries.keys()), "other tensors");
    for (name, entry) in &ours.entries {
        assert_eq!(entries[name]["sums"], hex(&entry.sums), "{name}: sums");
        assert_eq!(entries[name]["counts"], hex(&entry.counts), "{name}: counts");
    }
    ours.entries.values().map(|entry| entry.sums.len()).sum()
}

#[test]
fn a_calibrated_matrix_is_what_gguf_py_reads() {
    let bench = Bench::new();
    let path = bench.calibrated("gguf");
    let (ours, theirs) = (read(&path), read_outside(&path));
    let n_values = compare(&ours, &theirs);
    assert_eq!(theirs["datasets"], serde_json::json!(ours.datasets));
    assert_eq!(theirs["chunk_count"], ours.chunk_count);
    assert_eq!(theirs["chunk_size"], ours.chunk_size);
    println!("{} tensors, {n_values} values equal to gguf-py's", ours.entries.len());
    // The same calibration in the legacy form.
    same_importance(&read(&bench.calibrated("dat")), &ours);
}

/// Compares what quantizing uses, bit for bit.
fn same_importance(one: &Imatrix, other: &Imatrix) {
    assert!(one.entries.keys().eq(other.entries.keys()), "other tensors");
    for (name, entry) in &one.entries {
        assert_eq!(hex(&entry.importance()), hex(&other.entries[name].importance()), "{name}");
    }
}

#[test]
fn legacy_files_are_what_llama_imatrix_reads() {
    let bench = Bench::new();
    for file in ["Llama-3.2-3B-Instruct.mistralrs.imatrix", "Qwen3-4B-Instruct-2507.imatrix_ubergarm.dat"] {
        let path = shared(&format!("data/imatrix/{file}"));
        let rewritten = bench.llama_imatrix("rewritten.gguf", &["--in-file", path.to_str().unwrap()]);
        let (ours, theirs) = (read(&path), read(&rewritten));
        let n_values = compare(&theirs, &read_outside(&rewritten));
        same_importance(&ours, &theirs);
        println!("{file}: {} tensors, {n_values} values equal", ours.entries.len());
    }
}
