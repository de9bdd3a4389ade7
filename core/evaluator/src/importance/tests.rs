//! Sums by hand, the choice of texts, partial files, merging and shrinkage.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::collector::{Collector, Wanted};
use super::partial::Place;
use super::*;
use crate::text::Pass;
use engine::{Product, Watch as _};
use formats::imatrix::{Entry, Imatrix};
use std::collections::BTreeMap;

const STACK: &str = "blk.0.ffn_up_exps.weight";

fn see(collector: &mut Collector, weight: &str, n_matrices: usize, rows: &[f32], matrices: &[u32]) {
    let product = Product { weight, n_columns: 2, n_matrices, rows, matrices };
    if collector.wants(weight) {
        collector.saw(&product);
    }
}

fn collected() -> Sums {
    let mut collector = Collector::new(Sums::default(), Wanted::All { output: false });
    see(&mut collector, "blk.0.attn_q.weight", 1, &[1.0, 2.0, 3.0, 4.0], &[0, 0]);
    // Each token goes to two of three experts.
    see(&mut collector, STACK, 3, &[1.0, 0.0, 0.0, 2.0], &[0, 2, 2, 0]);
    // A dense stack: each matrix sees a row of each token.
    see(&mut collector, "blk.0.attn_k_b.weight", 2, &[1.0, 1.0, 2.0, 2.0], &[0, 1]);
    see(&mut collector, "output.weight", 1, &[1.0, 1.0], &[0]);
    collector.sums()
}

#[test]
fn squares_are_summed_by_matrix_and_written_as_llama_imatrix_does() {
    let imatrix = collected().to_imatrix(vec!["t".into()], 3, 2);
    let entry = |name: &str| {
        let entry = &imatrix.entries[name];
        (entry.n_columns, entry.n_matrices, entry.sums.clone(), entry.counts.clone())
    };
    assert_eq!(entry("blk.0.attn_q.weight"), (2, 1, vec![10.0, 20.0], vec![2.0]));
    assert_eq!(entry(STACK), (2, 3, vec![1.0, 4.0, 0.0, 0.0, 1.0, 4.0], vec![2.0, 0.0, 2.0]));
    assert_eq!(entry("blk.0.attn_k_b.weight"), (4, 1, vec![1.0, 1.0, 4.0, 4.0], vec![1.0]));
    assert_eq!((imatrix.entries.len(), imatrix.chunk_count, imatrix.chunk_size), (3, 3, 2));
}

#[test]
fn only_cold_experts_count_while_balancing() {
    let wanted = Wanted::Experts(BTreeMap::from([(STACK.to_string(), vec![false, true, false])]));
    let mut collector = Collector::new(collected(), wanted);
    see(&mut collector, STACK, 3, &[5.0, 5.0], &[0, 1]);
    see(&mut collector, "blk.0.attn_q.weight", 1, &[9.0, 9.0], &[0]);
    let sums = collector.sums();
    assert_eq!(sums.weights[STACK].counts, [2, 1, 2]);
    assert_eq!(sums.weights[STACK].sums, [1.0, 4.0, 25.0, 25.0, 1.0, 4.0]);
    assert_eq!(sums.weights["blk.0.attn_q.weight"].counts, [2]);
}

#[test]
fn coverage_counts_each_layers_experts_once() {
    let mut collector = Collector::new(collected(), Wanted::All { output: false });
    see(&mut collector, "blk.0.ffn_down_exps.weight", 3, &[1.0, 0.0], &[0, 2]);
    let coverage = Coverage::of(&collector.sums());
    // The stacks of a real layer agree; the first by name stands for them.
    assert_eq!(coverage.layers, [LayerCoverage { layer: 0, counts: vec![1, 0, 1] }]);
    assert_eq!((coverage.n_experts(), coverage.share(1)), (3, 2.0 / 3.0));
    assert_eq!(coverage.histogram()[..2], [("none".to_string(), 1), ("1 to 15".to_string(), 2)]);
    assert_eq!(Coverage::default().share(64), 1.0);
}

