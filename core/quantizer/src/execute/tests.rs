//! Unit tests of execution: cuts, bounds, importance by matrix, copies, refusals, progress.

use super::*;
use crate::source::{GgufSource, SourceTensor};
use crate::{Importance, plan_file, recipe::FileType, recipe::Overrides};
use engine::gguf::quantize::quantize_rows;
use formats::gguf::{Header, Metadata, TensorSpec, Value};
use formats::imatrix::{Entry, Imatrix};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Something that has tables and no weights.
struct Tables {
    tensors: Vec<SourceTensor>,
    metadata: Metadata,
}

impl TensorSource for Tables {
    fn path(&self) -> &Path {
        Path::new("tables")
    }
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }
    fn read_rows(&self, _: usize, _: u64, _: &mut [f32]) -> Result<()> {
        unreachable!("nobody reads the tables' weights")
    }
    fn precision(&self) -> String {
        "F32".into()
    }
}

fn plan(dims: &[u64], to: GgmlType) -> TensorPlan {
    let (name, dims) = ("blk.0.ffn_up.weight".into(), dims.to_vec());
    TensorPlan { index: 0, name, dims, from: GgmlType::F32, to, reason: "", instead_of: None }
}

fn job(tensors: Vec<TensorPlan>) -> Job {
    let (label, metadata) = ("test".into(), Metadata::new());
    Job { label, metadata, tensors, importance: None, moments: None, warnings: Vec::new() }
}

