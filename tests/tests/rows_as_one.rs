//! A few tokens computed together have the logits of each by itself, bit by bit, and any number of threads has the same: so that
//! no answer depends on a guess that is checked, on another answer beside it, or on how an engine is tuned.
//!
//! Knows the engine and the quantizer; must not know how kernels are changed for it (`core/engine/build/changes.rs`).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what was compared is worth a line")]

mod small;

use llama_pajamas::engine::gguf::{EngineOptions, GgufEngine, ROWS_AS_ONE};
use llama_pajamas::engine::{ContextSettings, Engine, KvType, LoadSettings, Logits, Model, Token};
use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use quantizer::recipe::FileType;
use small::{PRECISIONS, small_bundle};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Where the tokens that are compared begin: in few positions, and across the seams of attention's first and second part and of the
/// second and third.
const BEGINS: [usize; 3] = [13, 500, 1012];
/// Tokens that are compared from there.
const N: usize = 24;

/// The logits of `N` tokens behind `begin`, in calls of `together` tokens.
fn logits(model: &Arc<dyn Model>, settings: &ContextSettings, begin: usize, together: usize) -> Vec<u32> {
    let n_vocab = model.n_vocab();
    let mut context = Arc::clone(model).new_context(settings).unwrap();
    let tokens: Vec<Token> = (0..begin + N).map(|at| (at * 7919 % n_vocab) as Token).collect();
    let cancel = CancelToken::new();
    context.decode(&tokens[..begin], Logits::None, &cancel).unwrap();
    let mut found = Vec::with_capacity(N * n_vocab);
    for call in tokens[begin..].chunks(together) {
        context.decode(call, Logits::All, &cancel).unwrap();
        for row in 0..call.len() {
            found.extend(context.logits(row).unwrap().iter().map(|logit| logit.to_bits()));
        }
    }
    found
}

fn settings(n_threads: u32) -> ContextSettings {
    ContextSettings {
        n_ctx: 1280,
        n_threads,
        n_threads_batch: n_threads,
        n_outputs_max: ROWS_AS_ONE,
        ..ContextSettings::default()
    }
}

#[test]
fn a_few_tokens_together_have_the_logits_of_each_alone() {
    let work = tempfile::tempdir().unwrap();
    let bundle = work.path().join("bundle");
    small_bundle(&PRECISIONS, &bundle);
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    for (index, precision) in PRECISIONS.into_iter().enumerate() {
        let path = bundle.join(format!("gguf/{}/model.gguf", precision.name()));
        let model: Arc<dyn Model> =
            engine.load(&path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap();
        // The seams are the same for all types.
        let begins = if index == 0 { &BEGINS[..] } else { &BEGINS[..1] };
        for begin in begins {
            let expected = logits(&model, &settings(1), *begin, 1);
            for together in [2, 3, 5, ROWS_AS_ONE as usize] {
                let found = logits(&model, &settings(1), *begin, together);
                let differ =
                    found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
                assert_eq!(
                    differ,
                    0,
                    "{}: logits behind {begin} tokens, {together} tokens together: of {}",
                    precision.name(),
                    expected.len()
                );
            }
        }
        println!("{}: {begins:?}", precision.name());
    }
    // With another count of threads, without fused attention, and with caches that are not floats.
    let path = bundle.join("gguf/Q8_0/model.gguf");
    let model: Arc<dyn Model> =
        engine.load(&path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap();
    let one = logits(&model, &settings(1), BEGINS[1], 1);
    assert!(logits(&model, &settings(2), BEGINS[1], 1) == one, "two threads");
    for other in [
        ContextSettings { flash_attention: Some(false), ..settings(1) },
        ContextSettings { type_k: KvType::Q8_0, type_v: KvType::Q8_0, ..settings(1) },
    ] {
        let expected = logits(&model, &other, BEGINS[1], 1);
        assert!(logits(&model, &other, BEGINS[1], 3) == expected, "{other:?}");
    }
}

#[test]
fn an_answer_with_guesses_is_the_answer_without() {
    let work = tempfile::tempdir().unwrap();
    let bundle = work.path().join("bundle");
    small_bundle(&[FileType::Q4_K_M], &bundle);
    let runtime = Runtime::open(&bundle, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { n_threads: Some(1), context_tokens: Some(1024), ..PlanRequest::default() };
    let model = runtime.load(&runtime.plan(&request), &mut |_| {}, &CancelToken::new()).unwrap();
    // Long enough that the answer goes on behind the first part of attention.
    let prompt = model
        .tokenizer()
        .encode(
            &"Once upon a time there was a little llama. The little llama had red pajamas. ".repeat(20),
            true,
        )
        .unwrap();
    assert!((300..512).contains(&prompt.len()), "{}", prompt.len());
    let settings = GenerateSettings {
        sampling: Sampling::greedy(),
        max_tokens: 400,
        ignore_end_of_turn: true,
        ..GenerateSettings::default()
    };
    let [plain, guessed] = [false, true].map(|speculate| {
        let mut session =
            model.session(&SessionSettings { speculate, ..SessionSettings::default() }).unwrap();
        let mut tokens = Vec::new();
        let mut on_event = |event: Event<'_>| {
            if let Event::Token(token) = event {
                tokens.push(token);
            }
            ControlFlow::Continue(())
        };
        let usage = session.generate_tokens(&prompt, &settings, &CancelToken::new(), &mut on_event).unwrap();
        (tokens, usage.guessed_tokens)
    });
    assert_eq!(plain.0.len(), 400);
    assert!(guessed.0 == plain.0, "another answer with guesses");
    println!("{} of 400 guessed rightly", guessed.1);
}
