//! A context without room: the app chooses what becomes of the answer, and nothing ends the process.

use crate::fake_engine::Fake;
use crate::stage::{bytes, generate, greedy, load, reciting, session, try_load};
use llama_pajamas::engine::MemoryUse;
use llama_pajamas::{Error, GenerateSettings, PlanRequest, Session, SessionSettings, StopReason, WhenFull};
use std::sync::{Arc, Mutex};

/// A session of 32 tokens whose engine never ends.
fn small(fake: &Fake, when_full: WhenFull) -> Session {
    let settings = SessionSettings { context_tokens: Some(32), ..SessionSettings::default() };
    let mut session = load(fake, 32).session(&settings).expect("opens");
    session.set_when_full(when_full);
    session
}

fn forty() -> GenerateSettings {
    GenerateSettings { max_tokens: 60, ignore_end_of_turn: true, ..greedy() }
}

#[test]
fn a_full_context_ends_the_answer_unless_something_else_is_wished() {
    let told = generate(&mut small(&reciting("abc"), WhenFull::Refuse), "abc", &forty()).expect("generates");
    assert_eq!(told.usage.stop_reason, StopReason::ContextFull);
    let error = generate(&mut small(&reciting(""), WhenFull::Refuse), &"x".repeat(40), &forty());
    assert!(matches!(error, Err(Error::Request { what: "prompt", .. })), "{error:?}");
}

#[test]
fn a_shift_keeps_the_beginning_and_goes_on() {
    for only_anew in [false, true] {
        let fake = Fake { only_anew, ..reciting("abc") };
        let mut session = small(&fake, WhenFull::Shift { keep_tokens: 3 });
        let told = generate(&mut session, "abc", &forty()).expect("generates");
        assert_eq!((told.usage.stop_reason, told.usage.completion_tokens), (StopReason::MaxTokens, 60));
        assert!(session.n_past() <= 32);
        assert_eq!(session.tokens()[..3], [vec![1], bytes("ab")].concat()[..]);
        assert_eq!(session.tokens().len(), session.n_past());
        // A prompt that is too long loses its middle.
        let told = generate(&mut session, &"y".repeat(99), &forty()).expect("generates");
        assert!(told.usage.prompt_tokens < 32, "{told:?}");
    }
}

#[test]
fn an_app_that_is_asked_says_what_to_go_on_from() {
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let ask = move |tokens: &[i32]| {
        *counted.lock().expect("not poisoned") += 1;
        assert_eq!(tokens.len(), 32);
        Some([&tokens[..1], &bytes("so far: abc")].concat())
    };
    let mut session = small(&reciting("abc"), WhenFull::Ask(Box::new(ask)));
    let told = generate(&mut session, "abc", &forty()).expect("generates");
    assert_eq!(told.usage.stop_reason, StopReason::MaxTokens);
    assert_eq!(*asked.lock().expect("not poisoned"), 2);
    assert_eq!(session.tokens()[1..12], bytes("so far: abc")[..]);
    let mut session = small(&reciting("abc"), WhenFull::Ask(Box::new(|_| None)));
    let told = generate(&mut session, "abc", &forty()).expect("generates");
    assert_eq!(told.usage.stop_reason, StopReason::ContextFull);
}

fn growing(most_tokens: u32) -> WhenFull {
    WhenFull::Grow { most_tokens, then: Box::new(WhenFull::Refuse) }
}

#[test]
fn a_context_grows_as_far_as_it_may() {
    let fake = reciting(&"abcdefgh".repeat(10));
    let plain = generate(&mut session(&fake, 128), "abc", &forty()).expect("generates");
    let mut session = small(&fake, growing(100));
    let told = generate(&mut session, "abc", &forty()).expect("generates");
    assert_eq!((told.text(), &told.usage.stop_reason), (plain.text(), &StopReason::MaxTokens));
    assert_eq!((session.n_ctx(), session.n_past(), session.tokens().len()), (64, 63, 63));
    // Nothing was computed twice, and nothing will be.
    let again =
        generate(&mut session, "abc", &GenerateSettings { max_tokens: 1, ..forty() }).expect("generates");
    assert_eq!(again.usage.reused_tokens, 3);
    let told =
        generate(&mut session, "abc", &GenerateSettings { max_tokens: 200, ..forty() }).expect("generates");
    assert_eq!((session.n_ctx(), told.usage.stop_reason), (100, StopReason::ContextFull));
}

#[test]
fn a_context_grows_to_a_prompt() {
    let mut session = small(&reciting(&"x".repeat(200)), growing(400));
    let told = generate(&mut session, &"x".repeat(150), &forty()).expect("generates");
    assert_eq!((told.usage.prompt_tokens, told.usage.stop_reason), (151, StopReason::MaxTokens));
    assert!(session.n_ctx() > 152 && session.n_ctx() <= 400, "{}", session.n_ctx());
    let mut session = small(&reciting("x"), growing(100));
    let error = generate(&mut session, &"x".repeat(150), &forty());
    assert!(matches!(error, Err(Error::Request { what: "prompt", .. })), "{error:?}");
    assert_eq!(session.n_ctx(), 32);
}

#[test]
fn without_memory_a_context_does_not_grow() {
    let fake = reciting("abc");
    let request = PlanRequest { context_tokens: Some(32), ..PlanRequest::default() };
    let roomy = try_load(&fake, &request).expect("loads");
    let needed = roomy.choice().memory.total_bytes();
    let tight = PlanRequest { memory_budget_bytes: Some(needed), ..request };
    let memory = MemoryUse { context_bytes: needed, ..MemoryUse::default() };
    let fake = Fake { memory, ..fake };
    let settings = SessionSettings { context_tokens: Some(32), ..SessionSettings::default() };
    let mut session = try_load(&fake, &tight).expect("loads").session(&settings).expect("opens");
    session.set_when_full(WhenFull::Grow {
        most_tokens: 400,
        then: Box::new(WhenFull::Shift { keep_tokens: 1 }),
    });
    let told = generate(&mut session, "abc", &forty()).expect("generates");
    assert_eq!((session.n_ctx(), told.usage.stop_reason), (32, StopReason::MaxTokens));
}
