//! Sessions against an engine without a model: how generations end, what is told, what is remembered.
//! Knows the public API only.

#![allow(missing_docs, reason = "tests")]

mod adapters;
mod embed;
mod fake_engine;
mod full;
mod memory;
mod pool;
mod speculation;
mod stage;
mod state;
mod steering;
mod tuning;

use fake_engine::Fake;
use llama_pajamas::{
    CancelToken, Event, GenerateSettings, Message, PlanRequest, Sampling, SessionSettings, StopReason,
};
use stage::{END, Told, byte, bytes, generate, greedy, load, reciting, session};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

fn told(recital: &str, prompt: &str, change: impl FnOnce(&mut GenerateSettings)) -> Told {
    let mut settings = greedy();
    change(&mut settings);
    generate(&mut session(&reciting(recital), 256), prompt, &settings).expect("generates")
}

#[test]
fn the_model_ends_its_turn() {
    let told = told("Say hello", "Say ", |_| {});
    assert_eq!((told.text().as_str(), &told.usage.stop_reason), ("hello", &StopReason::EndOfTurn));
    // Five letters and the end.
    assert_eq!((told.usage.prompt_tokens, told.usage.completion_tokens), (5, 6));
}

#[test]
fn an_end_that_is_ignored_is_not_text() {
    let told = told("Say hello", "Say ", |s| (s.ignore_end_of_turn, s.max_tokens) = (true, 8));
    assert_eq!((told.text().as_str(), told.usage.stop_reason), ("hello", StopReason::MaxTokens));
}

#[test]
fn an_answer_is_as_long_as_asked_for_at_most() {
    let ended = |max_tokens| {
        let told = told("Say hello", "Say ", |s| s.max_tokens = max_tokens);
        (told.text(), told.usage.completion_tokens, told.usage.stop_reason)
    };
    assert_eq!(ended(0), (String::new(), 0, StopReason::MaxTokens));
    assert_eq!(ended(3), ("hel".into(), 3, StopReason::MaxTokens));
}

#[test]
fn characters_are_told_whole() {
    let told = told("a🦙é!", "a", |_| {});
    assert_eq!(told.texts, ["🦙", "é", "!"]);
}

#[test]
fn a_character_cut_by_the_end_is_marked() {
    let told = told("a🦙", "a", |s| s.max_tokens = 3);
    assert_eq!(
        (told.texts.as_slice(), told.usage.stop_reason),
        (["\u{fffd}".into()].as_slice(), StopReason::MaxTokens)
    );
}

#[test]
fn stop_texts_span_tokens_and_are_not_told() {
    let stopped = |stops: &[&str]| {
        let stop = stops.iter().map(|stop| stop.to_string()).collect();
        let told = told("Q: why? <b>so</b> <end> more", "Q: why? ", |s| s.stop = stop);
        (told.text(), told.usage.stop_reason)
    };
    let at = |text: &str| StopReason::StopText(text.into());
    assert_eq!(stopped(&["<end>"]), ("<b>so</b> ".into(), at("<end>")));
    assert_eq!(stopped(&["nothing", "</b>"]), ("<b>so".into(), at("</b>")));
    assert_eq!(stopped(&["<b>"]), (String::new(), at("<b>")));
    // The prompt's own text stops nothing, and what only began like a stop text is told.
    assert_eq!(stopped(&["why?", "more!"]), ("<b>so</b> <end> more".into(), StopReason::EndOfTurn));
}

#[test]
fn a_beginning_of_a_stop_text_is_held_back() {
    let told = told("a <en <end>", "a", |s| s.stop = vec!["<end>".into()]);
    assert_eq!(told.texts, [" ", "<en "]);
}

#[test]
fn a_full_context_ends_the_answer_and_nothing_is_forgotten_for_it() {
    let mut session = session(&reciting("0123456789abcdef"), 12);
    let told = generate(&mut session, "01234", &greedy()).expect("generates");
    // Six tokens of the prompt, six more that are held, and one that has no room to go on from.
    assert_eq!((told.text().as_str(), told.usage.stop_reason), ("56789ab", StopReason::ContextFull));
    assert_eq!((session.n_past(), session.n_ctx()), (12, 12));
    let error = generate(&mut session, "0123456789ab", &greedy()).expect_err("13 tokens");
    assert_eq!(error.to_string(), "prompt: expected 1 to 12 tokens, got 13");
    assert_eq!(generate(&mut session, "0123456789a", &greedy()).expect("12 tokens").text(), "b");
}

