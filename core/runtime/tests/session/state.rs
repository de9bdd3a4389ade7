//! Sessions as bytes, and copies of them.

use crate::fake_engine::Fake;
use crate::stage::{generate, greedy, reciting, with_runtime};
use llama_pajamas::{Error, SessionSettings};

const TEXT: &str = "once upon a time there was a llama";

fn asked() -> SessionSettings {
    SessionSettings { context_tokens: Some(256), ..SessionSettings::default() }
}

#[test]
fn a_restored_session_goes_on_where_the_first_was() {
    let fake = Fake { build: "fake 1", ..reciting(TEXT) };
    with_runtime(&fake, |model| {
        let mut first = model.session(&asked()).expect("opens");
        let mut settings = greedy();
        settings.max_tokens = 5;
        generate(&mut first, "once upon", &settings).expect("generates");
        let state = first.save().expect("saves");
        let mut second = model.session(&asked()).expect("opens");
        second.restore(&state).expect("restores");
        assert_eq!((second.tokens(), second.n_past()), (first.tokens(), first.n_past()));
        let told = generate(&mut second, "once upon a ti", &greedy()).expect("generates");
        assert_eq!(told.text(), "me there was a llama");
        assert_eq!((told.usage.prompt_tokens, told.usage.reused_tokens), (15, 14));
        for (change, said) in [
            (&b"x"[..], "`LPSESS01` at its beginning"),
            (&state[..20], "expected a header"),
            (&state[..state.len() - 1], "not eight bytes"),
            (&state[..state.len() - 40], "tokens, got"),
        ] {
            let error = second.restore(change).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    });
}

#[test]
fn states_of_other_builds_and_models_are_refused_by_name() {
    let state = |build: &'static str| {
        let mut state = Vec::new();
        with_runtime(&Fake { build, ..reciting(TEXT) }, |model| {
            let mut session = model.session(&asked()).expect("opens");
            generate(&mut session, "once", &greedy()).expect("generates");
            state = session.save().expect("saves");
        });
        state
    };
    let of_one = state("fake 1");
    with_runtime(&Fake { build: "fake 2", ..reciting(TEXT) }, |model| {
        let mut session = model.session(&asked()).expect("opens");
        let error = session.restore(&of_one).expect_err("another build").to_string();
        assert_eq!(error, "state: expected one of fake 2, got fake 1");
        assert_eq!(session.n_past(), 0);
        let digest = model.digest().expect("the file is there");
        let mut of_another = state("fake 2");
        let at = of_another.windows(64).position(|part| part == digest.as_bytes()).expect("it is in it");
        of_another[at] = if of_another[at] == b'0' { b'1' } else { b'0' };
        let error = session.restore(&of_another).expect_err("another model");
        assert!(matches!(error, Error::Request { what: "state", .. }), "{error}");
        assert!(error.to_string().contains(&format!("expected one of the model {digest}")), "{error}");
    });
}

#[test]
fn a_fork_holds_the_same_and_goes_on_by_itself() {
    with_runtime(&reciting(TEXT), |model| {
        let mut first = model.session(&asked()).expect("opens");
        generate(&mut first, "once upon a time", &greedy()).expect("generates");
        let mut fork = first.fork().expect("forks");
        assert_eq!(fork.tokens(), first.tokens());
        let told = generate(&mut fork, "once upon a b", &greedy()).expect("generates");
        assert_eq!(told.usage.reused_tokens, 13, "{told:?}");
        assert!(first.n_past() > fork.n_past() || first.tokens() != fork.tokens());
    });
}
