//! Projectors in bundles: a checkpoint of a model that takes images becomes variants with a projector's file each, in the
//! types that its roles ask for.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use families::{OutputType, Role, role_of};
use formats::gguf::GgmlType;
use llama_pajamas::bundle::{Bundle, FileRole, Variant};
use llama_pajamas_tests::{GgufFile, differences, tiny_models};
use quantizer::recipe::{FileType, Preset};
use quantizer::source::Checkpoint;
use quantizer::{BuildRequest, ProjectorPrecision, ProjectorWish, build_bundle};
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What the converter gives other floats than the file's matrices.
const KEPT: [&str; 2] = ["mm.input_projection.weight", "mm.patch_merger.weight"];

fn build(model: &Path, output: &Path, projector: ProjectorWish) -> Bundle {
    let request = BuildRequest {
        model: model.into(),
        model_id: "tiny".into(),
        output: output.into(),
        precisions: vec![Preset::Balanced.into(), FileType::Q4_K_M.into(), FileType::Q2_K.into()],
        projector,
        threads: 2,
        ..BuildRequest::default()
    };
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
    Bundle::open(output).unwrap()
}

fn projector(bundle: &Bundle, variant: &Variant) -> Option<PathBuf> {
    let found = variant.files.iter().position(|file| file.role == FileRole::Projector)?;
    Some(bundle.files(&variant.id).unwrap()[found].clone())
}

/// What a tensor must be in a file of 8 bits; `f16` is its type in one of 16.
fn allowed(role: Role, f16: GgmlType, columns: u64) -> GgmlType {
    match role {
        Role::VisionEncoder | Role::VisionProjector | Role::AudioEncoder | Role::AudioProjector
            if f16 == GgmlType::F16 && columns.is_multiple_of(32) =>
        {
            GgmlType::Q8_0
        }
        _ => f16,
    }
}

/// The models' own files beside ours that a plain conversion makes.
fn check(model: &Path, work: &Path) -> Vec<String> {
    let source = Checkpoint::open_projector(model).unwrap().unwrap();
    let plain = work.join("plain.gguf");
    let file = BufWriter::new(std::fs::File::create(&plain).unwrap());
    quantizer::convert(&source, OutputType::F16, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    let plain = GgufFile::read(&plain);
    let mut problems = Vec::new();

    let by_variant = build(model, &work.join("by-variant"), ProjectorWish::ByVariant);
    for variant in by_variant.variants() {
        let file = GgufFile::read(&projector(&by_variant, variant).unwrap());
        if variant.precision != "balanced" {
            problems.extend(differences(&file, &plain, &[]));
            continue;
        }
        for (tensor, f16) in file.header.tensors.iter().zip(&plain.header.tensors) {
            let wanted = if KEPT.contains(&tensor.name.as_str()) {
                f16.ty
            } else {
                allowed(role_of(&tensor.name), f16.ty, tensor.dims[0])
            };
            if tensor.ty != wanted {
                problems.push(format!("{}: expected {wanted}, got {}", tensor.name, tensor.ty));
            }
        }
    }
    let one = build(model, &work.join("one"), ProjectorWish::One(ProjectorPrecision::Bf16));
    let shared: Vec<_> = one.variants().iter().map(|variant| projector(&one, variant).unwrap()).collect();
    if !shared.iter().all(|path| *path == shared[0]) {
        problems.push(format!("expected one file for all variants, got {shared:?}"));
    }
    let none = build(model, &work.join("none"), ProjectorWish::None);
    if none.variants().iter().any(|variant| projector(&none, variant).is_some()) {
        problems.push("expected no projector".into());
    }
    problems
}

#[test]
fn bundles_hold_the_projectors_of_their_model() {
    let work = tempfile::tempdir().unwrap();
    let models = tiny_models(work.path());
    let mut failed = Vec::new();
    let mut n_models = 0;
    for model in models.iter().filter(|model| Checkpoint::open_projector(model).unwrap().is_some()) {
        let place = tempfile::tempdir_in(work.path()).unwrap();
        let problems = check(model, place.path());
        println!("{}", model.file_name().unwrap().to_string_lossy());
        problems.iter().for_each(|problem| println!("    {problem}"));
        n_models += 1;
        if !problems.is_empty() {
            failed.push(model.clone());
        }
    }
    println!("{} of {n_models} as they should be", n_models - failed.len());
    assert!(failed.is_empty() && n_models > 0, "{failed:?}");
}