#[test]
fn misuse_is_refused_before_anything_is_computed() {
    let fake = reciting("hello");
    let mut session = session(&fake, 64);
    let settings = |change: fn(&mut Sampling)| {
        let mut settings = greedy();
        change(&mut settings.sampling);
        settings
    };
    let error = generate(&mut session, "h", &settings(|s| s.top_p = 2.0)).expect_err("out of range");
    assert_eq!(error.to_string(), "top_p: expected 0 to 1, got 2");
    let quiet = &mut |_: Event<'_>| ControlFlow::Continue(());
    let error = session.generate_tokens(&[], &greedy(), &CancelToken::new(), quiet).expect_err("no tokens");
    assert_eq!(error.to_string(), "prompt: expected 1 to 64 tokens, got 0");
    let error =
        session.generate_tokens(&[1, 999], &greedy(), &CancelToken::new(), quiet).expect_err("no token");
    assert_eq!(error.to_string(), "token 1 is 999, expected 0 .. 259");
    assert!(fake.computed.lock().expect("not poisoned").is_empty());
}

#[test]
fn what_is_remembered_is_not_computed_again() {
    let fake = reciting("Say hello. Say more.");
    let mut session = session(&fake, 64);
    generate(&mut session, "Say ", &GenerateSettings { max_tokens: 6, ..greedy() }).expect("generates");
    // Five tokens of the prompt, five of the answer; the sixth was told and not computed.
    let told = generate(&mut session, "Say hello. Say ", &greedy()).expect("generates");
    assert_eq!((told.usage.prompt_tokens, told.usage.reused_tokens), (16, 10));
    let told = generate(&mut session, "Say nothing", &GenerateSettings { max_tokens: 0, ..greedy() })
        .expect("generates");
    assert_eq!((told.usage.prompt_tokens, told.usage.reused_tokens), (12, 5));
    // The same prompt again: its last token is computed for the logits.
    let told = generate(&mut session, "Say nothing", &GenerateSettings { max_tokens: 0, ..greedy() })
        .expect("generates");
    assert_eq!(told.usage.reused_tokens, 11);
    assert_eq!(fake.computed.lock().expect("not poisoned").last(), Some(&1));
}

#[test]
fn a_memory_that_cannot_go_back_starts_anew() {
    let fake = fake_engine::Fake { only_anew: true, ..reciting("Say hello") };
    let mut session = session(&fake, 64);
    generate(&mut session, "Say ", &greedy()).expect("generates");
    let told = generate(&mut session, "Say h", &greedy()).expect("generates");
    assert_eq!((told.text().as_str(), told.usage.reused_tokens), ("ello", 0));
}

#[test]
fn cancelling_ends_the_answer_and_the_session_goes_on() {
    let mut session = session(&reciting("Say hello"), 64);
    let cancel = CancelToken::new();
    let mut text = String::new();
    let mut on_event = |event: Event<'_>| {
        if let Event::Text(more) = event {
            text.push_str(more);
        }
        if text == "he" {
            cancel.cancel();
        }
        ControlFlow::Continue(())
    };
    let usage = session.generate("Say ", &greedy(), &cancel, &mut on_event).expect("no error");
    assert_eq!((text.as_str(), usage.stop_reason), ("he", StopReason::Cancelled));
    let usage =
        session.generate("Say h", &greedy(), &cancel, &mut |_| ControlFlow::Continue(())).expect("no error");
    assert_eq!((usage.completion_tokens, usage.stop_reason), (0, StopReason::Cancelled));
    assert_eq!(generate(&mut session, "Say h", &greedy()).expect("generates").text(), "ello");
}

#[test]
fn any_event_may_end_the_answer() {
    let ended = |ends: fn(&Event<'_>) -> bool| {
        let mut session = session(&reciting("Say hello"), 64);
        let mut told = Vec::new();
        let mut on_event = |event: Event<'_>| {
            let end = ends(&event);
            told.push(format!("{event:?}"));
            if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let usage =
            session.generate("Say ", &greedy(), &CancelToken::new(), &mut on_event).expect("no error");
        assert_eq!(usage.stop_reason, StopReason::Cancelled);
        told
    };
    let (prompt, token) = ("Prompt { tokens: 5, reused: 0 }", format!("Token({})", byte(b'h')));
    assert_eq!(ended(|event| matches!(event, Event::Prompt { .. })), [prompt]);
    assert_eq!(ended(|event| matches!(event, Event::Token(_))), [prompt, &token]);
    assert_eq!(ended(|event| matches!(event, Event::Text(_))), [prompt, &token, "Text(\"h\")"]);
}

#[test]
fn a_failing_engine_is_reported_and_the_session_goes_on() {
    let fake = fake_engine::Fake { fails_at: Arc::new(Mutex::new(Some(7))), ..reciting("Say hello") };
    let mut session = session(&fake, 64);
    let error = generate(&mut session, "Say ", &greedy()).expect_err("fails");
    assert_eq!(error.to_string(), "decode failed after 7 tokens (engine code -3): out of luck");
    let told = generate(&mut session, "Say he", &greedy()).expect("generates");
    assert_eq!((told.text().as_str(), told.usage.reused_tokens), ("llo", 6));
}

