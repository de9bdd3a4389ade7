//! What a token costs in Rust: `bindings_bench MODEL TOKENS ROUNDS`. Prints, per round, CPU microseconds per token.
//!
//! Beside `bindings/c/bench.c` and `bindings/cpp/bench.cpp`, which do the same through their interfaces (`scripts/bench-bindings`).

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use std::ops::ControlFlow;

/// Run time of all threads of this process so far, in microseconds (Linux).
fn cpu_us() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of).sum::<u64>() as f64 / 1000.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, tokens, rounds] = &arguments[..] else {
        return Err("usage: bindings_bench MODEL TOKENS ROUNDS".into());
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
        let before = cpu_us();
        session.generate("Once upon a time", &settings, &cancel, &mut |event| {
            match event {
                Event::Token(_) => n_tokens += 1,
                Event::Text(more) => text.push_str(more),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        println!("{:.3}", (cpu_us() - before) / f64::from(n_tokens));
    }
    Ok(())
}
