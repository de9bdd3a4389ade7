//! From text to a fitted file: moments, error curves, probes, a plan, blocks rounded with feedback.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use llama_pajamas_quantizer::{
    BuildRequest, Calibration, Moments, Probes, Progress, Subsets, Target, TypePlan, build_bundle,
    collect_moments, measure_errors, measure_kappas, open_source, refine_kappas,
};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Sixteen texts of made-up tokens; what they say does not matter here.
fn chunks() -> Vec<Vec<i32>> {
    let token = |chunk: usize, at: usize| ((chunk * 977 + at * at * 31 + at * 7) % 4096) as i32;
    (0..16).map(|chunk| (0..48).map(|at| token(chunk, at)).collect()).collect()
}

#[test]
fn a_model_is_measured_planned_and_rounded() {
    let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models/pajama-stories-4m"].iter().collect();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut go_on = |_: Progress<'_>| ControlFlow::Continue(());
    let source = open_source(&model, &[]).unwrap();
    let file = std::fs::File::create(path("model.gguf")).unwrap();
    let precision = families::OutputType::F16;
    llama_pajamas_quantizer::convert(source.as_ref(), precision, file, 1, &mut go_on).unwrap();
    let chunks = chunks();
    let collect = |name: &str, memory_bytes: u64| {
        let calibration = Calibration {
            model: &path("model.gguf"),
            chunks: &chunks,
            dataset: "made up",
            block: 256,
            memory_bytes,
            threads: 1,
        };
        let names = source.tensors().iter().map(|tensor| tensor.name.clone());
        let file = std::fs::File::create(path(name)).unwrap();
        collect_moments(&calibration, names, file, &mut |_| ControlFlow::Continue(())).unwrap();
        std::fs::read(path(name)).unwrap()
    };
    // Little memory means more passes and the same file.
    assert!(collect("moments", 1 << 30) == collect("again", 4 << 20));
    let moments = Moments::open(&path("moments")).unwrap();
    let figures = |feedback| {
        measure_errors(source.as_ref(), "stories", &moments, feedback, 1, &mut |_| ControlFlow::Continue(()))
            .unwrap()
    };
    let (searched, mut fed_back) = (figures(false), figures(true));
    for ty in ["Q3_K", "Q4_K", "Q6_K", "IQ4_XS"] {
        let sum = |of: &llama_pajamas_quantizer::Sensitivity| -> f64 {
            of.tensors.values().map(|tensor| tensor.errors[ty]).sum()
        };
        assert!(sum(&fed_back) < 0.9 * sum(&searched), "{ty}: {} of {}", sum(&fed_back), sum(&searched));
    }
    let scratch = path("scratch");
    let ty = formats::gguf::GgmlType::Q3_K;
    let probes = Probes { chunks: &chunks[..2], scratch: &scratch, ty, threads: 1 };
    measure_kappas(source.as_ref(), &moments, &mut fed_back, &probes, &mut go_on).unwrap();
    assert!(fed_back.tensors.values().all(|tensor| tensor.kappa.is_some_and(|kappa| kappa > 0.0)));
    assert_eq!(fed_back.probe_tokens, 2 * 24);
    // Subsets of tensors say the same of them together, from fewer readings; the check is on subsets that no fit has seen.
    let mut refined = fed_back.clone();
    let subsets = Subsets { n: 12, seed: 1 };
    let mut labels = std::collections::BTreeSet::new();
    let mut hear = |progress: Progress<'_>| {
        labels.insert(progress.label.to_string());
        ControlFlow::Continue(())
    };
    refine_kappas(source.as_ref(), &moments, &mut refined, &probes, subsets, &mut hear).unwrap();
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), ["probes", "rounding for probes"]);
    let probed = refined.subset_probes.as_ref().unwrap();
    assert_eq!((probed.n, probed.checks.len()), (12, 3));
    assert!(probed.error < 1.0 && probed.error_of_priors.is_finite(), "{probed:?}");
    let all = |of: &llama_pajamas_quantizer::Sensitivity| -> f64 {
        of.tensors.values().map(|tensor| tensor.kappa.unwrap() * tensor.errors["Q3_K"]).sum()
    };
    let ratio = all(&refined) / all(&fed_back);
    assert!((0.7..1.4).contains(&ratio), "{ratio}");
    let few = Subsets { n: 3, seed: 1 };
    let refused = refine_kappas(source.as_ref(), &moments, &mut refined, &probes, few, &mut go_on);
    assert!(refused.unwrap_err().to_string().contains("at least 10 subsets"));
    let stop = refine_kappas(source.as_ref(), &moments, &mut refined, &probes, subsets, &mut |_| {
        ControlFlow::Break(())
    });
    assert!(stop.unwrap_err().to_string().contains("cancelled"));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with("rounded")), "{left:?}");
    std::fs::write(path("sensitivity"), serde_json::to_vec(&fed_back).unwrap()).unwrap();

    let mut request = BuildRequest {
        model,
        model_id: "stories".into(),
        output: path("bundle"),
        targets: vec![Target::BitsPerWeight(3.8)],
        sensitivity: Some(path("sensitivity")),
        moments: Some(path("moments")),
        threads: 2,
        ..BuildRequest::default()
    };
    let report = build_bundle(&request, &mut |_| {}, &mut go_on).unwrap();
    let [variant] = &report.variants[..] else { panic!("one variant") };
    let written = |output: &str, id: &str| std::fs::read(path(output).join(id).join("model.gguf")).unwrap();
    let first = written("bundle", &variant.id);
    assert_eq!(first.len() as u64, variant.file_bytes);
    // The plan, written and read again, makes the same file, whatever the count of threads.
    let plan: TypePlan = variant.plan.clone().unwrap();
    std::fs::write(path("plan.json"), serde_json::to_vec(&plan).unwrap()).unwrap();
    request = BuildRequest {
        targets: Vec::new(),
        plans: vec![path("plan.json")],
        output: path("other"),
        threads: 1,
        ..request
    };
    build_bundle(&request, &mut |_| {}, &mut go_on).unwrap();
    assert!(written("other", &variant.id) == first, "other bytes");
    // A plan of a tensor that is not there is refused by name.
    let absent = serde_json::json!({"tensors": [{"name": "blk.99.x.weight", "type": "Q4_K"}]});
    std::fs::write(path("plan.json"), absent.to_string()).unwrap();
    let error = build_bundle(&request, &mut |_| {}, &mut go_on).unwrap_err().to_string();
    assert!(error.contains("`blk.99.x.weight`: is in the plan and not in the model"), "{error}");
}
