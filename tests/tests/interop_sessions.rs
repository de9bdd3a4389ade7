//! Sessions that go on elsewhere: for models whose layers see everything, see a window, or keep only a state, a second turn
//! computes only what is new, and a state that one process saved is gone on with by another as by itself.
//! Knows the runtime's public API; the tiny models are the interoperability suite's.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests that print what they compare"
)]

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, LoadedModel, PlanRequest, Runtime, RuntimeSettings, Sampling,
    Session, SessionSettings, Token,
};
use llama_pajamas_tests::{run, tiny_model};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// Dense, with sliding windows, and with state-space layers or convolutions among the others.
const MODELS: [&str; 4] = ["qwen3", "cohere2", "granite-4-h", "lfm2"];
/// Where the other process finds the model and the state.
const PLACE: &str = "LLAMA_PAJAMAS_SESSION_PLACE";

fn load(path: &Path) -> LoadedModel {
    let runtime = Runtime::open(path, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { context_tokens: Some(256), n_threads: Some(1), ..PlanRequest::default() };
    runtime.load(&runtime.plan(&request), &mut |_| {}, &CancelToken::new()).unwrap()
}

/// Greedy tokens behind `prompt`, and how many of it were remembered.
fn answer(session: &mut Session, prompt: &[Token]) -> (Vec<Token>, usize) {
    let settings = GenerateSettings {
        sampling: Sampling::greedy(),
        max_tokens: 24,
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
    let usage = session.generate_tokens(prompt, &settings, &CancelToken::new(), &mut on_event).unwrap();
    (tokens, usage.reused_tokens)
}

/// What the second turn asks: all that is held, and seven tokens more.
fn second_turn(held: &[Token]) -> Vec<Token> {
    held.iter().copied().chain((0..7).map(|n| 40 + n * 13)).collect()
}

fn convert(checkpoint: &Path, path: &Path) {
    let checkpoint = Checkpoint::open(checkpoint).unwrap();
    let f32 = FileType::ALL.iter().copied().find(|file_type| file_type.name() == "F32").unwrap();
    let job = quantizer::plan_file(&checkpoint, f32, &Overrides::default(), None, false).unwrap();
    let file = BufWriter::new(std::fs::File::create(path).unwrap());
    quantizer::write_file(&job, &checkpoint, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn sessions_go_on_in_other_processes() {
    let work = tempfile::tempdir().unwrap();
    for name in MODELS {
        let place = work.path().join(format!("{name}.place"));
        std::fs::create_dir(&place).unwrap();
        convert(&tiny_model(work.path(), name), &place.join("model.gguf"));
        let model = load(&place.join("model.gguf"));
        let mut session = model.session(&SessionSettings::default()).unwrap();
        let first: Vec<Token> = (0..50).map(|n| 30 + (n * n * 7) % 200).collect();
        answer(&mut session, &first);
        let held = session.tokens().to_vec();
        let state = session.save().unwrap();
        std::fs::write(place.join("state"), &state).unwrap();
        let prompt = second_turn(&held);
        let (goes_on, reused) = answer(&mut session, &prompt);
        assert_eq!(reused, held.len(), "{name}");
        let (anew, none) = answer(&mut model.session(&SessionSettings::default()).unwrap(), &prompt);
        assert_eq!((none, &anew), (0, &goes_on), "{name}");
        let told = run(Command::new(std::env::current_exe().unwrap())
            .args(["another_process_goes_on", "--exact", "--ignored", "--nocapture"])
            .env(PLACE, &place));
        let line = told.lines().find_map(|line| line.strip_prefix("went on: ")).expect("it tells");
        assert_eq!(line, format!("{reused} {goes_on:?}"), "{name}");
        let mut other = state.clone();
        let build = model.engine_build().as_bytes();
        let at = other.windows(build.len()).position(|part| part == build).unwrap();
        other[at] ^= 1;
        let error = session.restore(&other).unwrap_err().to_string();
        assert!(
            error.starts_with("state: expected one of ") && error.contains(model.engine_build()),
            "{error}"
        );
        println!(
            "{name}: {} tokens held, {} bytes of state, the second turn computes {}",
            held.len(),
            state.len(),
            prompt.len() - reused
        );
    }
}

#[test]
#[ignore = "the other process of the test above"]
fn another_process_goes_on() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let model = load(&Path::new(&place).join("model.gguf"));
    let mut session = model.session(&SessionSettings::default()).unwrap();
    session.restore(&std::fs::read(Path::new(&place).join("state")).unwrap()).unwrap();
    let prompt = second_turn(session.tokens());
    let (tokens, reused) = answer(&mut session, &prompt);
    println!("went on: {reused} {tokens:?}");
}
