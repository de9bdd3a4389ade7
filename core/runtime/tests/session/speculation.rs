//! Guesses: the same answer in fewer computations, whatever comes in between.

use crate::fake_engine::Fake;
use crate::stage::{Told, generate, greedy, load, reciting};
use llama_pajamas::{GenerateSettings, SessionSettings, StopReason};
use std::time::Duration;

const REFRAIN: &str =
    "row, row, row your boat, gently down the stream; row, row, row your boat, gently down the stream!";

fn answers(fake: &Fake, settings: &GenerateSettings) -> [(Told, usize); 2] {
    [false, true].map(|speculate| {
        fake.computed.lock().expect("not poisoned").clear();
        let asked = SessionSettings { context_tokens: Some(256), speculate, draft: None };
        let mut session = load(fake, 256).session(&asked).expect("opens");
        let told = generate(&mut session, "row, ", settings).expect("generates");
        let computed = fake.computed.lock().expect("not poisoned").len();
        (told, computed)
    })
}

#[test]
fn what_repeats_takes_fewer_computations() {
    // A single token takes so long that guessing pays.
    let fake = Fake { token_time: Some(|_| Duration::from_millis(2)), ..reciting(REFRAIN) };
    let [(plain, steps), (guessed, fewer)] = answers(&fake, &greedy());
    assert_eq!(plain.text(), guessed.text());
    assert_eq!(plain.usage.stop_reason, guessed.usage.stop_reason);
    assert_eq!(plain.usage.completion_tokens, guessed.usage.completion_tokens);
    assert_eq!(plain.usage.guessed_tokens, 0);
    assert!(guessed.usage.guessed_tokens > 20 && fewer + 15 < steps, "{fewer} of {steps}, {guessed:?}");
}

#[test]
fn ends_are_where_they_would_be_without() {
    for change in [
        (|s: &mut GenerateSettings| s.max_tokens = 63) as fn(&mut GenerateSettings),
        |s| s.stop = vec!["down the stream; row, row, row your b".into()],
        |s| s.top_logprobs = Some(2),
    ] {
        let mut settings = greedy();
        change(&mut settings);
        let fake = Fake { token_time: Some(|_| Duration::from_millis(2)), ..reciting(REFRAIN) };
        let [(plain, _), (guessed, _)] = answers(&fake, &settings);
        assert_eq!((plain.text(), &plain.usage.stop_reason), (guessed.text(), &guessed.usage.stop_reason));
    }
}

#[test]
fn memories_that_cannot_go_back_are_never_guessed_for() {
    let time: Option<fn(usize) -> Duration> = Some(|_| Duration::from_millis(2));
    let fake = Fake { only_anew: true, token_time: time, ..reciting(REFRAIN) };
    let [(plain, steps), (guessed, same)] = answers(&fake, &greedy());
    assert_eq!((plain.text(), steps, guessed.usage.guessed_tokens), (guessed.text(), same, 0));
    assert_eq!(guessed.usage.stop_reason, StopReason::EndOfTurn);
}

const PLAIN: &str = "the quick brown fox jumps over a lazy dog, while 5 big wizards vex my nymph";

/// The answer with a small model's guesses, and how many computations of the large one it took.
fn drafted(large: &Fake, small: &Fake) -> (Told, usize) {
    let draft = Some(load(small, 256));
    let asked = SessionSettings { context_tokens: Some(256), speculate: true, draft };
    let mut session = load(large, 256).session(&asked).expect("opens");
    large.computed.lock().expect("not poisoned").clear();
    let told = generate(&mut session, "row, ", &greedy()).expect("generates");
    let computed = large.computed.lock().expect("not poisoned").len();
    (told, computed)
}

