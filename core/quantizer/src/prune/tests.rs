//! Experts ranked by what they give, and wishes that cannot be met.

use super::*;
use crate::open_source;
use crate::source::pruned::tests::tiny_experts;
use formats::imatrix::{Entry, Imatrix};
use std::path::PathBuf;

/// What experts saw: expert 2 of both layers little, expert 0 of the second layer nothing.
fn importance() -> Importance {
    let entry = |counts: [f32; 4]| Entry {
        n_columns: 2,
        n_matrices: 4,
        sums: counts.iter().flat_map(|count| [*count, *count]).collect(),
        counts: counts.into(),
        legacy: false,
    };
    let entries = [
        ("blk.0.ffn_down_exps.weight".to_string(), entry([900.0, 100.0, 2.0, 100.0])),
        ("blk.1.ffn_down_exps.weight".to_string(), entry([0.0, 300.0, 3.0, 200.0])),
    ];
    Importance::new("made up", Imatrix { entries: entries.into_iter().collect(), ..Imatrix::default() })
}

fn model() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, tiny_experts(&[])).unwrap();
    (folder, path)
}

#[test]
fn those_that_give_least_go() {
    let (_folder, path) = model();
    let source = || open_source(&path, &[]).unwrap();
    let (pruned, pruning) = prune_experts(source(), 2, Some(&importance()), None).unwrap();
    // Of the first layer's experts the first has the smallest weights (0 to 7) but sees most.
    let removed: Vec<_> = pruning.layers.iter().map(|layer| (layer.layer, layer.removed.clone())).collect();
    assert_eq!(removed, [(0, vec![1, 2]), (1, vec![0, 2])]);
    assert!(pruning.layers.iter().all(|layer| (0.0..0.5).contains(&layer.removed_share)), "{pruning:?}");
    assert_eq!((pruning.n_experts, pruning.n_kept, pruning.n_active), (4, 2, 2));
    assert_eq!(describe(&pruned).unwrap().moe.unwrap().n_experts, 2);
}

#[test]
fn wishes_that_cannot_be_met_are_refused() {
    let (_folder, path) = model();
    let told = |path: &std::path::Path, n, importance: Option<&Importance>| {
        let source = open_source(path, &[]).unwrap();
        prune_experts(source, n, importance, None).err().unwrap().to_string()
    };
    let known = importance();
    for n in [0, 4, 5] {
        let error = told(&path, n, Some(&known));
        assert!(error.contains("prune experts: expected 1 to 3 of 4 experts"), "{error}");
    }
    assert!(told(&path, 1, None).contains("expected moments or an importance matrix"));
    let nothing = Importance::new("empty", Imatrix::default());
    let error = told(&path, 1, Some(&nothing));
    assert!(error.contains("blk.0.ffn_down_exps.weight") && error.contains("by expert, got none"), "{error}");
    let dense: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models/pajama-stories-4m"].iter().collect();
    let error = told(&dense, 1, Some(&known));
    assert!(error.contains("a model with experts") && error.contains("has none"), "{error}");
}
