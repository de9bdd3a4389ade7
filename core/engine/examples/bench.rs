//! Prefill and decode speed of the GGUF engine, measured the way `llama-bench` does.
//!
//! Owns: a measurement. May know: the public API. Must not know: what the speeds are for.
//!
//!     cargo run --release -p llama-pajamas-engine --example bench -- \
//!         MODEL.gguf [THREADS [REPETITIONS [CPU_VARIANT|auto [GPU_LAYERS [pp512|tg128]]]]]
//!
//! prints one line per test, or for the one named, `pp512 TOKENS_PER_SECOND` and `tg128 TOKENS_PER_SECOND`: 512 random
//! tokens in one batch, and 128 single tokens, each from an empty context and after a warm-up, the
//! mean of the repetitions. `scripts/bench-engine` compares them with `llama-bench`.

#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use llama_pajamas_engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas_engine::{
    CancelToken, Context, ContextSettings, Engine, LoadSettings, Logits, Model, Token,
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u32| words.get(index).map_or(Ok(default), |word| word.parse());
    let path = words
        .first()
        .ok_or("usage: bench MODEL.gguf [THREADS [REPETITIONS [CPU_VARIANT [GPU_LAYERS [TEST]]]]]")?;
    let (n_threads, repetitions) = (number(1, 2)?, number(2, 3)?);
    let cpu_variant = words.get(3).filter(|name| *name != "auto").cloned();
    let engine = GgufEngine::start(EngineOptions { cpu_variant, log: None })?;
    let load = LoadSettings { gpu_layers: number(4, 0)?, ..LoadSettings::default() };
    let model = engine.load(Path::new(path), &load, &mut |_| ControlFlow::Continue(()))?;
    println!("variant {}", engine.cpu_variant());
    let bench = Bench { model, n_threads, repetitions };
    for (test, n_tokens, step) in [("pp512", 512, 512), ("tg128", 128, 1)] {
        if words.get(5).is_none_or(|only| only == test) {
            println!("{test} {:.3}", bench.speed(n_tokens, step)?);
        }
    }
    Ok(())
}

struct Bench {
    model: Arc<dyn Model>,
    n_threads: u32,
    repetitions: u32,
}

impl Bench {
    /// Tokens per second over `n_tokens`, handed over `step` at a time.
    fn speed(&self, n_tokens: u32, step: usize) -> Result<f64, Box<dyn Error>> {
        let settings = ContextSettings {
            n_ctx: n_tokens,
            n_threads: self.n_threads,
            n_threads_batch: self.n_threads,
            ..ContextSettings::default()
        };
        let mut context = self.model.clone().new_context(&settings)?;
        let tokens = random_tokens(n_tokens as usize, self.model.n_vocab());
        // As in llama-bench: all of the prompt, or one token, to touch every weight once.
        self.run(&mut *context, &tokens[..step], step)?;
        let mut total = 0.0;
        for _ in 0..self.repetitions {
            let start = Instant::now();
            self.run(&mut *context, &tokens, step)?;
            total += f64::from(n_tokens) / start.elapsed().as_secs_f64();
        }
        Ok(total / f64::from(self.repetitions))
    }

    fn run(&self, context: &mut dyn Context, tokens: &[Token], step: usize) -> Result<(), Box<dyn Error>> {
        let cancel = CancelToken::new();
        context.truncate(0)?;
        for chunk in tokens.chunks(step) {
            context.decode(chunk, Logits::Last, &cancel)?;
            std::hint::black_box(context.logits(0)?);
        }
        Ok(())
    }
}

fn random_tokens(count: usize, n_vocab: usize) -> Vec<Token> {
    let mut state = 12_345_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize % n_vocab) as Token
    };
    (0..count).map(|_| next()).collect()
}
