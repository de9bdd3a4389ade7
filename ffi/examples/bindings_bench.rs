//! What a token costs in Rust: `bindings_bench MODEL TOKENS ROUNDS [stream]`. Prints, per round, CPU microseconds per token.
//!
//! Beside `bindings/c/bench.c` and `bindings/cpp/bench.cpp`, which do the same through their interfaces (`scripts/bench-bindings`).

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Prompt, Runtime, RuntimeSettings, Sampling,
    SessionSettings,
};
use std::ops::ControlFlow;

/// Run time of all threads of this process so far, those that ended included, in microseconds.
#[cfg(unix)]
fn cpu_us() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

#[cfg(not(unix))]
fn cpu_us() -> f64 {
    f64::NAN
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, tokens, rounds, way @ ..] = &arguments[..] else {
        return Err("usage: bindings_bench MODEL TOKENS ROUNDS [stream]".into());
    };
    let runtime = Runtime::open(model.as_ref(), RuntimeSettings::default())?;
    let request = PlanRequest { context_tokens: Some(2048), n_threads: Some(1), ..PlanRequest::default() };
    let cancel = CancelToken::new();
    let (_, model) = runtime.plan_and_load(&request, &mut |_| {}, &cancel)?;
    let mut session = model.session(&SessionSettings::default())?;
    let settings = GenerateSettings {
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens: tokens.parse()?,
        ignore_end_of_turn: true,
        ..GenerateSettings::default()
    };
    for _ in 0..rounds.parse()? {
        let (mut text, mut n_tokens) = (String::new(), 0u32);
        let mut hear = |event: Event<'_>| {
            match event {
                Event::Token(_) => n_tokens += 1,
                Event::Text(more) => text.push_str(more),
                _ => {}
            }
            ControlFlow::Continue(())
        };
        let before = cpu_us();
        if way.is_empty() {
            session.generate("Once upon a time", &settings, &cancel, &mut hear)?;
        } else {
            let prompt = Prompt::Text("Once upon a time".into());
            let mut stream = session.stream(prompt, settings.clone(), CancelToken::new())?;
            while let Some(step) = stream.next_step() {
                step?.borrowed().map(&mut hear);
            }
            session = stream.finish();
        }
        println!("{:.3}", (cpu_us() - before) / f64::from(n_tokens));
    }
    Ok(())
}
