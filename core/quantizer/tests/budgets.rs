//! Sizes that are asked for: never exceeded, and used to a thousandth.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use formats::gguf::GgmlType;
use formats::imatrix::{Entry, Imatrix, write_gguf};
use llama_pajamas_quantizer::sensitivity::{CANDIDATES, Sensitivity, TensorSensitivity};
use llama_pajamas_quantizer::{BuildRequest, Target, build_bundle, open_source};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Numbers below a bound, evenly spread.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}

/// Errors that fall as types grow, unlike from tensor to tensor; no weight is read.
fn sensitivity(model: &Path, random: &mut Random) -> Sensitivity {
    let source = open_source(model, &[]).unwrap();
    let mut sensitivity = Sensitivity { model: "made up".into(), ..Sensitivity::default() };
    for tensor in source.tensors() {
        if tensor.dims.len() < 2 {
            continue;
        }
        let scale = 1.0 + random.below(100) as f64 / 50.0;
        let fits = |ty: &GgmlType| tensor.dims[0].is_multiple_of(ty.block_len());
        let error = |ty: GgmlType| (ty.name().to_string(), scale * 4f64.powf(-ty.bits_per_weight()));
        let errors = CANDIDATES.into_iter().filter(fits).map(error).collect();
        sensitivity.tensors.insert(tensor.name.clone(), TensorSensitivity { kappa: None, errors });
    }
    sensitivity
}

/// Importance of every column of every matrix, with a long text's name, as a file tells of it.
fn importance(model: &Path) -> Vec<u8> {
    let source = open_source(model, &[]).unwrap();
    let mut imatrix =
        Imatrix { datasets: vec!["a-folder/".repeat(30)], chunk_size: 256, ..Imatrix::default() };
    for tensor in source.tensors().iter().filter(|tensor| tensor.dims.len() > 1) {
        let n_columns = tensor.dims[0] as usize;
        let (sums, counts) = (vec![1.0; n_columns], vec![1.0]);
        let entry = Entry { n_columns, n_matrices: 1, sums, counts, legacy: false };
        imatrix.entries.insert(tensor.name.clone(), entry);
    }
    write_gguf(Vec::new(), &imatrix).unwrap()
}

/// Forty random sizes between those of about 3 bits per weight and those at which single steps are too large (Q8_0 of the larger model).
fn check(name: &str, smallest: u64, largest: u64) {
    let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models", name].iter().collect();
    let mut random = Random(5);
    let folder = tempfile::tempdir().unwrap();
    let figures = folder.path().join("sensitivity.json");
    std::fs::write(&figures, serde_json::to_vec(&sensitivity(&model, &mut random)).unwrap()).unwrap();
    let budgets: Vec<u64> = (0..40).map(|_| smallest + random.below(largest - smallest)).collect();
    let request = |budgets: &[u64], dry_run| BuildRequest {
        model: model.clone(),
        model_id: name.into(),
        output: folder.path().join("bundle"),
        targets: budgets.iter().map(|bytes| Target::FileBytes(*bytes)).collect(),
        sensitivity: Some(figures.clone()),
        threads: 2,
        dry_run,
        ..BuildRequest::default()
    };
    let mut go_on = |_: llama_pajamas_quantizer::Progress<'_>| ControlFlow::Continue(());
    let mut least_used = 1.0f64;
    for budget in &budgets {
        // One at a time: sizes that agree to the kilobyte would have one name.
        let report = build_bundle(&request(&[*budget], true), &mut |_| {}, &mut go_on).unwrap();
        let bytes = report.variants[0].file_bytes;
        let used = bytes as f64 / *budget as f64;
        least_used = least_used.min(used);
        assert!((0.999..=1.0).contains(&used), "{name}: {bytes} of {budget} bytes");
    }
    // What a file tells of its importance matrix takes bytes as well.
    let imatrix = folder.path().join("imatrix.gguf");
    std::fs::write(&imatrix, importance(&model)).unwrap();
    for budget in &budgets[..4] {
        let request = BuildRequest { imatrix: Some(imatrix.clone()), ..request(&[*budget], true) };
        let report = build_bundle(&request, &mut |_| {}, &mut go_on).unwrap();
        let used = report.variants[0].file_bytes as f64 / *budget as f64;
        assert!((0.999..=1.0).contains(&used), "{name} with importance: {used} of {budget} bytes");
    }
    println!("{name}: 40 budgets, at least {:.3}% used", 100.0 * least_used);
    // What is written is as long as was foretold.
    let report = build_bundle(&request(&budgets[..2], false), &mut |_| {}, &mut go_on).unwrap();
    for variant in &report.variants {
        let path = folder.path().join("bundle").join(&variant.id).join("model.gguf");
        assert_eq!(std::fs::metadata(path).unwrap().len(), variant.file_bytes, "{}", variant.id);
    }
    // Below the smallest file nothing is planned.
    let error = build_bundle(&request(&[smallest / 2], true), &mut |_| {}, &mut go_on).unwrap_err();
    assert!(error.to_string().contains("target size: expected at least"), "{error}");
}

#[test]
fn a_dense_model_fits_forty_sizes() {
    check("pajama-7m", 2_700_000, 7_900_000);
}

#[test]
fn the_stories_model_fits_forty_sizes() {
    check("pajama-stories-4m", 1_650_000, 3_300_000);
}