#[test]
fn a_small_model_that_knows_the_text_saves_computations() {
    let large = Fake { token_time: Some(|_| Duration::from_millis(4)), ..reciting(PLAIN) };
    let small = Fake { is_sure: true, ..reciting(PLAIN) };
    let [(plain, steps), _] = answers(&large, &greedy());
    let (guessed, fewer) = drafted(&large, &small);
    assert_eq!((plain.text(), &plain.usage.stop_reason), (guessed.text(), &guessed.usage.stop_reason));
    assert!(guessed.usage.guessed_tokens > 40 && fewer + 30 < steps, "{fewer} of {steps}, {guessed:?}");
}

#[test]
fn a_small_model_that_errs_changes_nothing_and_is_given_a_rest() {
    let large = Fake { token_time: Some(|_| Duration::from_millis(1)), ..reciting(PLAIN) };
    let small = Fake {
        is_sure: true,
        token_time: Some(|_| Duration::from_millis(5)),
        ..reciting(&PLAIN.to_uppercase())
    };
    let [(plain, steps), _] = answers(&large, &greedy());
    let (guessed, computed) = drafted(&large, &small);
    assert_eq!((plain.text(), &plain.usage.stop_reason), (guessed.text(), &guessed.usage.stop_reason));
    assert!(computed <= steps, "{computed} of {steps}");
    let asked = small.computed.lock().expect("not poisoned").len();
    assert!(asked < steps / 2, "the small model was asked {asked} times in {steps} steps");
}

#[test]
fn a_small_model_that_fails_or_doubts_changes_nothing() {
    let large = Fake { token_time: Some(|_| Duration::from_millis(1)), ..reciting(PLAIN) };
    let [(plain, steps), _] = answers(&large, &greedy());
    let failing = Fake { is_sure: true, ..reciting(PLAIN) };
    *failing.fails_at.lock().expect("not poisoned") = Some(12);
    for small in [failing, Fake { is_sure: false, ..reciting(PLAIN) }] {
        let (guessed, computed) = drafted(&large, &small);
        assert_eq!((plain.text(), &plain.usage.stop_reason), (guessed.text(), &guessed.usage.stop_reason));
        assert!(computed <= steps, "{computed} of {steps}");
    }
}

#[test]
fn a_small_model_that_cannot_go_back_is_refused() {
    let large = reciting(PLAIN);
    let draft = Some(load(&Fake { only_anew: true, ..reciting(PLAIN) }, 256));
    let asked = SessionSettings { context_tokens: Some(256), speculate: true, draft };
    let error = load(&large, 256).session(&asked).err().expect("refused");
    assert!(error.to_string().contains("draft model: expected one that can take tokens back"), "{error}");
}

#[test]
fn layers_that_foresee_the_text_save_computations() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(4)), ..reciting(PLAIN) };
    let fake = Fake { expected: Some(slow.recital.clone()), ..slow };
    let [(plain, steps), (guessed, fewer)] = answers(&fake, &greedy());
    assert_eq!((plain.text(), &plain.usage.stop_reason), (guessed.text(), &guessed.usage.stop_reason));
    assert!(guessed.usage.guessed_tokens > 40 && fewer + 30 < steps, "{fewer} of {steps}, {guessed:?}");
    // A small model takes their place.
    *fake.predicted.lock().expect("not poisoned") = 0;
    drafted(&fake, &Fake { is_sure: true, ..reciting(PLAIN) });
    assert_eq!(*fake.predicted.lock().expect("not poisoned"), 0);
}

#[test]
fn layers_that_err_change_nothing_and_are_given_a_rest() {
    let expected = Some(reciting(&"~".repeat(PLAIN.len())).recital);
    let prediction_time = Duration::from_millis(5);
    let slow = Fake { token_time: Some(|_| Duration::from_millis(1)), ..reciting(PLAIN) };
    let fake = Fake { expected, prediction_time, ..slow };
    let [(plain, steps), (guessed, computed)] = answers(&fake, &greedy());
    assert_eq!((plain.text(), &plain.usage.stop_reason), (guessed.text(), &guessed.usage.stop_reason));
    let asked = *fake.predicted.lock().expect("not poisoned");
    assert!(computed <= steps && asked < steps / 2, "asked {asked} times, {computed} of {steps}");
}
