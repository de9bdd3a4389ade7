//! Steps that take tokens out by their probability, each as llama.cpp defines it. Owns no state.

use super::candidates::Candidates;

/// How many candidates are sorted at first when a few likely ones will do.
const FIRST_SORTED: usize = 256;

/// Keeps the `k` likeliest; 0 keeps all.
pub(super) fn top_k(candidates: &mut Candidates, k: usize) {
    if (1..candidates.len()).contains(&k) {
        candidates.sort_first(k);
        candidates.keep_first(k);
    }
}

/// Keeps the likeliest that make up `p` (Holtzman et al. 2019, arXiv:1904.09751).
pub(super) fn top_p(candidates: &mut Candidates, p: f32, min_keep: usize) {
    if p >= 1.0 {
        return;
    }
    let top = candidates.top();
    let weight = |logit: f32| f64::from(logit - top).exp();
    let total: f64 = candidates.iter().map(|candidate| weight(candidate.logit)).sum();
    for sorted in [FIRST_SORTED.min(candidates.len()), candidates.len()] {
        candidates.sort_first(sorted);
        let mut sum = 0.0;
        let enough = candidates.iter().take(sorted).enumerate().position(|(index, candidate)| {
            sum += weight(candidate.logit) / total;
            sum >= f64::from(p) && index + 1 >= min_keep
        });
        if let Some(last) = enough {
            return candidates.keep_first(last + 1);
        }
    }
}

/// Drops tokens less likely than `p` times the likeliest (Nguyen et al. 2024, arXiv:2407.01082).
pub(super) fn min_p(candidates: &mut Candidates, p: f32, min_keep: usize) {
    if p <= 0.0 {
        return;
    }
    let least = candidates.top() + p.ln();
    let likely = candidates.iter().filter(|candidate| candidate.logit >= least).count();
    if likely >= min_keep.max(1) {
        candidates.retain(|candidate| candidate.logit >= least);
    } else {
        top_k(candidates, min_keep.max(1));
    }
}

/// Keeps the tokens nearest to the expected surprise that make up `p` (Meister et al. 2022, arXiv:2202.00666).
pub(super) fn typical_p(candidates: &mut Candidates, p: f32, min_keep: usize) {
    if p >= 1.0 {
        return;
    }
    candidates.sort();
    let shares = candidates.probabilities();
    let entropy = entropy(&shares);
    let distance = |share: &f64| (-share.ln() - entropy).abs();
    // Surprise rises along the list: the nearest are a stretch of it that grows at the end that is nearer.
    let middle = shares.partition_point(|share| -share.ln() < entropy);
    let (mut from, mut to, mut sum) = (middle, middle, 0.0);
    let kept = min_keep.max(1);
    while to - from < shares.len() && (sum <= f64::from(p) || to - from < kept) {
        let below = from.checked_sub(1).map(|index| distance(&shares[index]));
        let above = shares.get(to).map(distance);
        if below.is_some_and(|below| above.is_none_or(|above| below <= above)) {
            from -= 1;
            sum += shares[from];
        } else {
            sum += shares[to];
            to += 1;
        }
    }
    candidates.keep_first(to);
    candidates.drop_first(from);
}

/// Drops logits more than `n` standard deviations below the highest (Tang et al. 2024, arXiv:2411.07641).
pub(super) fn top_n_sigma(candidates: &mut Candidates, n: f32) {
    if n <= 0.0 {
        return;
    }
    let finite =
        || candidates.iter().map(|candidate| f64::from(candidate.logit)).filter(|logit| logit.is_finite());
    let count = finite().count().max(1) as f64;
    let mean = finite().sum::<f64>() / count;
    let deviation = (finite().map(|logit| (logit - mean).powi(2)).sum::<f64>() / count).sqrt();
    let least = f64::from(candidates.top()) - f64::from(n) * deviation;
    candidates.retain(|candidate| f64::from(candidate.logit) >= least);
}

/// Of the tokens at least `threshold` likely leaves only the least likely.
pub(super) fn leave_out_top_choices(candidates: &mut Candidates, threshold: f32, min_keep: usize) {
    if threshold > 0.5 || candidates.len() < 2 {
        return;
    }
    candidates.sort();
    let shares = candidates.probabilities();
    // A share that was stated in 32 bits counts as reached by what rounds to it.
    let likely = shares.iter().take_while(|share| **share as f32 >= threshold).count();
    let dropped = likely.saturating_sub(1);
    if dropped > 0 && candidates.len() - dropped >= min_keep {
        candidates.drop_first(dropped);
    }
}

