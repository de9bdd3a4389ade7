//! Layers that predict tokens beyond the next, from a checkpoint to guesses: what they expect is what transformers' parts give,
//! and answers with their guesses are those without.
//! Knows scripts/oracles/predictions.py; must not know how contexts stand beside each other.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{CancelToken, Context, ContextSettings, Engine, KvType, LoadSettings, Logits, Token};
use families::OutputType;
use llama_pajamas::{
    Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use llama_pajamas_tests::{GgufFile, Outside, tiny_model};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::{Checkpoint, TensorSource};
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Plain attention and latent attention, with their layers.
const MODELS: [(&str, u32); 2] = [("glm4-moe-prediction", 4), ("glm-4-moe-lite-prediction", 5)];

fn converted(checkpoint: &Checkpoint, out: &Path) -> PathBuf {
    let file = BufWriter::new(File::create(out).unwrap());
    quantizer::convert(checkpoint, OutputType::F32, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    out.to_path_buf()
}

fn open(path: &Path, prediction_layers: bool) -> Box<dyn Context> {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let load = LoadSettings { repack: false, ..LoadSettings::default() };
    let model = engine.load(path, &load, &mut |_| ControlFlow::Continue(())).unwrap();
    let settings = ContextSettings {
        n_ctx: 256,
        n_batch: 32,
        n_ubatch: 32,
        n_outputs_max: 8,
        n_threads: 1,
        n_threads_batch: 1,
        type_k: KvType::F32,
        type_v: KvType::F32,
        flash_attention: Some(false),
        prediction_layers,
        ..ContextSettings::default()
    };
    model.new_context(&settings).unwrap()
}

fn tokens(value: &Value) -> Vec<Token> {
    value["tokens"].as_array().unwrap().iter().map(|token| token.as_i64().unwrap() as Token).collect()
}

#[test]
fn what_is_expected_is_what_transformers_parts_expect() {
    for (name, n_layers) in MODELS {
        check_expected(name, n_layers);
    }
}

fn check_expected(name: &str, n_layers: u32) {
    let work = tempfile::tempdir().unwrap();
    let model = tiny_model(work.path(), name);
    let checkpoint = Checkpoint::open(&model).unwrap();
    let path = converted(&checkpoint, &work.path().join("whole.gguf"));
    let description = families::detect_gguf(&GgufFile::read(&path).header).unwrap();
    let predicting = description.layers.iter().filter(|layer| layer.predicts).count();
    assert_eq!((description.n_layers, predicting), (n_layers, 1));
    let mut outside = Outside::python("predictions.py");
    let mut context = open(&path, true);
    assert!(context.has_predictions());
    let text: Vec<Token> = (0..90).map(|at| 20 + at * 37 % 900).collect();
    let mut n_same = 0;
    // Longer than a batch, token by token, and after going back.
    for (n_held, how) in [(40, "at once"), (41, "one more"), (60, "in two"), (33, "after going back")] {
        if n_held < context.n_past() {
            context.truncate(n_held).unwrap();
        } else {
            let rest = &text[context.n_past()..n_held];
            let cancel = CancelToken::new();
            let (first, second) = rest.split_at(if how == "in two" { rest.len() / 2 } else { 0 });
            if !first.is_empty() {
                context.decode(first, Logits::None, &cancel).unwrap();
            }
            context.decode(second, Logits::Last, &cancel).unwrap();
        }
        let next = text[n_held];
        let job = json!({"folder": model, "tokens": &text[..=n_held], "n": 4});
        let expected = tokens(&outside.job(&job));
        let got = context.predict(next, 4, 0.0, &CancelToken::new()).unwrap();
        println!("{how:18} {n_held} held: {got:?}, transformers' parts {expected:?}");
        assert_eq!(got, expected, "{how}");
        n_same += got.len();
    }
    println!("{name}: {n_same} of {n_same} tokens are the same");
}

/// How far logits behind prompts are from those of a context without prediction layers, of the largest.
fn apart(path: &Path) -> f32 {
    let (mut with, mut without) = (open(path, true), open(path, false));
    let (mut apart, mut largest) = (0f32, 0f32);
    for n in [1, 5, 8, 9, 31, 70] {
        let prompt: Vec<Token> = (0..n).map(|at| 30 + at * 29 % 800).collect();
        for context in [&mut with, &mut without] {
            context.truncate(0).unwrap();
            context.decode(&prompt, Logits::Last, &CancelToken::new()).unwrap();
        }
        for (a, b) in with.logits(0).unwrap().iter().zip(without.logits(0).unwrap()) {
            apart = apart.max((a - b).abs());
            largest = largest.max(b.abs());
        }
    }
    apart / largest
}

/// Greedy answers to prompts, and how many tokens of them were guessed.
fn answers(path: &Path, speculate: bool) -> (Vec<Vec<Token>>, usize) {
    let runtime = Runtime::open(path, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { context_tokens: Some(256), n_threads: Some(1), ..PlanRequest::default() };
    let model = runtime.load(&runtime.plan(&request), &mut |_| {}, &CancelToken::new()).unwrap();
    let settings = SessionSettings { speculate, ..SessionSettings::default() };
    let generate = GenerateSettings {
        sampling: Sampling::greedy(),
        max_tokens: 60,
        ignore_end_of_turn: true,
        ..GenerateSettings::default()
    };
    let (mut all, mut guessed) = (Vec::new(), 0);
    for seed in 0..6 {
        let prompt: Vec<Token> = (0..50).map(|n| 30 + (n * n * 7 + seed * 31) % 200).collect();
        let mut made = Vec::new();
        let mut hear = |event: Event<'_>| {
            if let Event::Token(token) = event {
                made.push(token);
            }
            ControlFlow::Continue(())
        };
        let mut session = model.session(&settings).unwrap();
        let usage = session.generate_tokens(&prompt, &generate, &CancelToken::new(), &mut hear).unwrap();
        guessed += usage.guessed_tokens;
        all.push(made);
    }
    (all, guessed)
}

#[test]
fn answers_are_the_same_with_guesses() {
    for (name, _) in MODELS {
        let work = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::open(&tiny_model(work.path(), name)).unwrap();
        let whole = converted(&checkpoint, &work.path().join("whole.gguf"));
        let quantized = work.path().join("quantized.gguf");
        let source: &dyn TensorSource = &checkpoint;
        let job = quantizer::plan_file(source, FileType::Q8_0, &Overrides::default(), None, true).unwrap();
        let out = BufWriter::new(File::create(&quantized).unwrap());
        quantizer::write_file(&job, source, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        for (kind, path) in [("F32", whole), ("Q8_0", quantized)] {
            let (plain, _) = answers(&path, false);
            let (with_guesses, guessed) = answers(&path, true);
            let apart = apart(&path);
            println!(
                "{name} {kind}: {guessed} of {} tokens guessed, logits behind prompts {apart:.1e} apart",
                plain.concat().len()
            );
            assert!(apart < 1e-5, "{name} {kind}");
            assert_eq!(plain, with_guesses, "{name} {kind}");
        }
    }
}
