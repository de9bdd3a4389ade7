//! A context without room: the app chooses what becomes of the answer, and nothing ends the process.

use crate::fake_engine::Fake;
use crate::stage::{bytes, generate, greedy, load, reciting};
use llama_pajamas::{Error, GenerateSettings, Session, SessionSettings, StopReason, WhenFull};
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
