//! Tests of prediction layers, with models made so that it is known what they expect. Own: those models' expectations. May
//! know: contexts. Must not know: trained models.

#[path = "../../tests/conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the conformance suite")]
mod tiny_model;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::*;
use crate::gguf::{EngineOptions, GgufContext, GgufEngine, GgufModel};
use crate::{CancelToken, Context as _, ContextSettings, LoadSettings, Logits};

fn model(tiny: &tiny_model::TinyModel) -> Arc<GgufModel> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = GgufEngine::start(EngineOptions::default()).expect("starts");
    let go_on = &mut |_| ControlFlow::Continue(());
    engine.load_model(&tiny.write(dir.path()), &LoadSettings::default(), go_on).expect("loads")
}

fn open(model: &Arc<GgufModel>, prediction_layers: bool) -> GgufContext {
    let settings = ContextSettings {
        n_ctx: 256,
        n_batch: 16,
        n_ubatch: 8,
        n_outputs_max: 8,
        n_threads: 1,
        n_threads_batch: 1,
        prediction_layers,
        ..ContextSettings::default()
    };
    model.open_context(&settings).expect("opens")
}

fn decode(context: &mut GgufContext, tokens: &[Token]) -> Token {
    context.decode(tokens, Logits::Last, &CancelToken::new()).expect("decodes");
    likeliest(context.logits(0).expect("logits"), 0.0).expect("finite")
}

fn expect(context: &mut GgufContext, next: Token, most: usize) -> Vec<Token> {
    context.predict(next, most, 0.0, &CancelToken::new()).expect("expects")
}

/// What the model says behind a token, whatever stands before it.
fn behind(model: &Arc<GgufModel>, token: Token) -> Token {
    decode(&mut open(model, false), &[token])
}

#[test]
fn what_is_expected_is_what_the_model_says_then() {
    let model = model(&tiny_model::TinyModel::with_predictions(false));
    let mut context = open(&model, true);
    assert!(context.has_predictions());
    assert_eq!(expect(&mut context, 7, 3), [0; 0], "nothing is held");
    let prompt: Vec<Token> = (0..45).collect();
    let mut next = decode(&mut context, &prompt);
    for _ in 0..5 {
        let expected = expect(&mut context, next, 3);
        assert_eq!(context.n_past() % 4, 1);
        let mut tokens = vec![next];
        for token in &expected {
            tokens.push(*token);
        }
        context.decode(&tokens, Logits::All, &CancelToken::new()).expect("decodes");
        let says: Vec<Token> = (0..tokens.len())
            .map(|row| likeliest(context.logits(row).expect("logits"), 0.0).expect("finite"))
            .collect();
        assert_eq!(expected, says[..3]);
        next = says[3];
    }
}

#[test]
fn each_token_goes_with_the_state_before_it() {
    let model = model(&tiny_model::TinyModel::with_predictions(true));
    let mut context = open(&model, true);
    let tokens: Vec<Token> = (30..75).collect();
    decode(&mut context, &tokens);
    let says = |token| behind(&model, token);
    assert_eq!(expect(&mut context, 1, 2), [says(74), says(74)]);
    // What was read for it is forgotten: the same again, and behind others.
    assert_eq!(expect(&mut context, 9, 1), [says(74)]);
    decode(&mut context, &[5]);
    assert_eq!(expect(&mut context, 1, 1), [says(5)]);
    for n_past in [44, 41] {
        context.truncate(n_past).expect("goes back");
        assert_eq!(expect(&mut context, 1, 1), [says(tokens[n_past - 1])], "{n_past}");
    }
    let state = context.state().expect("a state");
    decode(&mut context, &[6, 7]);
    assert_eq!(expect(&mut context, 1, 1), [says(7)]);
    context.restore(&state).expect("restores");
    assert_eq!(expect(&mut context, 1, 1), [0; 0], "they have not read what was restored");
    context.truncate(0).expect("empties");
    decode(&mut context, &[8]);
    assert_eq!(expect(&mut context, 1, 1), [says(8)]);
}

#[test]
fn predictions_change_no_logits_and_are_asked_for() {
    let model = model(&tiny_model::TinyModel::with_predictions(false));
    let (mut with, mut without) = (open(&model, true), open(&model, false));
    assert!(!without.has_predictions());
    assert!(with.memory().context_bytes > without.memory().context_bytes);
    assert_eq!(with.memory().model_bytes, without.memory().model_bytes);
    for tokens in [&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..], &[4], &[5, 6]] {
        decode(&mut with, tokens);
        decode(&mut without, tokens);
        assert_eq!(with.logits(0).expect("logits"), without.logits(0).expect("logits"));
        let next = expect(&mut with, 3, 2);
        assert_eq!(next.len(), 2);
    }
    let doubts = with.predict(3, 2, 1.0, &CancelToken::new()).expect("expects");
    assert_eq!(doubts, [0; 0]);
}

#[test]
fn models_that_cannot_be_asked_are_known() {
    let has = |names: &'static [&str]| move |name: &str| names.contains(&name);
    let whole = &[
        "blk.4.nextn.eh_proj.weight",
        "blk.4.nextn.enorm.weight",
        "blk.4.nextn.hnorm.weight",
        "blk.4.ffn_gate_inp.weight",
    ];
    assert!(are_known("glm4moe", 4, 1, has(whole)));
    assert!(!are_known("glm4moe", 4, 1, has(&whole[1..])));
    assert!(!are_known("glm4moe", 4, 2, has(whole)));
    assert!(!are_known("llama", 4, 1, has(whole)));
}
