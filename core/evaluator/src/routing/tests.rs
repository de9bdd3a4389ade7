//! Shares and histograms of choices, and a store that keeps them.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::reference::{Keep, PassHeader};

fn header() -> Header {
    let router = |layer| Router { layer, n_experts: 4, n_used: 2 };
    let pass = |text: &str| PassHeader { text: text.into(), n_ctx: 6, n_windows: 2 };
    Header {
        format: 2,
        reference: "F16".into(),
        identity: String::new(),
        n_vocab: 8,
        keep: Keep { routers: true, ..Keep::default() },
        passes: vec![pass("english"), pass("code")],
        routers: vec![router(1), router(3)],
    }
}

#[test]
fn experts_that_both_choose_count_in_whatever_order() {
    let header = header();
    let mut tally = Tally::new(&header);
    // Layer 1 agrees, in another order; layer 3 shares one of two experts at one position and none at the other.
    tally.add(0, &vec![vec![0, 1, 2, 3], vec![0, 1, 0, 1]], &vec![vec![1, 0, 2, 3], vec![0, 2, 2, 3]]);
    tally.add(0, &vec![vec![0, 1, 2, 3], vec![0, 1, 0, 1]], &vec![vec![1, 0, 2, 3], vec![0, 1, 0, 1]]);
    let figures = tally.figures(&header);
    assert_eq!(figures.len(), 1, "the other text was not read");
    let figures = &figures[0];
    assert_eq!((figures.text.as_str(), figures.n_tokens), ("english", 4));
    assert!((figures.agreement.mean - 13.0 / 16.0).abs() < 1e-12);
    assert!(figures.agreement.interval[0].is_finite());
    assert_eq!(figures.same_set, 6.0 / 8.0);
    let shares: Vec<_> = figures.layers.iter().map(|l| (l.layer, l.agreement, l.same_set)).collect();
    assert_eq!(shares, [(1, 1.0, 1.0), (3, 5.0 / 8.0, 0.5)]);
    assert_eq!(figures.layers[1].reference, [4, 4, 0, 0]);
    assert_eq!(figures.layers[1].candidate, [3, 2, 2, 1]);
    assert!((0.0..1.0).contains(&figures.usage_correlation));
}

#[test]
fn usage_that_does_not_vary_is_equal_or_not() {
    assert_eq!(correlation(&[(2.0, 2.0), (2.0, 2.0)]), 1.0);
    assert_eq!(correlation(&[(2.0, 1.0), (2.0, 3.0)]), 0.0);
    assert!((correlation(&[(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]) - 1.0).abs() < 1e-12);
}
