//! The chain as a whole, against distributions worked by hand.

use super::*;
use crate::sampling::{Dry, Mirostat};
use std::collections::BTreeMap;

/// Every step off but temperature 1.
fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
    let mut settings =
        Sampling { seed: Some(1), temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() };
    change(&mut settings);
    Sampler::with_breakers(settings, Breakers::default()).expect("in range")
}

/// The shares that the draw is made from, by token, after `recent`.
#[track_caller]
fn check(logits: &[f32], recent: &[Token], change: impl FnOnce(&mut Sampling), expected: &[(Token, f64)]) {
    let mut sampler = sampler(change);
    sampler.remember(recent);
    sampler.choose_by_steps(logits).expect("possible");
    let tokens = sampler.candidates.iter().map(|candidate| candidate.token);
    let shares: BTreeMap<Token, f64> = tokens.zip(sampler.candidates.probabilities()).collect();
    assert_eq!(shares.len(), expected.len(), "{shares:?}");
    for (token, share) in expected {
        assert!((shares[token] - share).abs() < 1e-5, "token {token}: expected {share}, got {shares:?}");
    }
}

fn logs(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[test]
fn greedy_takes_the_first_of_the_likeliest() {
    assert_eq!(sampler(|s| s.temperature = 0.0).choose(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]).unwrap(), 1);
    // With a step in between that changes nothing, the long way gives the same.
    assert_eq!(
        sampler(|s| (s.temperature, s.typical_p) = (0.0, 0.999)).choose(&[1.0, 3.0, 3.0, 0.0]).unwrap(),
        1
    );
}

#[test]
fn logits_without_a_choice_are_refused() {
    let error = |logits: &[f32]| sampler(|_| {}).choose(logits).unwrap_err().to_string();
    assert_eq!(error(&[1.0, f32::NAN]), "logits: expected a number for token 1, got NaN");
    assert_eq!(error(&[f32::NEG_INFINITY; 3]), "logits: expected a possible one among 3 tokens, got none");
    assert_eq!(error(&[]), "logits: expected a possible one among 0 tokens, got none");
    let mut sampler = sampler(|s| s.logit_bias = vec![(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)]);
    assert_eq!(
        sampler.choose(&[1.0, 2.0]).unwrap_err().to_string(),
        "logits: the biases exclude every token"
    );
}