#[test]
fn logits_that_are_no_numbers_are_reported() {
    let fake = fake_engine::Fake { broken_at: Some(6), ..reciting("Say hello") };
    let error = generate(&mut session(&fake, 64), "Say ", &greedy()).expect_err("broken");
    assert_eq!(error.to_string(), "logits: expected a number for token 7, got NaN");
}

#[test]
fn penalties_see_the_prompt() {
    let told = told("aaaa", "a", |s| (s.sampling.presence_penalty, s.max_tokens) = (2.0, 1));
    assert_eq!(told.usage.stop_reason, StopReason::MaxTokens);
    assert_ne!(told.text(), "a");
}

#[test]
fn dry_breaks_a_loop_that_greedy_choice_stays_in() {
    let recital = "abcabcabcabcabc";
    let plain = told(recital, "abcabc", |s| s.max_tokens = 9).text();
    assert_eq!(plain, "abcabcabc");
    // Three tokens are repeated, and are the first that are not free.
    let mut settings = GenerateSettings { max_tokens: 9, ..greedy() };
    (settings.sampling.dry.multiplier, settings.sampling.dry.allowed_length) = (2.0, 3);
    let answer = |settings: &GenerateSettings| {
        generate(&mut session(&reciting(recital), 64), "abcabc", settings).expect("generates").text()
    };
    let broken = answer(&settings);
    assert!(!broken.starts_with('a'), "{broken:?}");
    // A breaker of two tokens within the passage leaves fewer.
    settings.sampling.dry.breakers = vec!["bc".into()];
    let kept = answer(&settings);
    assert_eq!(kept, "abcabcabc");
}

#[test]
fn chat_without_a_template_stops_at_the_next_turn() {
    let mut session = session(&reciting("user: hi\nassistant: hello\nuser: x"), 64);
    let mut text = String::new();
    let mut on_event = |event: Event<'_>| {
        if let Event::Text(more) = event {
            text.push_str(more);
        }
        ControlFlow::Continue(())
    };
    let usage = session
        .chat(&[Message::new("user", "hi")], &greedy(), &CancelToken::new(), &mut on_event)
        .expect("generates");
    assert_eq!((text.as_str(), usage.stop_reason), (" hello", StopReason::StopText("\nuser:".into())));
}

#[test]
fn sessions_of_one_model_do_not_meet() {
    let model = load(&reciting("Say hello"), 64);
    let settings = SessionSettings::default();
    let mut one = model.session(&settings).expect("opens");
    let mut other = model.session(&settings).expect("opens");
    generate(&mut one, "Say ", &greedy()).expect("generates");
    assert_eq!(other.n_past(), 0);
    assert_eq!(generate(&mut other, "Say hel", &greedy()).expect("generates").text(), "lo");
    assert_eq!(model.tokenizer().encode("Say", true).expect("encodes"), [vec![1], bytes("Say")].concat());
    assert!(model.tokenizer().ends_turn(END));
}

#[test]
fn a_plan_that_chose_nothing_is_refused_with_what_would_fit() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("none.gguf");
    let error = llama_pajamas::Runtime::open(&path, Default::default()).err().expect("no file").to_string();
    assert!(error.contains("none.gguf"), "{error}");
    let request = PlanRequest { memory_budget_bytes: Some(1), ..PlanRequest::default() };
    let error = stage::try_load(&reciting(""), &request).expect_err("one byte is not enough").to_string();
    assert!(error.starts_with("no variant fits this machine: "), "{error}");
}

#[test]
fn an_encoder_reads_the_prompt_once_and_the_decoder_starts_anew() {
    let fake = Fake { start: Some(1), ..reciting("hello") };
    let mut session = session(&fake, 256);
    for _ in 0..2 {
        let told = generate(&mut session, "Say it", &greedy()).expect("generates");
        assert_eq!((told.text().as_str(), told.usage.stop_reason), ("hello", StopReason::EndOfTurn));
    }
    let prompt: Vec<_> = std::iter::once(1).chain(bytes("Say it")).collect();
    assert_eq!(*fake.read.lock().expect("not poisoned"), [prompt]);
    generate(&mut session, "Again", &greedy()).expect("generates");
    assert_eq!(fake.read.lock().expect("not poisoned").len(), 2);
    // The start, then letter by letter.
    assert!(fake.computed.lock().expect("not poisoned").iter().all(|tokens| *tokens == 1));
}

#[test]
fn a_reading_that_is_cancelled_is_no_error_and_not_remembered() {
    let fake = Fake { start: Some(1), ..reciting("hello") };
    let (mut session, cancel) = (session(&fake, 256), CancelToken::new());
    cancel.cancel();
    let told = session.generate("Say it", &greedy(), &cancel, &mut |_| ControlFlow::Continue(()));
    assert_eq!(told.expect("no error").stop_reason, StopReason::Cancelled);
    assert_eq!(generate(&mut session, "Say it", &greedy()).expect("generates").text(), "hello");
}
