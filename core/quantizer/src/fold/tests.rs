//! Factors that are found leave a model of this project as it is and lessen its errors.

use super::*;
use crate::recipe::{FileType, Overrides};
use crate::{Calibration, collect_moments, convert, open_source, plan_file, write_file};
use families::OutputType;
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn pajama() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pajama-7m")
}

#[test]
fn inputs_that_are_divided_have_the_moments_of_what_is_divided() {
    let moments =
        crate::moments::InputMoments { block: 2, values: vec![4.0, 2.0, 2.0, 8.0, 9.0], n_tokens: 1.0 };
    assert_eq!(moments.divided(&[2.0, 4.0, 3.0]).values, [1.0, 0.25, 0.25, 0.5, 1.0]);
}

#[test]
fn factors_lessen_errors_and_what_flows_is_known_behind_them() {
    let mut go_on = |_: crate::Progress<'_>| ControlFlow::Continue(());
    let folder = tempfile::tempdir().unwrap();
    let source = open_source(&pajama(), &[]).unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = BufWriter::new(File::create(path("model.gguf")).unwrap());
    convert(source.as_ref(), OutputType::F32, file, 2, &mut go_on).unwrap();
    let token = |at: usize| 5 + (at * 7919 + at * at * 31) as engine::Token % 4000;
    let chunks: Vec<Vec<engine::Token>> =
        (0..16).map(|chunk| (0..64).map(|at| token(chunk * 100 + at)).collect()).collect();
    let calibration = Calibration {
        model: &path("model.gguf"),
        chunks: &chunks,
        dataset: "made up",
        block: 1024,
        memory_bytes: 1 << 30,
        threads: 2,
    };
    let weights = source.tensors().iter().map(|tensor| tensor.name.clone());
    collect_moments(&calibration, weights, File::create(path("moments")).unwrap(), &mut go_on).unwrap();
    let moments = Moments::open(&path("moments")).unwrap();
    let job = plan_file(source.as_ref(), FileType::Q4_K_M, &Overrides::default(), None, false).unwrap();
    let folding = fold(source.as_ref(), &job, &moments, &|_| 1.0, 2, &mut go_on).unwrap();
    assert!(!folding.exchanges.is_empty());
    assert!(
        folding.exchanges.iter().all(|folded| folded.error_left <= 1.0 - WORTH && folded.error_left > 0.5)
    );
    let divided = folding.moments(&moments);
    let reader = &folding.exchanges[0].readers[0];
    let [plain, behind] = [&moments, &divided].map(|of| of.of(reader, 0, Part::Seen).unwrap());
    let by = folding.divisors[reader][0];
    assert!((behind.values[0] * by * by / plain.values[0] - 1.0).abs() < 1e-4);
    // The rest of the way: a file of the same size.
    let job = Job { moments: Some(Arc::new(divided)), ..job };
    let out = BufWriter::new(File::create(path("folded.gguf")).unwrap());
    let summary = write_file(&job, &folding.source(source.as_ref()), out, 2, &mut go_on).unwrap();
    assert_eq!(summary.file_bytes, job.predicted_bytes().unwrap());
}