/// Unsureness in nats.
pub(super) fn entropy(shares: &[f64]) -> f64 {
    shares.iter().filter(|share| **share > 0.0).map(|share| -share * share.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Token ids that stay of tokens with these probabilities.
    #[track_caller]
    fn check(probabilities: &[f32], filter: impl Fn(&mut Candidates), expected: &[i32]) {
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        let mut candidates = Candidates::new();
        candidates.fill(&logits);
        filter(&mut candidates);
        let mut left: Vec<i32> = candidates.iter().map(|candidate| candidate.token).collect();
        left.sort_unstable();
        assert_eq!(left, expected);
    }

    const RISING: [f32; 4] = [0.1, 0.2, 0.3, 0.4];

    #[test]
    fn the_likeliest_are_kept() {
        check(&RISING, |c| top_k(c, 1), &[3]);
        check(&RISING, |c| top_k(c, 3), &[1, 2, 3]);
        check(&RISING, |c| top_k(c, 9), &[0, 1, 2, 3]);
        check(&RISING, |c| top_k(c, 0), &[0, 1, 2, 3]);
        check(&[0.25; 4], |c| top_k(c, 2), &[0, 1]);
    }

    #[test]
    fn a_share_of_the_probability_is_kept() {
        check(&RISING, |c| top_p(c, 0.0, 0), &[3]);
        check(&RISING, |c| top_p(c, 0.69, 0), &[2, 3]);
        check(&RISING, |c| top_p(c, 0.8, 0), &[1, 2, 3]);
        check(&RISING, |c| top_p(c, 1.0, 0), &[0, 1, 2, 3]);
        check(&RISING, |c| top_p(c, 0.0, 3), &[1, 2, 3]);
        // More even tokens than are sorted at first.
        let even = vec![1.0 / 1000.0; 1000];
        check(&even, |c| top_p(c, 0.5005, 0), &(0..501).collect::<Vec<_>>());
    }

    #[test]
    fn unlikely_tokens_are_dropped() {
        check(&RISING, |c| min_p(c, 0.24, 0), &[0, 1, 2, 3]);
        check(&RISING, |c| min_p(c, 0.26, 0), &[1, 2, 3]);
        check(&RISING, |c| min_p(c, 0.51, 0), &[2, 3]);
        check(&RISING, |c| min_p(c, 0.76, 0), &[3]);
        check(&RISING, |c| min_p(c, 0.76, 2), &[2, 3]);
    }

    /// Entropy of the second: 0.4·0.916 + 0.6·1.609 = 1.332; the three at 1.609 are nearer to it than the one at 0.916.
    #[test]
    fn typical_tokens_are_kept() {
        check(&[0.97, 0.01, 0.01, 0.01], |c| typical_p(c, 0.5, 0), &[0]);
        check(&[0.4, 0.2, 0.2, 0.2], |c| typical_p(c, 0.5, 0), &[1, 2, 3]);
        check(&[0.4, 0.2, 0.2, 0.2], |c| typical_p(c, 0.3, 0), &[1, 2]);
    }

    /// Logits -2.303, -1.609, -1.204, -0.916: mean -1.508, deviation 0.521.
    #[test]
    fn logits_far_below_the_highest_are_dropped() {
        check(&RISING, |c| top_n_sigma(c, 1.0), &[2, 3]);
        check(&RISING, |c| top_n_sigma(c, 1.4), &[1, 2, 3]);
        check(&RISING, |c| top_n_sigma(c, 3.0), &[0, 1, 2, 3]);
        check(&[0.0, 0.2, 0.3, 0.5], |c| top_n_sigma(c, 9.0), &[1, 2, 3]);
    }

    #[test]
    fn top_choices_are_left_out() {
        check(&RISING, |c| leave_out_top_choices(c, 0.09, 0), &[0]);
        check(&RISING, |c| leave_out_top_choices(c, 0.19, 0), &[0, 1]);
        check(&RISING, |c| leave_out_top_choices(c, 0.29, 0), &[0, 1, 2]);
        check(&RISING, |c| leave_out_top_choices(c, 0.39, 0), &[0, 1, 2, 3]);
        check(&RISING, |c| leave_out_top_choices(c, 0.51, 0), &[0, 1, 2, 3]);
        check(&RISING, |c| leave_out_top_choices(c, 0.09, 2), &[0, 1, 2, 3]);
    }
}
