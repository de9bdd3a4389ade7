//! A contest on the committed model, with figures that mislead the undisturbed plan.

use super::*;
use crate::sensitivity::{CANDIDATES, TensorSensitivity};
use crate::{convert, open_source, plan_types, write_file};
use engine::Token;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Windows of made-up tokens.
fn windows() -> Vec<Vec<Token>> {
    let token = |window: usize, at: usize| ((window * 977 + at * at * 31 + at * 7) % 4096) as Token;
    (0..4).map(|window| (0..32).map(|at| token(window, at)).collect()).collect()
}

fn model() -> Box<dyn TensorSource> {
    let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models/pajama-stories-4m"].iter().collect();
    open_source(&model, &[]).unwrap()
}

/// Errors that fall by four with every bit, and kappas that are wrong: feed-forwards seem to matter little.
fn misled(source: &dyn TensorSource) -> Sensitivity {
    let mut sensitivity = Sensitivity::default();
    for tensor in source.tensors().iter().filter(|tensor| tensor.dims.len() > 1) {
        let fits = |ty: &formats::gguf::GgmlType| tensor.dims[0].is_multiple_of(ty.block_len());
        let error = |ty: formats::gguf::GgmlType| (ty.name().into(), 4f64.powf(-ty.bits_per_weight()));
        let errors = CANDIDATES.into_iter().filter(fits).map(error).collect();
        let kappa = Some(if tensor.name.contains("ffn") { 1e-4 } else { 1.0 });
        sensitivity.tensors.insert(tensor.name.clone(), TensorSensitivity { kappa, errors });
    }
    sensitivity
}

fn judged(file: &Path, judging: &Judging<'_>) -> f64 {
    let judge = Judge::new(judging, &mut |_| ControlFlow::Continue(())).unwrap();
    mean(&judge.open(file).unwrap().all().unwrap()).0
}

#[test]
fn the_winner_is_better_on_the_text_and_the_same_whenever_it_is_asked() {
    let source = model();
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original.gguf");
    let file = std::fs::File::create(&original).unwrap();
    let mut go_on = |_: crate::Progress<'_>| ControlFlow::Continue(());
    convert(source.as_ref(), families::OutputType::Bf16, file, 1, &mut go_on).unwrap();
    let sensitivity = misled(source.as_ref());
    let wishes = Overrides::default();
    let contest = Contest {
        sensitivity: &sensitivity,
        target: Target::BitsPerWeight(4.0),
        wishes: &wishes,
        importance: None,
        moments: None,
        n_plans: 3,
        seed: 1,
    };
    let windows = windows();
    let hold = |name: &str, contest: &Contest<'_>| {
        let scratch = folder.path().join(name);
        std::fs::create_dir(&scratch).unwrap();
        let judging = Judging { original: &original, windows: &windows, scratch: &scratch, threads: 1 };
        hold_contest(source.as_ref(), contest, &judging, &mut |_| ControlFlow::Continue(()))
    };
    let winner = hold("one", &contest).unwrap();
    let record = winner.contest.as_ref().unwrap();
    assert!(record.kld < record.kld_undisturbed, "{record:?}");
    assert_eq!(record.entries.len(), 3);
    assert!(record.entries.iter().any(|entry| entry.won && entry.n_changed > 0), "{record:?}");
    assert_eq!(record.n_scored, 4 * 15);
    assert_eq!(hold("two", &contest).unwrap(), winner);
    assert_eq!(TypePlan { contest: None, ..winner.clone() }.budget_bytes, winner.budget_bytes);

    // The file that the plan makes is what was judged.
    let write = |plan: &TypePlan, name: &str| {
        let path = folder.path().join(name);
        let job = plan_types(source.as_ref(), plan, None, None).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut go_on = |_: crate::Progress<'_>| ControlFlow::Continue(());
        write_file(&job, source.as_ref(), file, 1, &mut go_on).unwrap();
        path
    };
    let scratch = folder.path().join("three");
    std::fs::create_dir(&scratch).unwrap();
    let judging = Judging { original: &original, windows: &windows, scratch: &scratch, threads: 1 };
    let plain =
        plan_for_target(source.as_ref(), &sensitivity, contest.target, &wishes, Known::Nothing).unwrap();
    assert_eq!(judged(&write(&winner, "winner.gguf"), &judging), record.kld);
    assert_eq!(judged(&write(&plain, "plain.gguf"), &judging), record.kld_undisturbed);

    // Nobody wins against a plan that the text bears out on no plan at all.
    let refused = hold("none", &Contest { n_plans: 0, ..contest }).unwrap_err();
    assert!(refused.to_string().contains("at least one disturbed plan"), "{refused}");
    let scratch = folder.path().join("stopped");
    std::fs::create_dir(&scratch).unwrap();
    let judging = Judging { scratch: &scratch, ..judging };
    let mut steps = 0;
    let stopped = hold_contest(source.as_ref(), &contest, &judging, &mut |_| {
        steps += 1;
        if steps > 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(Error::Cancelled)));
}
