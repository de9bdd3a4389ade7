//! A mixture of experts with a part of its experts in memory: planned where it does not fit whole, it writes the tokens that it
//! writes with all of them, and holds no more than was planned.
//! Knows the runtime's public API; must not know how experts are paged.

#![cfg(any(target_os = "linux", target_os = "android"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests that print what they compare")]

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, LoadedModel, PlanRequest, Runtime, RuntimeSettings, Sampling,
    SessionSettings, Token,
};
use llama_pajamas_tests::shared;
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use std::io::BufWriter;
use std::ops::ControlFlow;

const PROMPT: &str = "Once upon a time, there was a little llama who";

fn written(model: &LoadedModel) -> Vec<Token> {
    let mut session = model.session(&SessionSettings::default()).unwrap();
    let prompt = model.tokenizer().encode(PROMPT, true).unwrap();
    let settings = GenerateSettings {
        sampling: Sampling::greedy(),
        max_tokens: 100,
        ignore_end_of_turn: true,
        ..GenerateSettings::default()
    };
    let mut tokens = Vec::new();
    let mut on_event = |event: Event<'_>| {
        if let Event::Token(token) = event {
            tokens.push(token);
        }
        ControlFlow::Continue(())
    };
    session.generate_tokens(&prompt, &settings, &CancelToken::new(), &mut on_event).unwrap();
    tokens
}

#[test]
fn a_plan_that_pages_experts_writes_the_same() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("moe.gguf");
    let checkpoint = Checkpoint::open(&shared("models/pajama-moe-21m")).unwrap();
    let q8 = FileType::from_name("Q8_0").unwrap();
    let job = quantizer::plan_file(&checkpoint, q8, &Overrides::default(), None, false).unwrap();
    let out = BufWriter::new(std::fs::File::create(&file).unwrap());
    quantizer::write_file(&job, &checkpoint, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();

    let runtime = Runtime::open(&file, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { context_tokens: Some(256), n_threads: Some(1), ..PlanRequest::default() };
    let whole = runtime.plan(&request);
    let need = whole.chosen.as_ref().unwrap().memory.total_bytes();
    let load =
        |request: &PlanRequest| runtime.plan_and_load(request, &mut |_| {}, &CancelToken::new()).unwrap().1;
    let expected = {
        let model = load(&request);
        assert_eq!(model.paging(), None);
        written(&model)
    };
    for missing_mib in [4, 8, 12] {
        let budget = need - (missing_mib << 20);
        let tight = PlanRequest { memory_budget_bytes: Some(budget), page_experts: true, ..request.clone() };
        let model = load(&tight);
        let cap = model.choice().expert_memory_bytes.unwrap();
        assert!(model.choice().memory.total_bytes() <= budget);
        assert_eq!(written(&model), expected, "{missing_mib} MiB short");
        let stats = model.paging().unwrap();
        println!(
            "{missing_mib:2} MiB short: {cap} of {} bytes held, {} of {} experts were, {} bytes read",
            stats.expert_bytes, stats.held, stats.wanted, stats.read_bytes
        );
        assert_eq!(stats.cap_bytes, cap);
        assert!(stats.held_bytes <= cap && stats.let_go_bytes > 0, "{stats:?}");
    }
}
