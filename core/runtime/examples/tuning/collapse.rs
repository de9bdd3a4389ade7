//! Writing with more threads than free processors: by the engine alone, and by a session with its deadlines.

use crate::busy::Busy;
use llama_pajamas::engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas::engine::{ContextSettings, Engine, LoadSettings, Logits};
use llama_pajamas::{
    CancelToken, Change, Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling,
    SessionSettings, Token,
};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

const PROMPT: &str = "Once upon a time";
const TOKENS: u32 = 64;
/// The engine alone gets so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(path: &Path, threads: u32, n_busy: u32) -> Result<(), Box<dyn Error>> {
    let _busy = Busy::start(n_busy)?;
    for n_threads in [1, 2, threads] {
        alone(path, n_threads)?;
    }
    let calm = session(path, 1)?;
    let recovered = session(path, threads)?;
    println!("the answers are {}", if calm == recovered { "the same" } else { "different" });
    Ok(())
}

/// The engine with a fixed count of threads and no deadline.
fn alone(path: &Path, n_threads: u32) -> Result<(), Box<dyn Error>> {
    let engine = GgufEngine::start(EngineOptions::default())?;
    let model = engine.load(path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(()))?;
    let settings =
        ContextSettings { n_ctx: 256, n_threads, n_threads_batch: 1, ..ContextSettings::default() };
    let mut context = model.new_context(&settings)?;
    let cancel = CancelToken::new();
    context.decode(&[1, 2, 3, 4], Logits::Last, &cancel)?;
    let (start, mut slowest, mut count) = (Instant::now(), Duration::ZERO, 0_u32);
    while count < TOKENS && start.elapsed() < PATIENCE {
        let step = Instant::now();
        context.decode(&[5 + count as Token], Logits::Last, &cancel)?;
        slowest = slowest.max(step.elapsed());
        count += 1;
    }
    println!(
        "engine alone, {n_threads} threads: {:8.2} tokens/s ({count} tokens in {:.2} s, the slowest {:.0} ms)",
        f64::from(count) / start.elapsed().as_secs_f64(),
        start.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3
    );
    Ok(())
}

/// A session whose plan asks for `threads`; what it wrote.
fn session(path: &Path, threads: u32) -> Result<Vec<Token>, Box<dyn Error>> {
    let runtime = Runtime::open(path, RuntimeSettings::default())?;
    let request =
        PlanRequest { context_tokens: Some(256), n_threads: Some(threads), ..PlanRequest::default() };
    let plan = runtime.plan(&request);
    let model = runtime.load(&plan, &mut |_| {}, &CancelToken::new())?;
    let mut session = model.session(&SessionSettings::default())?;
    let settings = GenerateSettings {
        sampling: Sampling::greedy(),
        max_tokens: TOKENS,
        ignore_end_of_turn: true,
        ..GenerateSettings::default()
    };
    let (mut tokens, mut last, mut slowest) = (Vec::new(), Instant::now(), Duration::ZERO);
    let mut on_event = |event: Event<'_>| {
        match event {
            Event::Prompt { .. } => last = Instant::now(),
            Event::Token(token) => {
                slowest = slowest.max(last.elapsed());
                last = Instant::now();
                tokens.push(token);
            }
            Event::Change(Change::Paced(moved)) => println!("  {moved:?} at token {}", tokens.len()),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let usage = session.generate(PROMPT, &settings, &CancelToken::new(), &mut on_event)?;
    println!(
        "session, {threads} threads asked for: prompt in {:.2} s, {:8.2} tokens/s ({} tokens in {:.2} s, the slowest {:.0} ms), {} at the end",
        usage.timings.prompt.as_secs_f64(),
        usage.decode_tokens_per_s(),
        usage.completion_tokens,
        usage.timings.decode.as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
        session.threads().0
    );
    Ok(tokens)
}
