//! Encoder-decoders through the runtime: a bundle of our making answers what transformers answers, token for token.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use llama_pajamas_tests::{oracle, repository, run, tiny_model};
use quantizer::recipe::FileType;
use quantizer::{BuildRequest, ProjectorWish, build_bundle};
use std::ops::ControlFlow;
use std::process::Command;

const N_TOKENS: u32 = 24;
const TEXTS: [&str; 3] = ["translate English to German: How old are you?", "summarize: llamas", "Ähm — 42!"];

#[test]
fn answers_are_those_of_transformers() {
    let work = tempfile::tempdir().unwrap();
    let (texts, rows) = (work.path().join("texts.json"), work.path().join("rows.json"));
    std::fs::write(&texts, serde_json::to_vec(&TEXTS).unwrap()).unwrap();
    for name in ["t5", "t5-untied", "umt5"] {
        let model = tiny_model(work.path(), name);
        let script = repository().join("scripts/oracles/answers.py");
        let mut command = Command::new(oracle("venv/bin/python"));
        run(command.arg(script).arg(&model).arg(N_TOKENS.to_string()).args([&texts, &rows]));
        let theirs: Vec<Vec<i32>> = serde_json::from_slice(&std::fs::read(&rows).unwrap()).unwrap();
        let request = BuildRequest {
            model,
            model_id: name.into(),
            output: work.path().join(format!("{name}-bundle")),
            precisions: vec![FileType::F32.into()],
            projector: ProjectorWish::None,
            threads: 2,
            ..BuildRequest::default()
        };
        build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
        let runtime = Runtime::open(&request.output, RuntimeSettings::default()).unwrap();
        let plan = runtime.plan(&PlanRequest { n_threads: Some(1), ..PlanRequest::default() });
        let cancel = CancelToken::new();
        let loaded = runtime.load(&plan, &mut |_| {}, &cancel).unwrap();
        let mut session = loaded.session(&SessionSettings::default()).unwrap();
        let settings = GenerateSettings {
            sampling: Sampling::greedy(),
            max_tokens: N_TOKENS,
            ignore_end_of_turn: true,
            ..GenerateSettings::default()
        };
        for (text, theirs) in TEXTS.iter().zip(&theirs) {
            let mut ours = Vec::new();
            let mut on_event = |event: Event<'_>| {
                if let Event::Token(token) = event {
                    ours.push(token);
                }
                ControlFlow::Continue(())
            };
            session.generate(text, &settings, &cancel, &mut on_event).unwrap();
            // transformers stops at the end of a sequence.
            ours.truncate(theirs.len());
            println!("{name:12} {} tokens: {}", theirs.len(), loaded.tokenizer().decode(&ours));
            assert_eq!(&ours, theirs, "{name}: {text}");
        }
    }
}