/// A GGUF file of F32 tensors in a folder of its own.
fn gguf(tensors: &[(&str, &[u64], &[f32])]) -> (tempfile::TempDir, GgufSource) {
    let metadata = Metadata::from_iter([("general.architecture", Value::String("llama".into()))]);
    let spec = |(name, dims, _): &(&str, &[u64], &[f32])| TensorSpec {
        name: (*name).into(),
        dims: dims.to_vec(),
        ty: GgmlType::F32,
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    let mut writer = Writer::new(Vec::new(), &metadata, &specs).unwrap();
    for (.., weights) in tensors {
        let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        writer.write(&bytes).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let source = GgufSource::open(&path).unwrap();
    (folder, source)
}

/// Weights that look like a model's and repeat nowhere near.
fn weights(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5).collect()
}

fn on(_: crate::Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn written(job: &Job, source: &dyn TensorSource, threads: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let summary = write_file(job, source, &mut out, threads, &mut on)?;
    assert_eq!(summary.file_bytes, out.len() as u64);
    Ok(out)
}

/// The bytes of tensor `index` in a written file.
fn data(file: &[u8], index: usize) -> &[u8] {
    let header = Header::read(file, file.len() as u64).unwrap();
    let tensor = &header.tensors[index];
    &file[(header.data_offset + tensor.offset) as usize..][..tensor.bytes as usize]
}

proptest::proptest! {
    #[test]
    fn chunks_cover_every_row_once_and_cross_no_matrix(
        columns in 1u64..200_000, rows in 1u64..400, matrices in 1u64..5, stored in 0u64..10_000_000,
    ) {
        let job = job(vec![plan(&[columns, rows, matrices], GgmlType::F32), plan(&[columns], GgmlType::F32)]);
        let tensor = |plan: &TensorPlan| SourceTensor {
            name: plan.name.clone(), dims: plan.dims.clone(), ty: plan.from, source_bytes: stored,
        };
        let tables = Tables { tensors: job.tensors.iter().map(tensor).collect(), metadata: Metadata::new() };
        let (mut next, mut shares) = ([0; 2], [0; 2]);
        for chunk in cut(&job) {
            proptest::prop_assert_eq!(chunk.first_row, next[chunk.tensor]);
            proptest::prop_assert!(chunk.n_rows > 0);
            proptest::prop_assert!(chunk.n_rows == 1 || chunk.n_rows * columns <= CHUNK_WEIGHTS);
            let per_matrix = job.tensors[chunk.tensor].rows_per_matrix();
            proptest::prop_assert_eq!(chunk.first_row / per_matrix, (chunk.first_row + chunk.n_rows - 1) / per_matrix);
            next[chunk.tensor] += chunk.n_rows;
            shares[chunk.tensor] += source_bytes(&job, &tables, chunk);
        }
        proptest::prop_assert_eq!(next, [rows * matrices, 1]);
        proptest::prop_assert_eq!(shares, [stored; 2]);
    }
}

#[test]
fn work_memory_is_that_of_the_chunks_under_way() {
    // 16 rows of 4096 weights are a chunk: 256 KiB as floats, 16 · 16 · 144 bytes as Q4_K.
    let q4_k = plan(&[4096, 4096], GgmlType::Q4_K);
    let expected = 3 * 262_144 + (3 * 8 + 1) * 36_864;
    assert_eq!(work_bytes(&job(vec![q4_k.clone()]), 3), expected);
    // Neither more tensors nor more experts take more.
    let experts = plan(&[4096, 4096, 128], GgmlType::Q4_K);
    assert_eq!(work_bytes(&job(vec![experts, q4_k]), 3), expected);
    // A row is never divided.
    let long = plan(&[1 << 20, 2], GgmlType::F16);
    assert_eq!(work_bytes(&job(vec![long]), 1), 4 * (1 << 20) + 9 * 2 * (1 << 20));
    assert_eq!(work_bytes(&job(Vec::new()), 4), 0);
}

#[test]
fn each_matrix_is_quantized_with_its_own_importance_on_any_number_of_threads() {
    let (columns, rows, matrices) = (512, 200, 3);
    let values = weights(columns * rows * matrices);
    let name = "blk.0.ffn_up_exps.weight";
    let (_folder, source) = gguf(&[(name, &[columns as u64, rows as u64, matrices as u64], &values)]);
    let sums: Vec<f32> = weights(columns * matrices).iter().map(|weight| weight + 0.75).collect();
    let counts = vec![1.0; matrices];
    let (n_columns, n_matrices) = (columns, matrices);
    let entry = Entry { n_columns, n_matrices, sums: sums.clone(), counts, legacy: false };
    let imatrix = Imatrix { entries: BTreeMap::from([(name.into(), entry)]), ..Imatrix::default() };
    let importance = Arc::new(Importance::new("some.imatrix", imatrix));
    let plain = Overrides::default();
    let job = plan_file(&source, FileType::Q4_K_S, &plain, Some(&importance), false).unwrap();
    let row_bytes = columns / 256 * 144;
    let mut expected = vec![0; row_bytes * rows * matrices];
    for matrix in 0..matrices {
        quantize_rows(
            GgmlType::Q4_K,
            &values[matrix * columns * rows..][..columns * rows],
            &mut expected[matrix * row_bytes * rows..][..row_bytes * rows],
            columns,
            Some(&sums[matrix * columns..][..columns]),
        )
        .unwrap();
    }
    let file = written(&job, &source, 1).unwrap();
    assert!(data(&file, 0) == expected);
    assert!(written(&job, &source, 5).unwrap() == file);
    let without = plan_file(&source, FileType::Q4_K_S, &plain, None, false).unwrap();
    assert!(data(&written(&without, &source, 2).unwrap(), 0) != expected, "importance matters");
}

#[test]
fn what_keeps_its_type_is_copied() {
    let (norm, up) = (weights(3), weights(64 * 3));
    let tensors: [(&str, &[u64], &[f32]); 2] =
        [("output_norm.weight", &[3], &norm), ("a.weight", &[64, 3], &up)];
    let (_folder, source) = gguf(&tensors);
    let job = plan_file(&source, FileType::Q8_0, &Overrides::default(), None, false).unwrap();
    let file = written(&job, &source, 2).unwrap();
    let header = Header::read(&file[..], file.len() as u64).unwrap();
    let types: Vec<_> = header.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.ty)).collect();
    assert_eq!(types, [("a.weight", GgmlType::Q8_0), ("output_norm.weight", GgmlType::F32)]);
    let mut copied = vec![0; data(&file, 1).len()];
    source.copy_rows(0, 0, &mut copied);
    assert_eq!(data(&file, 1), copied);
    // Quantized blocks are copied too, as they are asked for.
    let (folder, path) = (tempfile::tempdir().unwrap(), "quantized.gguf");
    std::fs::write(folder.path().join(path), &file).unwrap();
    let quantized = GgufSource::open(&folder.path().join(path)).unwrap();
    let copy = Overrides { copy: true, ..Overrides::default() };
    let job = plan_file(&quantized, FileType::Q4_K_M, &copy, None, false).unwrap();
    assert!(written(&job, &quantized, 1).unwrap() == file, "tables, file type and blocks are the same");
}