#[test]
fn one_seed_gives_one_answer() {
    let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
    let draw = |seed| {
        let mut sampler = sampler(|s| (s.seed, s.xtc_probability, s.top_k) = (Some(seed), 0.5, 40));
        (0..50).map(|_| sampler.choose(&logits).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn frequencies_follow_the_probabilities() {
    let mut sampler = sampler(|_| {});
    let logits = logs(&[0.5, 0.3, 0.2]);
    let mut counts = [0i32; 3];
    (0..30_000).for_each(|_| counts[sampler.choose(&logits).unwrap() as usize] += 1);
    for (count, expected) in counts.iter().zip([15_000, 9_000, 6_000]) {
        assert!((count - expected).abs() < 450, "{counts:?}");
    }
}

#[test]
fn temperature_sharpens_and_flattens() {
    let logits = logs(&[0.1, 0.2, 0.3, 0.4]);
    check(&logits, &[], |_| {}, &[(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4)]);
    // Squares: 1, 4, 9, 16 of 30.
    check(
        &logits,
        &[],
        |s| s.temperature = 0.5,
        &[(0, 1.0 / 30.0), (1, 4.0 / 30.0), (2, 0.3), (3, 16.0 / 30.0)],
    );
    check(&logits, &[], |s| s.temperature = 0.0, &[(3, 1.0)]);
    check(&[0.0, 1e30], &[], |s| s.temperature = f32::MIN_POSITIVE, &[(0, 0.0), (1, 1.0)]);
}

#[test]
fn temperature_follows_unsureness() {
    // Even shares have all possible entropy: the temperature is 1 + 0.5, and even shares stay even.
    check(&logs(&[0.5, 0.5]), &[], |s| s.temperature_range = 0.5, &[(0, 0.5), (1, 0.5)]);
    // Entropy of 0.9 and 0.1 is 0.32508 of ln 2 = 0.46900: temperature 0.5 + 1 · 0.469 = 0.969, 9^(1/0.969) = 9.6555.
    let settings = |s: &mut Sampling| s.temperature_range = 0.5;
    check(&logs(&[0.9, 0.1]), &[], settings, &[(0, 0.906152), (1, 0.093848)]);
}

#[test]
fn filters_run_in_the_order_that_is_asked_for() {
    let logits = logs(&[0.1, 0.2, 0.3, 0.4]);
    // Of the two likeliest, 4/7 make up a half.
    check(&logits, &[], |s| (s.top_k, s.top_p) = (2, 0.5), &[(3, 1.0)]);
    // Of all four, it takes two to make up a half.
    let settings = |s: &mut Sampling| {
        (s.top_k, s.top_p) = (2, 0.5);
        s.order = vec![Step::TopP, Step::TopK];
    };
    check(&logits, &[], settings, &[(2, 3.0 / 7.0), (3, 4.0 / 7.0)]);
    check(&logits, &[], |s| (s.top_k, s.order) = (1, vec![]), &[(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4)]);
}

#[test]
fn the_likeliest_are_left_out_as_often_as_asked() {
    let logits = logs(&[0.6, 0.3, 0.1]);
    let mut sampler = sampler(|s| (s.xtc_probability, s.xtc_threshold, s.temperature) = (0.25, 0.2, 0.0));
    let seconds = (0..4000).filter(|_| sampler.choose(&logits).unwrap() == 1).count();
    assert!((900..1100).contains(&seconds), "{seconds}");
}

#[test]
fn biases_are_added_first() {
    check(
        &logs(&[0.5, 0.5]),
        &[],
        |s| s.logit_bias = vec![(0, 3f32.ln()), (9, 1.0)],
        &[(0, 0.75), (1, 0.25)],
    );
    check(&logs(&[0.5, 0.5]), &[], |s| s.logit_bias = vec![(0, f32::NEG_INFINITY)], &[(0, 0.0), (1, 1.0)]);
}

#[test]
fn recent_tokens_are_pushed_down() {
    let even = logs(&[0.2; 5]);
    // Once each: e^-10 against 1.
    let once = |s: &mut Sampling| (s.frequency_penalty, s.presence_penalty) = (5.0, 5.0);
    let small = (-10f64).exp() / (4.0 + (-10f64).exp());
    check(&even, &[0], once, &[(0, small), (1, 0.249997), (2, 0.249997), (3, 0.249997), (4, 0.249997)]);
    // Three times: frequency thrice, presence once: e^-20.
    check(
        &even,
        &[0, 1, 2, 0, 0],
        once,
        &[(0, 0.0), (1, 0.000023), (2, 0.000023), (3, 0.499977), (4, 0.499977)],
    );
    // ln 0.2 is negative and grows by the factor: 0.2² against 0.2.
    let double = |s: &mut Sampling| s.repeat_penalty = 2.0;
    check(&logs(&[0.2, 0.2]), &[0], double, &[(0, 0.04 / 0.24), (1, 0.2 / 0.24)]);
    check(&[2.0, 0.0], &[0], double, &[(0, 1f64.exp() / (1.0 + 1f64.exp())), (1, 1.0 / (1.0 + 1f64.exp()))]);
}

#[test]
fn what_lies_behind_the_window_is_forgotten() {
    let even = logs(&[0.5, 0.5]);
    let even_shares = [(0, 0.5), (1, 0.5)];
    check(&even, &[0, 2, 2], |s| (s.presence_penalty, s.penalty_window) = (5.0, 2), &even_shares);
    check(&even, &[0], |s| (s.presence_penalty, s.penalty_window) = (5.0, 0), &even_shares);
    let mut sampler = sampler(|s| (s.temperature, s.presence_penalty, s.penalty_window) = (0.0, 2.0, 1));
    let chosen: Vec<Token> = (0..4).map(|_| sampler.choose(&[2.0, 1.0]).unwrap()).collect();
    assert_eq!(chosen, [0, 1, 0, 1]);
}

#[test]
fn repeats_are_pushed_down() {
    // Token 2 would go on repeating: e^-1 against 1.
    let dry = |s: &mut Sampling| s.dry = Dry { multiplier: 1.0, base: 1.1, ..Dry::default() };
    let expected = [(0, 0.296923), (1, 0.296923), (2, 0.109232), (3, 0.296923)];
    check(&logs(&[0.25; 4]), &[0, 1, 2, 0, 1], dry, &expected);
    check(&logs(&[0.25; 4]), &[0, 1], dry, &[(0, 0.25), (1, 0.25), (2, 0.25), (3, 0.25)]);
}

#[test]
fn mirostat_replaces_the_filters_and_learns() {
    let mirostat = Mirostat { target_bits: 0.75, learning_rate: 1.0, ..Mirostat::default() };
    // The limit is 1.5 bits: 0.5 stays, 0.25 with its 2 bits goes. The filter would keep nothing else either.
    let mut sampler = sampler(|s| (s.mirostat, s.top_k) = (Some(mirostat), 1));
    let logits = logs(&[0.25, 0.5, 0.25]);
    assert_eq!(sampler.choose(&logits).unwrap(), 1);
    // Its share was 1: no surprise, so the limit rises by 0.75 to 2.25 bits, and all three may be drawn.
    sampler.choose(&logits).unwrap();
    assert_eq!(sampler.candidates.len(), 3);
}

proptest::proptest! {
    #[test]
    fn any_settings_choose_a_possible_token(
        logits in proptest::collection::vec(-50f32..50.0, 1..300),
        numbers in proptest::collection::vec(0f32..1.0, 8),
        recent in proptest::collection::vec(0i32..300, 0..40),
        seed: u64,
    ) {
        let mut sampler = sampler(|s| {
            (s.temperature, s.temperature_range, s.top_p, s.min_p) = (numbers[0] * 3.0, numbers[1], numbers[2], numbers[3]);
            (s.typical_p, s.top_n_sigma, s.xtc_probability, s.xtc_threshold) =
                (numbers[4], numbers[5] * 4.0, numbers[6], numbers[7] * 0.6);
            (s.top_k, s.seed, s.repeat_penalty) = ((seed % 50) as u32, Some(seed), 1.1);
            s.dry.multiplier = 1.0;
            s.mirostat = (seed % 3 == 0).then(Mirostat::default);
        });
        sampler.remember(&recent);
        for _ in 0..3 {
            let token = sampler.choose(&logits).unwrap();
            proptest::prop_assert!((0..logits.len() as Token).contains(&token));
        }
    }
}