#[test]
fn a_partial_file_reads_back_and_damage_is_refused() {
    let place =
        Place { identity: "m".into(), n_windows: 5, drawn: vec![2, 0], hits: vec![vec![1, 2], vec![0, 0]] };
    let partial = Partial { place, sums: collected() };
    let mut bytes = Vec::new();
    partial.write(&mut bytes).unwrap();
    assert_eq!(Partial::read(&bytes).unwrap(), partial);
    assert_eq!(partial.n_windows(), 7);
    for cut in [3, 10, 30, bytes.len() - 40] {
        assert!(Partial::read(&bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn the_text_that_gave_cold_experts_most_is_drawn_next() {
    let pass = |text: &str, n| Pass { text: text.into(), n_ctx: 4, windows: vec![vec![0; 4]; n] };
    let pool = [pass("code", 9), pass("prose", 9), pass("verse", 1)];
    let layer = |counts: &[u64]| Coverage { layers: vec![LayerCoverage { layer: 0, counts: counts.into() }] };
    let hits = vec![vec![100, 2, 0], vec![0, 5, 1], vec![0, 64, 64]];
    let place = |drawn: [usize; 3]| Place { drawn: drawn.into(), hits: hits.clone(), ..Place::default() };
    let next = |drawn, counts: &[u64]| balance::draw(&pool, &place(drawn), &layer(counts), 64);
    assert_eq!(next([1, 0, 0], &[64, 0, 0]), Some(1), "each is tried first");
    // The third would be best and has nothing left; what the hot expert gets does not count.
    assert_eq!(next([1, 1, 1], &[64, 0, 0]), Some(1));
    assert_eq!(next([1, 1, 1], &[0, 64, 64]), Some(0));
    assert_eq!(next([9, 9, 1], &[0, 0, 0]), None);
}

fn matrix(sums: &[f32], counts: &[f32], legacy: bool) -> Imatrix {
    let entry = Entry {
        n_columns: sums.len() / counts.len(),
        n_matrices: counts.len(),
        sums: sums.into(),
        counts: counts.into(),
        legacy,
    };
    let entries = BTreeMap::from([("blk.0.ffn_up_exps.weight".to_string(), entry)]);
    Imatrix { entries, datasets: vec!["t".into()], chunk_count: 1, chunk_size: if legacy { 0 } else { 8 } }
}

#[test]
fn matrices_add_up_and_the_legacy_form_counts_in_chunks() {
    let ours = matrix(&[1.0, 2.0, 3.0, 4.0], &[8.0, 16.0], false);
    let merged = merge(vec![ours.clone(), matrix(&[1.0, 1.0, 1.0, 1.0], &[2.0], true)], 8).unwrap();
    let entry = &merged.entries["blk.0.ffn_up_exps.weight"];
    assert_eq!((entry.n_columns, entry.n_matrices), (2, 2));
    assert_eq!(
        (entry.sums.as_slice(), entry.counts.as_slice()),
        (&[9.0, 10.0, 11.0, 12.0][..], &[24.0, 32.0][..])
    );
    assert_eq!((merged.chunk_count, merged.datasets.len()), (2, 1));
    assert!(merge(vec![ours, matrix(&[1.0], &[1.0], false)], 8).is_err());
    assert!(merge(vec![], 8).is_err());
}

#[test]
fn an_expert_that_saw_nothing_gets_the_layers_shape() {
    let mut shrunk = matrix(&[90.0, 10.0, 0.0, 0.0], &[10.0, 0.0], false);
    shrink(&mut shrunk, 30.0);
    let importance = shrunk.entries["blk.0.ffn_up_exps.weight"].importance();
    assert_eq!(importance, [9.0, 1.0, 9.0, 1.0]);
    let mut same = matrix(&[90.0, 10.0, 0.0, 0.0], &[10.0, 0.0], false);
    shrink(&mut same, 0.0);
    assert_eq!(same, matrix(&[90.0, 10.0, 0.0, 0.0], &[10.0, 0.0], false));
}
