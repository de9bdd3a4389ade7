//! What a few tokens computed together cost, as a multiple of what one costs: what a guess of the next tokens must bring.
//!
//! Owns: a measurement. May know: the public API. Must not know: what the figures are for.
//!
//!     cargo run --release -p llama-pajamas-engine --example rows -- MODEL.gguf [POSITIONS [ROUNDS [COUNT]]]
//!
//! One thread, behind POSITIONS tokens (64); one token and all counts to 9, or COUNT alone, take turns for ROUNDS rounds (7), and the processor time of this thread
//! counts, so that other processes disturb little. Linux alone tells that time.

#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use llama_pajamas_engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas_engine::{CancelToken, ContextSettings, Engine as _, LoadSettings, Logits, Token};

const MOST: usize = 9;
/// Least time of a measurement, in seconds.
const BLOCK_S: f64 = 0.1;

/// Seconds that this thread has computed.
fn computed_s() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let path = words.first().ok_or("usage: rows MODEL.gguf [POSITIONS [ROUNDS [COUNT]]]")?;
    let number = |index: usize, default: usize| words.get(index).map_or(Ok(default), |word| word.parse());
    let (n_before, n_rounds, count) = (number(1, 64)?, number(2, 7)?, number(3, 0)?);
    let counts: Vec<usize> = if count > 0 { vec![1, count.min(MOST)] } else { (1..=MOST).collect() };
    let engine = GgufEngine::start(EngineOptions::default())?;
    let settings = LoadSettings { gpu_layers: 0, ..LoadSettings::default() };
    let model = engine.load(Path::new(path), &settings, &mut |_| ControlFlow::Continue(()))?;
    let n_vocab = model.n_vocab();
    let mut context = model.new_context(&ContextSettings {
        n_ctx: u32::try_from(n_before + MOST)?,
        n_threads: 1,
        n_threads_batch: 1,
        n_outputs_max: u32::try_from(MOST)?,
        ..ContextSettings::default()
    })?;
    let tokens: Vec<Token> = (0..n_before + MOST).map(|at| (at * 7919 % n_vocab) as Token).collect();
    let cancel = CancelToken::new();
    context.decode(&tokens[..n_before], Logits::None, &cancel)?;
    let mut times = vec![Vec::new(); counts.len()];
    for round in 0..=n_rounds {
        for (times, &n) in times.iter_mut().zip(&counts) {
            let (start, mut n_calls) = (computed_s()?, 0);
            // The time moves by steps of some milliseconds.
            while n_calls == 0 || computed_s()? - start < BLOCK_S {
                context.decode(&tokens[n_before..n_before + n], Logits::All, &cancel)?;
                context.truncate(n_before)?;
                n_calls += 1;
            }
            // The first round warms up.
            if round > 0 {
                times.push((computed_s()? - start) / f64::from(n_calls));
            }
        }
    }
    let medians: Vec<f64> = times
        .iter_mut()
        .map(|times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
        .collect();
    println!("one token: {:.3} ms", medians[0] * 1e3);
    for (n, median) in counts.iter().zip(&medians).skip(1) {
        println!("{n} tokens: {:.2} times", median / medians[0]);
    }
    Ok(())
}