#[track_caller]
fn check_refused(tensor: &str, bad: f32, file_type: FileType, expected: &str) {
    let mut values = weights(64 * 40);
    values[64 * 33 + 5] = bad;
    let (_folder, source) =
        gguf(&[("fine.weight", &[64, 40], &weights(64 * 40)), (tensor, &[64, 40], &values)]);
    let job = plan_file(&source, file_type, &Overrides::default(), None, false).unwrap();
    let refused = written(&job, &source, 2).unwrap_err();
    let Error::Tensor { tensor: named, problem, .. } = &refused else { panic!("{refused}") };
    assert_eq!(named, tensor);
    assert!(problem.contains(expected), "{problem}");
}

#[test]
fn a_weight_that_is_no_number_is_refused_by_place() {
    check_refused(
        "blk.0.ffn_up.weight",
        f32::NAN,
        FileType::Q4_0,
        "row 33, column 5: expected a finite number",
    );
    check_refused("blk.0.ffn_up.weight", f32::INFINITY, FileType::F16, "row 33, column 5");
    check_refused("blk.0.ffn_gate_inp.weight", f32::NAN, FileType::Q4_0, "row 33, column 5"); // copied
}

#[test]
fn a_weight_that_the_type_cannot_hold_is_refused() {
    check_refused("a.weight", 65_520.0, FileType::F16, "rows 0 to 39: expected weights that F16 can hold");
    // The scale of a block is its largest weight by 127, as a 16-bit float.
    check_refused("a.weight", 65_520.0 * 127.0, FileType::Q8_0, "expected weights that Q8_0 can hold");
    for (largest, file_type) in
        [(65_519.0, FileType::F16), (65_504.0 * 127.0, FileType::Q8_0), (f32::MAX, FileType::F32)]
    {
        let mut values = weights(64);
        values[7] = largest;
        let (_folder, source) = gguf(&[("a.weight", &[64, 1, 1], &values)]);
        let mut job = plan_file(&source, file_type, &Overrides::default(), None, false).unwrap();
        job.tensors[0].to = file_type.default_type(); // a single row would be kept as it is
        written(&job, &source, 1).unwrap();
    }
}

#[test]
fn progress_counts_every_source_byte_and_can_stop_the_work() {
    let values = weights(1024 * 200);
    let (_folder, source) = gguf(&[("a.weight", &[1024, 200], &values), ("b.bias", &[7], &values[..7])]);
    let job = plan_file(&source, FileType::Q8_0, &Overrides::default(), None, false).unwrap();
    let total = (1024 * 200 + 7) * 4;
    let mut heard = Vec::new();
    let mut watch = |progress: crate::Progress<'_>| {
        assert_eq!(progress.total_bytes, total);
        heard.push(progress.done_bytes);
        ControlFlow::Continue(())
    };
    write_file(&job, &source, Vec::new(), 3, &mut watch).unwrap();
    assert!(heard.is_sorted() && heard.len() > 2 && heard.last() == Some(&total), "{heard:?}");
    let mut stop = |_: crate::Progress<'_>| ControlFlow::Break(());
    let mut out = Vec::new();
    let stopped = write_file(&job, &source, &mut out, 3, &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    assert!((out.len() as u64) < job.predicted_bytes().unwrap());
}
