//! The estimate against the full sum, and the figures' sums.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::reference::Keep;
use crate::seed::Seeded;

/// Logits of a vocabulary with a long tail, and the same disturbed.
fn pair(n_vocab: usize, noise: f64, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut seeded = Seeded::of(&[seed, 99]);
    let mut normal = || (0..12).map(|_| seeded.unit()).sum::<f64>() - 6.0;
    let p: Vec<f32> = (0..n_vocab).map(|_| (2.5 * normal()) as f32).collect();
    let q = p.iter().map(|logit| logit + (noise * normal()) as f32).collect();
    (p, q)
}

fn full(p: &[f32], q: &[f32]) -> f64 {
    let (sp, sq) = (Summary::of(p).unwrap(), Summary::of(q).unwrap());
    let term = |id| {
        let (lp, lq) = (sp.log_probability(p, id), sq.log_probability(q, id));
        lp.exp() * (lp - lq)
    };
    (0..p.len()).map(term).sum()
}

#[test]
fn the_estimate_is_the_full_sum_on_average_and_close_each_time() {
    let keep = Keep::default();
    let (mut sum, mut sum_full, mut worst) = (0.0, 0.0, 0.0f64);
    for seed in 0..200 {
        let (p, q) = pair(4096, 0.3, seed);
        let record = Record::of(&p, 0, keep, &mut Seeded::of(&[seed])).unwrap();
        assert!(record.tail_mass > 0.05, "a tail that matters: {}", record.tail_mass);
        let estimate = divergence(&record, &q, &Summary::of(&q).unwrap());
        let exact = full(&p, &q);
        (sum, sum_full) = (sum + estimate, sum_full + exact);
        worst = worst.max((estimate / exact - 1.0).abs());
    }
    assert!((sum / sum_full - 1.0).abs() < 0.01, "mean {sum} for {sum_full}");
    assert!(worst < 0.25, "{worst}");
}

#[test]
fn where_everything_is_kept_the_sum_is_exact_and_zero_for_equals() {
    let (p, q) = pair(200, 0.5, 1);
    let record = Record::of(&p, 0, Keep::default(), &mut Seeded::of(&[1])).unwrap();
    let estimate = divergence(&record, &q, &Summary::of(&q).unwrap());
    assert!((estimate / full(&p, &q) - 1.0).abs() < 1e-5);
    assert!(divergence(&record, &p, &Summary::of(&p).unwrap()).abs() < 1e-9);
}

#[test]
fn logits_that_are_no_distribution_are_refused() {
    assert_eq!(Summary::of(&[0.0, f32::NAN]).unwrap_err(), "the logit of token 1 is NaN");
    assert!(Summary::of(&[f32::NEG_INFINITY; 3]).is_err());
    assert_eq!(Summary::of(&[1.0, 1.0, f32::NEG_INFINITY]).unwrap().top, 0);
}

fn sample(window: u32, kld: f32, nll: f32) -> Sample {
    Sample { pass: 0, window, position: 0, kld, nll, nll_reference: 2.0, same_top: kld < 0.5 }
}

#[test]
fn figures_group_by_window_and_pair_the_perplexities() {
    let samples = [
        sample(0, 0.1, 2.1),
        sample(0, 0.3, 2.3),
        sample(1, 0.2, 2.2),
        sample(1, 0.6, 2.2),
        sample(2, 0.3, 2.2),
    ];
    let figures = figures(samples.iter()).unwrap();
    assert_eq!((figures.n_tokens, figures.n_windows), (5, 3));
    assert!((figures.kld.mean - 0.3).abs() < 1e-6 && (figures.kld_median - 0.3).abs() < 1e-6);
    assert!((figures.same_top.mean - 0.8).abs() < 1e-9 && (figures.kld_max - 0.6).abs() < 1e-6);
    // Each window's perplexity is e^0.2 above the reference's: no doubt is left.
    assert!((figures.ppl_ratio.mean - 0.2f64.exp()).abs() < 1e-6 && figures.ppl_ratio.reach() < 1e-6);
    assert!((figures.ppl_reference.mean - 2.0f64.exp()).abs() < 1e-6);
    assert!(super::figures(std::iter::empty()).is_none());
}
