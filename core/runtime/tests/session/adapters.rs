//! Adapters by the answer: alone in a session, and beside answers with others in a pool.

use crate::stage::{bytes, generate, greedy, load, reciting, session};
use llama_pajamas::{Applied, GenerateSettings, LoadedModel, PoolSettings, Request, SessionSettings};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::channel;

const TEXT: &str = "in the beginning there was a llama, and it wore pajamas";

fn with(model: &LoadedModel, name: &str) -> GenerateSettings {
    let adapter = model.load_adapter(Path::new(name)).expect("loads");
    GenerateSettings { adapters: vec![Applied { adapter, scale: 1.0 }], ..greedy() }
}

#[test]
fn what_other_adapters_computed_is_computed_anew() {
    let model = load(&reciting(TEXT), 256);
    let mut session = model.session(&SessionSettings::default()).expect("opens");
    let loud = with(&model, "loud.gguf");
    let mut answer = |settings: &GenerateSettings| {
        let told = generate(&mut session, "in the ", settings).expect("generates");
        (told.text(), told.usage.reused_tokens)
    };
    let rest = &TEXT[7..];
    assert_eq!(answer(&greedy()), (rest.into(), 0));
    assert_eq!(answer(&loud), (rest.to_uppercase(), 0));
    assert_eq!(answer(&loud), (rest.to_uppercase(), 7));
    // As strong, and another one.
    assert_eq!(answer(&with(&model, "loud.gguf")), (rest.to_uppercase(), 0));
    assert_eq!(answer(&with(&model, "quiet.gguf")), (rest.into(), 0));
    assert_eq!(answer(&greedy()), (rest.into(), 0));
    let other = load(&reciting(TEXT), 256);
    assert_ne!(with(&model, "loud.gguf").adapters, with(&other, "loud.gguf").adapters);
}

#[test]
fn sessions_with_adapters_are_forked_and_not_saved() {
    let model = load(&reciting(TEXT), 256);
    let mut session = model.session(&SessionSettings::default()).expect("opens");
    let loud = with(&model, "loud.gguf");
    generate(&mut session, "in the ", &loud).expect("generates");
    let error = session.save().expect_err("refused").to_string();
    assert!(error.contains("expected a session without adapters"), "{error}");
    let mut fork = session.fork().expect("forks");
    let told = generate(&mut fork, "in the ", &loud).expect("generates");
    assert_eq!((told.text(), told.usage.reused_tokens), (TEXT[7..].to_uppercase(), 7));
}

#[test]
fn a_pool_answers_with_different_adapters_in_turns() {
    let model = load(&reciting(TEXT), 256);
    let (loud, quiet) = (with(&model, "loud.gguf"), with(&model, "quiet.gguf"));
    let pool = model.pool(&PoolSettings { n_sequences: 3, ..PoolSettings::default() }).expect("opens");
    let (sender, receiver) = channel();
    let kinds = [&loud, &greedy(), &quiet];
    for n in 0..30 {
        let (sender, mut text) = (sender.clone(), String::new());
        let (share, told) = (std::sync::Arc::new(std::sync::Mutex::new(String::new())), n);
        let hears = std::sync::Arc::clone(&share);
        pool.submit(Request {
            prompt: [vec![1], bytes("in the ")].concat(),
            settings: kinds[n % 3].clone(),
            cancel: Default::default(),
            on_event: Box::new(move |event| {
                if let llama_pajamas::Event::Text(piece) = event {
                    text.push_str(piece);
                    hears.lock().expect("not poisoned").clone_from(&text);
                }
                ControlFlow::Continue(())
            }),
            on_done: Box::new(move |outcome| {
                outcome.expect("answers");
                let text = share.lock().expect("not poisoned").clone();
                sender.send((told, text)).expect("somebody waits");
            }),
        })
        .expect("taken");
    }
    for _ in 0..30 {
        let (n, text) = receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("an end");
        let rest = &TEXT[7..];
        assert_eq!(text, if n % 3 == 0 { rest.to_uppercase() } else { rest.to_owned() }, "{n}");
    }
}

#[test]
fn pictures_that_nobody_read_are_refused() {
    let mut settings = greedy();
    let mut session = session(&reciting(TEXT), 256);
    let cancel = Default::default();
    let mut goes_on = |_: llama_pajamas::Event<'_>| ControlFlow::Continue(());
    let error = session.generate_tokens(&[1, -5, 4], &settings, &cancel, &mut goes_on).expect_err("refused");
    assert!(error.to_string().contains("`GenerateSettings::media` holds"), "{error}");
    let model = load(&reciting(TEXT), 256);
    let error = model.media_prompt("x", &[vec![1]], &mut settings.media).expect_err("refused").to_string();
    assert!(error.contains("loaded without a projector"), "{error}");
    assert!(!model.sees() && !model.hears());
}
